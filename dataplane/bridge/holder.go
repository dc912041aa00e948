package bridge

import (
	"fmt"
	"slices"
	"strings"
)

// holder is who has a device that a network needs.
type holder struct {
	bridge  string   // that the physical interface is in
	network string   // empty: it is not one of ours
	routers []string // with a port on that network, sorted
}

// holderOf finds out whether another network, or somebody else, has the network's physical
// interface or its uplink. The view is locked.
func (v *view) holderOf(n *network) (h holder) {
	switch {
	case n.segment.uplink != "":
		if n.uplink != nil && n.uplink.mark.plumbing() {
			h.network = n.uplink.mark.network
		}
	case n.physical != nil && !n.existing && n.physical.master != 0:
		if master := v.links[n.physical.master]; master != nil && master != n.first {
			h.bridge, h.network = master.name, master.mark.network
		}
	}
	if h.network == n.network {
		h.network = ""
	}
	if h.network == "" {
		return h
	}
	for router, taps := range v.taps {
		for _, tap := range taps {
			if router != "" && tap.mark.network == h.network && !slices.Contains(h.routers, router) {
				h.routers = append(h.routers, router)
			}
		}
	}
	slices.Sort(h.routers)
	return h
}

// taken says why the physical interface cannot be had, and what to do.
func (h holder) taken(nic, physical string) error {
	if h.network == "" {
		return fmt.Errorf("interface %s is in bridge %s already: configure that bridge for physical network %q, or take the interface out of it",
			nic, h.bridge, physical)
	}
	return fmt.Errorf("interface %s is in bridge %s, which carries flat network %s%s, and an interface carries one flat network: "+
		"remove %s from this host, or put the interface into a bridge of your own and configure that for physical network %q",
		nic, h.bridge, h.network, h.of(), h.those(), physical)
}

// segmentTaken says why the segment cannot be had, and what to do.
func (h holder) segmentTaken(device string) error {
	return fmt.Errorf("network %s%s has the segment of device %s on this host: remove %s from this host, or give one of the networks another segment",
		h.network, h.of(), device, h.those())
}

func (h holder) of() string {
	switch len(h.routers) {
	case 0:
		return ""
	case 1:
		return " of router " + h.routers[0]
	}
	return " of routers " + strings.Join(h.routers, ", ")
}

func (h holder) those() string {
	switch len(h.routers) {
	case 0:
		return "the ports of that network"
	case 1:
		return "that router"
	}
	return "those routers"
}
