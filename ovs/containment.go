package ovs

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/ovn-org/libovsdb/ovsdb"

	"github.com/l3kit/l3kit/dataplane"
)

// containment is the part of a port's mark that says how flows contain it: "anycast" or "outside",
// its MAC, and its addresses, with spaces between them. It is empty for any other port.
type containment string

// containmentOf is what a port's mark says.
func containmentOf(p dataplane.Port) containment {
	var words []string
	switch {
	case p.Anycast != nil:
		words = []string{anycastWord, p.MAC.String()}
	case p.Outside:
		words = []string{outsideWord, p.MAC.String()}
	default:
		return ""
	}
	var addrs []string
	for _, a := range p.Addrs {
		addrs = append(addrs, a.Addr().Unmap().String())
	}
	slices.Sort(addrs)
	return containment(strings.Join(append(words, slices.Compact(addrs)...), " "))
}

const (
	anycastWord = "anycast"
	outsideWord = "outside"
)

func (m mark) contained(c containment) mark {
	m.contain = c
	return m
}

func (c containment) anycast() bool { return strings.HasPrefix(string(c), anycastWord+" ") }

// parse reads what containmentOf has written. ok is false for anything else.
func (c containment) parse() (p containedPort, ok bool) {
	words := strings.Fields(string(c))
	if len(words) < 2 || words[0] != anycastWord && words[0] != outsideWord {
		return p, false
	}
	p.Anycast = words[0] == anycastWord
	if err := p.MAC.UnmarshalText([]byte(words[1])); err != nil {
		return p, false
	}
	for _, w := range words[2:] {
		a, err := netip.ParseAddr(w)
		if err != nil {
			return p, false
		}
		p.Addrs = append(p.Addrs, a)
	}
	return p, true
}

// containedPort is an anycast port, or one that counts as outside.
type containedPort struct {
	Network string // its ID
	Port    uint32 // on the integration bridge
	Anycast bool
	MAC     dataplane.MAC
	Addrs   []netip.Addr
}

// checkContainment refuses an anycast port where nothing can contain it.
func checkContainment(p dataplane.Port, s segment) error {
	if p.Anycast != nil && s.direct {
		return fmt.Errorf("%w: physical network %q is configured as direct on this host: its bridge cannot contain an anycast port",
			dataplane.ErrUnsupported, s.Physical)
	}
	return nil
}

// far is the bridge at the other end of the patch pair by which a network's frames leave the
// integration bridge; empty if they do not.
func (c Config) far(n dataplane.Network) string {
	s, err := c.segment(n)
	switch {
	case err != nil || s.direct:
		return ""
	case s.tunnel:
		return c.Tunnel.Bridge
	}
	return s.physical
}

// protect says which patch pairs a change leaves protected: those by which frames of an anycast
// port could leave the host, or get to it. Action NORMAL passes nothing between two protected ports
// of a bridge, so that nothing flooded leaves one of them by the other. staying says whether a port
// that is plugged now is so after the change.
func (d *Driver) protect(c *change, staying func(*port) bool, more ...attachment) {
	c.protected = map[string]bool{}
	c.s.view.read(func() {
		for _, ports := range c.s.view.contained {
			for _, p := range ports {
				if p.mark.contain.anycast() && staying(p) {
					c.protected[d.config.far(p.mark.network)] = true
				}
			}
		}
	})
	for _, a := range more {
		if a.Anycast != nil {
			c.protected[d.config.far(a.Network)] = true
		}
	}
	delete(c.protected, "")
}

// unprotect ends the protection of patch pairs that ports leave which are anycast no more.
func (d *Driver) unprotect(c *change, left []*port) {
	for _, p := range left {
		far := d.config.far(p.mark.network)
		if !p.mark.contain.anycast() || far == "" || c.protected[far] {
			continue
		}
		name := "patch-tun"
		if far != d.config.Tunnel.Bridge {
			name = d.config.patchNames(far)[0]
		}
		patch, _ := c.s.port(name)
		if patch != nil && patch.mark.role == patchRole && patch.Protected && c.once(name) {
			c.set(portTable, patch.UUID, ovsdb.Row{"protected": false})
		}
	}
}

// unprotectWithout is protect and unprotect for ports that are removed.
func (d *Driver) unprotectWithout(c *change, removed []*port) {
	d.protect(c, func(p *port) bool {
		return !slices.ContainsFunc(removed, func(r *port) bool { return r.UUID == p.UUID })
	})
	d.unprotect(c, removed)
}

// leftBy lists the ports among those which are to be plugged that are plugged now.
func leftBy(s *session, what []attachment) (ports []*port) {
	s.view.read(func() {
		for _, a := range what {
			for _, p := range s.view.routers[a.ns.Router] {
				if p.mark.port == a.ID {
					ports = append(ports, p)
				}
			}
		}
	})
	return ports
}

// containedPorts lists the ports that flows contain, in any order. The view is locked.
func (v *view) containedPorts(number func(name string) uint32) (list []containedPort) {
	for network, ports := range v.contained {
		for name, p := range ports {
			if c, ok := p.mark.contain.parse(); ok {
				c.Network, c.Port = network, number(name)
				list = append(list, c)
			}
		}
	}
	return list
}

func compareContained(a, b containedPort) int {
	return cmp.Or(cmp.Compare(a.Network, b.Network), slices.Compare(a.MAC[:], b.MAC[:]), cmp.Compare(a.Port, b.Port))
}
