package dataplanetest

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Marks of packets at an edge, as rules show them.
const (
	markFloatingIP = 0x20000
	markToCentre   = 0x40000
)

// InstanceDamages are what processes with root do to an edge.
func (k *kernel) InstanceDamages() []Damage {
	on := func(device string, change func(nl *netlink.Handle, l netlink.Link) error) func(context.Context, string) error {
		return k.inside(func(nl *netlink.Handle) error {
			link, err := nl.LinkByName(device)
			if err != nil {
				return err
			}
			return change(nl, link)
		})
	}
	bounce := func(nl *netlink.Handle, l netlink.Link) error {
		return errors.Join(nl.LinkSetDown(l), nl.LinkSetUp(l))
	}
	unroute := func(dest string) func(context.Context, string) error {
		return k.inside(func(nl *netlink.Handle) error {
			return deleteRoutes(nl, func(r *netlink.Route) bool {
				return r.Dst != nil && r.Dst.String() == dest && r.Table == unix.RT_TABLE_MAIN
			})
		})
	}
	rules := func(change func(nl *netlink.Handle, rules []netlink.Rule) error) func(context.Context, string) error {
		return k.inside(func(nl *netlink.Handle) error {
			rules, err := nl.RuleList(netlink.FAMILY_V4)
			if err != nil {
				return err
			}
			return change(nl, rules)
		})
	}
	deleteRule := func(mark uint32) func(context.Context, string) error {
		return rules(func(nl *netlink.Handle, rules []netlink.Rule) error {
			r, err := marked(rules, mark)
			if err != nil {
				return err
			}
			return nl.RuleDel(r)
		})
	}
	own := &netlink.Addr{IPNet: ipNet("10.0.1.1/24")}
	return []Damage{
		{"the rule for floating IPs deleted", "fwmark 0x20000", deleteRule(markFloatingIP)},
		{"the rule to the centre deleted", "fwmark 0x40000", deleteRule(markToCentre)},
		{"local addresses put before the way to the centre", "lookup local", k.inside(func(nl *netlink.Handle) error {
			r := netlink.NewRule()
			r.Family, r.Priority, r.Table = netlink.FAMILY_V4, 0, unix.RT_TABLE_LOCAL
			return nl.RuleAdd(r)
		})},
		{"what is inside put after what is outside", "fwmark 0x20000", rules(func(nl *netlink.Handle, rules []netlink.Rule) error {
			for i := range rules {
				if r := &rules[i]; r.Table == unix.RT_TABLE_MAIN && r.Mark == 0 {
					return errors.Join(nl.RuleDel(r), nl.RuleAdd(r))
				}
			}
			return errors.New("no rule for the main table")
		})},
		{"the way of floating IPs flushed", "203.0.113.1", rules(func(nl *netlink.Handle, rules []netlink.Rule) error {
			rule, err := marked(rules, markFloatingIP)
			if err != nil {
				return err
			}
			return deleteRoutes(nl, func(r *netlink.Route) bool { return r.Table == rule.Table })
		})},
		{"the way to the centre flushed", "169.254.64.99", k.inside(func(nl *netlink.Handle) error {
			return deleteRoutes(nl, func(r *netlink.Route) bool { return r.Table == unix.RT_TABLE_DEFAULT })
		})},
		{"a neighbour's route deleted", web1Addr.String(), unroute(web1Addr.String() + "/32")},
		{"the way to another edge deleted", remoteApp.String(), unroute(remoteApp.String() + "/32")},
		{"the way of IPv6 to another edge deleted", remoteApp6.String(), unroute(remoteApp6.String() + "/128")},
		{"the subnet of a leg put on its link", "10.0.1.0/24", on("qr-web", func(nl *netlink.Handle, l netlink.Link) error {
			return nl.RouteAdd(&netlink.Route{Dst: ipNet("10.0.1.0/24"), LinkIndex: l.Attrs().Index, Scope: netlink.SCOPE_LINK, Protocol: unix.RTPROT_STATIC})
		})},
		{"the address of a leg given with its subnet", "10.0.1.1", on("qr-web", func(nl *netlink.Handle, l netlink.Link) error {
			return errors.Join(nl.AddrDel(l, own), nl.AddrAdd(l, own))
		})},
		{"the transit's address removed", "169.254.64.1", on("qt-transit", func(nl *netlink.Handle, l netlink.Link) error {
			return nl.AddrDel(l, &netlink.Addr{IPNet: ipNet("169.254.64.1/18")})
		})},
		{"a leg set down and up", linkLocalOf(edge().Ports[0].MAC).String(), on("qr-web", bounce)},
		{"the transit set down and up", linkLocalOf(edge().Transit.MAC).String(), on("qt-transit", bounce)},
		{"the transit deleted", "qt-transit", on("qt-transit", k.deleteTransit)},
	}
}

// deleteTransit is deletePort for the transit.
func (k *kernel) deleteTransit(nl *netlink.Handle, l netlink.Link) error {
	err := nl.LinkDel(l)
	if k.ovs != nil && errors.Is(err, unix.EOPNOTSUPP) {
		return k.unplug("transit")
	}
	return err
}

// marked finds the rule for packets with a mark.
func marked(rules []netlink.Rule, mark uint32) (*netlink.Rule, error) {
	for i := range rules {
		if rules[i].Mark == mark {
			return &rules[i], nil
		}
	}
	return nil, errors.New("no rule for the mark")
}

func deleteRoutes(nl *netlink.Handle, which func(*netlink.Route) bool) error {
	deleted := 0
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := nl.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return err
		}
		for i := range routes {
			if !which(&routes[i]) {
				continue
			}
			if err := nl.RouteDel(&routes[i]); err != nil {
				return err
			}
			deleted++
		}
	}
	if deleted == 0 {
		return errors.New("there is no such route")
	}
	return nil
}

func ipNet(s string) *net.IPNet {
	p := netip.MustParsePrefix(s)
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
