-- +goose Up

-- Which dialect and which bot a thread's client asked for, as sitegpt/365…; empty
-- for our own API.
ALTER TABLE threads ADD COLUMN asked TEXT NOT NULL DEFAULT '';

CREATE INDEX messages_by_remote ON messages (remote_id) WHERE remote_id <> '';

-- What a dialect keeps by a name of its own; what goes with a thread goes with it.
CREATE TABLE records (
    tenant    TEXT NOT NULL,
    dialect   TEXT NOT NULL,
    name      TEXT NOT NULL,
    thread_id TEXT REFERENCES threads (id) ON DELETE CASCADE,
    value     BLOB NOT NULL,
    PRIMARY KEY (tenant, dialect, name)
) STRICT;

CREATE INDEX records_by_thread ON records (thread_id) WHERE thread_id IS NOT NULL;

-- A conversation, or a person, at a vendor that was there before us belongs to one
-- thread, and so to one tenant; without a thread, to nobody any more: it was erased
-- here.
CREATE TABLE claims (
    vendor    TEXT NOT NULL,
    bot       TEXT NOT NULL,
    kind      TEXT NOT NULL, -- thread, user
    remote_id TEXT NOT NULL,
    thread_id TEXT REFERENCES threads (id) ON DELETE CASCADE,
    PRIMARY KEY (vendor, bot, kind, remote_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX claims_by_thread ON claims (thread_id);

-- +goose Down

DROP TABLE claims;
DROP TABLE records;
DROP INDEX messages_by_remote;
ALTER TABLE threads DROP COLUMN asked;
