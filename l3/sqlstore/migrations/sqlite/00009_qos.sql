-- +goose Up
-- +goose StatementBegin

-- QoS policies and their rules: at most one of each type in each direction.
CREATE TABLE qos_policies (id TEXT PRIMARY KEY NOT NULL, doc TEXT NOT NULL);
CREATE INDEX qos_policies_project ON qos_policies (COALESCE(doc ->> '$."project_id"', ''));
CREATE TABLE qos_rules (id TEXT PRIMARY KEY NOT NULL, doc TEXT NOT NULL);
CREATE UNIQUE INDEX qos_rules_type ON qos_rules (COALESCE(doc ->> '$."qos_policy_id"', ''), COALESCE(doc ->> '$."type"', ''), COALESCE(doc ->> '$."direction"', ''));
CREATE INDEX floatingips_qos ON floatingips (COALESCE(doc ->> '$."qos_policy_id"', ''));
CREATE INDEX ports_qos ON ports (COALESCE(doc ->> '$."qos_policy_id"', ''));
CREATE INDEX routers_qos ON routers (COALESCE(doc ->> '$."external_gateway_info"."qos_policy_id"', ''));
CREATE INDEX networks_qos ON networks (COALESCE(doc ->> '$."qos_policy_id"', ''));

-- +goose StatementEnd
