-- +goose Up

-- Events that a receiver is to be told of, one row for each receiver. What a row tells
-- is read from the thread when it is sent: texts are stored once, and go with their
-- thread.
CREATE TABLE deliveries (
    id         TEXT COLLATE "C" NOT NULL PRIMARY KEY, -- the receiver knows the event by it
    tenant     TEXT COLLATE "C" NOT NULL,
    endpoint   TEXT COLLATE "C" NOT NULL, -- the receiver's name in the config
    topic      TEXT COLLATE "C" NOT NULL,
    thread_id  TEXT COLLATE "C" NOT NULL REFERENCES threads (id) ON DELETE CASCADE,
    message_id TEXT COLLATE "C" NOT NULL,
    status     TEXT COLLATE "C" NOT NULL, -- pending, delivered, dead
    tries      BIGINT           NOT NULL,
    due        BIGINT           NOT NULL, -- of a pending one: when it is tried next; while it is tried, the end of the lease
    owner      TEXT COLLATE "C" NOT NULL, -- who tries it now
    response   BIGINT           NOT NULL, -- HTTP status of the last answer
    failure    TEXT COLLATE "C" NOT NULL, -- of the last try
    tried_at   BIGINT           NOT NULL,
    created_at BIGINT           NOT NULL
);

CREATE INDEX deliveries_due       ON deliveries (endpoint, due) WHERE status = 'pending';
CREATE INDEX deliveries_ended     ON deliveries (status, tried_at) WHERE status <> 'pending';
CREATE INDEX deliveries_by_tenant ON deliveries (tenant, id);
CREATE INDEX deliveries_dead      ON deliveries (tenant, id) WHERE status = 'dead';
CREATE INDEX deliveries_by_thread ON deliveries (thread_id);

-- +goose Down

DROP TABLE deliveries;
