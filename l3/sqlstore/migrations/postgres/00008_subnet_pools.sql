-- +goose Up
-- +goose StatementBegin

-- Address space that subnets are allocated from. That of one address scope is routed without NAT.
CREATE TABLE subnetpools (id TEXT COLLATE "C" PRIMARY KEY NOT NULL, doc JSON NOT NULL);
CREATE INDEX subnetpools_project ON subnetpools ((COALESCE(doc ->> 'project_id', '') COLLATE "C"));
CREATE INDEX subnetpools_scope ON subnetpools ((COALESCE(doc ->> 'address_scope_id', '') COLLATE "C"));
CREATE TABLE address_scopes (id TEXT COLLATE "C" PRIMARY KEY NOT NULL, doc JSON NOT NULL);
CREATE INDEX address_scopes_project ON address_scopes ((COALESCE(doc ->> 'project_id', '') COLLATE "C"));
CREATE INDEX subnets_pool ON subnets ((COALESCE(doc ->> 'subnetpool_id', '') COLLATE "C"));

-- The network and the router that a project was given.
CREATE TABLE auto_allocated_topologies (id TEXT COLLATE "C" PRIMARY KEY NOT NULL, doc JSON NOT NULL);

-- +goose StatementEnd
