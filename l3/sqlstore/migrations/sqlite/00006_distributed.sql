-- +goose Up
-- +goose StatementBegin

-- A floating IP is translated on the host of its port, unless it says otherwise.
UPDATE floatingips SET doc = json_set(doc, '$.distributed', json('true'));

-- A host that has let go of an address asks who has it now.
CREATE INDEX floatingips_address ON floatingips (COALESCE(doc ->> '$."floating_ip_address"', ''));

-- +goose StatementEnd
