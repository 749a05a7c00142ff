INSERT INTO certificate (serial, device_uid, spki_sha256, issued_at, not_after) VALUES (?, ?, ?, ?, ?)
