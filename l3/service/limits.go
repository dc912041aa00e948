package service

import (
	"cmp"
	"context"
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
)

// limit adds to a compiled router, or to an instance of one, the bandwidth limits of the addresses
// that it answers for.
func (in Intent) limit(r *dataplane.Router) {
	if len(in.QoS) == 0 || r.Gateway == nil {
		return
	}
	answers := map[netip.Addr]bool{}
	for _, f := range r.FloatingIPs {
		answers[f.Addr] = true
	}
	for _, f := range r.PortForwardings {
		answers[f.Addr] = true
	}
	external := in.Networks[r.Gateway.Network.ID].QoSPolicyID
	add := func(a netip.Addr, own string) {
		l := limitOf(in.QoS[cmp.Or(own, external)])
		if l.Addr = a; answers[a] && (!l.Egress.IsZero() || !l.Ingress.IsZero()) {
			r.Limits = append(r.Limits, l)
		}
	}
	for i := range in.FloatingIPs {
		add(in.FloatingIPs[i].Address, in.FloatingIPs[i].QoSPolicyID)
	}
	for _, a := range r.Gateway.Addrs {
		if g := in.Router.Gateway; g != nil && a.Addr().Is4() {
			answers[a.Addr()] = true
			add(a.Addr(), g.QoSPolicyID)
		}
	}
	slices.SortFunc(r.Limits, func(a, b dataplane.Limit) int { return a.Addr.Compare(b.Addr) })
}

// Beyond these no host forwards; see [dataplane.Bandwidth].
const (
	mostKbps  = 100_000_000
	mostBurst = 32_000_000
)

func limitOf(rules []l3.QoSRule) (l dataplane.Limit) {
	for _, r := range rules {
		if r.Type != l3.QoSBandwidthLimit || r.MaxKbps == 0 || r.MaxKbps > mostKbps {
			continue
		}
		b := dataplane.Bandwidth{Rate: uint32(r.MaxKbps), Burst: uint32(min(r.MaxBurstKbps, mostBurst))}
		if r.Direction == ingress {
			l.Ingress = b
		} else {
			l.Egress = b
		}
	}
	return l
}

// readQoS reads the rules of all policies that matter to routers.
func readQoS(ctx context.Context, tx l3.Tx, intents map[string]Intent) error {
	var policies []string
	for _, in := range intents {
		g := in.Router.Gateway
		if g == nil {
			continue
		}
		policies = append(policies, g.QoSPolicyID, in.Networks[g.NetworkID].QoSPolicyID)
		for i := range in.FloatingIPs {
			policies = append(policies, in.FloatingIPs[i].QoSPolicyID)
		}
	}
	slices.Sort(policies)
	policies = slices.DeleteFunc(slices.Compact(policies), func(id string) bool { return id == "" })
	if len(policies) == 0 {
		return nil
	}
	rules, err := listOf(ctx, tx.QoSRules(), "qos_policy_id", policies)
	if err != nil {
		return err
	}
	byPolicy := map[string][]l3.QoSRule{}
	for _, r := range rules {
		byPolicy[r.PolicyID] = append(byPolicy[r.PolicyID], r)
	}
	for id, in := range intents {
		in.QoS = byPolicy
		intents[id] = in
	}
	return nil
}
