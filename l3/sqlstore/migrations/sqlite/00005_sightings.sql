-- +goose Up
-- +goose StatementBegin

-- Addresses of distributed routers' networks that hosts see in use, and that no port bound to a host has.
CREATE TABLE sightings (id TEXT PRIMARY KEY NOT NULL, doc TEXT NOT NULL);
CREATE INDEX sightings_network ON sightings (COALESCE(doc ->> '$."network_id"', ''));

-- A distributed router has a state for each of its instances.
CREATE INDEX router_states_router ON router_states (COALESCE(doc ->> '$."router_id"', ''));

-- +goose StatementEnd
