package sqlstore

import (
	"context"
	"fmt"

	"github.com/l3kit/l3kit/l3"
)

// bindings is [l3.Bindings] in a transaction.
type bindings struct{ tx *tx }

const bindingColumns = "router_id, agent_id, host, epoch"

// Get reads one.
func (s bindings) Get(ctx context.Context, routerID string) (l3.RouterBinding, error) {
	found, err := s.read(ctx, "SELECT "+bindingColumns+" FROM bindings WHERE router_id = $1", routerID)
	if err == nil && len(found) == 0 {
		err = l3.ErrAbsent
	}
	if err != nil {
		return l3.RouterBinding{}, fmt.Errorf("get binding of router %s: %w", routerID, err)
	}
	return found[0], nil
}

// List reads those of an agent, in the order of the routers' IDs.
func (s bindings) List(ctx context.Context, agentID string) ([]l3.RouterBinding, error) {
	found, err := s.read(ctx, "SELECT "+bindingColumns+" FROM bindings WHERE agent_id = $1 ORDER BY router_id", agentID)
	if err != nil {
		return nil, fmt.Errorf("list bindings of agent %s: %w", agentID, err)
	}
	return found, nil
}

// Count counts those of each agent that has any.
func (s bindings) Count(ctx context.Context) (map[string]int, error) {
	counts := map[string]int{}
	err := s.tx.query(ctx, func(r row) error {
		var agent string
		var n int
		err := r.Scan(&agent, &n)
		counts[agent] = n
		return err
	}, "SELECT agent_id, count(*) FROM bindings GROUP BY agent_id")
	if err != nil {
		return nil, fmt.Errorf("count bindings: %w", err)
	}
	return counts, nil
}

// Put binds.
func (s bindings) Put(ctx context.Context, b *l3.RouterBinding) error {
	epoch, err := deployment(s).nextEpoch(ctx)
	if err == nil {
		_, err = s.tx.exec(ctx, "INSERT INTO bindings ("+bindingColumns+") VALUES ($1, $2, $3, $4) ON CONFLICT (router_id) "+
			"DO UPDATE SET agent_id = excluded.agent_id, host = excluded.host, epoch = excluded.epoch",
			b.RouterID, b.AgentID, b.Host, epoch)
	}
	if err != nil {
		return fmt.Errorf("bind router %s to agent %s: %w", b.RouterID, b.AgentID, err)
	}
	b.Epoch = uint64(epoch)
	return nil
}

// Delete unbinds.
func (s bindings) Delete(ctx context.Context, routerID string) error {
	n, err := s.tx.exec(ctx, "DELETE FROM bindings WHERE router_id = $1", routerID)
	if err == nil && n == 0 {
		err = l3.ErrAbsent
	}
	if err != nil {
		return fmt.Errorf("unbind router %s: %w", routerID, err)
	}
	return nil
}

func (s bindings) read(ctx context.Context, query string, args ...any) ([]l3.RouterBinding, error) {
	var found []l3.RouterBinding
	err := s.tx.query(ctx, func(r row) error {
		var b l3.RouterBinding
		var epoch int64
		err := r.Scan(&b.RouterID, &b.AgentID, &b.Host, &epoch)
		b.Epoch = uint64(epoch)
		found = append(found, b)
		return err
	}, query, args...)
	return found, err
}
