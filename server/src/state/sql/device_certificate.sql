UPDATE device SET certificate_expires_at = ? WHERE uid = ?
