SELECT at, user_name, method, target, outcome, peer_address FROM audit ORDER BY id DESC LIMIT ?
