INSERT INTO sign_in_code (id, secret_sha256, created_at, expires_at) VALUES (?, ?, ?, ?)
