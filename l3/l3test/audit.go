package l3test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/l3kit/l3kit/l3"
)

// Audit reads a whole database, in one transaction, and says what no rule allows. It does not trust
// the store's keys: what they should make impossible is looked for too.
func Audit(ctx context.Context, store l3.Store) error { return Auditor{}.Audit(ctx, store) }

// Auditor is Audit with what only the caller can know.
type Auditor struct {
	// Quotas are the defaults in force, by resource. Nil: quotas are not looked at. A limit may
	// have been lowered later, so that is for tests that do not.
	Quotas map[string]int
}

// Audit looks; see the function of that name.
func (a Auditor) Audit(ctx context.Context, store l3.Store) error {
	var found []error
	err := store.View(ctx, func(tx l3.Tx) error {
		d, err := read(ctx, tx)
		if err != nil {
			return err
		}
		d.metas()
		d.ofPolicies()
		d.ofQoSPolicies()
		d.ofSegments()
		d.ofSubnets()
		d.ofSubnetPools()
		d.ofAddressScopes()
		d.ofDistributedScopes()
		d.ofTopologies()
		d.ofPorts()
		d.ofAddresses()
		d.ofRouters()
		d.ofRoutes()
		d.ofFloatingIPs()
		d.ofPortForwardings()
		d.ofSecurityGroups()
		d.ofHosting()
		d.ofStatus()
		d.ofOutbox()
		d.ofInstances()
		d.ofSightings()
		if a.Quotas != nil {
			d.ofQuotas(a.Quotas)
		}
		found = d.found
		return d.freeAddresses(ctx, tx, &found)
	})
	slices.SortFunc(found, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(append(found, err)...)
}

// database is everything that a store has.
type database struct {
	networks    map[string]l3.Network
	subnets     map[string]l3.Subnet
	ports       map[string]l3.Port
	routers     map[string]l3.Router
	states      map[string]l3.RouterState
	floatingIPs map[string]l3.FloatingIP
	forwardings map[string]l3.PortForwarding
	groups      map[string]l3.SecurityGroup
	rules       map[string]l3.SecurityGroupRule
	policies    map[string]l3.RBACPolicy
	pools       map[string]l3.SubnetPool
	scopes      map[string]l3.AddressScope
	qosPolicies map[string]l3.QoSPolicy
	qosRules    map[string]l3.QoSRule
	topologies  map[string]l3.AutoAllocatedTopology
	agents      map[string]l3.Agent
	departures  map[string]l3.Departure
	orphans     map[string]l3.Orphan
	sightings   map[string]l3.Sighting
	deployment  l3.Deployment
	claims      []l3.AddressClaim
	segments    map[l3.Segment]string
	hosted      map[string]int
	limits      map[string]map[string]int
	notices     []l3.Notice

	found []error
}

func read(ctx context.Context, tx l3.Tx) (*database, error) {
	d := &database{}
	err := errors.Join(
		all(ctx, tx.Networks(), &d.networks, func(r l3.Network) string { return r.ID }),
		all(ctx, tx.Subnets(), &d.subnets, func(r l3.Subnet) string { return r.ID }),
		all(ctx, tx.Ports(), &d.ports, func(r l3.Port) string { return r.ID }),
		all(ctx, tx.Routers(), &d.routers, func(r l3.Router) string { return r.ID }),
		all(ctx, tx.RouterStates(), &d.states, func(r l3.RouterState) string { return r.ID }),
		all(ctx, tx.FloatingIPs(), &d.floatingIPs, func(r l3.FloatingIP) string { return r.ID }),
		all(ctx, tx.PortForwardings(), &d.forwardings, func(r l3.PortForwarding) string { return r.ID }),
		all(ctx, tx.SecurityGroups(), &d.groups, func(r l3.SecurityGroup) string { return r.ID }),
		all(ctx, tx.SecurityGroupRules(), &d.rules, func(r l3.SecurityGroupRule) string { return r.ID }),
		all(ctx, tx.RBACPolicies(), &d.policies, func(r l3.RBACPolicy) string { return r.ID }),
		all(ctx, tx.SubnetPools(), &d.pools, func(r l3.SubnetPool) string { return r.ID }),
		all(ctx, tx.AddressScopes(), &d.scopes, func(r l3.AddressScope) string { return r.ID }),
		all(ctx, tx.QoSPolicies(), &d.qosPolicies, func(r l3.QoSPolicy) string { return r.ID }),
		all(ctx, tx.QoSRules(), &d.qosRules, func(r l3.QoSRule) string { return r.ID }),
		all(ctx, tx.Topologies(), &d.topologies, func(r l3.AutoAllocatedTopology) string { return r.ProjectID }),
		all(ctx, tx.Agents(), &d.agents, func(r l3.Agent) string { return r.ID }),
		all(ctx, tx.Departures(), &d.departures, func(r l3.Departure) string { return r.ID }),
		all(ctx, tx.Orphans(), &d.orphans, func(r l3.Orphan) string { return r.ID }),
		all(ctx, tx.Sightings(), &d.sightings, func(r l3.Sighting) string { return r.ID }),
	)
	if err != nil {
		return nil, err
	}
	if d.deployment, err = tx.Deployment().Get(ctx); err != nil {
		return nil, err
	}
	if d.claims, err = tx.Addresses().All(ctx); err != nil {
		return nil, err
	}
	if d.segments, err = tx.Segments().All(ctx); err != nil {
		return nil, err
	}
	if d.limits, err = tx.Quotas().List(ctx); err != nil {
		return nil, err
	}
	if d.notices, err = tx.Outbox().Next(ctx, 1<<30); err != nil {
		return nil, err
	}
	d.hosted, err = tx.RouterStates().Hosted(ctx)
	return d, err
}

func all[R any](ctx context.Context, table l3.Table[R], into *map[string]R, id func(R) string) error {
	list, err := table.List(ctx, l3.Query{})
	if err != nil {
		return err
	}
	*into = make(map[string]R, len(list))
	for _, r := range list {
		(*into)[id(r)] = r
	}
	if len(*into) != len(list) {
		return fmt.Errorf("%d resources have %d IDs", len(list), len(*into))
	}
	if n, err := table.Count(ctx); err != nil || n != len(list) {
		return errors.Join(err, fmt.Errorf("%d resources are listed, %d counted", len(list), n))
	}
	return nil
}

func (d *database) report(format string, args ...any) {
	d.found = append(d.found, fmt.Errorf(format, args...))
}

// metas: what every resource has is as it must be.
func (d *database) metas() {
	check := func(kind l3.Kind, m l3.Meta) {
		if m.ID == "" {
			d.report("%s: a resource has no ID", kind)
		}
		if m.Revision < 1 {
			d.report("%s %s has revision %d", kind, m.ID, m.Revision)
		}
		if m.UpdatedAt.Before(m.CreatedAt) || m.CreatedAt.IsZero() {
			d.report("%s %s was made at %s and changed at %s", kind, m.ID, m.CreatedAt, m.UpdatedAt)
		}
		if !slices.IsSorted(m.Tags) || len(slices.Compact(slices.Clone(m.Tags))) != len(m.Tags) {
			d.report("%s %s: the tags %q are not sorted, or are twice there", kind, m.ID, m.Tags)
		}
	}
	for _, r := range d.networks {
		check(l3.KindNetwork, r.Meta)
	}
	for _, r := range d.subnets {
		check(l3.KindSubnet, r.Meta)
	}
	for _, r := range d.ports {
		check(l3.KindPort, r.Meta)
	}
	for _, r := range d.routers {
		check(l3.KindRouter, r.Meta)
	}
	for _, r := range d.floatingIPs {
		check(l3.KindFloatingIP, r.Meta)
	}
	for _, r := range d.forwardings {
		check(l3.KindPortForwarding, r.Meta)
	}
	for _, r := range d.groups {
		check(l3.KindSecurityGroup, r.Meta)
	}
	for _, r := range d.rules {
		check(l3.KindSecurityGroupRule, r.Meta)
	}
	for _, r := range d.policies {
		check(l3.KindRBACPolicy, r.Meta)
	}
	for _, r := range d.pools {
		check(l3.KindSubnetPool, r.Meta)
	}
	for _, r := range d.scopes {
		check(l3.KindAddressScope, r.Meta)
	}
	for _, r := range d.qosPolicies {
		check(l3.KindQoSPolicy, r.Meta)
	}
	for _, r := range d.qosRules {
		check(l3.KindQoSRule, r.Meta)
	}
}

// ofSecurityGroups: rules belong to groups that exist, and each project has one default group at
// most.
func (d *database) ofSecurityGroups() {
	defaults := map[string]string{}
	for _, g := range d.groups {
		if g.Name != "default" {
			continue
		}
		if other, twice := defaults[g.ProjectID]; twice {
			d.report("project %s has two default security groups, %s and %s", g.ProjectID, g.ID, other)
		}
		defaults[g.ProjectID] = g.ID
	}
	for _, r := range d.rules {
		if _, ok := d.groups[r.SecurityGroupID]; !ok {
			d.report("security group rule %s is of group %s, which does not exist", r.ID, r.SecurityGroupID)
		}
		if _, ok := d.groups[r.RemoteGroupID]; !ok && r.RemoteGroupID != "" {
			d.report("security group rule %s is about group %s, which does not exist", r.ID, r.RemoteGroupID)
		}
	}
}

// ofQuotas: no project has more than it may.
func (d *database) ofQuotas(defaults map[string]int) {
	used := map[string]map[string]int{}
	count := func(resource, project string) {
		if project == "" {
			return
		}
		if used[project] == nil {
			used[project] = map[string]int{}
		}
		used[project][resource]++
	}
	for _, r := range d.networks {
		count("network", r.ProjectID)
	}
	for _, r := range d.subnets {
		count("subnet", r.ProjectID)
	}
	for _, r := range d.ports {
		count("port", r.ProjectID)
	}
	for _, r := range d.routers {
		count("router", r.ProjectID)
	}
	for _, r := range d.floatingIPs {
		count("floatingip", r.ProjectID)
	}
	for _, r := range d.forwardings {
		count("port_forwarding", r.ProjectID)
	}
	for _, r := range d.groups {
		count("security_group", r.ProjectID)
	}
	for _, r := range d.rules {
		count("security_group_rule", r.ProjectID)
	}
	for _, r := range d.policies {
		count("rbac_policy", r.ProjectID)
	}
	for _, r := range d.pools {
		count("subnetpool", r.ProjectID)
	}
	for _, r := range d.scopes {
		count("address_scope", r.ProjectID)
	}
	for project, resources := range used {
		for resource, n := range resources {
			limit, ok := d.limits[project][resource]
			if !ok {
				limit, ok = defaults[resource]
			}
			if ok && limit >= 0 && n > limit {
				d.report("project %s has %d of %s and may have %d", project, n, resource, limit)
			}
		}
	}
}
