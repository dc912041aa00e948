-- +goose Up
-- +goose StatementBegin

-- The identity of this database, in one row, made with it. epoch is the highest that a binding was given. bus is a document: who serves the database.
CREATE TABLE deployment (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL, epoch INTEGER NOT NULL, bus TEXT NOT NULL);
INSERT INTO deployment SELECT 1,
  lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-8' || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6))),
  COALESCE((SELECT max(epoch) FROM bindings), 0), '{}';
DELETE FROM bindings WHERE agent_id IS NULL;

-- Routers that left a host, until the host confirms it; and routers that run on a host without a record.
CREATE TABLE departures (id TEXT PRIMARY KEY NOT NULL, doc TEXT NOT NULL);
CREATE INDEX departures_host ON departures (COALESCE(doc ->> '$."host"', ''));
CREATE TABLE orphans (id TEXT PRIMARY KEY NOT NULL, doc TEXT NOT NULL);
CREATE INDEX orphans_host ON orphans (COALESCE(doc ->> '$."host"', ''));

-- +goose StatementEnd
