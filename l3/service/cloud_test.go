package service_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/l3test"
	"github.com/l3kit/l3kit/l3/service"
)

// cloud is a service with a few people who use it.
type cloud struct {
	*service.Service
	t     *testing.T
	store l3.Store
}

var (
	admin = l3.Caller{Project: "operators", Admin: true}
	alice = member("alice")
	bob   = member("bob")
)

func member(project string) l3.Caller {
	return l3.Caller{Project: project, Roles: []string{l3.RoleMember}}
}

// onStores runs a test on every store.
func onStores(t *testing.T, test func(*testing.T, *cloud)) { onStoresWith(t, service.Config{}, test) }

func onStoresWith(t *testing.T, config service.Config, test func(*testing.T, *cloud)) {
	t.Parallel()
	l3test.Stores(t, func(t *testing.T, store l3.Store) {
		config := config
		config.Store = store
		s, err := service.New(config)
		require.NoError(t, err)
		test(t, &cloud{Service: s, t: t, store: store})
		require.NoError(t, l3test.Audit(t.Context(), store))
	})
}

// refused requires a refusal of a kind, with Neutron's name for it.
func refused(t *testing.T, err, kind error, name string) {
	t.Helper()
	var e *l3.Error
	require.Truef(t, errors.As(err, &e), "%v is no refusal, want %s (%v)", err, name, kind)
	require.Equal(t, name, e.Name, e.Message)
	require.Equal(t, kind, e.Kind, e.Message)
}

func bad(t *testing.T, err error)    { t.Helper(); refused(t, err, l3.ErrInvalid, "InvalidInput") }
func unseen(t *testing.T, err error) { t.Helper(); require.ErrorIs(t, err, l3.ErrNotFound) }
func forbidden(t *testing.T, err error) {
	t.Helper()
	refused(t, err, l3.ErrForbidden, "PolicyNotAuthorized")
}

func (c *cloud) network(who l3.Caller, spec l3.NetworkSpec) l3.Network {
	c.t.Helper()
	n, err := c.CreateNetworks(c.t.Context(), who, spec)
	require.NoError(c.t, err)
	return n[0]
}

func (c *cloud) external() l3.Network {
	c.t.Helper()
	return c.network(admin, l3.NetworkSpec{Name: new("public"), External: new(true)})
}

// subnet makes one of the network's owner.
func (c *cloud) subnet(n l3.Network, cidr string, change ...func(*l3.SubnetSpec)) l3.Subnet {
	c.t.Helper()
	sub, err := c.trySubnet(n, cidr, change...)
	require.NoError(c.t, err)
	return sub
}

func (c *cloud) trySubnet(n l3.Network, cidr string, change ...func(*l3.SubnetSpec)) (l3.Subnet, error) {
	spec := l3.SubnetSpec{NetworkID: &n.ID, CIDR: new(netip.MustParsePrefix(cidr)), ProjectID: &n.ProjectID}
	for _, f := range change {
		f(&spec)
	}
	list, err := c.CreateSubnets(c.t.Context(), admin, spec)
	if err != nil {
		return l3.Subnet{}, err
	}
	return list[0], nil
}

func (c *cloud) port(who l3.Caller, n l3.Network, change ...func(*l3.PortSpec)) l3.Port {
	c.t.Helper()
	p, err := c.tryPort(who, n, change...)
	require.NoError(c.t, err)
	return p
}

func (c *cloud) tryPort(who l3.Caller, n l3.Network, change ...func(*l3.PortSpec)) (l3.Port, error) {
	spec := l3.PortSpec{NetworkID: &n.ID}
	for _, f := range change {
		f(&spec)
	}
	list, err := c.CreatePorts(c.t.Context(), who, spec)
	if err != nil {
		return l3.Port{}, err
	}
	return list[0], nil
}

func (c *cloud) update(p l3.Port, who l3.Caller, spec l3.PortSpec) (l3.Port, error) {
	return c.UpdatePort(c.t.Context(), who, p.ID, spec, l3.If{})
}

// at asks for addresses: "10.0.0.5", or a subnet's ID, or both as "10.0.0.5@ID".
func at(wishes ...l3.FixedIPSpec) func(*l3.PortSpec) {
	return func(s *l3.PortSpec) { s.FixedIPs = &wishes }
}

func owner(deviceOwner string) func(*l3.PortSpec) {
	return func(s *l3.PortSpec) { s.DeviceOwner = &deviceOwner }
}

func ip(s string) l3.FixedIPSpec { return l3.FixedIPSpec{IPAddress: addr(s)} }

func in(sub l3.Subnet) l3.FixedIPSpec { return l3.FixedIPSpec{SubnetID: sub.ID} }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func mac(s string) dataplane.MAC {
	m, err := dataplane.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

func addresses(p l3.Port) []string {
	list := []string{}
	for _, f := range p.FixedIPs {
		list = append(list, f.IPAddress.String())
	}
	return list
}

func pool(first, last string) l3.AddressRange {
	return l3.AddressRange{First: addr(first), Last: addr(last)}
}
