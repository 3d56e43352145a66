-- +goose Up

-- What happened in a thread, in order. A row holds the events of one commit; seq is
-- the position of its last one.
CREATE TABLE events (
    thread_id TEXT COLLATE "C" NOT NULL REFERENCES threads (id) ON DELETE CASCADE,
    seq       BIGINT           NOT NULL,
    doc       TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (thread_id, seq)
);

-- How far an answer has come that is being streamed; empty where none is.
ALTER TABLE sends ADD COLUMN partial TEXT COLLATE "C" NOT NULL DEFAULT '';

-- +goose Down

ALTER TABLE sends DROP COLUMN partial;
DROP TABLE events;
