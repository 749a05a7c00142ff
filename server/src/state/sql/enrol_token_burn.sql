UPDATE enrol_token SET used_at = ?, device_uid = ? WHERE id = ? AND used_at IS NULL AND revoked_at IS NULL AND expires_at > ?
