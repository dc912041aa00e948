package service_test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

func TestPortDefaults(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		n := c.network(alice, l3.NetworkSpec{})
		sub := c.subnet(n, "10.0.0.0/24")
		p := c.port(alice, n)
		require.Equal(t, []l3.FixedIP{{SubnetID: sub.ID, IPAddress: addr("10.0.0.2")}}, p.FixedIPs)
		require.Equal(t, "alice", p.ProjectID)
		require.Equal(t, [3]byte{0xfa, 0x16, 0x3e}, [3]byte(p.MAC[:3]))
		require.Equal(t, l3.StatusDown, p.Status, "nobody has plugged it")
		require.True(t, p.AdminStateUp)
		require.True(t, p.PortSecurityEnabled)
		require.Equal(t, "normal", p.Binding.VNICType)
		require.Equal(t, "unbound", p.Binding.VIFType)
		require.Len(t, p.SecurityGroups, 1)
		got, err := c.GetPort(t.Context(), alice, p.ID)
		require.NoError(t, err)
		require.Equal(t, p, got)
	})
}

// TestPortAddresses: on a network with 10.0.0.0/29 (gateway .1, pool .2–.6), 10.1.0.0/24 that is
// kept for compute:gold, 2001:db8::/64 that is given out, and 2001:db8:1::/64 in which machines
// make their own.
func TestPortAddresses(t *testing.T) {
	const self = "2001:db8:1:0:f816:3eff:fe00:1"
	var general, gold, given, own, elsewhere l3.Subnet
	tests := []struct {
		name    string
		want    func() []l3.FixedIPSpec // nil: not said
		owner   string
		kind    error
		refusal string
		got     string
	}{
		{name: "not said", got: "10.0.0.2 2001:db8::2 " + self},
		{name: "none", want: wants(), got: self},
		{name: "of a subnet", want: func() []l3.FixedIPSpec { return []l3.FixedIPSpec{in(general)} }, got: "10.0.0.2 " + self},
		{name: "two of a subnet", want: func() []l3.FixedIPSpec { return []l3.FixedIPSpec{in(general), in(general)} }, got: "10.0.0.2 10.0.0.3 " + self},
		{name: "any, and the one that would be next", want: func() []l3.FixedIPSpec { return []l3.FixedIPSpec{in(general), ip("10.0.0.2")} },
			got: "10.0.0.2 10.0.0.3 " + self},
		{name: "an address", want: wants(ip("10.0.0.5")), got: "10.0.0.5 " + self},
		{name: "an address outside the pools", want: wants(ip("10.0.0.1")), got: "10.0.0.1 " + self},
		{name: "both", want: func() []l3.FixedIPSpec { return []l3.FixedIPSpec{{SubnetID: gold.ID, IPAddress: addr("10.1.0.9")}} }, got: "10.1.0.9 " + self},
		{name: "IPv6", want: func() []l3.FixedIPSpec { return []l3.FixedIPSpec{in(given)} }, got: "2001:db8::2 " + self},
		{name: "of the subnet where machines make their own", want: func() []l3.FixedIPSpec { return []l3.FixedIPSpec{in(own)} }, got: self},
		{name: "the one that the machine makes", want: wants(ip(self)), got: self},
		{name: "a subnet for another service", owner: "compute:gold", got: "10.1.0.2 " + self},
		{name: "another than the machine makes", want: wants(ip("2001:db8:1::5")), kind: l3.ErrInvalid, refusal: "AllocationOnAutoAddressSubnet"},
		{name: "in the wrong subnet", want: func() []l3.FixedIPSpec { return []l3.FixedIPSpec{{SubnetID: gold.ID, IPAddress: addr("10.0.0.9")}} },
			kind: l3.ErrInvalid, refusal: "InvalidIpForSubnet"},
		{name: "in no subnet", want: wants(ip("192.0.2.1")), kind: l3.ErrInvalid, refusal: "InvalidIpForNetwork"},
		{name: "the broadcast address", want: wants(ip("10.0.0.7")), kind: l3.ErrInvalid, refusal: "InvalidIpForNetwork"},
		{name: "with a zone", want: wants(ip("fe80::1%eth0")), kind: l3.ErrInvalid, refusal: "InvalidInput"},
		{name: "neither subnet nor address", want: wants(l3.FixedIPSpec{}), kind: l3.ErrInvalid, refusal: "InvalidInput"},
		{name: "one twice", want: wants(ip("10.0.0.3"), ip("10.0.0.3")), kind: l3.ErrInvalid, refusal: "InvalidInput"},
		{name: "taken", want: wants(ip("10.0.0.6")), kind: l3.ErrConflict, refusal: "IpAddressInUse"},
		{name: "subnet of another network", want: func() []l3.FixedIPSpec { return []l3.FixedIPSpec{in(elsewhere)} }, kind: l3.ErrInvalid, refusal: "InvalidInput"},
		{name: "subnet of nobody", want: wants(l3.FixedIPSpec{SubnetID: "4f0c2b38-4a67-4b5c-a8a2-6a3b3f5ab0ff"}), kind: l3.ErrNotFound, refusal: "SubnetNotFound"},
		{name: "six", want: wants(ip("10.0.0.1"), ip("10.0.0.2"), ip("10.0.0.3"), ip("10.0.0.4"), ip("10.0.0.5"), ip("10.1.0.5")), kind: l3.ErrInvalid, refusal: "InvalidInput"},
		{name: "more than there are", want: func() []l3.FixedIPSpec {
			return []l3.FixedIPSpec{in(general), in(general), in(general), in(general), in(general)}
		}, kind: l3.ErrConflict, refusal: "IpAddressGenerationFailure"},
	}
	onStores(t, func(t *testing.T, c *cloud) {
		n := c.network(admin, l3.NetworkSpec{})
		general, gold = c.subnet(n, "10.0.0.0/29"), c.subnet(n, "10.1.0.0/24", func(s *l3.SubnetSpec) { s.ServiceTypes = &[]string{"compute:gold"} })
		given, own = c.subnet(n, "2001:db8::/64"), c.subnet(n, "2001:db8:1::/64", slaac)
		elsewhere = c.subnet(c.network(admin, l3.NetworkSpec{}), "10.2.0.0/24")
		c.port(admin, n, at(ip("10.0.0.6")))
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				spec := l3.PortSpec{NetworkID: &n.ID, MAC: new(mac("fa:16:3e:00:00:01")), DeviceOwner: &test.owner}
				if test.want != nil {
					spec.FixedIPs = new(test.want())
				}
				made, err := c.CreatePorts(t.Context(), admin, spec)
				if test.refusal != "" {
					refused(t, err, test.kind, test.refusal)
					return
				}
				require.NoError(t, err)
				require.Equal(t, test.got, strings.Join(addresses(made[0]), " "))
				require.NoError(t, c.DeletePort(t.Context(), admin, made[0].ID, l3.If{}))
			})
		}
	})
}

func wants(list ...l3.FixedIPSpec) func() []l3.FixedIPSpec {
	return func() []l3.FixedIPSpec { return append([]l3.FixedIPSpec{}, list...) }
}

func TestPortIpAddressGenerationFailure(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		n := c.network(alice, l3.NetworkSpec{})
		require.Empty(t, c.port(alice, n).FixedIPs, "a network without subnets has none to give")
		c.subnet(n, "10.0.0.0/30")
		second := c.subnet(n, "10.0.0.4/30")
		require.Equal(t, []string{"10.0.0.2"}, addresses(c.port(alice, n)))
		last := c.port(alice, n)
		require.Equal(t, second.ID, last.FixedIPs[0].SubnetID)
		_, err := c.tryPort(alice, n)
		refused(t, err, l3.ErrConflict, "IpAddressGenerationFailure")
		require.NoError(t, c.DeletePort(t.Context(), alice, last.ID, l3.If{}))
		require.Equal(t, addresses(last), addresses(c.port(alice, n)))

		kept := c.network(admin, l3.NetworkSpec{})
		c.subnet(kept, "10.0.0.0/24", func(s *l3.SubnetSpec) { s.ServiceTypes = &[]string{"compute:gold"} })
		_, err = c.tryPort(admin, kept)
		refused(t, err, l3.ErrConflict, "IpAddressGenerationFailureNoMatchingSubnet")
	})
}

func TestPortMACAddress(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		n, elsewhere := c.network(alice, l3.NetworkSpec{}), c.network(alice, l3.NetworkSpec{})
		c.subnet(n, "2001:db8::/64", slaac)
		with := func(m string) func(*l3.PortSpec) { return func(s *l3.PortSpec) { s.MAC = new(mac(m)) } }
		p := c.port(alice, n, with("fa:16:3e:00:00:01"))
		_, err := c.tryPort(alice, n, with("fa:16:3e:00:00:01"))
		refused(t, err, l3.ErrConflict, "MacAddressInUse")
		c.port(alice, elsewhere, with("fa:16:3e:00:00:01"))
		_, err = c.tryPort(alice, n, with("01:00:5e:00:00:01"))
		bad(t, err)

		other := c.port(alice, n, with("fa:16:3e:00:00:02"))
		_, err = c.update(other, admin, l3.PortSpec{MAC: &p.MAC})
		refused(t, err, l3.ErrConflict, "MacAddressInUse")
		_, err = c.update(other, alice, l3.PortSpec{MAC: new(mac("fa:16:3e:00:00:03"))})
		forbidden(t, err)
		other, err = c.update(other, admin, l3.PortSpec{MAC: new(mac("fa:16:3e:00:00:03"))})
		require.NoError(t, err)
		require.Equal(t, []string{"2001:db8::f816:3eff:fe00:3"}, addresses(other), "the machine makes another address now")
		require.Equal(t, 2, other.Revision)
		c.port(alice, n, with("fa:16:3e:00:00:02"))
	})
}

func TestPortMACAddressRegenerate(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		n := c.network(alice, l3.NetworkSpec{})
		c.subnet(n, "10.0.0.0/24")
		p := c.port(alice, n)
		q, err := c.update(p, admin, l3.PortSpec{MAC: &dataplane.MAC{}})
		require.NoError(t, err)
		require.NotEqual(t, p.MAC, q.MAC)
		require.Equal(t, [3]byte{0xfa, 0x16, 0x3e}, [3]byte(q.MAC[:3]))
		require.Equal(t, p.FixedIPs, q.FixedIPs)
	})
}

func TestPortUpdateOfAddresses(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		n := c.network(alice, l3.NetworkSpec{})
		sub := c.subnet(n, "10.0.0.0/24")
		p := c.port(alice, n, at(ip("10.0.0.5"), ip("10.0.0.6")))
		change := func(want ...l3.FixedIPSpec) []string {
			t.Helper()
			var err error
			p, err = c.update(p, alice, l3.PortSpec{FixedIPs: new(append([]l3.FixedIPSpec{}, want...))})
			require.NoError(t, err)
			return addresses(p)
		}
		require.Equal(t, []string{"10.0.0.5", "10.0.0.6"}, change(ip("10.0.0.6"), in(sub)), "the same, in another order, is no change")
		require.Equal(t, 1, p.Revision)
		require.Equal(t, []string{"10.0.0.6", "10.0.0.7"}, change(ip("10.0.0.6"), ip("10.0.0.7")))
		require.Equal(t, []string{"10.0.0.6"}, change(in(sub)), "keeps one that it has")
		require.Equal(t, []string{"10.0.0.2"}, addresses(c.port(alice, n)))
		require.Equal(t, []string{"10.0.0.7"}, addresses(c.port(alice, n, at(ip("10.0.0.7")))), "what left is free")
		_, err := c.update(p, alice, l3.PortSpec{FixedIPs: &[]l3.FixedIPSpec{ip("10.0.0.7")}})
		refused(t, err, l3.ErrConflict, "IpAddressInUse")
		require.Empty(t, change())
		require.Equal(t, []string{"10.0.0.6"}, addresses(c.port(alice, n, at(ip("10.0.0.6")))))
	})
}

func TestPortOfRouterKeepsItsAddresses(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		n := c.network(alice, l3.NetworkSpec{})
		sub := c.subnet(n, "10.0.0.0/24")
		r, err := c.CreateRouters(t.Context(), alice, l3.RouterSpec{})
		require.NoError(t, err)
		i, err := c.AddRouterInterface(t.Context(), alice, r[0].ID, l3.InterfaceSpec{SubnetID: sub.ID})
		require.NoError(t, err)
		port := l3.Port{Meta: l3.Meta{ID: i.PortID}}
		_, err = c.update(port, alice, l3.PortSpec{FixedIPs: &[]l3.FixedIPSpec{ip("10.0.0.9")}})
		refused(t, err, l3.ErrInvalid, "IPAddressChangeNotAllowed")
		_, err = c.update(port, alice, l3.PortSpec{FixedIPs: &[]l3.FixedIPSpec{ip("10.0.0.1")}})
		require.NoError(t, err)
		_, err = c.update(port, alice, l3.PortSpec{DeviceID: new("")})
		refused(t, err, l3.ErrConflict, "UnsupportedPortDeviceOwner")
		_, err = c.update(port, admin, l3.PortSpec{DeviceOwner: new("compute:nova")})
		refused(t, err, l3.ErrConflict, "UnsupportedPortDeviceOwner")
		refused(t, c.DeletePort(t.Context(), alice, i.PortID, l3.If{}), l3.ErrConflict, "ServicePortInUse")
	})
}

func TestPortDownIsToldToTheHost(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		_, err := c.Heartbeat(t.Context(), agent.Heartbeat{Host: "h"})
		require.NoError(t, err)
		sub := c.subnet(c.network(alice, l3.NetworkSpec{}), "10.0.0.0/24")
		r, err := c.CreateRouters(t.Context(), alice, l3.RouterSpec{})
		require.NoError(t, err)
		i, err := c.AddRouterInterface(t.Context(), alice, r[0].ID, l3.InterfaceSpec{SubnetID: sub.ID})
		require.NoError(t, err)
		<-c.Committed()
		port := l3.Port{Meta: l3.Meta{ID: i.PortID}}
		for _, step := range []struct {
			what string
			spec l3.PortSpec
			told bool
		}{
			{"a name", l3.PortSpec{Name: new("x")}, false},
			{"down", l3.PortSpec{AdminStateUp: new(false)}, true},
			{"down again", l3.PortSpec{AdminStateUp: new(false)}, false},
			{"up", l3.PortSpec{AdminStateUp: new(true)}, true},
			{"MAC address", l3.PortSpec{MAC: new(mac("fa:16:3e:00:00:09"))}, true},
		} {
			_, err := c.update(port, admin, step.spec)
			require.NoError(t, err)
			told := false
			select {
			case <-c.Committed():
				told = true
			default:
			}
			require.Equal(t, step.told, told, step.what)
		}
	})
}

func TestPortWithFloatingIP(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		public, n := c.external(), c.network(alice, l3.NetworkSpec{})
		c.subnet(public, "198.51.100.0/24")
		sub := c.subnet(n, "10.0.0.0/24")
		r, err := c.CreateRouters(t.Context(), alice, l3.RouterSpec{Gateway: &l3.GatewaySpec{NetworkID: public.ID}})
		require.NoError(t, err)
		_, err = c.AddRouterInterface(t.Context(), alice, r[0].ID, l3.InterfaceSpec{SubnetID: sub.ID})
		require.NoError(t, err)
		p := c.port(alice, n)
		f, err := c.CreateFloatingIPs(t.Context(), alice, l3.FloatingIPSpec{NetworkID: &public.ID, PortID: &p.ID})
		require.NoError(t, err)

		_, err = c.update(p, alice, l3.PortSpec{FixedIPs: &[]l3.FixedIPSpec{ip("10.0.0.9")}})
		refused(t, err, l3.ErrInvalid, "BadRequest")
		_, err = c.update(p, alice, l3.PortSpec{FixedIPs: &[]l3.FixedIPSpec{ip("10.0.0.9"), ip(addresses(p)[0])}})
		require.NoError(t, err)

		require.NoError(t, c.DeletePort(t.Context(), alice, p.ID, l3.If{}))
		got, err := c.GetFloatingIP(t.Context(), alice, f[0].ID)
		require.NoError(t, err)
		require.Empty(t, got.PortID, "deleting a port unbinds its floating IP")

		holders, err := c.ListPorts(t.Context(), admin, l3.Query{Filters: []l3.Filter{{Field: "device_owner", Values: []any{l3.OwnerFloatingIP}}}})
		require.NoError(t, err)
		require.Len(t, holders, 1)
		require.Len(t, holders[0].FixedIPs, 1)
		refused(t, c.DeletePort(t.Context(), admin, holders[0].ID, l3.If{}), l3.ErrConflict, "ServicePortInUse")
		unseen(t, c.DeletePort(t.Context(), alice, holders[0].ID, l3.If{}))
	})
}

func TestPortAttributesOfAdministratorsAndNetworkOwners(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		shared := c.network(admin, l3.NetworkSpec{Shared: new(true)})
		sub := c.subnet(shared, "10.0.0.0/24")
		own := c.network(alice, l3.NetworkSpec{})
		c.subnet(own, "10.0.0.0/24")
		for rule, test := range map[string]struct {
			spec  l3.PortSpec
			owner bool // the network's may
		}{
			"binding:host_id":       {l3.PortSpec{HostID: new("h")}, false},
			"binding:profile":       {l3.PortSpec{Profile: new(json.RawMessage("{}"))}, false},
			"device_owner":          {l3.PortSpec{DeviceOwner: new("network:dhcp")}, true},
			"fixed_ips:ip_address":  {l3.PortSpec{FixedIPs: &[]l3.FixedIPSpec{ip("10.0.0.7")}}, true},
			"port_security_enabled": {l3.PortSpec{PortSecurityEnabled: new(true)}, true},
			"allowed_address_pairs": {l3.PortSpec{AllowedAddressPairs: &[]l3.AddressPair{}}, true},
		} {
			test.spec.NetworkID = &shared.ID
			_, err := c.CreatePorts(t.Context(), alice, test.spec)
			forbidden(t, err)
			require.ErrorContains(t, err, "(rule:create_port:"+rule+")")
			_, err = c.update(c.port(alice, shared), alice, test.spec)
			forbidden(t, err)
			require.ErrorContains(t, err, "(rule:update_port:"+rule+")")
			test.spec.NetworkID = &own.ID
			if _, err = c.CreatePorts(t.Context(), alice, test.spec); test.owner {
				require.NoError(t, err, rule)
			} else {
				forbidden(t, err)
			}
		}
		_, err := c.CreatePorts(t.Context(), alice, l3.PortSpec{NetworkID: &shared.ID, MAC: new(mac("fa:16:3e:00:00:01"))})
		forbidden(t, err)
		c.port(alice, shared, at(in(sub)))
		p := c.port(admin, own, func(s *l3.PortSpec) {
			s.HostID, s.Profile, s.ProjectID = new("h"), new(json.RawMessage(`{"b": 1, "a": 2}`)), new("alice")
		})
		require.Equal(t, "h", p.Binding.HostID)
		same, err := c.update(p, admin, l3.PortSpec{Profile: new(json.RawMessage(`{"a":2,"b":1}`))})
		require.NoError(t, err)
		require.Equal(t, 1, same.Revision)
	})
}

func TestPortOnExternalNetworkByAMemberHasNoChosenAddress(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		public := c.external()
		sub := c.subnet(public, "198.51.100.0/24")
		_, err := c.tryPort(alice, public, at(in(sub)))
		forbidden(t, err)
	})
}

func TestPortVisibility(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		n := c.network(alice, l3.NetworkSpec{})
		c.subnet(n, "10.0.0.0/24")
		p := c.port(admin, n, func(s *l3.PortSpec) { s.ProjectID = new("bob") })
		for _, who := range []l3.Caller{alice, bob, admin} {
			got, err := c.GetPort(t.Context(), who, p.ID)
			require.NoError(t, err, "the port's project and the network's see it")
			require.Equal(t, p, got)
			list, err := c.ListPorts(t.Context(), who, l3.Query{})
			require.NoError(t, err)
			require.Len(t, list, 1)
		}
		carol := member("carol")
		_, err := c.GetPort(t.Context(), carol, p.ID)
		refused(t, err, l3.ErrNotFound, "PortNotFound")
		list, err := c.ListPorts(t.Context(), carol, l3.Query{})
		require.NoError(t, err)
		require.Empty(t, list)
		_, err = c.update(p, alice, l3.PortSpec{Name: new("x")})
		forbidden(t, err)
		refused(t, c.DeletePort(t.Context(), alice, p.ID, l3.If{Revision: new(2)}), l3.ErrRevision, "RevisionNumberConstraintFailed")
		require.NoError(t, c.DeletePort(t.Context(), alice, p.ID, l3.If{Revision: new(1)}), "the owner of the network may")
	})
}

func TestPortSecurity(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		n := c.network(alice, l3.NetworkSpec{})
		open := c.network(alice, l3.NetworkSpec{PortSecurityEnabled: new(false)})
		groups, err := c.CreateSecurityGroups(t.Context(), alice, l3.SecurityGroupSpec{Name: new("web")})
		require.NoError(t, err)
		theirs, err := c.CreateSecurityGroups(t.Context(), bob, l3.SecurityGroupSpec{Name: new("web")})
		require.NoError(t, err)
		web, off := []string{groups[0].ID}, new(false)
		pair := &[]l3.AddressPair{{IPAddress: netip.MustParsePrefix("10.0.0.0/24")}}

		require.Empty(t, c.port(alice, open).SecurityGroups)
		require.False(t, c.port(alice, open).PortSecurityEnabled)
		require.Empty(t, c.port(alice, n, owner("network:dhcp")).SecurityGroups)
		require.Empty(t, c.port(alice, n, func(s *l3.PortSpec) { s.SecurityGroups = &[]string{} }).SecurityGroups)
		_, err = c.tryPort(alice, open, func(s *l3.PortSpec) { s.SecurityGroups = &web })
		refused(t, err, l3.ErrInvalid, "PortSecurityAndIPRequiredForSecurityGroups")
		_, err = c.tryPort(alice, open, func(s *l3.PortSpec) { s.AllowedAddressPairs = pair })
		refused(t, err, l3.ErrConflict, "AddressPairAndPortSecurityRequired")
		_, err = c.tryPort(alice, n, func(s *l3.PortSpec) { s.SecurityGroups = &[]string{theirs[0].ID} })
		refused(t, err, l3.ErrNotFound, "SecurityGroupNotFound")

		p := c.port(alice, n, func(s *l3.PortSpec) { s.SecurityGroups = &web; s.AllowedAddressPairs = pair })
		require.Equal(t, web, p.SecurityGroups)
		_, err = c.update(p, alice, l3.PortSpec{PortSecurityEnabled: off})
		refused(t, err, l3.ErrConflict, "PortSecurityPortHasSecurityGroup")
		_, err = c.update(p, alice, l3.PortSpec{PortSecurityEnabled: off, SecurityGroups: &[]string{}})
		refused(t, err, l3.ErrConflict, "AddressPairAndPortSecurityRequired")
		p, err = c.update(p, alice, l3.PortSpec{PortSecurityEnabled: off, SecurityGroups: &[]string{}, AllowedAddressPairs: &[]l3.AddressPair{}})
		require.NoError(t, err)
		require.False(t, p.PortSecurityEnabled)
	})
}

func TestPortAllowedAddressPairs(t *testing.T) {
	prefix := netip.MustParsePrefix
	onStores(t, func(t *testing.T, c *cloud) {
		n := c.network(alice, l3.NetworkSpec{})
		pairs := func(list ...l3.AddressPair) func(*l3.PortSpec) {
			return func(s *l3.PortSpec) { s.AllowedAddressPairs = &list }
		}
		p := c.port(alice, n, pairs(l3.AddressPair{IPAddress: prefix("10.0.0.9/32")}, l3.AddressPair{IPAddress: prefix("10.1.0.0/16"), MAC: mac("fa:16:3e:00:00:09")}))
		require.Equal(t, []l3.AddressPair{{IPAddress: prefix("10.0.0.9/32"), MAC: p.MAC}, {IPAddress: prefix("10.1.0.0/16"), MAC: mac("fa:16:3e:00:00:09")}}, p.AllowedAddressPairs)
		for refusal, list := range map[string][]l3.AddressPair{
			"AllowedAddressPairExhausted":   make([]l3.AddressPair, 11),
			"AllowedAddressPairsMissingIP":  {{}},
			"DuplicateAddressPairInRequest": {{IPAddress: prefix("10.0.0.9/32")}, {IPAddress: prefix("10.0.0.9/32")}},
			"InvalidInput":                  {{IPAddress: prefix("10.0.0.9/24")}},
		} {
			_, err := c.tryPort(alice, n, pairs(list...))
			refused(t, err, l3.ErrInvalid, refusal)
			_, err = c.update(p, alice, l3.PortSpec{AllowedAddressPairs: &list})
			refused(t, err, l3.ErrInvalid, refusal)
		}
	})
}

func TestPortExtraDHCPOptions(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		n := c.network(alice, l3.NetworkSpec{})
		opts := func(list ...l3.DHCPOption) l3.PortSpec { return l3.PortSpec{ExtraDHCPOpts: &list} }
		p := c.port(alice, n, func(s *l3.PortSpec) {
			s.ExtraDHCPOpts = opts(l3.DHCPOption{Name: "mtu", Value: "1400"}, l3.DHCPOption{Name: "boot", Value: "a", IPVersion: 6}).ExtraDHCPOpts
		})
		require.Equal(t, []l3.DHCPOption{{Name: "mtu", Value: "1400", IPVersion: 4}, {Name: "boot", Value: "a", IPVersion: 6}}, p.ExtraDHCPOpts)
		p, err := c.update(p, alice, opts(l3.DHCPOption{Name: "mtu"}, l3.DHCPOption{Name: "boot", Value: "b", IPVersion: 6}, l3.DHCPOption{Name: "new", Value: "c"}))
		require.NoError(t, err)
		require.Equal(t, []l3.DHCPOption{{Name: "boot", Value: "b", IPVersion: 6}, {Name: "new", Value: "c", IPVersion: 4}}, p.ExtraDHCPOpts)
		for _, o := range []l3.DHCPOption{{Value: "x"}, {Name: "x", Value: "x", IPVersion: 5}, {Name: "x", Value: strings.Repeat("x", 256)}} {
			_, err := c.update(p, alice, opts(o))
			bad(t, err)
		}
	})
}

func TestPortOtherFaults(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		n := c.network(alice, l3.NetworkSpec{})
		for _, spec := range []l3.PortSpec{
			{VNICType: new("paper")}, {VNICType: new("")}, {DeviceID: new(strings.Repeat("x", 256))}, {DeviceOwner: new("\x00")}, {HostID: new("\xff")},
			{Profile: new(json.RawMessage(`[]`))}, {Profile: new(json.RawMessage(`{"a": "` + strings.Repeat("x", 4096) + `"}`))},
			{Profile: new(json.RawMessage(`{"a":"\u0000"}`))},
		} {
			spec.NetworkID = &n.ID
			_, err := c.CreatePorts(t.Context(), admin, spec)
			bad(t, err)
		}
		free := c.port(alice, n)
		for _, role := range []string{
			l3.OwnerRouterInterface, l3.OwnerRouterGateway, l3.OwnerFloatingIP,
			"network:router_interface_distributed", "network:router_centralized_snat", "network:ha_router_replicated_interface",
		} {
			for _, who := range []l3.Caller{alice, admin} {
				_, err := c.tryPort(who, n, owner(role))
				refused(t, err, l3.ErrConflict, "UnsupportedPortDeviceOwner")
				require.ErrorContains(t, err, "Operation create is not supported for device_owner "+role+": ")
				_, err = c.update(free, who, l3.PortSpec{DeviceOwner: &role, DeviceID: new("r")})
				refused(t, err, l3.ErrConflict, "UnsupportedPortDeviceOwner")
			}
		}
		free, err := c.GetPort(t.Context(), alice, free.ID)
		require.NoError(t, err)
		require.Empty(t, free.DeviceOwner)
		_, err = c.update(free, alice, l3.PortSpec{VNICType: new("")})
		bad(t, err)
		_, err = c.CreatePorts(t.Context(), alice, l3.PortSpec{})
		refused(t, err, l3.ErrNotFound, "NetworkNotFound")
	})
}
