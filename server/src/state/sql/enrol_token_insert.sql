INSERT INTO enrol_token (id, secret_sha256, label, created_at, created_by, expires_at) VALUES (?, ?, ?, ?, ?, ?)
