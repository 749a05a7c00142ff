SELECT last_at, peer_address, reason, device_uid, detail, count FROM refusal ORDER BY last_at DESC, id DESC LIMIT ?
