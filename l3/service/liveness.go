package service

import (
	"context"
	"slices"
	"time"

	"github.com/l3kit/l3kit/l3"
)

// alive reports whether an agent was heard of lately. A heartbeat from the future is one of before
// the clock was set back, and says as little as one that is as long ago.
func (s *Service) alive(a l3.Agent) bool { return s.heardWithin(a, s.config.AgentDownTime) }

func (s *Service) heardWithin(a l3.Agent, d time.Duration) bool {
	return s.config.Now().Sub(a.HeartbeatAt).Abs() <= d
}

// deadAgents returns the agents that are not alive; see [Service.alive]. It reads no others.
func (s *Service) deadAgents(ctx context.Context, tx l3.Tx) (dead []l3.Agent, err error) {
	const field = "heartbeat_timestamp"
	now := s.config.Now().UTC().Truncate(time.Second) // times have as many digits as they need, so they are sorted by their seconds alone
	for _, limit := range []struct {
		op l3.Op
		at time.Time
	}{{l3.Before, now.Add(2*time.Second - s.config.AgentDownTime)}, {l3.NotBefore, now.Add(s.config.AgentDownTime.Truncate(time.Second))}} {
		some, err := tx.Agents().List(ctx, l3.Query{
			Filters: []l3.Filter{{Field: field, Op: limit.op, Values: []any{limit.at.Format("2006-01-02T15:04:05")}}}, Sort: []l3.Sort{{Field: field}},
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
func (s *Service) onDead(ctx context.Context, tx l3.Tx, hostField string) (on l3.Filter, ok bool, err error) {
	dead, err := s.deadAgents(ctx, tx)
	on = l3.Filter{Field: hostField}
	for _, a := range dead {
		on.Values = append(on.Values, a.Host)
	}
	return on, len(dead) > 0, err
}

// live turns filters by status into filters of what the store has: the status while the host is
// alive.
func live(scope, filters []l3.Filter, on l3.Filter) []l3.Filter {
	elsewhere := on
	elsewhere.Op = l3.NotIn
	out := make([]l3.Filter, 0, len(filters)+1)
	for _, f := range filters {
		switch {
		case f.Field != "status":
			out = append(out, f)
		case filterHolds(f, string(l3.StatusDown)):
			out = append(out, within(scope, f, on))
		default:
			out = append(out, f, elsewhere)
		}
	}
	return out
}

// within returns a filter that holds when one of the others does. It names the scope with each of
// them, as indexes do that begin with a project.
func within(scope []l3.Filter, others ...l3.Filter) l3.Filter {
	if len(scope) == 0 {
		return l3.Filter{Op: l3.Either, Of: others}
	}
	f := l3.Filter{Op: l3.Either}
	for _, s := range scope {
		for _, o := range others {
			f.Of = append(f.Of, l3.Filter{Op: l3.Every, Of: []l3.Filter{s, o}})
		}
	}
	return f
}

// liveAgents prepares a query of agents, whose attribute alive the store does not have. Sorted
// reports that the order must be made elsewhere.
func (s *Service) liveAgents(ctx context.Context, tx l3.Tx, q l3.Query) (_ l3.Query, sorted bool, err error) {
	const field = "alive"
	if slices.ContainsFunc(q.Sort, func(k l3.Sort) bool { return k.Field == field }) {
		return q, true, nil
	}
	if !slices.ContainsFunc(q.Filters, func(f l3.Filter) bool { return f.Field == field }) {
		return q, false, nil
	}
	dead, err := s.deadAgents(ctx, tx)
	ids := make([]string, len(dead))
	for i, a := range dead {
		ids[i] = a.ID
	}
	filters := make([]l3.Filter, 0, len(q.Filters))
	for _, f := range q.Filters {
		among, others := oneOf("id", ids...), oneOf("id", ids...)
		others.Op = l3.NotIn
		switch {
		case f.Field != field:
			filters = append(filters, f)
		case filterHolds(f, true) && filterHolds(f, false):
		case filterHolds(f, true):
			filters = append(filters, others)
		case filterHolds(f, false):
			filters = append(filters, among)
		default:
			filters = append(filters, nothing())
		}
	}
	q.Filters = filters
	return q, false, err
}
