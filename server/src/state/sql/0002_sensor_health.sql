CREATE TABLE sensor_health (
    device_uid  TEXT    NOT NULL PRIMARY KEY REFERENCES device (uid),
    condition   TEXT    NOT NULL,
    since       INTEGER NOT NULL,
    reason      TEXT    NOT NULL,
    problems    TEXT    NOT NULL,
    baseline    TEXT    NOT NULL,
    finding_uid TEXT    NOT NULL,
    pending     BLOB,
    pending_seq INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

PRAGMA user_version = 2;
