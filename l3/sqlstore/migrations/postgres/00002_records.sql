-- +goose Up
-- +goose StatementBegin

-- The identity of this database, in one row, made with it. epoch is the highest that a binding was given. bus is a document: who serves the database.
CREATE TABLE deployment (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT COLLATE "C" NOT NULL, epoch BIGINT NOT NULL, bus TEXT COLLATE "C" NOT NULL);
INSERT INTO deployment SELECT 1, gen_random_uuid()::text, COALESCE((SELECT max(epoch) FROM bindings), 0), '{}';
DELETE FROM bindings WHERE agent_id IS NULL;

-- Routers that left a host, until the host confirms it; and routers that run on a host without a record.
CREATE TABLE departures (id TEXT COLLATE "C" PRIMARY KEY NOT NULL, doc JSON NOT NULL);
CREATE INDEX departures_host ON departures ((COALESCE(doc ->> 'host', '') COLLATE "C"));
CREATE TABLE orphans (id TEXT COLLATE "C" PRIMARY KEY NOT NULL, doc JSON NOT NULL);
CREATE INDEX orphans_host ON orphans ((COALESCE(doc ->> 'host', '') COLLATE "C"));

-- +goose StatementEnd
