-- +goose Up
-- +goose StatementBegin

-- Lists can be filtered and sorted by status, which follows from what hosts report, and from whether they are heard.
DROP INDEX routers_project;
CREATE INDEX routers_project ON routers (COALESCE(doc ->> '$."project_id"', ''), COALESCE(doc ->> '$."status"', ''), id);
CREATE INDEX routers_status ON routers (COALESCE(doc ->> '$."status"', ''), id);
CREATE INDEX routers_host ON routers (COALESCE(doc ->> '$."host"', ''), id);
CREATE INDEX routers_project_host ON routers (COALESCE(doc ->> '$."project_id"', ''), COALESCE(doc ->> '$."host"', ''), id);
DROP INDEX floatingips_project;
CREATE INDEX floatingips_project ON floatingips (COALESCE(doc ->> '$."project_id"', ''), COALESCE(doc ->> '$."status"', ''), id);
CREATE INDEX floatingips_status ON floatingips (COALESCE(doc ->> '$."status"', ''), id);
CREATE INDEX floatingips_host ON floatingips (COALESCE(doc ->> '$."host"', ''), id);
CREATE INDEX floatingips_project_host ON floatingips (COALESCE(doc ->> '$."project_id"', ''), COALESCE(doc ->> '$."host"', ''), id);
DROP INDEX floatingips_router;
CREATE INDEX floatingips_router ON floatingips (COALESCE(doc ->> '$."router_id"', ''), COALESCE(doc ->> '$."status"', ''), id);
DROP INDEX ports_project;
CREATE INDEX ports_project ON ports (COALESCE(doc ->> '$."project_id"', ''), COALESCE(doc ->> '$."status"', ''), id);
CREATE INDEX ports_status ON ports (COALESCE(doc ->> '$."status"', ''), id);
CREATE INDEX ports_host ON ports (COALESCE(doc ->> '$."binding"."binding:host_id"', ''), id);
CREATE INDEX ports_project_host ON ports (COALESCE(doc ->> '$."project_id"', ''), COALESCE(doc ->> '$."binding"."binding:host_id"', ''), id);
CREATE INDEX agents_heartbeat ON agents (COALESCE(doc ->> '$."heartbeat_timestamp"', ''), id);

-- What hosts have applied, as far as it is known. Routers and floating IPs get their status from the service.
UPDATE router_states SET doc = json_set(doc, '$.applied', doc -> '$.reported') WHERE COALESCE(doc ->> '$."error"', '') = '';
UPDATE ports SET doc = json_set(doc, '$.status', 'N/A') WHERE doc ->> '$."device_owner"' = 'network:floatingip';
-- Neither was ever realised.
UPDATE routers SET doc = json_set(doc, '$.ha', json('false'), '$.distributed', json('false')) WHERE doc ->> '$."ha"' OR doc ->> '$."distributed"';

-- A status is on many rows, which the planner cannot know. It is told how many rows there are, and how many of them have the same value in the
-- first columns of an index, so that it prefers the index of any other attribute to that of the status, and that of the status to reading all.
ANALYZE sqlite_schema;
DELETE FROM sqlite_stat1 WHERE tbl IN ('routers', 'floatingips', 'ports');
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
  ('routers', 'routers_status', '100000 2000 1'), ('routers', 'routers_host', '100000 1000 1'), ('routers', 'routers_project', '100000 5000 50 1 noskipscan'),
  ('routers', 'routers_project_host', '100000 5000 50 1 noskipscan'),
  ('floatingips', 'floatingips_status', '100000 2000 1'), ('floatingips', 'floatingips_host', '100000 1000 1'), ('floatingips', 'floatingips_project', '100000 5000 50 1 noskipscan'),
  ('floatingips', 'floatingips_project_host', '100000 5000 50 1 noskipscan'),
  ('ports', 'ports_status', '100000 2000 1'), ('ports', 'ports_host', '100000 1000 1'), ('ports', 'ports_project', '100000 5000 50 1 noskipscan'),
  ('ports', 'ports_project_host', '100000 5000 50 1 noskipscan'),
  ('floatingips', 'floatingips_router', '100000 10 5 1');

-- +goose StatementEnd
