INSERT INTO refusal (first_at, last_at, peer_address, reason, device_uid, detail, count) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id
