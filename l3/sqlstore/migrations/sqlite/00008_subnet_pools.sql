-- +goose Up
-- +goose StatementBegin

-- Address space that subnets are allocated from. That of one address scope is routed without NAT.
CREATE TABLE subnetpools (id TEXT PRIMARY KEY NOT NULL, doc TEXT NOT NULL);
CREATE INDEX subnetpools_project ON subnetpools (COALESCE(doc ->> '$."project_id"', ''));
CREATE INDEX subnetpools_scope ON subnetpools (COALESCE(doc ->> '$."address_scope_id"', ''));
CREATE TABLE address_scopes (id TEXT PRIMARY KEY NOT NULL, doc TEXT NOT NULL);
CREATE INDEX address_scopes_project ON address_scopes (COALESCE(doc ->> '$."project_id"', ''));
CREATE INDEX subnets_pool ON subnets (COALESCE(doc ->> '$."subnetpool_id"', ''));

-- The network and the router that a project was given.
CREATE TABLE auto_allocated_topologies (id TEXT PRIMARY KEY NOT NULL, doc TEXT NOT NULL);

-- +goose StatementEnd
