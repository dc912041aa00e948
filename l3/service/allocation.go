package service

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

// allocation works out which addresses a port has, by what it is asked for and what it has already.
// It claims nothing.
type allocation struct {
	w       *work
	port    *l3.Port
	subnets []l3.Subnet  // of the port's network, the oldest first
	have    []l3.FixedIP // the port's addresses that are not in chosen
	chosen  []l3.FixedIP
}

// allocate answers with the addresses that a port shall have. Want nil asks for one of each family
// that the network offers. Addresses of subnets whose hosts make their own come by themselves, but
// for the interface of a router, which has what it is given.
func (s *Service) allocate(ctx context.Context, w *work, p *l3.Port, want []l3.FixedIPSpec) ([]l3.FixedIP, error) {
	oldest := []l3.Sort{{Field: "created_at"}, {Field: "cidr"}}
	subnets, err := w.Subnets().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("network_id", p.NetworkID)}, Sort: oldest})
	if err != nil {
		return nil, err
	}
	a := &allocation{w: w, port: p, subnets: subnets, have: slices.Clone(p.FixedIPs), chosen: []l3.FixedIP{}}
	if want == nil {
		err = a.perFamily(ctx)
	} else {
		err = a.asked(ctx, want)
	}
	if err != nil {
		return nil, err
	}
	if err := a.selfMade(ctx); err != nil {
		return nil, err
	}
	if len(a.have) == 0 && len(a.chosen) == len(p.FixedIPs) {
		return p.FixedIPs, nil // the same, perhaps asked for in another order
	}
	return a.chosen, nil
}

// perFamily chooses from the subnets that are for ports of this owner: an IPv4 address, and an IPv6
// address that has to be given out. A floating IP is IPv4 alone.
func (a *allocation) perFamily(ctx context.Context) error {
	eligible, err := a.eligible()
	if err != nil {
		return err
	}
	var v4, v6 []l3.Subnet
	for _, sub := range eligible {
		switch {
		case sub.IPVersion == 4:
			v4 = append(v4, sub)
		case !autoAddressed(sub) && a.port.DeviceOwner != l3.OwnerFloatingIP:
			v6 = append(v6, sub)
		}
	}
	for _, family := range [][]l3.Subnet{v4, v6} {
		if err := a.anyOf(ctx, family); err != nil {
			return err
		}
	}
	return nil
}

// eligible are the subnets that serve ports of this owner; those that name no service type serve
// the owners that no subnet is kept for.
func (a *allocation) eligible() ([]l3.Subnet, error) {
	var dedicated, general []l3.Subnet
	for _, sub := range a.subnets {
		switch {
		case len(sub.ServiceTypes) == 0:
			general = append(general, sub)
		case slices.Contains(sub.ServiceTypes, a.port.DeviceOwner):
			dedicated = append(dedicated, sub)
		}
	}
	switch {
	case len(dedicated) > 0:
		return dedicated, nil
	case len(general) == 0 && len(a.subnets) > 0:
		return nil, conflict("IpAddressGenerationFailureNoMatchingSubnet",
			"No valid service subnet for the given device owner, network %s, service type %s.", a.port.NetworkID, a.port.DeviceOwner)
	}
	return general, nil
}

// anyOf chooses an address from the first of the subnets that has one.
func (a *allocation) anyOf(ctx context.Context, subnets []l3.Subnet) error {
	for _, sub := range subnets {
		addr, err := a.free(ctx, sub)
		if err != nil {
			return err
		}
		if addr.IsValid() {
			a.choose(l3.FixedIP{SubnetID: sub.ID, IPAddress: addr})
			return nil
		}
	}
	if len(subnets) > 0 {
		return a.exhausted()
	}
	return nil
}

// asked chooses what is asked for. Given addresses go first, so that no other wish takes one of
// them; then subnets keep the addresses that the port has in them.
func (a *allocation) asked(ctx context.Context, want []l3.FixedIPSpec) error {
	for _, f := range want {
		if f.IPAddress.IsValid() {
			if err := a.given(ctx, f); err != nil {
				return err
			}
		}
	}
	for _, f := range want {
		if f.IPAddress.IsValid() {
			continue
		}
		if err := a.somewhere(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

func (a *allocation) given(ctx context.Context, f l3.FixedIPSpec) error {
	sub, err := a.subnetFor(f)
	if err != nil {
		return err
	}
	fixed := l3.FixedIP{SubnetID: sub.ID, IPAddress: f.IPAddress}
	switch {
	case slices.Contains(a.chosen, fixed):
		return invalid("Invalid input for fixed_ips. Reason: Duplicate IP address '%s'.", f.IPAddress)
	case autoAddressed(sub) && !a.port.IsRouterInterface() && f.IPAddress != eui64(sub.CIDR, a.port.MAC):
		return badRequest("AllocationOnAutoAddressSubnet", "IPv6 address %s cannot be directly assigned to a port on subnet %s"+
			" as the subnet is configured for automatic addresses", f.IPAddress, sub.ID)
	case slices.Contains(a.have, fixed):
		a.choose(fixed)
		return nil
	}
	free, err := a.w.Addresses().FirstFree(ctx, sub.ID, []l3.AddressRange{{First: f.IPAddress, Last: f.IPAddress}})
	if err != nil {
		return err
	}
	if !free.IsValid() {
		return a.inUse(f.IPAddress)
	}
	a.choose(fixed)
	return nil
}

// somewhere chooses any address of a subnet.
func (a *allocation) somewhere(ctx context.Context, f l3.FixedIPSpec) error {
	sub, err := a.subnetFor(f)
	if err != nil {
		return err
	}
	if autoAddressed(sub) && !a.port.IsRouterInterface() {
		return nil // selfMade does it
	}
	if i := slices.IndexFunc(a.have, func(h l3.FixedIP) bool { return h.SubnetID == sub.ID }); i >= 0 {
		a.choose(a.have[i])
		return nil
	}
	return a.anyOf(ctx, []l3.Subnet{sub})
}

// namesSubnets refuses fixed IPs that a caller asks for of subnets that it does not see, or that
// are not on the port's network.
func (s *Service) namesSubnets(ctx context.Context, tx l3.Tx, who l3.Caller, networkID string, want []l3.FixedIPSpec) error {
	for _, f := range want {
		if f.SubnetID == "" {
			continue
		}
		sub, _, err := subnetKind().find(ctx, s, tx, who, f.SubnetID)
		if err != nil {
			return err
		}
		if sub.NetworkID != networkID {
			return wrongSubnet(networkID, sub.ID)
		}
	}
	return nil
}

func wrongSubnet(networkID, subnetID string) error {
	return invalid("Invalid input for operation: Failed to create port on network %s, because fixed_ips included invalid subnet %s.", networkID, subnetID)
}

// subnetFor returns the subnet of a requested address.
func (a *allocation) subnetFor(f l3.FixedIPSpec) (l3.Subnet, error) {
	if f.SubnetID == "" {
		for _, sub := range a.subnets {
			if hosts(sub.CIDR).Contains(f.IPAddress) {
				return sub, nil
			}
		}
		if !f.IPAddress.IsValid() {
			return l3.Subnet{}, invalid("Invalid input for fixed_ips. Reason: IP allocation requires subnet_id or ip_address.")
		}
		return l3.Subnet{}, badRequest("InvalidIpForNetwork", "IP address %s is not a valid IP for any of the subnets on the specified network.", f.IPAddress)
	}
	i := slices.IndexFunc(a.subnets, func(sub l3.Subnet) bool { return sub.ID == f.SubnetID })
	if i < 0 {
		return l3.Subnet{}, wrongSubnet(a.port.NetworkID, f.SubnetID)
	}
	if f.IPAddress.IsValid() && !hosts(a.subnets[i].CIDR).Contains(f.IPAddress) {
		return l3.Subnet{}, badRequest("InvalidIpForSubnet", "IP address %s is not a valid IP for the specified subnet.", f.IPAddress)
	}
	return a.subnets[i], nil
}

// selfMade adds the addresses that the machine behind the port makes for itself from its MAC
// address.
func (a *allocation) selfMade(ctx context.Context) error {
	if a.port.IsRouterInterface() || a.port.DeviceOwner == l3.OwnerFloatingIP {
		return nil
	}
	for _, sub := range a.subnets {
		if !autoAddressed(sub) {
			continue
		}
		fixed := l3.FixedIPSpec{SubnetID: sub.ID, IPAddress: eui64(sub.CIDR, a.port.MAC)}
		if slices.Contains(a.chosen, l3.FixedIP(fixed)) {
			continue
		}
		if err := a.given(ctx, fixed); err != nil {
			return err
		}
	}
	return nil
}

// free is the lowest address of a subnet's pools that nobody has, and that is not chosen already.
func (a *allocation) free(ctx context.Context, sub l3.Subnet) (netip.Addr, error) {
	pools := sub.AllocationPools
	for _, c := range a.chosen {
		if c.SubnetID == sub.ID {
			pools = without(pools, c.IPAddress)
		}
	}
	return a.w.Addresses().FirstFree(ctx, sub.ID, pools)
}

func (a *allocation) choose(f l3.FixedIP) {
	a.chosen = append(a.chosen, f)
	a.have = slices.DeleteFunc(a.have, func(h l3.FixedIP) bool { return h == f })
}

func (a *allocation) inUse(addr netip.Addr) error { return addressInUse(a.port.NetworkID, addr) }

func (a *allocation) exhausted() error {
	return conflict("IpAddressGenerationFailure", "No more IP addresses available on network %s.", a.port.NetworkID)
}

func addressInUse(network string, addr netip.Addr) error {
	return conflict("IpAddressInUse", "Unable to complete operation for network %s. The IP address %s is in use.", network, addr)
}

// claim takes the addresses of a port that it did not have, after it let go of those that it shall
// not have any more.
func claim(ctx context.Context, w *work, p l3.Port, before []l3.FixedIP) error {
	for _, f := range before {
		if !slices.Contains(p.FixedIPs, f) {
			if err := w.Addresses().Release(ctx, f.SubnetID, f.IPAddress); err != nil {
				return err
			}
		}
	}
	for _, f := range p.FixedIPs {
		if slices.Contains(before, f) {
			continue
		}
		if err := w.Addresses().Claim(ctx, f.SubnetID, f.IPAddress, p.ID); errors.Is(err, l3.ErrTaken) {
			return addressInUse(p.NetworkID, f.IPAddress)
		} else if err != nil {
			return err
		}
	}
	return nil
}
