SELECT id, label, created_at, expires_at, used_at, device_uid, revoked_at FROM enrol_token ORDER BY created_at DESC, id LIMIT 10000
