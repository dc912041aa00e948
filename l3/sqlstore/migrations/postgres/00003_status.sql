-- +goose Up
-- +goose StatementBegin

-- Lists can be filtered and sorted by status, which follows from what hosts report, and from whether they are heard.
DROP INDEX routers_project;
CREATE INDEX routers_project ON routers ((COALESCE(doc ->> 'project_id', '') COLLATE "C"), (COALESCE(doc ->> 'status', '') COLLATE "C"), id);
CREATE INDEX routers_status ON routers ((COALESCE(doc ->> 'status', '') COLLATE "C"), id);
CREATE INDEX routers_host ON routers ((COALESCE(doc ->> 'host', '') COLLATE "C"), id);
CREATE INDEX routers_project_host ON routers ((COALESCE(doc ->> 'project_id', '') COLLATE "C"), (COALESCE(doc ->> 'host', '') COLLATE "C"), id);
DROP INDEX floatingips_project;
CREATE INDEX floatingips_project ON floatingips ((COALESCE(doc ->> 'project_id', '') COLLATE "C"), (COALESCE(doc ->> 'status', '') COLLATE "C"), id);
CREATE INDEX floatingips_status ON floatingips ((COALESCE(doc ->> 'status', '') COLLATE "C"), id);
CREATE INDEX floatingips_host ON floatingips ((COALESCE(doc ->> 'host', '') COLLATE "C"), id);
CREATE INDEX floatingips_project_host ON floatingips ((COALESCE(doc ->> 'project_id', '') COLLATE "C"), (COALESCE(doc ->> 'host', '') COLLATE "C"), id);
DROP INDEX floatingips_router;
CREATE INDEX floatingips_router ON floatingips ((COALESCE(doc ->> 'router_id', '') COLLATE "C"), (COALESCE(doc ->> 'status', '') COLLATE "C"), id);
DROP INDEX ports_project;
CREATE INDEX ports_project ON ports ((COALESCE(doc ->> 'project_id', '') COLLATE "C"), (COALESCE(doc ->> 'status', '') COLLATE "C"), id);
CREATE INDEX ports_status ON ports ((COALESCE(doc ->> 'status', '') COLLATE "C"), id);
CREATE INDEX ports_host ON ports ((COALESCE(doc -> 'binding' ->> 'binding:host_id', '') COLLATE "C"), id);
CREATE INDEX ports_project_host ON ports ((COALESCE(doc ->> 'project_id', '') COLLATE "C"), (COALESCE(doc -> 'binding' ->> 'binding:host_id', '') COLLATE "C"), id);
CREATE INDEX agents_heartbeat ON agents ((COALESCE(doc ->> 'heartbeat_timestamp', '') COLLATE "C"), id);

-- What hosts have applied, as far as it is known. Routers and floating IPs get their status from the service.
UPDATE router_states SET doc = (doc::jsonb || jsonb_build_object('applied', doc::jsonb -> 'reported'))::json WHERE COALESCE(doc ->> 'error', '') = '';
UPDATE ports SET doc = (doc::jsonb || '{"status": "N/A"}')::json WHERE doc ->> 'device_owner' = 'network:floatingip';
-- Neither was ever realised.
UPDATE routers SET doc = (doc::jsonb || '{"ha": false, "distributed": false}')::json WHERE (doc ->> 'ha')::boolean OR (doc ->> 'distributed')::boolean;

-- +goose StatementEnd
