-- +goose Up

-- Events that a receiver is to be told of, one row for each receiver. What a row tells
-- is read from the thread when it is sent: texts are stored once, and go with their
-- thread.
CREATE TABLE deliveries (
    id         TEXT    NOT NULL PRIMARY KEY, -- the receiver knows the event by it
    tenant     TEXT    NOT NULL,
    endpoint   TEXT    NOT NULL, -- the receiver's name in the config
    topic      TEXT    NOT NULL,
    thread_id  TEXT    NOT NULL REFERENCES threads (id) ON DELETE CASCADE,
    message_id TEXT    NOT NULL,
    status     TEXT    NOT NULL, -- pending, delivered, dead
    tries      INTEGER NOT NULL,
    due        INTEGER NOT NULL, -- of a pending one: when it is tried next; while it is tried, the end of the lease
    owner      TEXT    NOT NULL, -- who tries it now
    response   INTEGER NOT NULL, -- HTTP status of the last answer
    failure    TEXT    NOT NULL, -- of the last try
    tried_at   INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX deliveries_due       ON deliveries (endpoint, due) WHERE status = 'pending';
CREATE INDEX deliveries_ended     ON deliveries (status, tried_at) WHERE status <> 'pending';
CREATE INDEX deliveries_by_tenant ON deliveries (tenant, id);
CREATE INDEX deliveries_dead      ON deliveries (tenant, id) WHERE status = 'dead';
CREATE INDEX deliveries_by_thread ON deliveries (thread_id);

-- +goose Down

DROP TABLE deliveries;
