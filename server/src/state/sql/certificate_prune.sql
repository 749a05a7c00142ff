DELETE FROM certificate WHERE not_after < ?
