package differential

import (
	"net/netip"
	"slices"

	"github.com/google/nftables/expr"
	"pgregory.net/rapid"

	"github.com/l3kit/l3kit/dataplane"
)

// drawLimits draws limits that no trial exceeds, of all addresses that a router answers for outside.
func drawLimits(t *rapid.T, r dataplane.Router) []dataplane.Limit {
	var external []netip.Addr
	for _, a := range slices.Concat(floating, addrs("203.0.113.2")) {
		if r.Answers(a) {
			external = append(external, a)
		}
	}
	if len(external) == 0 {
		return nil
	}
	bandwidth := func(label string) dataplane.Bandwidth {
		return dataplane.Bandwidth{Rate: rapid.SampledFrom([]uint32{1, 1000, 1_000_000}).Draw(t, label), Burst: 10_000}
	}
	var list []dataplane.Limit
	for _, a := range rapid.SliceOfNDistinct(rapid.SampledFrom(external), 0, len(external), rapid.ID).Draw(t, "limited addresses") {
		l := dataplane.Limit{Addr: a, Egress: bandwidth("egress"), Ingress: bandwidth("ingress")}
		switch rapid.IntRange(0, 3).Draw(t, "directions") {
		case 0:
			l.Egress = dataplane.Bandwidth{}
		case 1:
			l.Ingress = dataplane.Bandwidth{}
		}
		list = append(list, l)
	}
	return list
}

// boundless makes a rule hold for all addresses, and without a limit.
func boundless(rule []expr.Any) []expr.Any {
	from := slices.IndexFunc(rule, func(e expr.Any) bool { _, ok := e.(*expr.Payload); return ok })
	return slices.Delete(rule, from, len(rule)-1) // up to the verdict
}

func limits(r dataplane.Router) bool { return len(r.Limits) > 0 && len(r.FloatingIPs) > 0 }
