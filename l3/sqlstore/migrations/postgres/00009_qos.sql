-- +goose Up
-- +goose StatementBegin

-- QoS policies and their rules: at most one of each type in each direction.
CREATE TABLE qos_policies (id TEXT COLLATE "C" PRIMARY KEY NOT NULL, doc JSON NOT NULL);
CREATE INDEX qos_policies_project ON qos_policies ((COALESCE(doc ->> 'project_id', '') COLLATE "C"));
CREATE TABLE qos_rules (id TEXT COLLATE "C" PRIMARY KEY NOT NULL, doc JSON NOT NULL);
CREATE UNIQUE INDEX qos_rules_type ON qos_rules ((COALESCE(doc ->> 'qos_policy_id', '') COLLATE "C"), (COALESCE(doc ->> 'type', '') COLLATE "C"), (COALESCE(doc ->> 'direction', '') COLLATE "C"));
CREATE INDEX floatingips_qos ON floatingips ((COALESCE(doc ->> 'qos_policy_id', '') COLLATE "C"));
CREATE INDEX ports_qos ON ports ((COALESCE(doc ->> 'qos_policy_id', '') COLLATE "C"));
CREATE INDEX routers_qos ON routers ((COALESCE(doc -> 'external_gateway_info' ->> 'qos_policy_id', '') COLLATE "C"));
CREATE INDEX networks_qos ON networks ((COALESCE(doc ->> 'qos_policy_id', '') COLLATE "C"));

-- +goose StatementEnd
