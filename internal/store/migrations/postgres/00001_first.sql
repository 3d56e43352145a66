-- +goose Up

-- Times are milliseconds since 1970, in UTC; 0 is no time. An empty text is no
-- value. doc holds, as JSON, what no query asks for; raw is the vendor's own
-- object. Texts compare and sort by their bytes, whatever the database's own
-- collation is.
CREATE TABLE threads (
    id            TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    tenant        TEXT COLLATE "C" NOT NULL,
    backend       TEXT COLLATE "C" NOT NULL,
    route         TEXT COLLATE "C" NOT NULL,
    user_id       TEXT COLLATE "C" NOT NULL,
    mode          TEXT COLLATE "C" NOT NULL,
    status        TEXT COLLATE "C" NOT NULL,
    title         TEXT COLLATE "C" NOT NULL,
    tags          TEXT COLLATE "C" NOT NULL,
    doc           TEXT COLLATE "C" NOT NULL,
    raw           TEXT COLLATE "C" NOT NULL,
    carry         TEXT COLLATE "C" NOT NULL,
    message_count BIGINT           NOT NULL,
    last_seq      BIGINT           NOT NULL, -- position of the newest message
    binding_count BIGINT           NOT NULL,
    version       BIGINT           NOT NULL, -- grows with every change
    touched       BIGINT           NOT NULL, -- version of the last change by somebody who was not sending
    created_at    BIGINT           NOT NULL,
    updated_at    BIGINT           NOT NULL
);

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
    tenant    TEXT COLLATE "C" NOT NULL,
    value     TEXT COLLATE "C" NOT NULL,
    thread_id TEXT COLLATE "C" NOT NULL REFERENCES threads (id) ON DELETE CASCADE,
    PRIMARY KEY (tenant, value, thread_id)
);

CREATE INDEX thread_tags_by_thread ON thread_tags (thread_id);

-- Append-only: a row gets its until, remote ids and reason, and is never removed
-- while its thread lives.
CREATE TABLE bindings (
    thread_id   TEXT COLLATE "C" NOT NULL REFERENCES threads (id) ON DELETE CASCADE,
    seq         BIGINT           NOT NULL,
    backend     TEXT COLLATE "C" NOT NULL,
    vendor      TEXT COLLATE "C" NOT NULL,
    bot         TEXT COLLATE "C" NOT NULL,
    remote_id   TEXT COLLATE "C" NOT NULL, -- the vendor's id of the conversation
    remote_user TEXT COLLATE "C" NOT NULL, -- the vendor's id of the person
    since       BIGINT           NOT NULL,
    until       BIGINT           NOT NULL,
    reason      TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (thread_id, seq)
);

-- A vendor's id may be longer than a B-tree can hold.
CREATE INDEX bindings_by_remote ON bindings USING hash (remote_id) WHERE remote_id <> '';

CREATE TABLE messages (
    thread_id   TEXT COLLATE "C" NOT NULL REFERENCES threads (id) ON DELETE CASCADE,
    seq         BIGINT           NOT NULL,
    id          TEXT COLLATE "C" NOT NULL UNIQUE,
    role        TEXT COLLATE "C" NOT NULL,
    type        TEXT COLLATE "C" NOT NULL,
    status      TEXT COLLATE "C" NOT NULL,
    reason      TEXT COLLATE "C" NOT NULL,
    text        TEXT COLLATE "C" NOT NULL,
    backend     TEXT COLLATE "C" NOT NULL,
    remote_id   TEXT COLLATE "C" NOT NULL,
    in_reply_to TEXT COLLATE "C" NOT NULL,
    doc         TEXT COLLATE "C" NOT NULL,
    raw         TEXT COLLATE "C" NOT NULL,
    created_at  BIGINT           NOT NULL,
    PRIMARY KEY (thread_id, seq)
);

-- A row stands for a send in flight: whoever made it holds the thread.
CREATE TABLE sends (
    thread_id  TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES threads (id) ON DELETE CASCADE,
    epoch      TEXT COLLATE "C" NOT NULL,
    until      BIGINT           NOT NULL, -- end of the lease
    message_id TEXT COLLATE "C" NOT NULL,
    attempt_id TEXT COLLATE "C" NOT NULL  -- the attempt without an outcome; empty: no vendor was asked yet
);

CREATE TABLE attempts (
    thread_id  TEXT COLLATE "C" NOT NULL REFERENCES threads (id) ON DELETE CASCADE,
    id         TEXT COLLATE "C" NOT NULL,
    message_id TEXT COLLATE "C" NOT NULL,
    backend    TEXT COLLATE "C" NOT NULL,
    epoch      TEXT COLLATE "C" NOT NULL,
    kind       TEXT COLLATE "C" NOT NULL, -- how it failed; empty for a success
    phase      BIGINT           NOT NULL,
    started_at BIGINT           NOT NULL,
    ended_at   BIGINT           NOT NULL, -- 0: no outcome yet
    PRIMARY KEY (thread_id, id)
);

CREATE TABLE idempotency_keys (
    tenant     TEXT COLLATE "C" NOT NULL,
    key        TEXT COLLATE "C" NOT NULL,
    path       TEXT COLLATE "C" NOT NULL,
    body_hash  BYTEA            NOT NULL,
    thread_id  TEXT COLLATE "C" NOT NULL REFERENCES threads (id) ON DELETE CASCADE,
    message_id TEXT COLLATE "C" NOT NULL,
    status     BIGINT           NOT NULL, -- HTTP status of the answer; 0: none yet
    body       BYTEA            NOT NULL,
    created_at BIGINT           NOT NULL,
    PRIMARY KEY (tenant, key)
);

CREATE INDEX idempotency_keys_by_age    ON idempotency_keys (created_at);
CREATE INDEX idempotency_keys_by_thread ON idempotency_keys (thread_id);

-- The last transaction of each connection, written by itself: whether it is there
-- tells whether a commit whose answer was lost has happened.
CREATE TABLE commits (
    connection TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    token      TEXT COLLATE "C" NOT NULL,
    at         BIGINT           NOT NULL
);

-- One row that a health check writes.
CREATE TABLE probe (
    id BIGINT           NOT NULL PRIMARY KEY,
    at BIGINT           NOT NULL
);

INSERT INTO probe (id, at) VALUES (1, 0);

-- +goose Down

DROP TABLE probe;
DROP TABLE commits;
DROP TABLE idempotency_keys;
DROP TABLE attempts;
DROP TABLE sends;
DROP TABLE messages;
DROP TABLE bindings;
DROP TABLE thread_tags;
DROP TABLE threads;
