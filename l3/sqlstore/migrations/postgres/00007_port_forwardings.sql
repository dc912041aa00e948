-- +goose Up
-- +goose StatementBegin

-- Ports of floating IPs that lead to ports of internal addresses. Each of either belongs to one forwarding.
CREATE TABLE port_forwardings (id TEXT COLLATE "C" PRIMARY KEY NOT NULL, doc JSON NOT NULL);
CREATE UNIQUE INDEX port_forwardings_external ON port_forwardings ((COALESCE(doc ->> 'floatingip_id', '') COLLATE "C"), (COALESCE(doc ->> 'protocol', '') COLLATE "C"), (COALESCE(doc ->> 'external_port_range', '') COLLATE "C"));
CREATE UNIQUE INDEX port_forwardings_internal ON port_forwardings ((COALESCE(doc ->> 'internal_port_id', '') COLLATE "C"), (COALESCE(doc ->> 'internal_ip_address', '') COLLATE "C"), (COALESCE(doc ->> 'protocol', '') COLLATE "C"), (COALESCE(doc ->> 'internal_port_range', '') COLLATE "C"));
CREATE INDEX port_forwardings_router ON port_forwardings ((COALESCE(doc ->> 'router_id', '') COLLATE "C"));
CREATE INDEX port_forwardings_project ON port_forwardings ((COALESCE(doc ->> 'project_id', '') COLLATE "C"));

-- +goose StatementEnd
