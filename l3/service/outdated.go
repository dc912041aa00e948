package service

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

// feature is something that a router may have, and that agents of older versions leave out of it.
// They report that they have realised the rest.
type feature struct {
	name    string
	knownBy func(agent.Capabilities) bool
	// users are those of the routers that have it.
	users func(ctx context.Context, tx l3.Tx, among []string) ([]string, error)
}

func features() []feature {
	return []feature{
		{"port forwardings", func(can agent.Capabilities) bool { return can.PortForwarding }, routersForwarding},
		{"address scopes", func(can agent.Capabilities) bool { return can.AddressScopes }, routersInScopes},
	}
}

// outdatedFor says why routers that an agent hosts are in ERROR though it reports no failure: its
// version leaves something out of them. The reasons are by the states' IDs; edges have none.
func outdatedFor(ctx context.Context, tx l3.Tx, a l3.Agent, hosted []l3.RouterState) (map[string]string, error) {
	byRouter := map[string]string{}
	for _, st := range hosted {
		if !st.Edge {
			byRouter[st.Router()] = st.ID
		}
	}
	ids := slices.Sorted(maps.Keys(byRouter))
	reasons := map[string]string{}
	for _, f := range features() {
		if f.knownBy(a.Capabilities) {
			continue
		}
		users, err := f.users(ctx, tx, ids)
		if err != nil {
			return nil, err
		}
		for _, id := range users {
			reasons[byRouter[id]] = fmt.Sprintf("The agent of host %s is of a version that does not know %s", a.Host, f.name)
		}
	}
	return reasons, nil
}

// upToDate are those of the candidates whose versions know all that the router has, or else all.
func upToDate(ctx context.Context, tx l3.Tx, routerID string, candidates []l3.Candidate) ([]l3.Candidate, error) {
	able := candidates
	for _, f := range features() {
		var some []l3.Candidate
		for _, c := range able {
			if f.knownBy(c.Agent.Capabilities) {
				some = append(some, c)
			}
		}
		if len(some) == len(able) {
			continue
		}
		users, err := f.users(ctx, tx, []string{routerID})
		if err != nil {
			return nil, err
		}
		if len(users) > 0 {
			able = some
		}
	}
	if len(able) == 0 {
		return candidates, nil
	}
	return able, nil
}
