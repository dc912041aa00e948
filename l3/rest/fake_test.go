package rest_test

import (
	"context"
	"net/netip"
	"time"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/rest"
)

// fake answers what a test gives it and notes what it was asked. Methods that no test needs are nil
// and panic.
type fake struct {
	rest.Service

	routers  []l3.Router
	networks []l3.Network
	ports    []l3.Port
	fips     []l3.FloatingIP
	zones    []l3.AvailabilityZone
	counts   []l3.IPAvailability
	agents   []l3.Agent
	err      error // of everything

	who   l3.Caller
	query l3.Query
	cond  l3.If
	id    string
	specs []any
}

// Allows has Neutron's policy.
func (f *fake) Allows(who l3.Caller, rule string, to l3.Relation) bool {
	return who.Admin || l3.DefaultPolicy{}.Allows(who, rule, to)
}

func (f *fake) note(who l3.Caller, id string, cond l3.If, specs ...any) error {
	f.who, f.id, f.cond, f.specs = who, id, cond, specs
	return f.err
}

func (f *fake) ListRouters(_ context.Context, who l3.Caller, q l3.Query) ([]l3.Router, error) {
	f.query = q
	return f.routers, f.note(who, "", l3.If{})
}

func (f *fake) GetRouter(_ context.Context, who l3.Caller, id string) (l3.Router, error) {
	if err := f.note(who, id, l3.If{}); err != nil {
		return l3.Router{}, err
	}
	for _, r := range f.routers {
		if r.ID == id {
			return r, nil
		}
	}
	return l3.Router{}, &l3.Error{Kind: l3.ErrNotFound, Name: "RouterNotFound", Message: "Router " + id + " could not be found"}
}

func (f *fake) CreateRouters(_ context.Context, who l3.Caller, specs ...l3.RouterSpec) ([]l3.Router, error) {
	err := f.note(who, "", l3.If{})
	out := make([]l3.Router, len(specs))
	for i, s := range specs {
		f.specs = append(f.specs, s)
		out[i] = sampleRouter
	}
	return out, err
}

func (f *fake) UpdateRouter(_ context.Context, who l3.Caller, id string, s l3.RouterSpec, cond l3.If) (l3.Router, error) {
	return sampleRouter, f.note(who, id, cond, s)
}

func (f *fake) DeleteRouter(_ context.Context, who l3.Caller, id string, cond l3.If) error {
	return f.note(who, id, cond)
}

func (f *fake) AddExtraRoutes(_ context.Context, who l3.Caller, id string, routes []l3.Route) (l3.Router, error) {
	return sampleRouter, f.note(who, id, l3.If{}, routes)
}

func (f *fake) AddRouterInterface(_ context.Context, who l3.Caller, id string, s l3.InterfaceSpec) (l3.Interface, error) {
	return l3.Interface{RouterID: id, SubnetIDs: []string{}}, f.note(who, id, l3.If{}, s)
}

func (f *fake) CreateNetworks(_ context.Context, who l3.Caller, specs ...l3.NetworkSpec) ([]l3.Network, error) {
	err := f.note(who, "", l3.If{})
	for _, s := range specs {
		f.specs = append(f.specs, s)
	}
	return make([]l3.Network, len(specs)), err
}

func (f *fake) ListNetworks(_ context.Context, who l3.Caller, q l3.Query) ([]l3.Network, error) {
	f.query = q
	return f.networks, f.note(who, "", l3.If{})
}

func (f *fake) ListPorts(_ context.Context, who l3.Caller, q l3.Query) ([]l3.Port, error) {
	f.query = q
	return f.ports, f.note(who, "", l3.If{})
}

func (f *fake) CreatePorts(_ context.Context, who l3.Caller, specs ...l3.PortSpec) ([]l3.Port, error) {
	err := f.note(who, "", l3.If{})
	for _, s := range specs {
		f.specs = append(f.specs, s)
	}
	return make([]l3.Port, len(specs)), err
}

func (f *fake) CreateSubnets(_ context.Context, who l3.Caller, specs ...l3.SubnetSpec) ([]l3.Subnet, error) {
	err := f.note(who, "", l3.If{})
	for _, s := range specs {
		f.specs = append(f.specs, s)
	}
	return make([]l3.Subnet, len(specs)), err
}

func (f *fake) UpdateFloatingIP(_ context.Context, who l3.Caller, id string, s l3.FloatingIPSpec, cond l3.If) (l3.FloatingIP, error) {
	return l3.FloatingIP{}, f.note(who, id, cond, s)
}

func (f *fake) ListFloatingIPs(_ context.Context, who l3.Caller, q l3.Query) ([]l3.FloatingIP, error) {
	f.query = q
	return f.fips, f.note(who, "", l3.If{})
}

func (f *fake) CreateSecurityGroupRules(_ context.Context, who l3.Caller, specs ...l3.SecurityGroupRuleSpec) ([]l3.SecurityGroupRule, error) {
	err := f.note(who, "", l3.If{})
	for _, s := range specs {
		f.specs = append(f.specs, s)
	}
	return make([]l3.SecurityGroupRule, len(specs)), err
}

func (f *fake) ListAvailabilityZones(context.Context, l3.Caller) ([]l3.AvailabilityZone, error) {
	return f.zones, f.err
}

func (f *fake) ListAgents(_ context.Context, who l3.Caller, q l3.Query) ([]l3.Agent, error) {
	f.query = q
	return f.agents, f.note(who, "", l3.If{})
}

func (f *fake) AddRouterToAgent(_ context.Context, who l3.Caller, agent, router string) error {
	return f.note(who, agent, l3.If{}, router)
}

func (f *fake) IPAvailability(_ context.Context, who l3.Caller, q l3.Query) ([]l3.IPAvailability, error) {
	f.query = q
	return f.counts, f.note(who, "", l3.If{})
}

func (f *fake) GetTags(_ context.Context, who l3.Caller, kind l3.Kind, id string) ([]string, error) {
	return []string{"a", "b/c"}, f.note(who, id, l3.If{}, kind)
}

func (f *fake) SetTags(_ context.Context, who l3.Caller, kind l3.Kind, id string, tags []string) ([]string, error) {
	return tags, f.note(who, id, l3.If{}, kind, tags)
}

func (f *fake) AddTag(_ context.Context, who l3.Caller, kind l3.Kind, id, tag string) error {
	return f.note(who, id, l3.If{}, kind, tag)
}

func (f *fake) SetQuota(_ context.Context, who l3.Caller, project string, limits map[string]int) (map[string]int, error) {
	return limits, f.note(who, project, l3.If{}, limits)
}

func (f *fake) SetQuotaAboveUsage(_ context.Context, who l3.Caller, project string, limits map[string]int) (map[string]int, error) {
	return limits, f.note(who, project, l3.If{}, limits, "above usage")
}

const (
	routerID  = "6b6b1a5e-5f4a-4b9e-9d0a-0f5f3a1c2d3e"
	networkID = "0c9f7a2b-1d3e-4f5a-8b6c-7d8e9f0a1b2c"
	subnetID  = "1f2e3d4c-5b6a-4789-8abc-def012345678"
	projectID = "9a3e5b7c1d2f4e6a8b0c9d1e2f3a4b5c"
)

var sampleRouter = l3.Router{
	Meta: l3.Meta{
		ID: routerID, ProjectID: projectID, Name: `core "7"`, Description: "für alle", Tags: []string{"blue", "tier=1"}, Revision: 3,
		CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), UpdatedAt: time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC),
	},
	AdminStateUp: true, Status: l3.StatusActive,
	Gateway: &l3.GatewayInfo{NetworkID: networkID, PortID: "hidden", EnableSNAT: true,
		FixedIPs: []l3.FixedIP{{SubnetID: subnetID, IPAddress: netip.MustParseAddr("203.0.113.7")}}},
	Routes:  []l3.Route{{Destination: netip.MustParsePrefix("10.9.0.0/16"), NextHop: netip.MustParseAddr("10.0.0.9")}},
	AZHints: []string{}, AvailabilityZones: []string{"nova"},
}

var samplePort = l3.Port{
	Meta: l3.Meta{ID: routerID, ProjectID: projectID}, NetworkID: networkID, MAC: dataplane.MAC{0xfa, 0x16, 0x3e, 0, 0, 1},
	Binding: l3.Binding{HostID: "host-1", VNICType: "normal", VIFType: "unbound"},
}
