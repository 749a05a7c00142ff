CREATE TABLE device (
    uid                    TEXT    NOT NULL PRIMARY KEY,
    hostname               TEXT    NOT NULL,
    agent_version          TEXT    NOT NULL,
    enrolled_at            INTEGER NOT NULL,
    enrol_token_id         TEXT    NOT NULL,
    certificate_expires_at INTEGER NOT NULL,
    last_seen_at           INTEGER,
    clock_skew_ms          INTEGER NOT NULL DEFAULT 0,
    host                   BLOB,
    capabilities           BLOB,
    heartbeat              BLOB,
    revoked_at             INTEGER,
    revoked_reason         TEXT    NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;

CREATE TABLE certificate (
    serial      TEXT    NOT NULL PRIMARY KEY,
    device_uid  TEXT    NOT NULL REFERENCES device (uid),
    spki_sha256 BLOB    NOT NULL,
    issued_at   INTEGER NOT NULL,
    not_after   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX certificate_by_key ON certificate (spki_sha256);

CREATE TABLE enrol_token (
    id            TEXT    NOT NULL PRIMARY KEY,
    secret_sha256 BLOB    NOT NULL,
    label         TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    created_by    TEXT    NOT NULL,
    expires_at    INTEGER NOT NULL,
    used_at       INTEGER,
    device_uid    TEXT,
    revoked_at    INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE sign_in_code (
    id            TEXT    NOT NULL PRIMARY KEY,
    secret_sha256 BLOB    NOT NULL,
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    used_at       INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE api_token (
    id            TEXT    NOT NULL PRIMARY KEY,
    secret_sha256 BLOB    NOT NULL,
    user_name     TEXT    NOT NULL,
    role          TEXT    NOT NULL,
    label         TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    revoked_at    INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE refusal (
    id           INTEGER PRIMARY KEY,
    first_at     INTEGER NOT NULL,
    last_at      INTEGER NOT NULL,
    peer_address TEXT    NOT NULL,
    reason       TEXT    NOT NULL,
    device_uid   TEXT    NOT NULL,
    detail       TEXT    NOT NULL,
    count        INTEGER NOT NULL
) STRICT;

CREATE TABLE audit (
    id           INTEGER PRIMARY KEY,
    at           INTEGER NOT NULL,
    user_name    TEXT    NOT NULL,
    method       TEXT    NOT NULL,
    target       TEXT    NOT NULL,
    outcome      TEXT    NOT NULL,
    peer_address TEXT    NOT NULL
) STRICT;

PRAGMA user_version = 1;
