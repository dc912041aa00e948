package namespace

import (
	"cmp"
	"context"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/l3kit/l3kit/dataplane"
)

// address is a device's address; floating marks one that is a floating IP's, or of port
// forwardings.
type address struct {
	netip.Prefix
	form
	floating bool
}

// form is how a device has an address.
type form struct {
	noPrefixRoute bool  // the kernel makes no route to the subnet: its hosts are not all on the link
	scope         uint8 // of IPv4 (rtnetlink(7))
}

// String describes the form as ip-address(8) does.
func (f form) String() string {
	s := "scope " + netlink.Scope(f.scope).String()
	if f.noPrefixRoute {
		s += " noprefixroute"
	}
	return s
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
		steps[i] = dataplane.Step{Op: op, Kind: dataplane.KindAddress, Object: dev + " " + a.Prefix.String(), Disturbs: op == dataplane.Remove}
	}
	return steps
}

// missing lists the addresses of a that b lacks, the subnets' own before the floating IPs', in
// order.
func missing(a, b map[netip.Prefix]form) []address {
	return pick(a, func(p netip.Prefix, _ form) bool {
		_, there := b[p]
		return !there
	})
}

// reformed lists the addresses of a that b has in another form.
func reformed(a, b map[netip.Prefix]form) []address {
	return pick(a, func(p netip.Prefix, f form) bool {
		g, there := b[p]
		return there && f != g
	})
}

func pick(addrs map[netip.Prefix]form, which func(netip.Prefix, form) bool) []address {
	var list []address
	for p, f := range addrs {
		if which(p, f) {
			list = append(list, address{p, f, p.Addr().Is4() && p.IsSingleIP()})
		}
	}
	slices.SortFunc(list, func(x, y address) int {
		return cmp.Or(cmp.Compare(x.Bits()-x.Addr().BitLen(), y.Bits()-y.Addr().BitLen()), comparePrefixes(x.Prefix, y.Prefix))
	})
	return list
}

func (s *site) writeAddresses(ctx context.Context, op, dev string, addrs []address, make func(int, address) request) error {
	requests := slices.Collect(func(yield func(request) bool) {
		for _, a := range addrs {
			if !yield(make(s.index[dev], a)) {
				return
			}
		}
	})
	failed, err := s.write.send(ctx, requests...)
	if err != nil {
		return opError(op, addrs[max(failed, 0)].Prefix.String()+" on "+dev, err)
	}
	return nil
}

// reformAddresses changes the form of addresses; before has the same ones as after.
func (s *site) reformAddresses(dev string, before, after []address) action {
	write := func(addrs []address) func(context.Context) error {
		return func(ctx context.Context) error {
			for _, a := range addrs {
				if _, err := s.write.send(ctx, reformAddress(s.index[dev], a)...); err != nil {
					return opError("change address", a.Prefix.String()+" on "+dev, err)
				}
			}
			return nil
		}
	}
	a := action{do: write(after), undo: write(before)}
	for i := range after {
		a.steps = append(a.steps, dataplane.Step{
			Op: dataplane.Change, Kind: dataplane.KindAddress, Object: dev + " " + after[i].Prefix.String(),
			Detail: after[i].form.String() + ", was " + before[i].form.String(),
		})
	}
	return a
}
