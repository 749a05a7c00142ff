INSERT INTO device (uid, hostname, agent_version, enrolled_at, enrol_token_id, certificate_expires_at)
VALUES (?, ?, ?, ?, ?, ?)
