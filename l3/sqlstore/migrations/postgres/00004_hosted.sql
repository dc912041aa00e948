-- +goose Up
-- +goose StatementBegin

-- A router's state alone says which agent hosts it. How many each agent hosts is counted here, for schedulers, which ask at every placement.
DROP TABLE bindings;
CREATE TABLE hosted (agent_id TEXT COLLATE "C" PRIMARY KEY NOT NULL, routers BIGINT NOT NULL);
INSERT INTO hosted SELECT doc ->> 'agent_id', count(*) FROM router_states WHERE COALESCE(doc ->> 'agent_id', '') <> '' GROUP BY 1;
CREATE FUNCTION count_hosted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP <> 'INSERT' THEN
    UPDATE hosted SET routers = routers - 1 WHERE agent_id = OLD.doc ->> 'agent_id';
  END IF;
  IF TG_OP <> 'DELETE' AND COALESCE(NEW.doc ->> 'agent_id', '') <> '' THEN
    INSERT INTO hosted VALUES (NEW.doc ->> 'agent_id', 1) ON CONFLICT (agent_id) DO UPDATE SET routers = hosted.routers + 1;
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER hosted_insert AFTER INSERT OR DELETE ON router_states FOR EACH ROW EXECUTE FUNCTION count_hosted();
CREATE TRIGGER hosted_update AFTER UPDATE ON router_states FOR EACH ROW
  WHEN (COALESCE(OLD.doc ->> 'agent_id', '') <> COALESCE(NEW.doc ->> 'agent_id', '')) EXECUTE FUNCTION count_hosted();

-- +goose StatementEnd
