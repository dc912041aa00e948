package workload

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/dump"
	"github.com/l3kit/l3kit/internal/failure"
	"github.com/l3kit/l3kit/internal/netdev"
)

// Config is how a workload is attached.
type Config struct {
	Port     dataplane.Port
	NextHops []netip.Addr      // default routes; one outside the port's subnets is reached on its link
	Routes   []dataplane.Route // further routes
}

// Attach gives a namespace a device that is attached to the port's network. The device and the
// namespace's loopback device are up when it returns, and the next packet gets through. Calling it
// again mends what somebody else changed, and adds addresses and routes that are missing. Where the
// namespace has a route to the same destination through another device, such as a default route,
// that one stays and Attach adds none: [NextHops] tells.
//
// A device of that name that Attach did not make is [dataplane.ErrForeign]. After any other error
// the device is gone, unless it was there before.
func Attach(ctx context.Context, w namespace.InterfaceDriver, ns namespace.NS, device string, c Config) error {
	before, err := w.Plan(ctx, ns, device, c.Port)
	if err != nil {
		return err
	}
	made := creates(before, device)
	what := namespace.Attachment{Device: device, Port: c.Port}
	if err := w.Plug(ctx, ns, what); err != nil {
		return err
	}
	err = netdev.In(ns.FD, func(h *netlink.Handle) error { return configure(h, device, c) })
	if err == nil {
		err = w.Ready(ctx, ns, what)
	}
	if err != nil && made {
		err = errors.Join(err, w.Unplug(context.WithoutCancel(ctx), ns, device))
	}
	return err
}

// Detach removes a device that Attach made, and what its network needed on this host for its last
// port. A device that is not there is fine; one that Attach did not make is [dataplane.ErrForeign].
func Detach(ctx context.Context, w namespace.InterfaceDriver, ns namespace.NS, device string) error {
	return w.Unplug(ctx, ns, device)
}

// Device returns the name of the device that Attach made for a port in a namespace; empty: there is
// none.
func Device(ns namespace.NS, port string) (name string, err error) {
	err = netdev.In(ns.FD, func(h *netlink.Handle) error {
		links, err := dump.Complete(h.LinkList)
		if err != nil {
			return failure.Of("list links", "", err)
		}
		for _, l := range links {
			if m, ok := parseMark(l.Attrs().Alias); ok && m.port == port && !helper(l.Attrs().Name) {
				name = l.Attrs().Name
			}
		}
		return nil
	})
	return name, err
}

// NextHops returns the next hops of the default routes that lead through a device.
func NextHops(ns namespace.NS, device string) (hops []netip.Addr, err error) {
	err = netdev.In(ns.FD, func(h *netlink.Handle) error {
		l, err := h.LinkByName(device)
		if err != nil {
			return failure.Of("find device", device, err)
		}
		for _, all := range []netip.Prefix{defaultIPv4, defaultIPv6} {
			routes, err := routesTo(h, all)
			if err != nil {
				return err
			}
			for _, r := range routes {
				if hop, ok := netip.AddrFromSlice(r.Gw); ok && r.LinkIndex == l.Attrs().Index {
					hops = append(hops, hop.Unmap())
				}
			}
		}
		return nil
	})
	return hops, err
}

var (
	defaultIPv4 = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	defaultIPv6 = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
)

// routesTo lists the routes of the main table to a destination, whatever their metrics.
func routesTo(h *netlink.Handle, dest netip.Prefix) ([]netlink.Route, error) {
	family := netlink.FAMILY_V6
	if dest.Addr().Is4() {
		family = netlink.FAMILY_V4
	}
	routes, err := dump.Complete(func() ([]netlink.Route, error) {
		return h.RouteListFiltered(family, &netlink.Route{Dst: ipNet(dest.Masked())}, netlink.RT_FILTER_DST)
	})
	if err != nil {
		return nil, failure.Of("list routes", dest.String(), err)
	}
	return routes, nil
}

// creates reports whether a device is made by the steps.
func creates(steps []dataplane.Step, device string) bool {
	return slices.ContainsFunc(steps, func(s dataplane.Step) bool { return s.Op == dataplane.Add && s.Object == device })
}

// configure marks the device, sets it up and gives it its addresses and routes.
func configure(h *netlink.Handle, device string, c Config) error {
	l, err := h.LinkByName(device)
	if err != nil {
		return failure.Of("find device", device, err)
	}
	if err := h.LinkSetAlias(l, mark{c.Port.ID, c.Port.Network.ID}.String()); err != nil {
		return failure.Of("mark device", device, err)
	}
	lo, err := h.LinkByName("lo")
	if err == nil {
		err = h.LinkSetUp(lo)
	}
	if err != nil {
		return failure.Of("set link up", "lo", err)
	}
	for _, a := range c.Port.Addrs {
		// Whoever allocated the address made sure that nobody else has it, so duplicate address
		// detection would only delay the first packet.
		if err := h.AddrReplace(l, &netlink.Addr{IPNet: ipNet(a), Flags: unix.IFA_F_NODAD}); err != nil {
			return failure.Of("add address", a.String()+" on "+device, err)
		}
	}
	if err := h.LinkSetUp(l); err != nil {
		return failure.Of("set link up", device, err)
	}
	routes := c.Routes
	for _, hop := range c.NextHops {
		all := defaultIPv6
		if hop.Is4() {
			all = defaultIPv4
		}
		routes = append(routes[:len(routes):len(routes)], dataplane.Route{Dest: all, NextHop: hop})
	}
	for _, r := range routes {
		have, err := routesTo(h, r.Dest)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(have, func(r netlink.Route) bool { return r.LinkIndex != l.Attrs().Index }) {
			continue // replacing it would cut off what uses it, and nothing would bring it back
		}
		route := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(r.Dest), Gw: r.NextHop.AsSlice()}
		if !inside(c.Port.Addrs, r.NextHop) {
			route.Flags = int(netlink.FLAG_ONLINK)
		}
		if err := h.RouteReplace(route); err != nil {
			return failure.Of("add route", r.Dest.String()+" via "+r.NextHop.String(), err)
		}
	}
	return nil
}

func inside(subnets []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(subnets, func(s netip.Prefix) bool { return s.Contains(a) })
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
