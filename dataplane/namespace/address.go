package namespace

import (
	"cmp"
	"context"
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
)

// address is a device's address; floating marks one that is a floating IP's.
type address struct {
	netip.Prefix
	floating bool
}

func prefixesOf(addrs []address) []netip.Prefix {
	p := make([]netip.Prefix, len(addrs))
	for i, a := range addrs {
		p[i] = a.Prefix
	}
	return p
}

func addressSteps(op dataplane.Op, dev string, addrs []address) []dataplane.Step {
	steps := make([]dataplane.Step, len(addrs))
	for i, a := range addrs {
		steps[i] = dataplane.Step{Op: op, Kind: dataplane.KindAddress, Object: dev + " " + a.String(), Disturbs: op == dataplane.Remove}
	}
	return steps
}

// missing lists the addresses of a that b lacks, the subnets' own before the floating IPs', in
// order.
func missing(a, b map[netip.Prefix]struct{}) []address {
	var list []address
	for p := range a {
		if _, ok := b[p]; !ok {
			list = append(list, address{p, p.Addr().Is4() && p.IsSingleIP()})
		}
	}
	slices.SortFunc(list, func(x, y address) int {
		return cmp.Or(cmp.Compare(x.Bits()-x.Addr().BitLen(), y.Bits()-y.Addr().BitLen()), comparePrefixes(x.Prefix, y.Prefix))
	})
	return list
}

func (s *site) writeAddresses(
	ctx context.Context, op, dev string, addrs []netip.Prefix, make func(int, netip.Prefix) request,
) error {
	requests := slices.Collect(func(yield func(request) bool) {
		for _, a := range addrs {
			if !yield(make(s.index[dev], a)) {
				return
			}
		}
	})
	failed, err := s.write.send(ctx, requests...)
	if err != nil {
		return opError(op, addrs[max(failed, 0)].String()+" on "+dev, err)
	}
	return nil
}
