-- +goose Up
-- +goose StatementBegin

-- A floating IP is translated on the host of its port, unless it says otherwise.
UPDATE floatingips SET doc = (doc::jsonb || '{"distributed": true}')::json;

-- +goose StatementEnd
