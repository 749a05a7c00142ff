UPDATE enrol_token SET revoked_at = ? WHERE id = ? AND used_at IS NULL AND revoked_at IS NULL
