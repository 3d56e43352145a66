-- +goose Up

-- How far the import of a vendor's history has come. A row goes with the import's end.
CREATE TABLE imports (
    tenant     TEXT COLLATE "C" NOT NULL,
    id         TEXT COLLATE "C" NOT NULL, -- of what was asked for: the same import has the same id
    cursor     TEXT COLLATE "C" NOT NULL, -- the vendor's, of the page to go on with
    report     TEXT COLLATE "C" NOT NULL, -- what became of the pages before, as JSON
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, id)
);

-- +goose Down

DROP TABLE imports;
