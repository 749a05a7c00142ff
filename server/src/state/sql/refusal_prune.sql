DELETE FROM refusal WHERE id <= (SELECT max(id) FROM refusal) - ?
