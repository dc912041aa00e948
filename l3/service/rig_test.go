package service_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/l3test"
	"github.com/l3kit/l3kit/l3/service"
)

// rig is a service on an empty store, with an administrator and two projects. Its clock moves only
// when it is told to.
type rig struct {
	*testing.T
	*service.Service
	store                l3.Store
	clock                *watch
	epochs               map[string][]uint64 // of each router, as notices have named them
	admin, member, other l3.Caller
}

// watch is a time that tests set. It may be read concurrently.
type watch struct {
	mu  sync.Mutex
	now time.Time
}

func (c *watch) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *watch) sleep(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// onRigs runs a test on every store.
func onRigs(t *testing.T, test func(r *rig)) {
	t.Parallel()
	l3test.Stores(t, func(t *testing.T, store l3.Store) {
		test(newRig(t, store))
	})
}

func newRig(t *testing.T, store l3.Store) *rig {
	r := &rig{
		T: t, store: store,
		epochs: map[string][]uint64{},
		clock:  &watch{now: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)},
		admin:  l3.Caller{Project: "admins", Admin: true},
		member: l3.Caller{Project: "p1", Roles: []string{l3.RoleMember}},
		other:  l3.Caller{Project: "p2", Roles: []string{l3.RoleMember}},
	}
	svc, err := service.New(service.Config{Store: store, Now: r.clock.Now, Quotas: map[string]int{"floatingip": 2000, "port": 5000}})
	require.NoError(t, err)
	r.Service = svc
	t.Cleanup(func() {
		if !t.Failed() {
			require.NoError(t, l3test.Audit(context.Background(), store), "the auditor of invariants")
		}
	})
	return r
}

func (r *rig) refused(err, kind error, name string) {
	r.Helper()
	refused(r.T, err, kind, name)
}

// ok passes on the first of two results, whose second must be no error.
func ok[V any](v V, err error) func(r *rig) V {
	return func(r *rig) V {
		r.Helper()
		require.NoError(r, err)
		return v
	}
}

// one passes on the only element.
func one[V any](list []V, err error) func(r *rig) V {
	return func(r *rig) V {
		r.Helper()
		require.NoError(r, err)
		require.Len(r, list, 1)
		return list[0]
	}
}

func (r *rig) network(who l3.Caller) l3.Network {
	r.Helper()
	return one(r.CreateNetworks(r.Context(), who, l3.NetworkSpec{}))(r)
}

// external makes an external network on a physical network; on a tunnel when that is empty.
func (r *rig) external(physical string, cidrs ...string) l3.Network {
	r.Helper()
	spec := l3.NetworkSpec{External: new(true)}
	if physical != "" {
		spec.Segments = &[]l3.Segment{{Type: dataplane.NetworkFlat, Physical: physical}}
	}
	n := one(r.CreateNetworks(r.Context(), r.admin, spec))(r)
	for _, cidr := range cidrs {
		r.subnet(r.admin, n, cidr)
	}
	return n
}

func (r *rig) subnet(who l3.Caller, n l3.Network, cidr string) l3.Subnet {
	r.Helper()
	return one(r.CreateSubnets(r.Context(), who, l3.SubnetSpec{NetworkID: &n.ID, CIDR: new(netip.MustParsePrefix(cidr))}))(r)
}

// inside makes a network of the member with one subnet.
func (r *rig) inside(cidr string) l3.Subnet {
	r.Helper()
	return r.subnet(r.member, r.network(r.member), cidr)
}

func (r *rig) port(who l3.Caller, s l3.Subnet, addrs ...string) l3.Port {
	r.Helper()
	fixed := []l3.FixedIPSpec{}
	for _, a := range addrs {
		fixed = append(fixed, l3.FixedIPSpec{SubnetID: s.ID, IPAddress: netip.MustParseAddr(a)})
	}
	if len(addrs) == 0 {
		fixed = append(fixed, l3.FixedIPSpec{SubnetID: s.ID})
	}
	return one(r.CreatePorts(r.Context(), who, l3.PortSpec{NetworkID: &s.NetworkID, FixedIPs: &fixed}))(r)
}

func (r *rig) router(spec ...l3.RouterSpec) l3.Router {
	r.Helper()
	return one(r.CreateRouters(r.Context(), r.member, append(spec, l3.RouterSpec{})[0]))(r)
}

// routerTo makes a router of the member with a gateway on an external network and interfaces on
// subnets.
func (r *rig) routerTo(external l3.Network, subnets ...l3.Subnet) l3.Router {
	r.Helper()
	made := r.router(l3.RouterSpec{Gateway: &l3.GatewaySpec{NetworkID: external.ID}})
	for _, s := range subnets {
		r.attach(made, s)
	}
	return r.see(made.ID)
}

func (r *rig) attach(router l3.Router, s l3.Subnet) l3.Interface {
	r.Helper()
	return ok(r.AddRouterInterface(r.Context(), r.member, router.ID, l3.InterfaceSpec{SubnetID: s.ID}))(r)
}

func (r *rig) see(routerID string) l3.Router {
	r.Helper()
	return ok(r.GetRouter(r.Context(), r.admin, routerID))(r)
}

// fip makes a floating IP of the member; port may be empty.
func (r *rig) fip(external l3.Network, port string) l3.FloatingIP {
	r.Helper()
	return one(r.CreateFloatingIPs(r.Context(), r.member, l3.FloatingIPSpec{NetworkID: &external.ID, PortID: &port}))(r)
}

func (r *rig) rebind(f l3.FloatingIP, port string) l3.FloatingIP {
	r.Helper()
	return ok(r.UpdateFloatingIP(r.Context(), r.member, f.ID, l3.FloatingIPSpec{PortID: &port}, l3.If{}))(r)
}

// agent registers one that reaches the physical networks; all, when none is named.
func (r *rig) agent(host string, physical ...string) l3.Agent {
	r.Helper()
	return r.beat(agent.Heartbeat{Host: host, Capabilities: agent.Capabilities{PhysicalNetworks: physical}})
}

func (r *rig) beat(h agent.Heartbeat) l3.Agent {
	r.Helper()
	return ok(r.Heartbeat(r.Context(), h))(r)
}

// report has the host of a router say that it applied what it must realise now.
func (r *rig) report(routerID string) agent.Assignment {
	r.Helper()
	a := ok(r.DesiredOf(r.Context(), routerID))(r)
	require.NoError(r, r.Report(r.Context(), agent.Report{Host: a.Host, RouterID: routerID, Epoch: a.Epoch, Revision: a.Revision}))
	return a
}

// notices empties the outbox: "host router epoch", with names in place of the routers' IDs, and
// "gone" after it. A router's first epoch is called 1, its second 2, and so on.
func (r *rig) notices(names map[string]string) []string {
	r.Helper()
	list := []string{}
	require.NoError(r, r.store.Update(r.Context(), func(tx l3.Tx) error {
		list = list[:0]
		pending, err := tx.Outbox().Next(r.Context(), 1000)
		if err != nil || len(pending) == 0 {
			return err
		}
		for _, n := range pending {
			name, known := names[n.RouterID]
			if !known {
				name = n.RouterID
			}
			if !slices.Contains(r.epochs[n.RouterID], n.Epoch) {
				r.epochs[n.RouterID] = append(r.epochs[n.RouterID], n.Epoch)
			}
			text := fmt.Sprintf("%s %s %d", n.Host, name, 1+slices.Index(r.epochs[n.RouterID], n.Epoch))
			if n.Gone {
				text += " gone"
			}
			list = append(list, text)
		}
		return tx.Outbox().Done(r.Context(), pending[len(pending)-1].Seq)
	}))
	return list
}

// hostOf is the host of a router; empty: it has none.
func (r *rig) hostOf(routerID string) string {
	r.Helper()
	agents := ok(r.AgentsOfRouter(r.Context(), r.admin, routerID))(r)
	if len(agents) == 0 {
		return ""
	}
	return agents[0].Host
}

func route(dest, hop string) l3.Route {
	return l3.Route{Destination: netip.MustParsePrefix(dest), NextHop: netip.MustParseAddr(hop)}
}

func (r *rig) putRoutes(routerID string, routes ...l3.Route) (l3.Router, error) {
	return r.UpdateRouter(r.Context(), r.member, routerID, l3.RouterSpec{Routes: &routes}, l3.If{})
}

// routerPorts are the ports that a router owns.
func (r *rig) routerPorts(routerID string) []l3.Port {
	r.Helper()
	filter := l3.Filter{Field: "device_id", Values: []any{routerID}}
	return ok(r.ListPorts(r.Context(), r.admin, l3.Query{Filters: []l3.Filter{filter}}))(r)
}
