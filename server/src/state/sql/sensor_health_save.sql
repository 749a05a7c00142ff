INSERT INTO sensor_health (device_uid, condition, since, reason, problems, baseline, finding_uid, pending, pending_seq)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (device_uid) DO UPDATE
SET condition = excluded.condition, since = excluded.since, reason = excluded.reason, problems = excluded.problems, baseline = excluded.baseline,
    finding_uid = excluded.finding_uid, pending = excluded.pending, pending_seq = excluded.pending_seq
