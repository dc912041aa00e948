package sqlstore

import (
	"reflect"

	"github.com/l3kit/l3kit/l3"
)

// resource is what the store knows about the resources of a kind.
type resource[R any] struct {
	table      string
	id         func(*R) string
	revision   func(*R) *int // nil: the kind has none
	attributes map[string]attribute
	dialect    dialect

	get, insert, update, delete string // statements
}

// kinds is all of them.
type kinds struct {
	networks           *resource[l3.Network]
	subnets            *resource[l3.Subnet]
	ports              *resource[l3.Port]
	routers            *resource[l3.Router]
	routerStates       *resource[l3.RouterState]
	floatingIPs        *resource[l3.FloatingIP]
	portForwardings    *resource[l3.PortForwarding]
	securityGroups     *resource[l3.SecurityGroup]
	securityGroupRules *resource[l3.SecurityGroupRule]
	rbacPolicies       *resource[l3.RBACPolicy]
	subnetPools        *resource[l3.SubnetPool]
	addressScopes      *resource[l3.AddressScope]
	topologies         *resource[l3.AutoAllocatedTopology]
	qosPolicies        *resource[l3.QoSPolicy]
	qosRules           *resource[l3.QoSRule]
	agents             *resource[l3.Agent]
	departures         *resource[l3.Departure]
	orphans            *resource[l3.Orphan]
	sightings          *resource[l3.Sighting]
}

func newKinds(d dialect) *kinds {
	return &kinds{
		networks:           withMeta[l3.Network](d, l3.KindNetwork),
		subnets:            withMeta[l3.Subnet](d, l3.KindSubnet),
		ports:              withMeta[l3.Port](d, l3.KindPort),
		routers:            withMeta[l3.Router](d, l3.KindRouter),
		routerStates:       newResource(d, "router_states", func(r *l3.RouterState) string { return r.ID }),
		floatingIPs:        withMeta[l3.FloatingIP](d, l3.KindFloatingIP),
		portForwardings:    withMeta[l3.PortForwarding](d, l3.KindPortForwarding),
		securityGroups:     withMeta[l3.SecurityGroup](d, l3.KindSecurityGroup),
		securityGroupRules: withMeta[l3.SecurityGroupRule](d, l3.KindSecurityGroupRule),
		rbacPolicies:       withMeta[l3.RBACPolicy](d, l3.KindRBACPolicy),
		subnetPools:        withMeta[l3.SubnetPool](d, l3.KindSubnetPool),
		addressScopes:      withMeta[l3.AddressScope](d, l3.KindAddressScope),
		topologies:         newResource(d, "auto_allocated_topologies", func(r *l3.AutoAllocatedTopology) string { return r.ProjectID }),
		qosPolicies:        withMeta[l3.QoSPolicy](d, "qos_policies"),
		qosRules:           withMeta[l3.QoSRule](d, l3.KindQoSRule),
		agents:             newResource(d, l3.KindAgent, func(r *l3.Agent) string { return r.ID }),
		departures:         newResource(d, "departures", func(r *l3.Departure) string { return r.ID }),
		orphans:            newResource(d, "orphans", func(r *l3.Orphan) string { return r.ID }),
		sightings:          newResource(d, "sightings", func(r *l3.Sighting) string { return r.ID }),
	}
}

func withMeta[R any, P l3.Resource[R]](d dialect, k l3.Kind) *resource[R] {
	r := newResource(d, k, func(r *R) string { return P(r).Base().ID })
	r.revision = func(r *R) *int { return &P(r).Base().Revision }
	r.update += " AND " + d.scalar("doc", []string{"revision_number"}, number) + " = $3"
	return r
}

func newResource[R any](d dialect, k l3.Kind, id func(*R) string) *resource[R] {
	t := string(k)
	return &resource[R]{
		table:      t,
		id:         id,
		attributes: attributesOf(reflect.TypeFor[R]()),
		dialect:    d,
		get:        "SELECT doc FROM " + t + " WHERE id = $1",
		insert:     "INSERT INTO " + t + " (id, doc) VALUES ($1, $2)",
		update:     "UPDATE " + t + " SET doc = $2 WHERE id = $1",
		delete:     "DELETE FROM " + t + " WHERE id = $1",
	}
}
