package service

import (
	"context"
	"fmt"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

// outdated is why a router is in ERROR on a host whose agent leaves a part of it out.
const outdated = "The agent of host %s is of a version that does not know %s"

// outdatedFor returns why routers that an agent hosts are in ERROR though it reports no failure: its
// version does not know something that they have, and realises the rest. Reasons are by the IDs of
// the states.
func outdatedFor(ctx context.Context, tx l3.Tx, a l3.Agent, hosted []l3.RouterState) (map[string]string, error) {
	reasons := map[string]string{}
	if !a.Capabilities.Limits {
		limited, err := limitedOf(ctx, tx, hosted)
		if err != nil {
			return nil, err
		}
		for _, st := range limited {
			reasons[st.ID] = fmt.Sprintf(outdated, a.Host, "bandwidth limits")
		}
	}
	if !a.Capabilities.PortForwarding {
		whole := slices.DeleteFunc(slices.Clone(hosted), func(st l3.RouterState) bool { return st.Edge })
		forwardings, err := listOf(ctx, tx.PortForwardings(), "router_id", routerIDs(whole))
		if err != nil {
			return nil, err
		}
		forwarded := make(map[string]bool, len(forwardings))
		for _, pf := range forwardings {
			forwarded[pf.RouterID] = true
		}
		for _, st := range whole {
			if forwarded[st.Router()] {
				reasons[st.ID] = fmt.Sprintf(outdated, a.Host, "port forwardings")
			}
		}
	}
	return reasons, nil
}

// limitedOf returns those of the states whose routers, or instances of routers, have bandwidth
// limits.
func limitedOf(ctx context.Context, tx l3.Tx, states []l3.RouterState) ([]l3.RouterState, error) {
	routers, err := limitedRouters(ctx, tx)
	if err != nil || len(routers) == 0 {
		return nil, err
	}
	var limited []l3.RouterState
	for _, st := range states {
		if _, found := slices.BinarySearch(routers, st.Router()); found && st.Wanted {
			limited = append(limited, st)
		}
	}
	if len(limited) == 0 {
		return nil, nil
	}
	intents, err := readIntents(ctx, tx, limited)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(limited, func(st l3.RouterState) bool {
		r, failed := compileFor(st, intents[st.Router()])
		if failed != nil {
			err = failed
		}
		return len(r.Limits) == 0
	}), err
}

// limitedRouters returns the sorted IDs of the routers that a policy with a bandwidth limit concerns.
func limitedRouters(ctx context.Context, tx l3.Tx) ([]string, error) {
	rules, err := tx.QoSRules().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("type", string(l3.QoSBandwidthLimit))}})
	if err != nil || len(rules) == 0 {
		return nil, err
	}
	return routersOfQoSPolicies(ctx, tx, distinct(rules, func(r *l3.QoSRule) string { return r.PolicyID })...)
}

// upToDate are those of the candidates whose versions know all that the router has, or else all.
func upToDate(ctx context.Context, tx l3.Tx, routerID string, candidates []l3.Candidate) ([]l3.Candidate, error) {
	isOutdated := func(forwards, limits bool) func(l3.Candidate) bool {
		return func(c l3.Candidate) bool {
			return forwards && !c.Agent.Capabilities.PortForwarding || limits && !c.Agent.Capabilities.Limits
		}
	}
	if !slices.ContainsFunc(candidates, isOutdated(true, true)) {
		return candidates, nil
	}
	forwardings, err := tx.PortForwardings().Count(ctx, oneOf("router_id", routerID))
	if err != nil {
		return nil, err
	}
	limited, err := limitedRouters(ctx, tx)
	if err != nil {
		return nil, err
	}
	_, limits := slices.BinarySearch(limited, routerID)
	if able := slices.DeleteFunc(slices.Clone(candidates), isOutdated(forwardings > 0, limits)); len(able) > 0 {
		return able, nil
	}
	return candidates, nil
}
