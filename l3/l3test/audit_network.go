package l3test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

// ofPolicies: they are about resources that exist, and each is there once.
func (d *database) ofPolicies() {
	type share struct{ object, action, target string }
	seen := map[share]string{}
	for _, p := range d.policies {
		var ok bool
		switch p.ObjectType {
		case l3.ObjectSubnetPool:
			_, ok = d.pools[p.ObjectID]
		case l3.ObjectAddressScope:
			_, ok = d.scopes[p.ObjectID]
		case l3.ObjectQoSPolicy:
			_, ok = d.qosPolicies[p.ObjectID]
		default:
			_, ok = d.networks[p.ObjectID]
		}
		if !ok {
			d.report("RBAC policy %s is about %s %s, which does not exist", p.ID, p.ObjectType, p.ObjectID)
		}
		s := share{p.ObjectID, p.Action, p.TargetProject}
		if other, twice := seen[s]; twice {
			d.report("RBAC policies %s and %s say the same", p.ID, other)
		}
		seen[s] = p.ID
	}
}

// ofSegments: networks have the segments that are claimed for them, and no others.
func (d *database) ofSegments() {
	seen := map[l3.Segment]string{}
	for _, n := range d.networks {
		if len(n.Segments) == 0 {
			d.report("network %s has no segment", n.ID)
		}
		for _, s := range n.Segments {
			if s.ID == 0 && s.Physical == "" {
				continue // local: nobody else's
			}
			if other, twice := seen[s]; twice {
				d.report("networks %s and %s are both on segment %v", n.ID, other, s)
			}
			seen[s] = n.ID
			if holder := d.segments[s]; holder != n.ID {
				d.report("network %s is on segment %v, which is claimed for %q", n.ID, s, holder)
			}
		}
	}
	for _, st := range d.states {
		if st.Transit != (l3.Segment{}) && (st.Transit.ID != 0 || st.Transit.Physical != "") {
			if other, twice := seen[st.Transit]; twice {
				d.report("network %s and the transit of router %s are both on segment %v", other, st.RouterID, st.Transit)
			}
			seen[st.Transit] = "transit-" + st.RouterID
		}
	}
	for s, network := range d.segments {
		if seen[s] != network {
			d.report("segment %v is claimed for network %s, which is not on it", s, network)
		}
	}
}

// ofSubnets: those of a network are apart from each other, and their pools are within them.
func (d *database) ofSubnets() {
	byNetwork := map[string][]l3.Subnet{}
	for _, s := range d.subnets {
		if _, ok := d.networks[s.NetworkID]; !ok {
			d.report("subnet %s is of network %s, which does not exist", s.ID, s.NetworkID)
		}
		if s.CIDR != s.CIDR.Masked() || s.CIDR.Addr().Is4() != (s.IPVersion == 4) {
			d.report("subnet %s of IP version %d has the CIDR %s", s.ID, s.IPVersion, s.CIDR)
		}
		for i, p := range s.AllocationPools {
			if !s.CIDR.Contains(p.First) || !s.CIDR.Contains(p.Last) || p.Last.Less(p.First) {
				d.report("subnet %s: the pool from %s to %s is not in %s", s.ID, p.First, p.Last, s.CIDR)
			}
			for _, o := range s.AllocationPools[:i] {
				if !p.Last.Less(o.First) && !o.Last.Less(p.First) {
					d.report("subnet %s: the pools from %s and from %s overlap", s.ID, p.First, o.First)
				}
			}
		}
		for _, o := range byNetwork[s.NetworkID] {
			if o.CIDR.Overlaps(s.CIDR) {
				d.report("subnets %s and %s of network %s overlap: %s, %s", s.ID, o.ID, s.NetworkID, s.CIDR, o.CIDR)
			}
		}
		byNetwork[s.NetworkID] = append(byNetwork[s.NetworkID], s)
	}
}

// ofPorts: each has addresses of its network's subnets, a MAC address of its own, and whatever it
// belongs to exists.
func (d *database) ofPorts() {
	type station struct {
		network string
		mac     dataplane.MAC
	}
	seen := map[station]string{}
	for _, p := range d.ports {
		if _, ok := d.networks[p.NetworkID]; !ok {
			d.report("port %s is on network %s, which does not exist", p.ID, p.NetworkID)
		}
		s := station{p.NetworkID, p.MAC}
		if other, twice := seen[s]; twice {
			d.report("ports %s and %s of network %s have the MAC address %s", p.ID, other, p.NetworkID, p.MAC)
		}
		seen[s] = p.ID
		for _, ip := range p.FixedIPs {
			subnet, ok := d.subnets[ip.SubnetID]
			switch {
			case !ok:
				d.report("port %s has %s of subnet %s, which does not exist", p.ID, ip.IPAddress, ip.SubnetID)
			case subnet.NetworkID != p.NetworkID:
				d.report("port %s of network %s has %s of subnet %s, which is of network %s", p.ID, p.NetworkID, ip.IPAddress, ip.SubnetID, subnet.NetworkID)
			case !subnet.CIDR.Contains(ip.IPAddress):
				d.report("port %s has %s, which is not in its subnet %s, %s", p.ID, ip.IPAddress, subnet.ID, subnet.CIDR)
			}
		}
		for _, g := range p.SecurityGroups {
			if _, ok := d.groups[g]; !ok {
				d.report("port %s is in security group %s, which does not exist", p.ID, g)
			}
		}
	}
}

// ofAddresses: what ports have is claimed for them, and the other way round, and nothing is twice
// there.
func (d *database) ofAddresses() {
	type place struct {
		subnet  string
		address netip.Addr
	}
	claimed, had := map[place]string{}, map[place]string{}
	for _, c := range d.claims {
		at := place{c.SubnetID, c.Address}
		if other, twice := claimed[at]; twice {
			d.report("%s of subnet %s is claimed for ports %s and %s", c.Address, c.SubnetID, c.PortID, other)
		}
		claimed[at] = c.PortID
	}
	for _, p := range d.ports {
		for _, ip := range p.FixedIPs {
			at := place{ip.SubnetID, ip.IPAddress}
			if other, twice := had[at]; twice {
				d.report("ports %s and %s both have %s of subnet %s", p.ID, other, ip.IPAddress, ip.SubnetID)
			}
			had[at] = p.ID
			if holder := claimed[at]; holder != p.ID {
				d.report("port %s has %s of subnet %s, which is claimed for %q", p.ID, ip.IPAddress, ip.SubnetID, holder)
			}
		}
	}
	for at, port := range claimed {
		if o, held := d.orphans[port]; held && slices.ContainsFunc(o.Addrs, func(h agent.HeldAddr) bool { return h.Addr == at.address }) {
			continue
		}
		if had[at] != port {
			d.report("%s of subnet %s is claimed for port %s, which does not have it", at.address, at.subnet, port)
		}
	}
}

// freeAddresses: what the store says is the lowest free address of a subnet's pools is that, and
// what is claimed is not free.
func (d *database) freeAddresses(ctx context.Context, tx l3.Tx, found *[]error) error {
	taken := map[string]map[netip.Addr]bool{}
	for _, c := range d.claims {
		if taken[c.SubnetID] == nil {
			taken[c.SubnetID] = map[netip.Addr]bool{}
		}
		taken[c.SubnetID][c.Address] = true
	}
	for _, s := range d.subnets {
		if n, err := tx.Addresses().Count(ctx, s.ID); err != nil {
			return err
		} else if n != len(taken[s.ID]) {
			*found = append(*found, fmt.Errorf("subnet %s: %d addresses are claimed, %d counted", s.ID, len(taken[s.ID]), n))
		}
		for _, whole := range append([]l3.AddressRange{{First: s.CIDR.Addr(), Last: last(s.CIDR)}}, s.AllocationPools...) {
			free, err := tx.Addresses().FirstFree(ctx, s.ID, []l3.AddressRange{whole})
			if err != nil {
				return err
			}
			want := whole.First
			for ; taken[s.ID][want]; want = want.Next() {
				if want == whole.Last {
					want = netip.Addr{}
					break
				}
			}
			if free != want {
				*found = append(*found, fmt.Errorf("subnet %s: the lowest free address from %s is %s, the store says %s", s.ID, whole.First, want, free))
			}
		}
	}
	for _, c := range d.claims {
		free, err := tx.Addresses().FirstFree(ctx, c.SubnetID, []l3.AddressRange{{First: c.Address, Last: c.Address}})
		if err != nil {
			return err
		}
		if free.IsValid() {
			*found = append(*found, fmt.Errorf("%s of subnet %s is claimed for port %s, and the store says it is free", c.Address, c.SubnetID, c.PortID))
		}
	}
	return nil
}

// last is the highest address of a prefix.
func last(p netip.Prefix) netip.Addr {
	bytes := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(bytes)
	return a
}
