SELECT device_uid, condition, since, reason, problems, baseline, finding_uid, pending, pending_seq
FROM sensor_health
