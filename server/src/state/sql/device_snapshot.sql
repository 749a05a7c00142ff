UPDATE device
SET hostname = ?, agent_version = ?, last_seen_at = ?, clock_skew_ms = ?, host = ?, capabilities = ?, heartbeat = ?
WHERE uid = ?
