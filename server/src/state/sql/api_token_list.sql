SELECT id, secret_sha256, user_name, role, expires_at FROM api_token WHERE revoked_at IS NULL AND expires_at > ?
