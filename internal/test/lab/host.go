package lab

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/netdev"
	"github.com/l3kit/l3kit/internal/netns"
)

// Host is a network namespace to probe from. Its methods may be called concurrently.
type Host struct {
	Name string

	ns     *os.File
	owned  bool                      // the namespace is the lab's own, to be removed with it
	wiring namespace.InterfaceDriver // of the ports that Attach plugged
	spec   Spec                      // of Attach
	ports  int                       // that are plugged now
}

// Spec describes a workload.
type Spec struct {
	Name string // unique in the lab, up to 200 characters

	// Ports become the devices eth0, eth1, …. A missing ID or MAC is made from Name, a missing MTU
	// is 1500. A host with several ports forwards between them.
	Ports []dataplane.Port

	Local    []netip.Addr      // further addresses that the host answers for, on its loopback device
	NextHops []netip.Addr      // default routes; one outside the ports' subnets is reached on the link of eth0
	Routes   []dataplane.Route // the host's own further routes
}

// Attach makes a workload, with its ports attached to their networks by wiring. Segmentation and
// checksums are done in software, so that what the packets carry is what a wire would carry.
func (l *Lab) Attach(ctx context.Context, wiring namespace.InterfaceDriver, spec Spec) (*Host, error) {
	h, err := l.create(spec.Name, nil)
	if err != nil {
		return nil, err
	}
	h.spec = spec
	if err := h.plug(ctx, wiring); err != nil {
		return nil, err
	}
	return h, nil
}

// plug attaches the host's ports by wiring, and configures the devices.
func (h *Host) plug(ctx context.Context, wiring namespace.InterfaceDriver) error {
	h.wiring, h.ports = wiring, len(h.spec.Ports)
	what := make([]namespace.Attachment, h.ports)
	for i, p := range h.spec.Ports {
		what[i] = namespace.Attachment{Device: device(i), Port: fillIn(p, h.Name, i)}
	}
	err := wiring.Plug(ctx, h.seam(), what...)
	if err == nil {
		err = h.configure(h.spec)
	}
	if err != nil {
		return fmt.Errorf("host %s: %w", h.Name, err)
	}
	return nil
}

// Migrate takes a workload that was attached off its networks and attaches it by other wiring, such
// as that of another machine. Its namespace stays, so its connections do too, like those of a
// virtual machine that is migrated.
func (h *Host) Migrate(ctx context.Context, wiring namespace.InterfaceDriver) error {
	if err := h.Detach(ctx); err != nil {
		return err
	}
	return h.plug(ctx, wiring)
}

// Detach takes a workload that was attached off its networks. Its namespace stays until the lab is
// closed.
func (h *Host) Detach(ctx context.Context) error {
	var errs []error
	for i := range h.ports {
		errs = append(errs, h.wiring.Unplug(ctx, h.seam(), device(i)))
	}
	h.ports = 0
	return errors.Join(errs...)
}

// Do runs fn on an OS thread that is in the host's namespace. A socket that fn makes can be used
// anywhere afterwards; goroutines that fn starts are not in the namespace.
func (h *Host) Do(fn func() error) error { return netns.Do(h.FD(), fn) }

// FD is a file descriptor open on the host's namespace, valid until the lab is closed.
func (h *Host) FD() int { return int(h.ns.Fd()) }

func (h *Host) seam() namespace.NS { return namespace.NS{FD: h.FD()} }

func device(i int) string { return "eth" + strconv.Itoa(i) }

// fillIn completes a workload's port. Wiring names devices after the first characters of a port's
// ID, so those must differ.
func fillIn(p dataplane.Port, name string, i int) dataplane.Port {
	sum := fnv.New64a()
	fmt.Fprintf(sum, "%s %d", name, i)
	hash := sum.Sum64()
	if p.ID == "" {
		p.ID = fmt.Sprintf("%016x", hash)
	}
	if p.MAC == (dataplane.MAC{}) {
		p.MAC = dataplane.MAC{0x02, byte(hash >> 32), byte(hash >> 24), byte(hash >> 16), byte(hash >> 8), byte(hash)} // locally administered
	}
	if p.MTU == 0 {
		p.MTU = 1500
	}
	return p
}

// configure gives the host its addresses and routes. Its devices exist and are down.
func (h *Host) configure(spec Spec) error {
	if err := h.Do(func() error { return setSysctls(len(spec.Ports) > 1) }); err != nil {
		return err
	}
	nl, err := netlink.NewHandleAt(vnetns.NsHandle(h.FD()), unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer nl.Close()
	var lo []netip.Prefix
	for _, a := range spec.Local {
		lo = append(lo, netip.PrefixFrom(a, a.BitLen()))
	}
	if _, err := up(nl, "lo", lo); err != nil {
		return err
	}
	if err := hosts(nl, spec.Local); err != nil {
		return err
	}
	links := make([]netlink.Link, len(spec.Ports))
	for i, p := range spec.Ports {
		if err := h.Do(func() error {
			return errors.Join(netdev.ChecksumInSoftware(device(i)), ignoreRedirects(device(i)))
		}); err != nil {
			return err
		}
		if links[i], err = up(nl, device(i), p.Addrs); err != nil {
			return err
		}
	}
	for _, hop := range spec.NextHops {
		spec.Routes = append(spec.Routes, dataplane.Route{Dest: netip.PrefixFrom(unspecified(hop), 0), NextHop: hop})
	}
	for _, r := range spec.Routes {
		if err := nl.RouteAdd(route(spec.Ports, links, r)); err != nil {
			return &dataplane.OpError{Op: "add route", Object: r.Dest.String() + " via " + r.NextHop.String(), Err: err}
		}
	}
	return nil
}

func unspecified(like netip.Addr) netip.Addr {
	if like.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

func up(nl *netlink.Handle, dev string, addrs []netip.Prefix) (netlink.Link, error) {
	link, err := nl.LinkByName(dev)
	if err != nil {
		return nil, &dataplane.OpError{Op: "find device", Object: dev, Err: err}
	}
	for _, a := range addrs {
		err := nl.AddrReplace(link, &netlink.Addr{IPNet: ipNet(a), Flags: unix.IFA_F_NODAD})
		if err != nil {
			return nil, &dataplane.OpError{Op: "add address", Object: a.String() + " on " + dev, Err: err}
		}
	}
	if err := nl.LinkSetUp(link); err != nil {
		return nil, &dataplane.OpError{Op: "set up", Object: dev, Err: err}
	}
	return link, nil
}

// hosts waits until the namespace takes what is for addresses of its loopback device. Linux adds
// the local route of an IPv6 address a little after the address (addrconf_dad_work).
func hosts(nl *netlink.Handle, addrs []netip.Addr) error {
	deadline := time.Now().Add(Patience(10 * time.Second))
	for _, a := range addrs {
		for {
			routes, err := nl.RouteGet(a.AsSlice())
			if err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL {
				break
			}
			if time.Now().After(deadline) {
				return &dataplane.OpError{Op: "find local route", Object: a.String(), Err: err}
			}
			time.Sleep(time.Millisecond)
		}
	}
	return nil
}

func route(ports []dataplane.Port, links []netlink.Link, r dataplane.Route) *netlink.Route {
	out := &netlink.Route{Dst: ipNet(r.Dest), Gw: r.NextHop.AsSlice(), LinkIndex: links[0].Attrs().Index, Flags: int(netlink.FLAG_ONLINK)}
	for i, p := range ports {
		for _, a := range p.Addrs {
			if a.Contains(r.NextHop) {
				out.LinkIndex, out.Flags = links[i].Attrs().Index, 0
			}
		}
	}
	return out
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// setSysctls makes the calling thread's namespace a plain host: it takes its configuration from us
// alone, never waits before it uses an address, and sends every ICMP error.
func setSysctls(forward bool) error {
	values := map[string]string{
		"ipv4/conf/all/rp_filter":                "0",
		"ipv4/conf/default/rp_filter":            "0",
		"ipv4/conf/all/accept_redirects":         "0",
		"ipv4/conf/default/accept_redirects":     "0",
		"ipv4/conf/all/send_redirects":           "0",
		"ipv4/conf/default/send_redirects":       "0",
		"ipv4/icmp_ratemask":                     "0",
		"ipv6/conf/all/accept_redirects":         "0",
		"ipv6/conf/default/accept_redirects":     "0",
		"ipv6/conf/default/accept_ra":            "0",
		"ipv6/conf/default/accept_dad":           "0",
		"ipv6/conf/default/router_solicitations": "0",
		"ipv6/icmp/ratelimit":                    "0",
	}
	if forward {
		values["ipv4/ip_forward"] = "1"
		values["ipv6/conf/all/forwarding"] = "1"
	}
	for name, value := range values {
		if err := os.WriteFile(filepath.Join("/proc/sys/net", name), []byte(value), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// ignoreRedirects lets a device that is there already ignore redirects of IPv6, where no sysctl is
// for all devices.
func ignoreRedirects(dev string) error {
	return os.WriteFile(filepath.Join("/proc/sys/net/ipv6/conf", dev, "accept_redirects"), []byte("0"), 0o644)
}
