-- +goose Up
-- +goose StatementBegin

-- Ports of floating IPs that lead to ports of internal addresses. Each of either belongs to one forwarding.
CREATE TABLE port_forwardings (id TEXT PRIMARY KEY NOT NULL, doc TEXT NOT NULL);
CREATE UNIQUE INDEX port_forwardings_external ON port_forwardings (COALESCE(doc ->> '$."floatingip_id"', ''), COALESCE(doc ->> '$."protocol"', ''), COALESCE(doc ->> '$."external_port_range"', ''));
CREATE UNIQUE INDEX port_forwardings_internal ON port_forwardings (COALESCE(doc ->> '$."internal_port_id"', ''), COALESCE(doc ->> '$."internal_ip_address"', ''), COALESCE(doc ->> '$."protocol"', ''), COALESCE(doc ->> '$."internal_port_range"', ''));
CREATE INDEX port_forwardings_router ON port_forwardings (COALESCE(doc ->> '$."router_id"', ''));
CREATE INDEX port_forwardings_project ON port_forwardings (COALESCE(doc ->> '$."project_id"', ''));

-- +goose StatementEnd
