SELECT secret_sha256, expires_at, used_at, revoked_at FROM enrol_token WHERE id = ?
