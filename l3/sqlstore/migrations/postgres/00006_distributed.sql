-- +goose Up
-- +goose StatementBegin

-- A floating IP is translated on the host of its port, unless it says otherwise.
UPDATE floatingips SET doc = (doc::jsonb || '{"distributed": true}')::json;

-- A host that has let go of an address asks who has it now.
CREATE INDEX floatingips_address ON floatingips ((COALESCE(doc ->> 'floating_ip_address', '') COLLATE "C"));

-- +goose StatementEnd
