package sqlstore

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// quotas is [l3.QuotaStore] in a transaction.
type quotas struct{ tx *tx }

// Get reads what a project was given.
func (s quotas) Get(ctx context.Context, project string) (map[string]int, error) {
	all, err := s.read(ctx, "SELECT project_id, resource, max FROM quotas WHERE project_id = $1", project)
	if err != nil {
		return nil, fmt.Errorf("get quota of project %s: %w", project, err)
	}
	if all[project] == nil {
		return map[string]int{}, nil
	}
	return all[project], nil
}

// List reads what all were given.
func (s quotas) List(ctx context.Context) (map[string]map[string]int, error) {
	all, err := s.read(ctx, "SELECT project_id, resource, max FROM quotas")
	if err != nil {
		return nil, fmt.Errorf("list quotas: %w", err)
	}
	return all, nil
}

// Set gives limits.
func (s quotas) Set(ctx context.Context, project string, limits map[string]int) error {
	var args [][]any
	for _, resource := range slices.Sorted(maps.Keys(limits)) {
		args = append(args, []any{project, resource, limits[resource]})
	}
	_, err := s.tx.try(ctx, "INSERT INTO quotas (project_id, resource, max) VALUES ($1, $2, $3) "+
		"ON CONFLICT (project_id, resource) DO UPDATE SET max = excluded.max", args...)
	if err != nil {
		return fmt.Errorf("set quota of project %s: %w", project, err)
	}
	return nil
}

// Delete takes all limits of a project, if it has any.
func (s quotas) Delete(ctx context.Context, project string) error {
	if _, err := s.tx.exec(ctx, "DELETE FROM quotas WHERE project_id = $1", project); err != nil {
		return fmt.Errorf("delete quota of project %s: %w", project, err)
	}
	return nil
}

func (s quotas) read(ctx context.Context, query string, args ...any) (map[string]map[string]int, error) {
	all := map[string]map[string]int{}
	err := s.tx.query(ctx, func(r row) error {
		var project, resource string
		var limit int
		err := r.Scan(&project, &resource, &limit)
		if all[project] == nil {
			all[project] = map[string]int{}
		}
		all[project][resource] = limit
		return err
	}, query, args...)
	return all, err
}
