SELECT secret_sha256, expires_at, used_at FROM sign_in_code WHERE id = ?
