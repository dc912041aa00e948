package namespace

import (
	"maps"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
)

// MarkRouted is the bit of the packet mark of what passes between the gateway and a port in its
// address scope, and keeps its address.
const MarkRouted = 0x80000

// Scope is an address scope of a family.
type Scope struct {
	Name    string   // empty: what is in none
	Devices []string // of its ports, sorted
}

// Scopes4 lists the IPv4 address scopes between which a router's ports do not forward, by name.
// There are none if all ports are in the same.
func Scopes4(r dataplane.Router) []Scope {
	return scopesBy(r, func(p dataplane.Port) string { return p.Scopes.IPv4 })
}

// Scopes6 does the same for IPv6.
func Scopes6(r dataplane.Router) []Scope {
	return scopesBy(r, func(p dataplane.Port) string { return p.Scopes.IPv6 })
}

func scopesBy(r dataplane.Router, name func(dataplane.Port) string) []Scope {
	members := map[string][]string{}
	for dev, p := range PortsByDevice(r) {
		members[name(p)] = append(members[name(p)], dev)
	}
	if len(members) < 2 {
		return nil
	}
	var list []Scope
	for _, n := range slices.Sorted(maps.Keys(members)) {
		slices.Sort(members[n])
		list = append(list, Scope{n, members[n]})
	}
	return list
}

// SharingScope4 lists the devices of internal ports in the gateway's IPv4 address scope, sorted.
func SharingScope4(r dataplane.Router) []string {
	var list []string
	for _, p := range r.Ports {
		if r.Gateway.SharesScope4(p) {
			list = append(list, dataplane.PortDevice(p.ID))
		}
	}
	slices.Sort(list)
	return list
}
