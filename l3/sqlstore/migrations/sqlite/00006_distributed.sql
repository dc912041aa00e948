-- +goose Up
-- +goose StatementBegin

-- A floating IP is translated on the host of its port, unless it says otherwise.
UPDATE floatingips SET doc = json_set(doc, '$.distributed', json('true'));

-- +goose StatementEnd
