package l3

import "strings"

// Policy decides what callers may do. The service asks it before it does or shows anything, by the
// name of Neutron's rule for it: get_network, create_network:shared, update_port, delete_router,
// add_router_interface. Who may not get a resource is told that there is none; who may get it, but
// not change it, is told so. Callers with [Caller.Admin] are not asked about.
type Policy interface {
	// Allows reports whether a caller may do what a rule names to a resource that it has a relation
	// to. It is called within transactions: it answers at once, and does not call the service. A
	// list holds what any single relation allows, so several relations must allow whatever one of
	// them does. Rules for attributes, such as get_port:binding:host_id, hide them in all resources
	// or in none: they are asked about with no relation.
	Allows(who Caller, rule string, to Relation) bool
}

// Relation is how a resource is related to a caller's project: none, or several of the constants.
// With none it belongs to another project, or to nobody.
type Relation uint8

// The relations.
const (
	RelationOwner        Relation = 1 << iota // it belongs to the project
	RelationNetworkOwner                      // it is a network of the project, or on one
	RelationShared                            // it is shared with the project, or on a network that is
	RelationExternal                          // it is a network that is external for the project, or on one
)

// The roles that [DefaultPolicy] knows. Each includes those after it.
const (
	RoleAdmin   = "admin"
	RoleManager = "manager"
	RoleMember  = "member"
	RoleReader  = "reader"
)

// DefaultPolicy is Neutron's since 2023: administrators do everything, members (and managers) read
// and write what belongs to their project, readers read it, and anybody else does nothing. It
// differs in two points: without one of these roles, shared and external networks are not seen
// either; and who can only read makes no ports on shared networks.
type DefaultPolicy struct{}

// Allows looks the rule up. One that has no entry needs a reader of the owning project for get_…,
// and a member of it for anything else.
func (DefaultPolicy) Allows(who Caller, rule string, to Relation) bool {
	if who.HasRole(RoleAdmin) {
		return true
	}
	need, ok := defaultRules[rule]
	switch {
	case ok:
	case strings.HasPrefix(rule, "get_"):
		need = requirement{reader, RelationOwner}
	default:
		need = requirement{member, RelationOwner}
	}
	return rankOf(who) >= need.rank && to&need.relations != 0
}

// requirement is the least rank that a rule needs, and the relations of which one must hold.
// Without relations, nobody but an administrator fulfils it.
type requirement struct {
	rank      rank
	relations Relation
}

// rank orders roles by what they include.
type rank int

const (
	nobody rank = iota
	reader
	member
	manager
)

func rankOf(who Caller) rank {
	best := nobody
	for _, role := range who.Roles {
		switch role {
		case RoleManager:
			best = max(best, manager)
		case RoleMember:
			best = max(best, member)
		case RoleReader:
			best = max(best, reader)
		}
	}
	return best
}

// administrators is the requirement of rules that are for nobody else.
var administrators = requirement{}

// defaultRules are the rules that do not simply need a reader or a member of the owning project.
var defaultRules = map[string]requirement{
	"get_network":                           {reader, RelationOwner | RelationShared | RelationExternal},
	"get_network:provider:network_type":     administrators,
	"get_network:provider:physical_network": administrators,
	"get_network:provider:segmentation_id":  administrators,
	"get_network:segments":                  administrators,
	"create_network:project_id":             administrators,
	"create_network:shared":                 administrators,
	"create_network:router:external":        administrators,
	"create_network:is_default":             administrators,
	"create_network:segments":               administrators,
	"create_network:provider:network_type":  administrators,
	"update_network:shared":                 administrators,
	"update_network:router:external":        administrators,
	"update_network:is_default":             administrators,
	"update_network:provider:network_type":  administrators,
	"get_network_ip_availability":           administrators,

	"get_policy":                           {reader, RelationOwner | RelationShared},
	"create_policy":                        administrators,
	"update_policy":                        administrators,
	"delete_policy":                        administrators,
	"get_policy_bandwidth_limit_rule":      {reader, RelationOwner | RelationShared},
	"create_policy_bandwidth_limit_rule":   administrators,
	"update_policy_bandwidth_limit_rule":   administrators,
	"delete_policy_bandwidth_limit_rule":   administrators,
	"get_policy_dscp_marking_rule":         {reader, RelationOwner | RelationShared},
	"create_policy_dscp_marking_rule":      administrators,
	"update_policy_dscp_marking_rule":      administrators,
	"delete_policy_dscp_marking_rule":      administrators,
	"get_policy_minimum_bandwidth_rule":    {reader, RelationOwner | RelationShared},
	"create_policy_minimum_bandwidth_rule": administrators,
	"update_policy_minimum_bandwidth_rule": administrators,
	"delete_policy_minimum_bandwidth_rule": administrators,

	"get_subnet":               {reader, RelationOwner | RelationNetworkOwner | RelationShared},
	"create_subnet":            {member, RelationNetworkOwner},
	"create_subnet:project_id": administrators,
	"update_subnet":            {member, RelationOwner | RelationNetworkOwner},
	"update_subnet:tags":       {member, RelationOwner | RelationNetworkOwner},
	"delete_subnet":            {member, RelationOwner | RelationNetworkOwner},

	"get_subnetpool":               {reader, RelationOwner | RelationShared},
	"create_subnetpool:project_id": administrators,
	"create_subnetpool:shared":     administrators,
	"create_subnetpool:is_default": administrators,
	"update_subnetpool:is_default": administrators,

	"get_address_scope":               {reader, RelationOwner | RelationShared},
	"create_address_scope:project_id": administrators,
	"create_address_scope:shared":     administrators,
	"update_address_scope:shared":     administrators,

	"get_port":                          {reader, RelationOwner | RelationNetworkOwner},
	"get_port:binding:host_id":          administrators,
	"get_port:binding:profile":          administrators,
	"get_port:binding:vif_type":         administrators,
	"get_port:binding:vif_details":      administrators,
	"create_port":                       {member, RelationNetworkOwner | RelationShared},
	"create_port:project_id":            administrators,
	"create_port:binding:host_id":       administrators,
	"create_port:binding:profile":       administrators,
	"create_port:device_owner":          {member, RelationNetworkOwner},
	"create_port:mac_address":           {member, RelationNetworkOwner},
	"create_port:port_security_enabled": {member, RelationNetworkOwner},
	"create_port:allowed_address_pairs": {member, RelationNetworkOwner},
	"create_port:fixed_ips":             {member, RelationNetworkOwner | RelationShared},
	"create_port:fixed_ips:ip_address":  {member, RelationNetworkOwner},
	"update_port:binding:host_id":       administrators,
	"update_port:binding:profile":       administrators,
	"update_port:device_owner":          {member, RelationNetworkOwner},
	"update_port:mac_address":           {manager, RelationNetworkOwner},
	"update_port:port_security_enabled": {member, RelationNetworkOwner},
	"update_port:allowed_address_pairs": {member, RelationNetworkOwner},
	"update_port:fixed_ips":             {member, RelationNetworkOwner},
	"update_port:fixed_ips:ip_address":  {member, RelationNetworkOwner},
	"delete_port":                       {member, RelationOwner | RelationNetworkOwner},

	"get_router:distributed":                                 administrators,
	"get_router:ha":                                          administrators,
	"create_router:project_id":                               administrators,
	"create_router:distributed":                              administrators,
	"create_router:ha":                                       administrators,
	"create_router:external_gateway_info:enable_snat":        administrators,
	"create_router:external_gateway_info:external_fixed_ips": administrators,
	"update_router:distributed":                              administrators,
	"update_router:ha":                                       administrators,
	"update_router:external_gateway_info:enable_snat":        administrators,
	"update_router:external_gateway_info:external_fixed_ips": administrators,
	"add_router_interface:router:external":                   {member, RelationNetworkOwner},

	"create_floatingip:project_id":          administrators,
	"create_floatingip:floating_ip_address": {manager, RelationOwner},

	"create_security_group:project_id":      administrators,
	"create_security_group_rule:project_id": administrators,
	"delete_security_group:default":         administrators,

	"create_rbac_policy":               {member, RelationOwner | RelationNetworkOwner},
	"create_rbac_policy:project_id":    administrators,
	"create_rbac_policy:target_tenant": administrators,
	"update_rbac_policy:target_tenant": administrators,

	"get_agent":        administrators,
	"update_agent":     administrators,
	"delete_agent":     administrators,
	"get_l3-routers":   administrators,
	"get_l3-agents":    administrators,
	"create_l3-router": administrators,
	"delete_l3-router": administrators,
	"update_quota":     administrators,
	"delete_quota":     administrators,

	"get_availability_zone": {reader, RelationShared},

	"context_is_admin": administrators, // binds floating IPs to ports of any project
}
