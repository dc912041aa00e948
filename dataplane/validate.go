package dataplane

import (
	"fmt"
	"net/netip"
)

// Limits of a router.
const (
	maxIDLen       = 64
	maxRoutes      = 10_000
	maxECMP        = 256 // next hops of one destination
	maxPhysicalLen = 64
	minMTU6        = 1280 // RFC 8200
)

// Validate returns nil, or [Faults] with every fault of the router. Addresses, names and numbers
// are checked against each other and against what Linux can hold; nothing on the host is looked at.
//
// Every subnet is on one port only, every address in one place; the external network's subnets
// overlap none of the internal ports'. A floating IP stands for an address in a subnet of an
// internal port, and needs a gateway with an IPv4 address; so does a port forwarding. No port is
// forwarded twice, and none of a floating IP is. A limit is of an address that the gateway answers
// for. Next hops are neighbours, or instances on the
// transit, and no IPv6 route leads what is for one out by another port. It takes time proportional
// to the size of the router.
func (r Router) Validate() error {
	c := checker{
		ports:      make(map[string]string, len(r.Ports)+1),
		devices:    make(map[string]string, len(r.Ports)+1),
		networks:   make(map[string]attachment, len(r.Ports)+1),
		macs:       make(map[station]string, len(r.Ports)+1),
		held:       make(map[netip.Addr]string, len(r.Ports)+1),
		neighbours: make(map[netip.Addr]string),
	}
	c.id("ID", r.ID)
	if r.Owner != "" {
		c.id("Owner", r.Owner)
	}
	c.metadata(&r)
	for i := range r.Ports {
		c.internalPort(fmt.Sprintf("Ports[%d]", i), &r.Ports[i])
	}
	if r.Transit != nil {
		c.hasTransit = true
		c.transitPort(r.Transit)
		c.remote = newRemotes(r.Transit.Routes)
	}
	if r.Gateway != nil {
		c.gatewayPort(r.Gateway)
		c.floatingIPsOnly(&r)
	}
	c.overlaps()
	c.anycast(&r)
	if r.Gateway != nil {
		c.onLinkSubnets(r.Gateway)
		c.nextHops(r.Gateway)
	}
	if r.Transit != nil {
		c.transit(&r)
	}
	c.routes(r.Routes)
	c.floatingIPs(&r)
	c.portForwardings(&r)
	c.limits(&r)
	c.scopes(&r)
	return c.err()
}

// Validate returns nil, or [Faults] with every fault of the network.
func (n Network) Validate() error {
	var c checker
	c.id("Network.ID", n.ID)
	c.segment("Network", n)
	return c.err()
}

// ValidateID returns nil, or [Faults] if that cannot be the ID of a router, a port, a network, a
// floating IP or an owner.
func ValidateID(id string) error {
	var c checker
	c.id("ID", id)
	return c.err()
}

// checker collects faults, and what later checks compare with. Values of the maps are the paths at
// which the keys were found.
type checker struct {
	faults     Faults
	ports      map[string]string // by ID
	devices    map[string]string // by name
	networks   map[string]attachment
	macs       map[station]string
	held       map[netip.Addr]string // addresses of ports
	neighbours map[netip.Addr]string // next hops
	subnets    []subnet
	onLink     []subnet // subnets of the external network, without an own address

	hasTransit   bool
	remote       remotes
	neighboursOf map[string]map[netip.Addr]bool // of anycast ports, by path
}

// attachment is the first port that was found on a network.
type attachment struct {
	network Network
	path    string
	role    role
}

// role is what a port is to its router. It prints as its name.
type role string

const (
	internal role = "an internal port"
	gateway  role = "the gateway"
	transit  role = "the transit"
)

// station is a MAC on a network.
type station struct {
	network string
	mac     MAC
}

// subnet is what an address of a port is in, or a subnet on the gateway's link.
type subnet struct {
	path string
	port string       // path of the port
	addr netip.Prefix // the port's address; of a bare subnet, the subnet itself
	role role
	bare bool // the port has no address there
}

func (c *checker) err() error {
	if len(c.faults) == 0 {
		return nil
	}
	return c.faults
}

func (c *checker) fault(path, format string, args ...any) {
	c.faults = append(c.faults, Fault{Path: path, Problem: fmt.Sprintf(format, args...)})
}

// id checks a name that becomes part of the names of kernel objects and files.
func (c *checker) id(path, id string) {
	switch {
	case id == "":
		c.fault(path, "is empty")
	case len(id) > maxIDLen:
		c.fault(path, "%s is longer than %d characters", quote(id), maxIDLen)
	case !validID(id):
		c.fault(path, "%s has other characters than A–Z a–z 0–9 . _ -, or begins with . or -", quote(id))
	}
}

func validID(id string) bool {
	for i := range len(id) {
		switch b := id[i]; {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', b == '_':
		case (b == '.' || b == '-') && i > 0:
		default:
			return false
		}
	}
	return id != ""
}

// unique notes that a key is at path, unless it is taken: then it returns where.
func unique[K comparable](seen map[K]string, key K, path string) (taken string) {
	if first, ok := seen[key]; ok {
		return first
	}
	seen[key] = path
	return ""
}

// subnetOf finds the subnet that an address lies in, those of internal ports first and those
// without an own address last; nil when there is none.
func (c *checker) subnetOf(a netip.Addr) *subnet {
	for _, list := range [][]subnet{c.subnets, c.onLink} {
		for i := range list {
			if list[i].addr.Contains(a) {
				return &list[i]
			}
		}
	}
	return nil
}

// unusable says why an address cannot be a host's; empty when it can.
func unusable(a netip.Addr) string {
	switch {
	case !a.IsValid():
		return "is missing"
	case a.Zone() != "":
		return fmt.Sprintf("%s has a zone", quote(a.String()))
	case a.Is4In6():
		return fmt.Sprintf("%s is an IPv4-mapped IPv6 address", a)
	case a.IsUnspecified() || isThisNetwork(a):
		return fmt.Sprintf("%s is no host's address", a)
	case a.IsLoopback():
		return fmt.Sprintf("%s is a loopback address", a)
	case a.IsMulticast():
		return fmt.Sprintf("%s is a multicast address", a)
	case a == limitedBroadcast:
		return fmt.Sprintf("%s is the broadcast address", a)
	}
	return ""
}

// reserved says why no host of a subnet can have the address; empty when one can.
func reserved(a netip.Addr, subnet netip.Prefix) string {
	last, ok := broadcast(subnet)
	switch {
	case !ok || !subnet.Contains(a):
		return ""
	case a == subnet.Masked().Addr():
		return fmt.Sprintf("%s is the network address of %s", a, subnet.Masked())
	case a == last:
		return fmt.Sprintf("%s is the broadcast address of %s", a, subnet.Masked())
	}
	return ""
}
