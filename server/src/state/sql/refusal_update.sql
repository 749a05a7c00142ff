UPDATE refusal SET last_at = ?, detail = ?, count = ? WHERE id = ?
