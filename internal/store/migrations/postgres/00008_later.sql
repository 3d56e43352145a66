-- +goose Up

-- What a vendor told of a thread by itself while a send held the thread: kept until
-- the send takes it for its answer, or has ended.
CREATE TABLE news (
    thread_id TEXT COLLATE "C" NOT NULL REFERENCES threads (id) ON DELETE CASCADE,
    position  BIGINT NOT NULL,
    digest    TEXT COLLATE "C" NOT NULL, -- the same one is told once
    doc       TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (thread_id, position),
    UNIQUE (thread_id, digest)
);

-- What is still to be done at the vendor of a thread.
CREATE TABLE chores (
    thread_id  TEXT COLLATE "C" NOT NULL REFERENCES threads (id) ON DELETE CASCADE,
    kind       TEXT COLLATE "C" NOT NULL, -- answer: one is waited for; webhook: it is to be registered
    message_id TEXT COLLATE "C" NOT NULL, -- that the answer is for
    backend    TEXT COLLATE "C" NOT NULL,
    tries      BIGINT NOT NULL,
    due        BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (thread_id, kind)
);

CREATE INDEX chores_due ON chores (due);

-- What vendors tell that is no part of a conversation here: calls that ended. It goes
-- with the thread of its person, where there is one.
CREATE TABLE vendor_records (
    vendor      TEXT COLLATE "C" NOT NULL,
    bot         TEXT COLLATE "C" NOT NULL,
    kind        TEXT COLLATE "C" NOT NULL,
    id          TEXT COLLATE "C" NOT NULL,
    thread_id   TEXT COLLATE "C" REFERENCES threads (id) ON DELETE CASCADE,
    raw         TEXT COLLATE "C" NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (vendor, bot, kind, id)
);

CREATE INDEX vendor_records_by_thread ON vendor_records (thread_id) WHERE thread_id IS NOT NULL;
CREATE INDEX vendor_records_by_age    ON vendor_records (received_at);

CREATE INDEX bindings_by_person ON bindings (vendor, bot, remote_user) WHERE remote_user <> '';

-- +goose Down

DROP INDEX bindings_by_person;
DROP TABLE vendor_records;
DROP TABLE chores;
DROP TABLE news;
