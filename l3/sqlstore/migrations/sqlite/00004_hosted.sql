-- +goose Up
-- +goose StatementBegin

-- A router's state alone says which agent hosts it. How many each agent hosts is counted here, for schedulers, which ask at every placement.
DROP TABLE bindings;
CREATE TABLE hosted (agent_id TEXT PRIMARY KEY NOT NULL, routers INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO hosted SELECT doc ->> '$."agent_id"', count(*) FROM router_states WHERE COALESCE(doc ->> '$."agent_id"', '') <> '' GROUP BY 1;
CREATE TRIGGER hosted_insert AFTER INSERT ON router_states WHEN COALESCE(new.doc ->> '$."agent_id"', '') <> '' BEGIN
  INSERT INTO hosted VALUES (new.doc ->> '$."agent_id"', 1) ON CONFLICT (agent_id) DO UPDATE SET routers = routers + 1;
END;
CREATE TRIGGER hosted_update AFTER UPDATE OF doc ON router_states WHEN COALESCE(old.doc ->> '$."agent_id"', '') <> COALESCE(new.doc ->> '$."agent_id"', '') BEGIN
  UPDATE hosted SET routers = routers - 1 WHERE agent_id = old.doc ->> '$."agent_id"';
  INSERT INTO hosted SELECT new.doc ->> '$."agent_id"', 1 WHERE COALESCE(new.doc ->> '$."agent_id"', '') <> ''
    ON CONFLICT (agent_id) DO UPDATE SET routers = routers + 1;
END;
CREATE TRIGGER hosted_delete AFTER DELETE ON router_states BEGIN
  UPDATE hosted SET routers = routers - 1 WHERE agent_id = old.doc ->> '$."agent_id"';
END;

-- +goose StatementEnd
