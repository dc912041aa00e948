-- +goose Up
-- +goose StatementBegin

-- A resource is a document: what it was given as, in JSON. What must be unique or found quickly has an index on its place in the document.
CREATE TABLE networks (id TEXT PRIMARY KEY NOT NULL, doc TEXT NOT NULL);
CREATE TABLE subnets (id TEXT PRIMARY KEY NOT NULL, doc TEXT NOT NULL);
CREATE TABLE ports (id TEXT PRIMARY KEY NOT NULL, doc TEXT NOT NULL);
CREATE TABLE routers (id TEXT PRIMARY KEY NOT NULL, doc TEXT NOT NULL);
CREATE TABLE router_states (id TEXT PRIMARY KEY NOT NULL, doc TEXT NOT NULL);
CREATE TABLE floatingips (id TEXT PRIMARY KEY NOT NULL, doc TEXT NOT NULL);
CREATE TABLE security_groups (id TEXT PRIMARY KEY NOT NULL, doc TEXT NOT NULL);
CREATE TABLE security_group_rules (id TEXT PRIMARY KEY NOT NULL, doc TEXT NOT NULL);
CREATE TABLE rbac_policies (id TEXT PRIMARY KEY NOT NULL, doc TEXT NOT NULL);
CREATE TABLE agents (id TEXT PRIMARY KEY NOT NULL, doc TEXT NOT NULL);

CREATE INDEX networks_project ON networks (COALESCE(doc ->> '$."project_id"', ''));
CREATE INDEX subnets_project ON subnets (COALESCE(doc ->> '$."project_id"', ''));
CREATE INDEX ports_project ON ports (COALESCE(doc ->> '$."project_id"', ''));
CREATE INDEX routers_project ON routers (COALESCE(doc ->> '$."project_id"', ''));
CREATE INDEX floatingips_project ON floatingips (COALESCE(doc ->> '$."project_id"', ''));
CREATE INDEX security_groups_project ON security_groups (COALESCE(doc ->> '$."project_id"', ''));
CREATE INDEX security_group_rules_project ON security_group_rules (COALESCE(doc ->> '$."project_id"', ''));
CREATE INDEX rbac_policies_project ON rbac_policies (COALESCE(doc ->> '$."project_id"', ''));
CREATE INDEX networks_name ON networks (COALESCE(doc ->> '$."name"', ''), id);
CREATE INDEX subnets_name ON subnets (COALESCE(doc ->> '$."name"', ''), id);
CREATE INDEX ports_name ON ports (COALESCE(doc ->> '$."name"', ''), id);
CREATE INDEX routers_name ON routers (COALESCE(doc ->> '$."name"', ''), id);
CREATE INDEX security_groups_name ON security_groups (COALESCE(doc ->> '$."name"', ''), id);
CREATE INDEX subnets_network ON subnets (COALESCE(doc ->> '$."network_id"', ''));
CREATE UNIQUE INDEX ports_mac ON ports (COALESCE(doc ->> '$."network_id"', ''), COALESCE(doc ->> '$."mac_address"', ''));
CREATE INDEX ports_device ON ports (COALESCE(doc ->> '$."device_id"', ''));
CREATE INDEX routers_gateway ON routers (COALESCE(doc ->> '$."external_gateway_info"."network_id"', ''));
CREATE INDEX router_states_agent ON router_states (COALESCE(doc ->> '$."agent_id"', ''));
CREATE INDEX floatingips_network ON floatingips (COALESCE(doc ->> '$."floating_network_id"', ''));
CREATE INDEX floatingips_router ON floatingips (COALESCE(doc ->> '$."router_id"', ''));
CREATE INDEX floatingips_port ON floatingips (COALESCE(doc ->> '$."port_id"', ''));
CREATE UNIQUE INDEX floatingips_bound ON floatingips (COALESCE(doc ->> '$."port_id"', ''), COALESCE(doc ->> '$."fixed_ip_address"', ''), COALESCE(doc ->> '$."floating_network_id"', '')) WHERE COALESCE(doc ->> '$."port_id"', '') <> '';
CREATE INDEX security_group_rules_group ON security_group_rules (COALESCE(doc ->> '$."security_group_id"', ''));
CREATE INDEX rbac_policies_object ON rbac_policies (COALESCE(doc ->> '$."object_id"', ''));
CREATE UNIQUE INDEX agents_host ON agents (COALESCE(doc ->> '$."host"', ''));

-- Which port has an address. An address is its bytes in network order.
CREATE TABLE addresses (subnet_id TEXT NOT NULL, address BLOB NOT NULL, port_id TEXT NOT NULL, PRIMARY KEY (subnet_id, address)) WITHOUT ROWID;
CREATE INDEX addresses_port ON addresses (port_id);

-- Which network has a segment. A flat network has its physical network's number 0.
CREATE TABLE segments (type TEXT NOT NULL, physical TEXT NOT NULL, number INTEGER NOT NULL, network_id TEXT NOT NULL, PRIMARY KEY (type, physical, number)) WITHOUT ROWID;
CREATE INDEX segments_network ON segments (network_id);

-- The longest runs of consecutive numbers in use, by the space that they are in: a subnet's addresses, a segment type's numbers. Both ends are included.
CREATE TABLE runs (space TEXT NOT NULL, first BLOB NOT NULL, last BLOB NOT NULL, PRIMARY KEY (space, first)) WITHOUT ROWID;

-- Which agent hosts a router. The row of a router that nobody hosts any more keeps its epoch; agent_id is null then.
CREATE TABLE bindings (router_id TEXT PRIMARY KEY NOT NULL, agent_id TEXT, host TEXT NOT NULL, epoch INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX bindings_agent ON bindings (agent_id);

CREATE TABLE quotas (project_id TEXT NOT NULL, resource TEXT NOT NULL, max INTEGER NOT NULL, PRIMARY KEY (project_id, resource)) WITHOUT ROWID;

-- What must be published, in the order of seq. A number is never given twice.
CREATE TABLE outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, host TEXT NOT NULL, router_id TEXT NOT NULL, epoch INTEGER NOT NULL, gone INTEGER NOT NULL, at TEXT NOT NULL);

-- +goose StatementEnd
