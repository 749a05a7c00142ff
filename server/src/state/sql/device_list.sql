SELECT uid, hostname, agent_version, enrolled_at, certificate_expires_at, last_seen_at, clock_skew_ms, host, capabilities, heartbeat, revoked_at
FROM device
ORDER BY hostname, uid
