package l3test_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/l3test"
	"github.com/l3kit/l3kit/l3/service"
)

// world is a small database without a fault, which tests then damage.
type world struct {
	outside, inside l3.Network
	public, private l3.Subnet
	server          l3.Port
	gateway         l3.Port
	port            l3.Port // of the router, inside
	own             l3.Port // of the floating IP
	router          l3.Router
	state           l3.RouterState
	fip             l3.FloatingIP
	group           l3.SecurityGroup
	rule            l3.SecurityGroupRule
	policy          l3.RBACPolicy
	agent           l3.Agent
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func meta(id, project string) l3.Meta {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return l3.Meta{ID: id, ProjectID: project, Revision: 1, Tags: []string{"a", "b"}, CreatedAt: now, UpdatedAt: now}
}

func newWorld() *world {
	port := func(id, project, network, subnet, address, owner, device string) l3.Port {
		return l3.Port{
			Meta: meta(id, project), NetworkID: network, MAC: [6]byte{2, 0, 0, 0, 0, byte(len(id)) + id[0]}, DeviceOwner: owner, DeviceID: device,
			FixedIPs: []l3.FixedIP{{SubnetID: subnet, IPAddress: addr(address)}},
		}
	}
	w := &world{
		outside: l3.Network{Meta: meta("outside", "admin"), External: true, Segments: []l3.Segment{{Type: "flat", Physical: "uplink"}}},
		inside:  l3.Network{Meta: meta("inside", "p"), Segments: []l3.Segment{{Type: "vxlan", ID: 7}}},
		public: l3.Subnet{Meta: meta("public", "admin"), NetworkID: "outside", IPVersion: 4, CIDR: netip.MustParsePrefix("192.0.2.0/24"),
			AllocationPools: []l3.AddressRange{{First: addr("192.0.2.1"), Last: addr("192.0.2.9")}}},
		private: l3.Subnet{Meta: meta("private", "p"), NetworkID: "inside", IPVersion: 4, CIDR: netip.MustParsePrefix("10.0.0.0/24"),
			AllocationPools: []l3.AddressRange{{First: addr("10.0.0.2"), Last: addr("10.0.0.99")}, {First: addr("10.0.0.101"), Last: addr("10.0.0.200")}}},
		server:  port("server", "p", "inside", "private", "10.0.0.2", "compute:nova", "vm"),
		gateway: port("gateway", "", "outside", "public", "192.0.2.1", l3.OwnerRouterGateway, "router"),
		port:    port("port", "p", "inside", "private", "10.0.0.1", l3.OwnerRouterInterface, "router"),
		own:     port("own", "", "outside", "public", "192.0.2.2", l3.OwnerFloatingIP, "fip"),
		router:  l3.Router{Meta: meta("router", "p"), Routes: []l3.Route{{Destination: netip.MustParsePrefix("172.16.0.0/12"), NextHop: addr("10.0.0.2")}}},
		state:   l3.RouterState{ID: "router", Revision: 3, Wanted: true, AgentID: "agent", Host: "h", Epoch: 1},
		fip: l3.FloatingIP{Meta: meta("fip", "p"), NetworkID: "outside", SubnetID: "public", Address: addr("192.0.2.2"), OwnPort: "own",
			PortID: "server", FixedIP: addr("10.0.0.2"), RouterID: "router", StateRevision: 2},
		group:  l3.SecurityGroup{Meta: meta("group", "p")},
		rule:   l3.SecurityGroupRule{Meta: meta("rule", "p"), SecurityGroupID: "group", RemoteGroupID: "group"},
		policy: l3.RBACPolicy{Meta: meta("policy", "admin"), ObjectType: l3.ObjectNetwork, ObjectID: "outside", Action: l3.AccessAsExternal, TargetProject: "*"},
		agent:  l3.Agent{ID: "agent", Host: "h"},
	}
	w.state.Reported, w.state.Applied, w.state.Inside = 3, 3, []netip.Prefix{w.private.CIDR}
	w.router.AdminStateUp, w.router.Status, w.router.Host = true, l3.StatusActive, "h"
	w.fip.Status, w.fip.Host = l3.StatusActive, "h"
	w.own.Status = l3.StatusNone
	for _, p := range []*l3.Port{&w.gateway, &w.port} {
		p.AdminStateUp, p.Status, p.StateRevision, p.Binding = true, l3.StatusActive, 1, l3.Binding{HostID: "h", VIFType: "ovs"}
	}
	w.server.AdminStateUp, w.server.Status, w.server.Binding.HostID = true, l3.StatusActive, "h"
	w.group.Name, w.server.SecurityGroups = "default", []string{"group"}
	w.router.Gateway = &l3.GatewayInfo{NetworkID: "outside", PortID: "gateway", FixedIPs: w.gateway.FixedIPs}
	return w
}

func (w *world) store(t *testing.T, also func(context.Context, l3.Tx) error) l3.Store {
	ctx := t.Context()
	s := l3test.Open(t, "sqlite::memory:")
	require.NoError(t, s.Update(ctx, func(tx l3.Tx) error {
		require.NoError(t, tx.Networks().Insert(ctx, w.outside, w.inside))
		require.NoError(t, tx.Segments().Claim(ctx, l3.Segment{Type: "flat", Physical: "uplink"}, "outside"))
		require.NoError(t, tx.Segments().Claim(ctx, l3.Segment{Type: "vxlan", ID: 7}, "inside"))
		require.NoError(t, tx.Subnets().Insert(ctx, w.public, w.private))
		require.NoError(t, tx.Ports().Insert(ctx, w.server, w.gateway, w.port, w.own))
		for _, p := range []l3.Port{w.server, w.gateway, w.port, w.own} {
			require.NoError(t, tx.Addresses().Claim(ctx, p.FixedIPs[0].SubnetID, p.FixedIPs[0].IPAddress, p.ID))
		}
		require.NoError(t, tx.Routers().Insert(ctx, w.router))
		require.NoError(t, tx.RouterStates().Insert(ctx, w.state))
		require.NoError(t, tx.FloatingIPs().Insert(ctx, w.fip))
		require.NoError(t, tx.SecurityGroups().Insert(ctx, w.group))
		require.NoError(t, tx.SecurityGroupRules().Insert(ctx, w.rule))
		require.NoError(t, tx.RBACPolicies().Insert(ctx, w.policy))
		require.NoError(t, tx.Agents().Insert(ctx, w.agent))
		_, err := tx.Deployment().NextEpoch(ctx)
		require.NoError(t, err)
		require.NoError(t, tx.Outbox().Add(ctx, l3.Notice{Host: "h", RouterID: "router", Epoch: 1}))
		if also != nil {
			return also(ctx, tx)
		}
		return nil
	}))
	return s
}

func TestAuditFindsNothingWhereNothingIsWrong(t *testing.T) {
	require.NoError(t, l3test.Auditor{Quotas: service.DefaultQuotas()}.Audit(t.Context(), newWorld().store(t, nil)))
}

// TestAuditBites damages one thing at a time.
func TestAuditBites(t *testing.T) {
	for finding, damage := range map[string]func(*world){
		"has revision 0":                       func(w *world) { w.rule.Revision = 0 },
		"and changed at":                       func(w *world) { w.inside.UpdatedAt = time.Time{} },
		"are not sorted":                       func(w *world) { w.public.Tags = []string{"b", "a"} },
		"has the holder nobody on host h":      func(w *world) { w.fip.Holder = l3.Holder{Host: "h", Instance: "nobody"} },
		"has no segment":                       func(w *world) { w.inside.Segments = nil },
		"are both on segment":                  func(w *world) { w.inside.Segments = w.outside.Segments },
		"is claimed for network inside, which": func(w *world) { w.inside.Segments[0].ID = 8 },
		"which is claimed for \"\"":            func(w *world) { w.inside.Segments[0].ID = 9 },
		"of network gone, which does not":      func(w *world) { w.private.NetworkID = "gone" },
		"has the CIDR 10.0.0.1/24":             func(w *world) { w.private.CIDR = netip.MustParsePrefix("10.0.0.1/24") },
		"is not in 10.0.0.0/24":                func(w *world) { w.private.AllocationPools[0].First = addr("10.0.1.2") },
		"pools from 10.0.0.90 and from":        func(w *world) { w.private.AllocationPools[1].First = addr("10.0.0.90") },
		"of network outside overlap": func(w *world) {
			w.private.NetworkID, w.private.CIDR = "outside", netip.MustParsePrefix("192.0.0.0/16")
		},
		"subnet gone, which does not exist":  func(w *world) { w.server.FixedIPs[0].SubnetID = "gone" },
		"which is of network inside":         func(w *world) { w.gateway.FixedIPs[0].SubnetID = "private" },
		"which is not in its subnet":         func(w *world) { w.server.FixedIPs[0].IPAddress = addr("10.0.9.2") },
		"security group gone":                func(w *world) { w.server.SecurityGroups = []string{"gone"} },
		"is of router gone":                  func(w *world) { w.port.DeviceID = "gone" },
		"which does not have it":             func(w *world) { w.router.Gateway = nil },
		"which is not external":              func(w *world) { w.outside.External = false },
		"its gateway port server is not one": func(w *world) { w.router.Gateway.PortID = "server" },
		"has the gateway addresses":          func(w *world) { w.router.Gateway.FixedIPs = nil },
		"router router: subnets":             func(w *world) { w.server.DeviceID, w.server.DeviceOwner = "router", l3.OwnerRouterInterface },
		"via 10.9.0.1 is not on a subnet":    func(w *world) { w.router.Routes[0].NextHop = addr("10.9.0.1") },
		"via 10.0.0.1 is itself":             func(w *world) { w.router.Routes[0].NextHop = addr("10.0.0.1") },
		"via 10.0.0.2 twice":                 func(w *world) { w.router.Routes = append(w.router.Routes, w.router.Routes[0]) },
		"does not hold its address":          func(w *world) { w.fip.OwnPort = "server" },
		"a floating IP that does not exist":  func(w *world) { w.fip.OwnPort = "gone" },
		"is not bound, but has router":       func(w *world) { w.fip.PortID = "" },
		"bound to port gone":                 func(w *world) { w.fip.PortID = "gone" },
		"which port server does not have":    func(w *world) { w.fip.FixedIP = addr("10.0.0.3") },
		"which has no gateway on network":    func(w *world) { w.fip.RouterID = "gone" },
		"which has no interface on subnet":   func(w *world) { w.port.DeviceOwner = "compute:nova" },
		"is of group gone":                   func(w *world) { w.rule.SecurityGroupID = "gone" },
		"is about group gone":                func(w *world) { w.rule.RemoteGroupID = "gone" },
		"is about network gone":              func(w *world) { w.policy.ObjectID = "gone" },
		"in epoch 1, which cannot be":        func(w *world) { w.agent.Host = "other" },
		"a state of router gone":             func(w *world) { w.state.ID = "gone" },
		"and revision 4 was reported":        func(w *world) { w.state.Reported = 4 },
		"was bound with revision 9":          func(w *world) { w.fip.StateRevision = 9 },
		"state of router router":             func(w *world) { w.router.ID = "other" },
		"the database has given 1 at most":   func(w *world) { w.state.Epoch = 2 },
		`on agent "" and host "h"`:           func(w *world) { w.state.AgentID = "" },
		"is of epoch 1 of router router":     func(w *world) { w.state.Epoch = 0 },

		`router router is stored as ACTIVE on host "h", and is BUILD`: func(w *world) { w.state.Reported = 2 },
		`router router is stored as ACTIVE on host "h", and is ERROR`: func(w *world) { w.state.Error = "no" },
		`router router is stored as DOWN on host "h"`:                 func(w *world) { w.router.Status = l3.StatusDown },
		`router router is stored as ACTIVE on host "x"`:               func(w *world) { w.router.Host = "x" },
		`port port of router router is stored as ACTIVE`:              func(w *world) { w.state.Applied = 0 },
		`is stored as ACTIVE on host "" (ovs)`:                        func(w *world) { w.port.Binding.HostID = "" },
		`is stored as ACTIVE on host "h" (unbound)`:                   func(w *world) { w.port.Binding.VIFType = "unbound" },
		`of revision 3, was plugged in with revision 0`:               func(w *world) { w.port.StateRevision = 0 },
		`of revision 3, was plugged in with revision 4`:               func(w *world) { w.port.StateRevision = 4 },
		`floating IP fip is stored as ACTIVE on host "h", and is DOWN`: func(w *world) {
			w.state.Inside = nil
		},
		`floating IP fip is stored as ACTIVE on host "h", and is ERROR`: func(w *world) {
			w.state.Error, w.state.Applied = "full", 1
		},
		`port server of a workload is ACTIVE, and no agent serves host "x"`: func(w *world) { w.server.Binding.HostID = "x" },
		`port server of a workload is ACTIVE, and no agent serves host "h"`: func(w *world) { w.server.AdminStateUp = false },
		`port own of a floating IP is DOWN`:                                 func(w *world) { w.own.Status = l3.StatusDown },
	} {
		t.Run(finding, func(t *testing.T) {
			w := newWorld()
			damage(w)
			require.ErrorContains(t, l3test.Audit(t.Context(), w.store(t, nil)), finding)
		})
	}
}

// TestAuditBitesAddresses damages what is beside the resources.
func TestAuditBitesAddresses(t *testing.T) {
	for finding, damage := range map[string]func(context.Context, l3.Tx) error{
		"which is claimed for \"\"": func(ctx context.Context, tx l3.Tx) error {
			return tx.Addresses().Release(ctx, "private", addr("10.0.0.2"))
		},
		"claimed for port server, which does not have it": func(ctx context.Context, tx l3.Tx) error {
			return tx.Addresses().Claim(ctx, "private", addr("10.0.0.7"), "server")
		},
		"claimed for port gone, which does not have it": func(ctx context.Context, tx l3.Tx) error {
			return tx.Addresses().Claim(ctx, "gone", addr("10.0.0.7"), "gone")
		},
		"claimed for network gone": func(ctx context.Context, tx l3.Tx) error {
			return tx.Segments().Claim(ctx, l3.Segment{Type: "vlan", Physical: "x", ID: 1}, "gone")
		},
		"both have 10.0.0.2": func(ctx context.Context, tx l3.Tx) error {
			p := newWorld().server
			p.ID, p.MAC[5] = "twin", 99
			return tx.Ports().Insert(ctx, p)
		},
		"two default security groups": func(ctx context.Context, tx l3.Tx) error {
			g := newWorld().group
			g.ID = "twin"
			return tx.SecurityGroups().Insert(ctx, g)
		},
		"say the same": func(ctx context.Context, tx l3.Tx) error {
			p := newWorld().policy
			p.ID = "twin"
			return tx.RBACPolicies().Insert(ctx, p)
		},
		"is on host elsewhere, where the network has no workload": func(ctx context.Context, tx l3.Tx) error {
			return tx.Sightings().Insert(ctx, sighting("10.0.0.9", "elsewhere"))
		},
		"has another ID, or no time": func(ctx context.Context, tx l3.Tx) error {
			x := sighting("10.0.0.9", "h")
			x.ID = "x"
			return tx.Sightings().Insert(ctx, x)
		},
		"is of an address that port server has": func(ctx context.Context, tx l3.Tx) error {
			return tx.Sightings().Insert(ctx, sighting("10.0.0.2", "h"))
		},
		"is of an address that port port has": func(ctx context.Context, tx l3.Tx) error {
			return tx.Sightings().Insert(ctx, sighting("10.0.0.1", "h"))
		},
		"has more than 100 sightings on host h": func(ctx context.Context, tx l3.Tx) error {
			for i := range byte(101) {
				if err := tx.Sightings().Insert(ctx, sighting(netip.AddrFrom4([4]byte{10, 0, 0, 100 + i}).String(), "h")); err != nil {
					return err
				}
			}
			return nil
		},
		"router gone is on agent": func(ctx context.Context, tx l3.Tx) error {
			return tx.RouterStates().Insert(ctx, l3.RouterState{ID: "gone", AgentID: "gone", Host: "h", Epoch: 1})
		},
		"notice 2 says that router gone": func(ctx context.Context, tx l3.Tx) error {
			return tx.Outbox().Add(ctx, l3.Notice{Host: "h", RouterID: "gone", Epoch: 1})
		},
		"project p has 2 of port and may have 1": func(ctx context.Context, tx l3.Tx) error {
			return tx.Quotas().Set(ctx, "p", map[string]int{"port": 1})
		},
	} {
		t.Run(finding, func(t *testing.T) {
			err := l3test.Auditor{Quotas: service.DefaultQuotas()}.Audit(t.Context(), newWorld().store(t, damage))
			require.ErrorContains(t, err, finding)
		})
	}
}

// TestAuditBitesSubnetPools damages pools, scopes and what subnets have of them.
func TestAuditBitesSubnetPools(t *testing.T) {
	prefix := netip.MustParsePrefix
	type rows struct {
		scope       l3.AddressScope
		pool, other l3.SubnetPool
		policy      l3.RBACPolicy
		more        []l3.Subnet
		topology    l3.AutoAllocatedTopology
	}
	sound := func() (*world, *rows) {
		w := newWorld()
		w.private.SubnetPoolID = "pool"
		pool := func(id, prefix string) l3.SubnetPool {
			return l3.SubnetPool{Meta: meta(id, "p"), IPVersion: 4, Prefixes: []netip.Prefix{netip.MustParsePrefix(prefix)}, AddressScopeID: "scope"}
		}
		return w, &rows{
			scope: l3.AddressScope{Meta: meta("scope", "p"), IPVersion: 4},
			pool:  pool("pool", "10.0.0.0/8"), other: pool("other", "11.0.0.0/8"),
			policy:   l3.RBACPolicy{Meta: meta("shared", "p"), ObjectType: l3.ObjectSubnetPool, ObjectID: "other", Action: l3.AccessAsShared, TargetProject: "q"},
			topology: l3.AutoAllocatedTopology{ProjectID: "p", NetworkID: "inside", RouterID: "router"},
		}
	}
	audit := func(w *world, r *rows) error {
		return l3test.Auditor{Quotas: service.DefaultQuotas()}.Audit(t.Context(), w.store(t, func(ctx context.Context, tx l3.Tx) error {
			return errors.Join(tx.AddressScopes().Insert(ctx, r.scope), tx.SubnetPools().Insert(ctx, r.pool, r.other),
				tx.RBACPolicies().Insert(ctx, r.policy), tx.Topologies().Insert(ctx, r.topology), tx.Subnets().Insert(ctx, r.more...))
		}))
	}
	w, r := sound()
	require.NoError(t, audit(w, r))
	inside := func(id, cidr, pool string) l3.Subnet {
		return l3.Subnet{Meta: meta(id, "p"), NetworkID: "inside", IPVersion: 4, CIDR: prefix(cidr), SubnetPoolID: pool}
	}
	for finding, spoil := range map[string]func(*world, *rows){
		"has revision 0":                          func(_ *world, r *rows) { r.pool.Revision = 0 },
		"address_scopes scope has revision 0":     func(_ *world, r *rows) { r.scope.Revision = 0 },
		"has the prefix 10.0.0.1/8":               func(_ *world, r *rows) { r.pool.Prefixes[0] = prefix("10.0.0.1/8") },
		"has the prefix 2001:db8::/32":            func(_ *world, r *rows) { r.other.Prefixes = append(r.other.Prefixes, prefix("2001:db8::/32")) },
		"the prefixes 11.0.0.0/8 and 9.0.0.0/8":   func(_ *world, r *rows) { r.other.Prefixes = append(r.other.Prefixes, prefix("9.0.0.0/8")) },
		"are both the default of IP version 4":    func(_ *world, r *rows) { r.pool.IsDefault, r.other.IsDefault = true, true },
		"subnetpool pool: shared is true":         func(_ *world, r *rows) { r.pool.Shared = true },
		"subnetpool other: shared is false":       func(_ *world, r *rows) { r.policy.TargetProject = "*" },
		"address_scope scope: shared is true":     func(_ *world, r *rows) { r.scope.Shared = true },
		"has 10.0.0.0/24 of subnet pool":          func(_ *world, r *rows) { r.pool.Prefixes[0] = prefix("12.0.0.0/8") },
		`of subnet pool "gone", which has []`:     func(w *world, _ *rows) { w.private.SubnetPoolID = "gone" },
		"of subnet pool pool overlap":             func(w *world, _ *rows) { w.public.CIDR, w.public.SubnetPoolID = prefix("10.0.0.0/25"), "pool" },
		"in address scope \"gone\" of IP version": func(_ *world, r *rows) { r.pool.AddressScopeID = "gone" },
		"of IP version 4 is in address scope":     func(_ *world, r *rows) { r.scope.IPVersion = 6 },
		"of address scope scope overlap":          func(_ *world, r *rows) { r.other.Prefixes[0] = prefix("10.9.0.0/16") },
		"has IPv4 subnets of":                     func(_ *world, r *rows) { r.more = []l3.Subnet{inside("more", "11.0.0.0/24", "")} },
		"has network \"gone\" of project":         func(_ *world, r *rows) { r.topology.NetworkID = "gone" },
		"of project p has network \"outside\"":    func(_ *world, r *rows) { r.topology.NetworkID = "outside" },
		"has router gone of project":              func(_ *world, r *rows) { r.topology.RouterID = "gone" },
		"is about subnetpool gone":                func(_ *world, r *rows) { r.policy.ObjectID = "gone" },
		"is about address_scope other":            func(_ *world, r *rows) { r.policy.ObjectType = l3.ObjectAddressScope },
		`IPv4 addresses in address scopes "`:      func(w *world, _ *rows) { w.router.Distributed = true },
		"its gateway in IPv4 address scope":       func(w *world, r *rows) { w.router.Distributed, w.public.SubnetPoolID = true, "other" },
	} {
		t.Run(finding, func(t *testing.T) {
			w, r := sound()
			spoil(w, r)
			require.ErrorContains(t, audit(w, r), finding)
		})
	}
	w, r = sound()
	r.more = []l3.Subnet{inside("more", "11.0.0.0/24", "other")}
	require.NoError(t, audit(w, r), "two pools of one scope on a network")
}

// TestAuditBitesPortForwardings damages a forwarding, or what it is between.
func TestAuditBitesPortForwardings(t *testing.T) {
	type damage func(w *world, pf *l3.PortForwarding)
	sound := func() (*world, l3.PortForwarding) {
		w := newWorld()
		w.fip.PortID, w.fip.FixedIP = "", netip.Addr{}
		pf := l3.PortForwarding{Meta: meta("pf", "p"), FloatingIPID: "fip", RouterID: "router", PortID: "server", FixedIP: addr("10.0.0.2"), Protocol: "tcp"}
		pf.SetRanges(l3.PortRange{First: 80, Last: 89}, l3.PortRange{First: 8080, Last: 8089})
		return w, pf
	}
	audit := func(w *world, all ...l3.PortForwarding) error {
		return l3test.Auditor{Quotas: service.DefaultQuotas()}.Audit(t.Context(), w.store(t, func(ctx context.Context, tx l3.Tx) error {
			return tx.PortForwardings().Insert(ctx, all...)
		}))
	}
	w, pf := sound()
	require.NoError(t, audit(w, pf))
	for finding, spoil := range map[string]damage{
		"has revision 0":                       func(_ *world, pf *l3.PortForwarding) { pf.Revision = 0 },
		`is of floating IP "gone"`:             func(_ *world, pf *l3.PortForwarding) { pf.FloatingIPID = "gone" },
		`and bound to port "server"`:           func(w *world, _ *l3.PortForwarding) { w.fip.PortID, w.fip.FixedIP = "server", addr("10.0.0.2") },
		`of router "other" and project "p" is`: func(_ *world, pf *l3.PortForwarding) { pf.RouterID = "other" },
		`and project "q" is of`:                func(_ *world, pf *l3.PortForwarding) { pf.ProjectID = "q" },
		"leads to port port, which is a":       func(_ *world, pf *l3.PortForwarding) { pf.PortID, pf.FixedIP = "port", addr("10.0.0.1") },
		"bound to port gone":                   func(_ *world, pf *l3.PortForwarding) { pf.PortID = "gone" },
		"which port server does not have":      func(_ *world, pf *l3.PortForwarding) { pf.FixedIP = addr("10.0.0.3") },
		"leads from ports 80:89 to 8080:8085":  func(_ *world, pf *l3.PortForwarding) { pf.InternalRange.Last = 8085 },
		"has the ports 80 and 0":               func(_ *world, pf *l3.PortForwarding) { pf.ExternalPort = 80 },
		"and is DOWN":                          func(w *world, _ *l3.PortForwarding) { w.state.Inside = nil },
	} {
		t.Run(finding, func(t *testing.T) {
			w, pf := sound()
			spoil(w, &pf)
			require.ErrorContains(t, audit(w, pf), finding)
		})
	}
	twin := pf
	twin.ID = "twin"
	twin.SetRanges(l3.PortRange{First: 89, Last: 89}, l3.PortRange{First: 1, Last: 1})
	require.ErrorContains(t, audit(w, pf, twin), "share ports of floating IP fip")
	twin.SetRanges(l3.PortRange{First: 90, Last: 90}, l3.PortRange{First: 8089, Last: 8089})
	require.ErrorContains(t, audit(w, pf, twin), "share ports of 10.0.0.2")
	require.ErrorContains(t, audit(w), "is not bound, but has router")
}

func sighting(a, host string) l3.Sighting {
	return l3.Sighting{ID: l3.SightingID("inside", addr(a)), NetworkID: "inside", Addr: addr(a), Host: host, SeenAt: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
}

// miscounting is a store that counts no routers of agents.
type miscounting struct{ l3.Store }

type miscountingTx struct{ l3.Tx }

type uncounted struct{ l3.RouterStates }

func (m miscounting) View(ctx context.Context, fn func(l3.Tx) error) error {
	return m.Store.View(ctx, func(tx l3.Tx) error { return fn(miscountingTx{tx}) })
}

func (m miscountingTx) RouterStates() l3.RouterStates { return uncounted{m.Tx.RouterStates()} }

func (uncounted) Hosted(context.Context) (map[string]int, error) { return nil, nil }

func TestAuditCounts(t *testing.T) {
	require.ErrorContains(t, l3test.Audit(t.Context(), miscounting{newWorld().store(t, nil)}), "agents host map[agent:1]; map[] are counted")
}

// TestAuditBitesQoS damages QoS policies, their rules, or what has them.
func TestAuditBitesQoS(t *testing.T) {
	type rows struct {
		policy, other l3.QoSPolicy
		limit, mark   l3.QoSRule
		share         l3.RBACPolicy
	}
	sound := func() (*world, *rows) {
		w := newWorld()
		w.inside.QoSPolicyID, w.server.QoSPolicyID, w.fip.QoSPolicyID, w.router.Gateway.QoSPolicyID = "policy", "policy", "policy", "policy"
		rule := func(id string, t l3.QoSRuleType, direction string) l3.QoSRule {
			return l3.QoSRule{Meta: meta(id, "p"), PolicyID: "policy", Type: t, Direction: direction}
		}
		return w, &rows{
			policy: l3.QoSPolicy{Meta: meta("policy", "p"), IsDefault: true}, other: l3.QoSPolicy{Meta: meta("other", "p")},
			limit: rule("limit", l3.QoSBandwidthLimit, "egress"), mark: rule("mark", l3.QoSDSCPMarking, ""),
			share: l3.RBACPolicy{Meta: meta("share", "p"), ObjectType: l3.ObjectQoSPolicy, ObjectID: "policy", Action: l3.AccessAsShared, TargetProject: "q"},
		}
	}
	audit := func(w *world, r *rows) error {
		return l3test.Audit(t.Context(), w.store(t, func(ctx context.Context, tx l3.Tx) error {
			return errors.Join(tx.QoSPolicies().Insert(ctx, r.policy, r.other), tx.QoSRules().Insert(ctx, r.limit, r.mark), tx.RBACPolicies().Insert(ctx, r.share))
		}))
	}
	require.NoError(t, audit(sound()))
	for finding, spoil := range map[string]func(*world, *rows){
		"policies other has revision 0":                             func(_ *world, r *rows) { r.other.Revision = 0 },
		"qos_rules mark has revision 0":                             func(_ *world, r *rows) { r.mark.Revision = 0 },
		"are both the default of project p":                         func(_ *world, r *rows) { r.other.IsDefault = true },
		`QoS rule limit of project p is of QoS policy "gone"`:       func(_ *world, r *rows) { r.limit.PolicyID = "gone" },
		`QoS rule mark of project q is of QoS policy "policy"`:      func(_ *world, r *rows) { r.mark.ProjectID = "q" },
		"networks inside has QoS policy gone, which does not exist": func(w *world, _ *rows) { w.inside.QoSPolicyID = "gone" },
		"ports server has QoS policy gone":                          func(w *world, _ *rows) { w.server.QoSPolicyID = "gone" },
		"floatingips fip has QoS policy gone":                       func(w *world, _ *rows) { w.fip.QoSPolicyID = "gone" },
		"routers router has QoS policy gone":                        func(w *world, _ *rows) { w.router.Gateway.QoSPolicyID = "gone" },
		"is about qos_policy gone, which does not exist":            func(_ *world, r *rows) { r.share.ObjectID = "gone" },
		"qos_policy policy: shared is false":                        func(_ *world, r *rows) { r.share.TargetProject = "*" },
		"qos_policy other: shared is true":                          func(_ *world, r *rows) { r.other.Shared = true },
	} {
		t.Run(finding, func(t *testing.T) {
			w, r := sound()
			spoil(w, r)
			require.ErrorContains(t, audit(w, r), finding)
		})
	}
}
