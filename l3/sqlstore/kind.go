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
	securityGroups     *resource[l3.SecurityGroup]
	securityGroupRules *resource[l3.SecurityGroupRule]
	rbacPolicies       *resource[l3.RBACPolicy]
	agents             *resource[l3.Agent]
	departures         *resource[l3.Departure]
	orphans            *resource[l3.Orphan]
}

func newKinds(d dialect) *kinds {
	return &kinds{
		networks:           withMeta(d, l3.KindNetwork, func(r *l3.Network) *l3.Meta { return &r.Meta }),
		subnets:            withMeta(d, l3.KindSubnet, func(r *l3.Subnet) *l3.Meta { return &r.Meta }),
		ports:              withMeta(d, l3.KindPort, func(r *l3.Port) *l3.Meta { return &r.Meta }),
		routers:            withMeta(d, l3.KindRouter, func(r *l3.Router) *l3.Meta { return &r.Meta }),
		routerStates:       newResource(d, "router_states", func(r *l3.RouterState) string { return r.ID }),
		floatingIPs:        withMeta(d, l3.KindFloatingIP, func(r *l3.FloatingIP) *l3.Meta { return &r.Meta }),
		securityGroups:     withMeta(d, l3.KindSecurityGroup, func(r *l3.SecurityGroup) *l3.Meta { return &r.Meta }),
		securityGroupRules: withMeta(d, l3.KindSecurityGroupRule, func(r *l3.SecurityGroupRule) *l3.Meta { return &r.Meta }),
		rbacPolicies:       withMeta(d, l3.KindRBACPolicy, func(r *l3.RBACPolicy) *l3.Meta { return &r.Meta }),
		agents:             newResource(d, l3.KindAgent, func(r *l3.Agent) string { return r.ID }),
		departures:         newResource(d, "departures", func(r *l3.Departure) string { return r.ID }),
		orphans:            newResource(d, "orphans", func(r *l3.Orphan) string { return r.ID }),
	}
}

func withMeta[R any](d dialect, k l3.Kind, meta func(*R) *l3.Meta) *resource[R] {
	r := newResource(d, k, func(r *R) string { return meta(r).ID })
	r.revision = func(r *R) *int { return &meta(r).Revision }
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
