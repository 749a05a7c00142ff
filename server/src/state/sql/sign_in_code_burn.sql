UPDATE sign_in_code SET used_at = ? WHERE id = ? AND used_at IS NULL AND expires_at > ?
