-- +goose Up

-- How far the import of a vendor's history has come. A row goes with the import's end.
CREATE TABLE imports (
    tenant     TEXT NOT NULL,
    id         TEXT NOT NULL, -- of what was asked for: the same import has the same id
    cursor     TEXT NOT NULL, -- the vendor's, of the page to go on with
    report     TEXT NOT NULL, -- what became of the pages before, as JSON
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;

-- +goose Down

DROP TABLE imports;
