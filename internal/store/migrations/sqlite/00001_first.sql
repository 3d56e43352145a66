-- +goose Up

-- Times are milliseconds since 1970, in UTC; 0 is no time. An empty text is no
-- value. doc holds, as JSON, what no query asks for; raw is the vendor's own
-- object.
CREATE TABLE threads (
    id            TEXT    NOT NULL PRIMARY KEY,
    tenant        TEXT    NOT NULL,
    backend       TEXT    NOT NULL,
    route         TEXT    NOT NULL,
    user_id       TEXT    NOT NULL,
    mode          TEXT    NOT NULL,
    status        TEXT    NOT NULL,
    title         TEXT    NOT NULL,
    tags          TEXT    NOT NULL,
    doc           TEXT    NOT NULL,
    raw           TEXT    NOT NULL,
    carry         TEXT    NOT NULL,
    message_count INTEGER NOT NULL,
    last_seq      INTEGER NOT NULL, -- position of the newest message
    binding_count INTEGER NOT NULL,
    version       INTEGER NOT NULL, -- grows with every change
    touched       INTEGER NOT NULL, -- version of the last change by somebody who was not sending
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL
) STRICT;

-- Each list filter has an index in the order of the list. Nearly every thread is
-- open and answered by the bot: the two partial indexes hold the others only, so
-- that an ordinary send does not pay for them.
CREATE INDEX threads_by_update  ON threads (tenant, updated_at, id);
CREATE INDEX threads_by_backend ON threads (tenant, backend, updated_at, id);
CREATE INDEX threads_by_route   ON threads (tenant, route, updated_at, id);
CREATE INDEX threads_by_user    ON threads (tenant, user_id, updated_at, id) WHERE user_id <> '';
CREATE INDEX threads_by_status  ON threads (tenant, status, updated_at, id) WHERE status <> 'open';
CREATE INDEX threads_by_mode    ON threads (tenant, mode, updated_at, id) WHERE mode <> 'ai';

-- One row for the id and one for the name of each tag.
CREATE TABLE thread_tags (
    tenant    TEXT NOT NULL,
    value     TEXT NOT NULL,
    thread_id TEXT NOT NULL REFERENCES threads (id) ON DELETE CASCADE,
    PRIMARY KEY (tenant, value, thread_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX thread_tags_by_thread ON thread_tags (thread_id);

-- Append-only: a row gets its until, remote ids and reason, and is never removed
-- while its thread lives.
CREATE TABLE bindings (
    thread_id   TEXT    NOT NULL REFERENCES threads (id) ON DELETE CASCADE,
    seq         INTEGER NOT NULL,
    backend     TEXT    NOT NULL,
    vendor      TEXT    NOT NULL,
    bot         TEXT    NOT NULL,
    remote_id   TEXT    NOT NULL, -- the vendor's id of the conversation
    remote_user TEXT    NOT NULL, -- the vendor's id of the person
    since       INTEGER NOT NULL,
    until       INTEGER NOT NULL,
    reason      TEXT    NOT NULL,
    PRIMARY KEY (thread_id, seq)
) STRICT, WITHOUT ROWID;

CREATE INDEX bindings_by_remote ON bindings (vendor, bot, remote_id) WHERE remote_id <> '';

CREATE TABLE messages (
    thread_id   TEXT    NOT NULL REFERENCES threads (id) ON DELETE CASCADE,
    seq         INTEGER NOT NULL,
    id          TEXT    NOT NULL UNIQUE,
    role        TEXT    NOT NULL,
    type        TEXT    NOT NULL,
    status      TEXT    NOT NULL,
    reason      TEXT    NOT NULL,
    text        TEXT    NOT NULL,
    backend     TEXT    NOT NULL,
    remote_id   TEXT    NOT NULL,
    in_reply_to TEXT    NOT NULL,
    doc         TEXT    NOT NULL,
    raw         TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (thread_id, seq)
) STRICT;

-- A row stands for a send in flight: whoever made it holds the thread.
CREATE TABLE sends (
    thread_id  TEXT    NOT NULL PRIMARY KEY REFERENCES threads (id) ON DELETE CASCADE,
    epoch      TEXT    NOT NULL,
    until      INTEGER NOT NULL, -- end of the lease
    message_id TEXT    NOT NULL,
    attempt_id TEXT    NOT NULL  -- the attempt without an outcome; empty: no vendor was asked yet
) STRICT, WITHOUT ROWID;

CREATE TABLE attempts (
    thread_id  TEXT    NOT NULL REFERENCES threads (id) ON DELETE CASCADE,
    id         TEXT    NOT NULL,
    message_id TEXT    NOT NULL,
    backend    TEXT    NOT NULL,
    epoch      TEXT    NOT NULL,
    kind       TEXT    NOT NULL, -- how it failed; empty for a success
    phase      INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER NOT NULL, -- 0: no outcome yet
    PRIMARY KEY (thread_id, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency_keys (
    tenant     TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    path       TEXT    NOT NULL,
    body_hash  BLOB    NOT NULL,
    thread_id  TEXT    NOT NULL REFERENCES threads (id) ON DELETE CASCADE,
    message_id TEXT    NOT NULL,
    status     INTEGER NOT NULL, -- HTTP status of the answer; 0: none yet
    body       BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, key)
) STRICT;

CREATE INDEX idempotency_keys_by_age    ON idempotency_keys (created_at);
CREATE INDEX idempotency_keys_by_thread ON idempotency_keys (thread_id);

-- One row that a health check writes.
CREATE TABLE probe (
    id INTEGER NOT NULL PRIMARY KEY,
    at INTEGER NOT NULL
) STRICT;

INSERT INTO probe (id, at) VALUES (1, 0);

-- +goose Down

DROP TABLE probe;
DROP TABLE idempotency_keys;
DROP TABLE attempts;
DROP TABLE sends;
DROP TABLE messages;
DROP TABLE bindings;
DROP TABLE thread_tags;
DROP TABLE threads;
