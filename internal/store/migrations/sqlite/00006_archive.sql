-- +goose Up

-- An order of a tenant's threads that no update changes: what reads all of them goes
-- by it.
CREATE INDEX threads_by_id ON threads (tenant, id);

-- Conversations that are still to be erased at their vendors. Our own copy is gone.
CREATE TABLE erasures (
    thread_id   TEXT    NOT NULL, -- the thread that was
    seq         INTEGER NOT NULL, -- of its binding
    tenant      TEXT    NOT NULL,
    backend     TEXT    NOT NULL,
    vendor      TEXT    NOT NULL,
    bot         TEXT    NOT NULL,
    remote_id   TEXT    NOT NULL,
    remote_user TEXT    NOT NULL,
    tries       INTEGER NOT NULL,
    due         INTEGER NOT NULL, -- when it is tried again
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (thread_id, seq)
) STRICT, WITHOUT ROWID;

CREATE INDEX erasures_due ON erasures (due);

-- +goose Down

DROP TABLE erasures;
DROP INDEX threads_by_id;
