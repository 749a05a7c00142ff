INSERT INTO api_token (id, secret_sha256, user_name, role, label, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)
