package dataplanetest

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/netdev"
	"github.com/l3kit/l3kit/internal/netns"
)

// Damages are what processes with root do to each other's namespaces.
func (k *kernel) Damages() []Damage {
	type linkChange = func(nl *netlink.Handle, l netlink.Link) error
	device := func(name string) func(linkChange) func(context.Context, string) error {
		return func(change linkChange) func(context.Context, string) error {
			return k.inside(func(nl *netlink.Handle) error {
				link, err := nl.LinkByName(name)
				if err != nil {
					return err
				}
				return change(nl, link)
			})
		}
	}
	web, gateway := device("qr-web"), device("qg-ext")
	sysctl := func(name, value string) func(context.Context, string) error {
		return k.inside(func(*netlink.Handle) error { return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0) })
	}
	ip := func(s string, bits int) *netlink.Addr {
		parsed := net.ParseIP(s)
		size := 32
		if parsed.To4() == nil {
			size = 128
		} else {
			parsed = parsed.To4()
		}
		return &netlink.Addr{IPNet: &net.IPNet{IP: parsed, Mask: net.CIDRMask(bits, size)}}
	}
	loopback := func(addr *netlink.Addr) func(context.Context, string) error {
		return k.inside(func(nl *netlink.Handle) error {
			l, err := nl.LinkByName("lo")
			if err != nil {
				return err
			}
			return nl.AddrAdd(l, addr)
		})
	}
	return slices.Concat(k.switchDamages(), k.bridgeDamages(), []Damage{
		{"a port deleted", "qr-web", web(k.deletePort)},
		{"a port set down", "qr-web", web(func(nl *netlink.Handle, l netlink.Link) error { return nl.LinkSetDown(l) })},
		{"a port's MTU changed", "qr-web", web(func(nl *netlink.Handle, l netlink.Link) error { return nl.LinkSetMTU(l, 1400) })},
		{"a port's MAC changed", "qr-web", web(func(nl *netlink.Handle, l netlink.Link) error {
			return nl.LinkSetHardwareAddr(l, net.HardwareAddr{2, 0, 0, 0, 0, 99})
		})},
		{"an address removed", "10.0.1.1", web(func(nl *netlink.Handle, l netlink.Link) error { return nl.AddrDel(l, ip("10.0.1.1", 24)) })},
		{"an IPv6 address removed", "fd00:1::1", web(func(nl *netlink.Handle, l netlink.Link) error { return nl.AddrDel(l, ip("fd00:1::1", 64)) })},
		{"an address added", "10.77.0.1", web(func(nl *netlink.Handle, l netlink.Link) error { return nl.AddrAdd(l, ip("10.77.0.1", 24)) })},
		{"an address added to lo", "10.77.0.2", loopback(ip("10.77.0.2", 32))},
		{"an IPv6 address added to lo", "fd00:77::1", loopback(ip("fd00:77::1", 128))},
		{"a floating IP's address removed", fip1.String(), gateway(func(nl *netlink.Handle, l netlink.Link) error { return nl.AddrDel(l, ip(fip1.String(), 32)) })},
		{"the address of forwarded ports removed", forwardAddr.String(), gateway(func(nl *netlink.Handle, l netlink.Link) error {
			return nl.AddrDel(l, ip(forwardAddr.String(), 32))
		})},
		{"routes flushed", "default", k.inside(flushRoutes)},
		{"a route added", "10.99.0.0/24", k.inside(func(nl *netlink.Handle) error {
			return nl.RouteAdd(&netlink.Route{Dst: ip("10.99.0.0", 24).IPNet, Gw: net.ParseIP("10.0.2.250"), Protocol: unix.RTPROT_STATIC})
		})},
		{"forwarding switched off", "ip_forward", sysctl("ipv4/ip_forward", "0")},
		{"the reverse path filter switched on", "rp_filter", sysctl("ipv4/conf/all/rp_filter", "1")},
		{"rules flushed", "rules", k.inside(flushRules)},
		{"the host's side of the ports cut off", "qr-web", k.cut},
		{"the namespace deleted", "namespace", func(_ context.Context, id string) error {
			return netns.Remove(k.lab.Dir, dataplane.NamespaceName(id))
		}},
		{"a table of somebody else's", "", k.inside(func(*netlink.Handle) error {
			conn, err := nftables.New()
			if err != nil {
				return err
			}
			conn.AddTable(&nftables.Table{Name: "theirs", Family: nftables.TableFamilyINet})
			return conn.Flush()
		})},
		{"a device of somebody else's", "", k.inside(func(nl *netlink.Handle) error {
			return nl.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "theirs"}})
		})},
	})
}

// bridgeDamages are what others do to the host's side, if that is made of Linux bridges.
func (k *kernel) bridgeDamages() []Damage {
	if k.ovs != nil {
		return nil
	}
	bridge := func(change func(nl *netlink.Handle, bridge netlink.Link) error) func(context.Context, string) error {
		return k.outside(func(nl *netlink.Handle, tap netlink.Link) error {
			bridge, err := nl.LinkByIndex(tap.Attrs().MasterIndex)
			if err != nil {
				return err
			}
			return change(nl, bridge)
		})
	}
	return []Damage{
		{"a port's host end out of its bridge", "qr-web", k.outside(func(nl *netlink.Handle, tap netlink.Link) error {
			return nl.LinkSetNoMaster(tap)
		})},
		{"a port's host end down", "qr-web", k.outside(func(nl *netlink.Handle, tap netlink.Link) error { return nl.LinkSetDown(tap) })},
		{"a port's host end with another MTU", "qr-web", k.outside(func(nl *netlink.Handle, tap netlink.Link) error {
			return nl.LinkSetMTU(tap, 1400)
		})},
		{"a bridge down", "wiring", bridge(func(nl *netlink.Handle, bridge netlink.Link) error { return nl.LinkSetDown(bridge) })},
	}
}

// inside runs fn on a thread that is in a router's namespace.
func (k *kernel) inside(fn func(*netlink.Handle) error) func(context.Context, string) error {
	return func(_ context.Context, id string) error {
		ns, err := netns.Open(k.path(id))
		if err != nil {
			return err
		}
		defer ns.Close()
		return netns.Do(int(ns.Fd()), func() error {
			nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
			if err != nil {
				return err
			}
			defer nl.Close()
			return fn(nl)
		})
	}
}

func flushRoutes(nl *netlink.Handle) error {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := nl.RouteList(nil, family)
		if err != nil {
			return err
		}
		for _, r := range routes {
			if r.Protocol == unix.RTPROT_KERNEL {
				continue
			}
			if err := nl.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
	}
	return nil
}

// flushRules removes every rule of nf_tables, iptables-nft's included.
func flushRules(*netlink.Handle) error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	conn.FlushRuleset()
	return conn.Flush()
}

// deletePort deletes a router's device. The kernel leaves the devices of its own switch to that,
// whose port it is then that goes.
func (k *kernel) deletePort(nl *netlink.Handle, web netlink.Link) error {
	err := nl.LinkDel(web)
	if k.ovs != nil && errors.Is(err, unix.EOPNOTSUPP) {
		return k.unplug("web")
	}
	return err
}

// cut deletes the other end of a port's cable, wherever on the host that is, or its port on a
// switch.
func (k *kernel) cut(_ context.Context, id string) error {
	if k.ovs != nil {
		return k.unplug("web")
	}
	return k.outside(func(nl *netlink.Handle, tap netlink.Link) error { return nl.LinkDel(tap) })(context.Background(), id)
}

// outside runs fn with the host's end of the first port's cable.
func (k *kernel) outside(fn func(nl *netlink.Handle, tap netlink.Link) error) func(context.Context, string) error {
	return func(ctx context.Context, id string) error {
		var peer int
		err := k.inside(func(nl *netlink.Handle) error {
			link, err := nl.LinkByName("qr-web")
			if err != nil {
				return err
			}
			peer = link.Attrs().ParentIndex
			return nil
		})(ctx, id)
		if err != nil {
			return err
		}
		return netdev.At(k.lab.HostNS, func(nl *netlink.Handle) error {
			link, err := nl.LinkByIndex(peer)
			if err != nil {
				return err
			}
			return fn(nl, link)
		})
	}
}
