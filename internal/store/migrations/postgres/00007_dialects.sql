-- +goose Up

-- Which dialect and which bot a thread's client asked for, as sitegpt/365…; empty
-- for our own API.
ALTER TABLE threads ADD COLUMN asked TEXT COLLATE "C" NOT NULL DEFAULT '';

CREATE INDEX messages_by_remote ON messages USING hash (remote_id) WHERE remote_id <> '';

-- What a dialect keeps by a name of its own; what goes with a thread goes with it.
CREATE TABLE records (
    tenant    TEXT COLLATE "C" NOT NULL,
    dialect   TEXT COLLATE "C" NOT NULL,
    name      TEXT COLLATE "C" NOT NULL,
    thread_id TEXT COLLATE "C" REFERENCES threads (id) ON DELETE CASCADE,
    value     BYTEA NOT NULL,
    PRIMARY KEY (tenant, dialect, name)
);

CREATE INDEX records_by_thread ON records (thread_id) WHERE thread_id IS NOT NULL;

-- A conversation, or a person, at a vendor that was there before us belongs to one
-- thread, and so to one tenant; without a thread, to nobody any more: it was erased
-- here.
CREATE TABLE claims (
    vendor    TEXT COLLATE "C" NOT NULL,
    bot       TEXT COLLATE "C" NOT NULL,
    kind      TEXT COLLATE "C" NOT NULL, -- thread, user
    remote_id TEXT COLLATE "C" NOT NULL,
    thread_id TEXT COLLATE "C" REFERENCES threads (id) ON DELETE CASCADE,
    PRIMARY KEY (vendor, bot, kind, remote_id)
);

CREATE INDEX claims_by_thread ON claims (thread_id);

-- +goose Down

DROP TABLE claims;
DROP TABLE records;
DROP INDEX messages_by_remote;
ALTER TABLE threads DROP COLUMN asked;
