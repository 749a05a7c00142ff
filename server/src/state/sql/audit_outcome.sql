UPDATE audit SET user_name = ?, target = ?, outcome = ? WHERE id = ?
