-- +goose Up

-- An order of a tenant's threads that no update changes: what reads all of them goes
-- by it.
CREATE INDEX threads_by_id ON threads (tenant, id);

-- Conversations that are still to be erased at their vendors. Our own copy is gone.
CREATE TABLE erasures (
    thread_id   TEXT COLLATE "C" NOT NULL, -- the thread that was
    seq         BIGINT           NOT NULL, -- of its binding
    tenant      TEXT COLLATE "C" NOT NULL,
    backend     TEXT COLLATE "C" NOT NULL,
    vendor      TEXT COLLATE "C" NOT NULL,
    bot         TEXT COLLATE "C" NOT NULL,
    remote_id   TEXT COLLATE "C" NOT NULL,
    remote_user TEXT COLLATE "C" NOT NULL,
    tries       BIGINT           NOT NULL,
    due         BIGINT           NOT NULL, -- when it is tried again
    created_at  BIGINT           NOT NULL,
    PRIMARY KEY (thread_id, seq)
);

CREATE INDEX erasures_due ON erasures (due);

-- +goose Down

DROP TABLE erasures;
DROP INDEX threads_by_id;
