package service

import (
	"context"
	"fmt"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

// feature is something that a router may have, and that agents of older versions leave out of it.
// They report that they have realised the rest.
type feature struct {
	name    string
	knownBy func(agent.Capabilities) bool
	// users are those of the routers that may have it on some host; has says whether what one host
	// realises has it.
	users func(ctx context.Context, tx l3.Tx, among []string) ([]string, error)
	has   func(dataplane.Router) bool
}

func features() []feature {
	return []feature{
		{"port forwardings", func(can agent.Capabilities) bool { return can.PortForwarding }, routersForwarding,
			func(r dataplane.Router) bool { return len(r.PortForwardings) > 0 }},
		{"address scopes", func(can agent.Capabilities) bool { return can.AddressScopes }, routersInScopes, scoped},
		{"bandwidth limits", func(can agent.Capabilities) bool { return can.Limits }, routersLimited,
			func(r dataplane.Router) bool { return len(r.Limits) > 0 }},
	}
}

// scoped says that a router's ports have address scopes.
func scoped(r dataplane.Router) bool {
	none := dataplane.Scopes{}
	return r.Gateway != nil && r.Gateway.Scopes != none || slices.ContainsFunc(r.Ports, func(p dataplane.Port) bool { return p.Scopes != none })
}

// outdatedFor says why routers that an agent hosts are in ERROR though it reports no failure: its
// version leaves something out of them. The reasons are by the states' IDs.
func outdatedFor(ctx context.Context, tx l3.Tx, a l3.Agent, hosted []l3.RouterState) (map[string]string, error) {
	wanted := slices.DeleteFunc(slices.Clone(hosted), func(st l3.RouterState) bool { return !st.Wanted })
	reasons := map[string]string{}
	for _, f := range features() {
		if f.knownBy(a.Capabilities) {
			continue
		}
		having, err := f.of(ctx, tx, wanted)
		if err != nil {
			return nil, err
		}
		for _, id := range having {
			reasons[id] = fmt.Sprintf("The agent of host %s is of a version that does not know %s", a.Host, f.name)
		}
	}
	return reasons, nil
}

// of returns the IDs of those states whose hosts have the feature to realise.
func (f feature) of(ctx context.Context, tx l3.Tx, states []l3.RouterState) (ids []string, err error) {
	users, err := f.users(ctx, tx, routerIDs(states))
	if err != nil {
		return nil, err
	}
	states = slices.DeleteFunc(slices.Clone(states), func(st l3.RouterState) bool { return !slices.Contains(users, st.Router()) })
	if len(states) == 0 {
		return nil, nil
	}
	intents, err := readIntents(ctx, tx, states)
	if err != nil {
		return nil, err
	}
	for _, st := range states {
		r, err := compileFor(st, intents[st.Router()])
		if err != nil {
			return nil, err
		}
		if f.has(r) {
			ids = append(ids, st.ID)
		}
	}
	return ids, nil
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
