package l3

import (
	"context"
	"slices"
	"time"
)

// timeFormat is how times are written in reasons.
const timeFormat = time.RFC3339

// deadAgents returns the agents that are not alive; see [Service.alive]. It reads no others.
func (s *Service) deadAgents(ctx context.Context, tx Tx) (dead []Agent, err error) {
	const field = "heartbeat_timestamp"
	now := s.config.Now().UTC().Truncate(time.Second) // times have as many digits as they need, so they are sorted by their seconds alone
	for _, limit := range []struct {
		op Op
		at time.Time
	}{{Before, now.Add(2*time.Second - s.config.AgentDownTime)}, {NotBefore, now.Add(s.config.AgentDownTime.Truncate(time.Second))}} {
		some, err := tx.Agents().List(ctx, Query{
			Filters: []Filter{{Field: field, Op: limit.op, Values: []any{limit.at.Format("2006-01-02T15:04:05")}}}, Sort: []Sort{{Field: field}},
		})
		if err != nil {
			return nil, err
		}
		dead = append(dead, slices.DeleteFunc(some, s.alive)...)
	}
	return dead, nil
}

// onDead is the filter that holds for what is on a host that is not alive, by the attribute that
// names the host. ok is false when all hosts are alive.
func (s *Service) onDead(ctx context.Context, tx Tx, hostField string) (on Filter, ok bool, err error) {
	dead, err := s.deadAgents(ctx, tx)
	on = Filter{Field: hostField}
	for _, a := range dead {
		on.Values = append(on.Values, a.Host)
	}
	return on, len(dead) > 0, err
}

// live turns filters by status into filters of what the store has: the status while the host is
// alive.
func live(scope, filters []Filter, on Filter) []Filter {
	elsewhere := on
	elsewhere.Op = NotIn
	out := make([]Filter, 0, len(filters)+1)
	for _, f := range filters {
		switch {
		case f.Field != "status":
			out = append(out, f)
		case f.holds(string(StatusDown)):
			out = append(out, within(scope, f, on))
		default:
			out = append(out, f, elsewhere)
		}
	}
	return out
}

// within returns a filter that holds when one of the others does. It names the scope with each of
// them, as indexes do that begin with a project.
func within(scope []Filter, others ...Filter) Filter {
	if len(scope) == 0 {
		return Filter{Op: Either, Of: others}
	}
	f := Filter{Op: Either}
	for _, s := range scope {
		for _, o := range others {
			f.Of = append(f.Of, Filter{Op: Every, Of: []Filter{s, o}})
		}
	}
	return f
}

// liveAgents prepares a query of agents, whose attribute alive the store does not have. Sorted
// reports that the order must be made elsewhere.
func (s *Service) liveAgents(ctx context.Context, tx Tx, q Query) (_ Query, sorted bool, err error) {
	const field = "alive"
	if slices.ContainsFunc(q.Sort, func(k Sort) bool { return k.Field == field }) {
		return q, true, nil
	}
	if !slices.ContainsFunc(q.Filters, func(f Filter) bool { return f.Field == field }) {
		return q, false, nil
	}
	dead, err := s.deadAgents(ctx, tx)
	ids := make([]string, len(dead))
	for i, a := range dead {
		ids[i] = a.ID
	}
	filters := make([]Filter, 0, len(q.Filters))
	for _, f := range q.Filters {
		among, others := oneOf("id", ids...), oneOf("id", ids...)
		others.Op = NotIn
		switch {
		case f.Field != field:
			filters = append(filters, f)
		case f.holds(true) && f.holds(false):
		case f.holds(true):
			filters = append(filters, others)
		case f.holds(false):
			filters = append(filters, among)
		default:
			filters = append(filters, nothing())
		}
	}
	q.Filters = filters
	return q, false, err
}
