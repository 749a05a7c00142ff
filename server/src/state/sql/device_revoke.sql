UPDATE device SET revoked_at = ?, revoked_reason = ? WHERE uid = ? AND revoked_at IS NULL
