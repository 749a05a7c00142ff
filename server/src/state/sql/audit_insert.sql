INSERT INTO audit (at, user_name, method, target, outcome, peer_address) VALUES (?, ?, ?, ?, ?, ?) RETURNING id
