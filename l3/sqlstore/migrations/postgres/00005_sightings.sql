-- +goose Up
-- +goose StatementBegin

-- Addresses of distributed routers' networks that hosts see in use, and that no port bound to a host has.
CREATE TABLE sightings (id TEXT COLLATE "C" PRIMARY KEY NOT NULL, doc JSON NOT NULL);
CREATE INDEX sightings_network ON sightings ((COALESCE(doc ->> 'network_id', '') COLLATE "C"));

-- A distributed router has a state for each of its instances.
CREATE INDEX router_states_router ON router_states ((COALESCE(doc ->> 'router_id', '') COLLATE "C"));

-- +goose StatementEnd
