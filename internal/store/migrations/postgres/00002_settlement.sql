-- +goose Up

-- When an unknown message is looked after at its vendor's, and how often that was
-- in vain.
ALTER TABLE messages ADD COLUMN settle_after BIGINT NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN settle_tries BIGINT NOT NULL DEFAULT 0;

CREATE INDEX messages_unknown ON messages (settle_after) WHERE status = 'unknown';

CREATE INDEX sends_by_epoch ON sends (epoch);

-- +goose Down

DROP INDEX sends_by_epoch;
DROP INDEX messages_unknown;
ALTER TABLE messages DROP COLUMN settle_tries;
ALTER TABLE messages DROP COLUMN settle_after;
