package l3

import (
	"context"
	"net/netip"

	"github.com/l3kit/l3kit/dataplane/agent"
)

// If is what must hold for a change to be made.
type If struct {
	Revision *int // of the resource, as it is stored; nil: any
}

// Networks is what can be done with networks. As everywhere: Create makes all or none; Get, Update
// and Delete answer with NotFound what the caller may not see; an Update that changes nothing
// leaves the revision as it is.
type Networks interface {
	CreateNetworks(ctx context.Context, who Caller, specs ...NetworkSpec) ([]Network, error)
	GetNetwork(ctx context.Context, who Caller, id string) (Network, error)
	ListNetworks(ctx context.Context, who Caller, q Query) ([]Network, error)
	UpdateNetwork(ctx context.Context, who Caller, id string, spec NetworkSpec, cond If) (Network, error)
	DeleteNetwork(ctx context.Context, who Caller, id string, cond If) error
	// IPAvailability counts the addresses of networks, for administrators.
	IPAvailability(ctx context.Context, who Caller, q Query) ([]IPAvailability, error)
}

// Subnets is what can be done with subnets.
type Subnets interface {
	CreateSubnets(ctx context.Context, who Caller, specs ...SubnetSpec) ([]Subnet, error)
	GetSubnet(ctx context.Context, who Caller, id string) (Subnet, error)
	ListSubnets(ctx context.Context, who Caller, q Query) ([]Subnet, error)
	UpdateSubnet(ctx context.Context, who Caller, id string, spec SubnetSpec, cond If) (Subnet, error)
	DeleteSubnet(ctx context.Context, who Caller, id string, cond If) error
}

// SubnetPools is what can be done with subnet pools.
type SubnetPools interface {
	CreateSubnetPools(ctx context.Context, who Caller, specs ...SubnetPoolSpec) ([]SubnetPool, error)
	GetSubnetPool(ctx context.Context, who Caller, id string) (SubnetPool, error)
	ListSubnetPools(ctx context.Context, who Caller, q Query) ([]SubnetPool, error)
	UpdateSubnetPool(ctx context.Context, who Caller, id string, spec SubnetPoolSpec, cond If) (SubnetPool, error)
	DeleteSubnetPool(ctx context.Context, who Caller, id string, cond If) error
	// AddPrefixes adds address space to a pool, which may have some of it; RemovePrefixes removes
	// what no subnet has. Both return the pool's prefixes.
	AddPrefixes(ctx context.Context, who Caller, id string, prefixes []netip.Prefix) ([]netip.Prefix, error)
	RemovePrefixes(ctx context.Context, who Caller, id string, prefixes []netip.Prefix) ([]netip.Prefix, error)
	// OnboardNetworkSubnets makes the subnets of a network, of the pool's IP version, subnets of
	// the pool, to which their prefixes are added.
	OnboardNetworkSubnets(ctx context.Context, who Caller, id, networkID string) ([]OnboardedSubnet, error)
}

// AddressScopes is what can be done with address scopes.
type AddressScopes interface {
	CreateAddressScopes(ctx context.Context, who Caller, specs ...AddressScopeSpec) ([]AddressScope, error)
	GetAddressScope(ctx context.Context, who Caller, id string) (AddressScope, error)
	ListAddressScopes(ctx context.Context, who Caller, q Query) ([]AddressScope, error)
	UpdateAddressScope(ctx context.Context, who Caller, id string, spec AddressScopeSpec, cond If) (AddressScope, error)
	DeleteAddressScope(ctx context.Context, who Caller, id string, cond If) error
}

// Topologies makes what a project needs to begin with.
type Topologies interface {
	// AutoAllocatedTopology returns that of a project, and makes it if there is none.
	AutoAllocatedTopology(ctx context.Context, who Caller, project string) (AutoAllocatedTopology, error)
	// CheckAutoAllocation refuses what AutoAllocatedTopology would refuse because there is no default
	// external network, or no default subnet pool.
	CheckAutoAllocation(ctx context.Context, who Caller, project string) error
	// DeleteAutoAllocatedTopology deletes that of a project, if it has one.
	DeleteAutoAllocatedTopology(ctx context.Context, who Caller, project string) error
}

// Ports is what can be done with ports.
type Ports interface {
	CreatePorts(ctx context.Context, who Caller, specs ...PortSpec) ([]Port, error)
	GetPort(ctx context.Context, who Caller, id string) (Port, error)
	ListPorts(ctx context.Context, who Caller, q Query) ([]Port, error)
	UpdatePort(ctx context.Context, who Caller, id string, spec PortSpec, cond If) (Port, error)
	DeletePort(ctx context.Context, who Caller, id string, cond If) error
}

// Routers is what can be done with routers as such.
type Routers interface {
	CreateRouters(ctx context.Context, who Caller, specs ...RouterSpec) ([]Router, error)
	GetRouter(ctx context.Context, who Caller, id string) (Router, error)
	ListRouters(ctx context.Context, who Caller, q Query) ([]Router, error)
	UpdateRouter(ctx context.Context, who Caller, id string, spec RouterSpec, cond If) (Router, error)
	DeleteRouter(ctx context.Context, who Caller, id string, cond If) error
}

// RouterMembers is what routers are joined to.
type RouterMembers interface {
	AddRouterInterface(ctx context.Context, who Caller, routerID string, spec InterfaceSpec) (Interface, error)
	RemoveRouterInterface(ctx context.Context, who Caller, routerID string, spec InterfaceSpec) (Interface, error)
	// AddExtraRoutes adds those that are not there yet; RemoveExtraRoutes removes those that are.
	AddExtraRoutes(ctx context.Context, who Caller, routerID string, routes []Route) (Router, error)
	RemoveExtraRoutes(ctx context.Context, who Caller, routerID string, routes []Route) (Router, error)
}

// FloatingIPs is what can be done with floating IPs.
type FloatingIPs interface {
	CreateFloatingIPs(ctx context.Context, who Caller, specs ...FloatingIPSpec) ([]FloatingIP, error)
	GetFloatingIP(ctx context.Context, who Caller, id string) (FloatingIP, error)
	ListFloatingIPs(ctx context.Context, who Caller, q Query) ([]FloatingIP, error)
	// UpdateFloatingIP binds, moves and unbinds. A spec in which nothing is given at all unbinds.
	UpdateFloatingIP(ctx context.Context, who Caller, id string, spec FloatingIPSpec, cond If) (FloatingIP, error)
	DeleteFloatingIP(ctx context.Context, who Caller, id string, cond If) error
	// ListFloatingIPPools lists the IPv4 subnets of the external networks that the caller sees. A
	// caller may use them without seeing them as subnets, so they are of its own project in the
	// list.
	ListFloatingIPPools(ctx context.Context, who Caller, q Query) ([]Subnet, error)
}

// PortForwardings is what can be done with the port forwardings of a floating IP, which is named by
// its ID. One that the caller may not see is NotFound.
type PortForwardings interface {
	CreatePortForwardings(ctx context.Context, who Caller, floatingIP string, specs ...PortForwardingSpec) ([]PortForwarding, error)
	GetPortForwarding(ctx context.Context, who Caller, floatingIP, id string) (PortForwarding, error)
	ListPortForwardings(ctx context.Context, who Caller, floatingIP string, q Query) ([]PortForwarding, error)
	UpdatePortForwarding(ctx context.Context, who Caller, floatingIP, id string, spec PortForwardingSpec, cond If) (PortForwarding, error)
	DeletePortForwarding(ctx context.Context, who Caller, floatingIP, id string, cond If) error
}

// QoSPolicies keeps policies and their rules. A policy is named by its ID; for [QoSPolicies.GetQoSRule],
// UpdateQoSRule and DeleteQoSRule an empty one is that of the rule.
type QoSPolicies interface {
	CreateQoSPolicies(ctx context.Context, who Caller, specs ...QoSPolicySpec) ([]QoSPolicy, error)
	GetQoSPolicy(ctx context.Context, who Caller, id string) (QoSPolicy, error)
	ListQoSPolicies(ctx context.Context, who Caller, q Query) ([]QoSPolicy, error)
	UpdateQoSPolicy(ctx context.Context, who Caller, id string, spec QoSPolicySpec, cond If) (QoSPolicy, error)
	DeleteQoSPolicy(ctx context.Context, who Caller, id string, cond If) error

	CreateQoSRules(ctx context.Context, who Caller, policy string, t QoSRuleType, specs ...QoSRuleSpec) ([]QoSRule, error)
	GetQoSRule(ctx context.Context, who Caller, policy string, t QoSRuleType, id string) (QoSRule, error)
	ListQoSRules(ctx context.Context, who Caller, policy string, t QoSRuleType, q Query) ([]QoSRule, error)
	UpdateQoSRule(ctx context.Context, who Caller, policy string, t QoSRuleType, id string, spec QoSRuleSpec, cond If) (QoSRule, error)
	DeleteQoSRule(ctx context.Context, who Caller, policy string, t QoSRuleType, id string, cond If) error
}

// SecurityGroups keeps security groups and their rules.
type SecurityGroups interface {
	CreateSecurityGroups(ctx context.Context, who Caller, specs ...SecurityGroupSpec) ([]SecurityGroup, error)
	GetSecurityGroup(ctx context.Context, who Caller, id string) (SecurityGroup, error)
	ListSecurityGroups(ctx context.Context, who Caller, q Query) ([]SecurityGroup, error)
	UpdateSecurityGroup(ctx context.Context, who Caller, id string, spec SecurityGroupSpec, cond If) (SecurityGroup, error)
	DeleteSecurityGroup(ctx context.Context, who Caller, id string, cond If) error
}

// SecurityGroupRules keeps the rules of security groups.
type SecurityGroupRules interface {
	CreateSecurityGroupRules(ctx context.Context, who Caller, specs ...SecurityGroupRuleSpec) ([]SecurityGroupRule, error)
	GetSecurityGroupRule(ctx context.Context, who Caller, id string) (SecurityGroupRule, error)
	ListSecurityGroupRules(ctx context.Context, who Caller, q Query) ([]SecurityGroupRule, error)
	DeleteSecurityGroupRule(ctx context.Context, who Caller, id string, cond If) error
}

// RBACPolicies shares networks, subnet pools and address scopes with projects.
type RBACPolicies interface {
	CreateRBACPolicies(ctx context.Context, who Caller, specs ...RBACPolicySpec) ([]RBACPolicy, error)
	GetRBACPolicy(ctx context.Context, who Caller, id string) (RBACPolicy, error)
	ListRBACPolicies(ctx context.Context, who Caller, q Query) ([]RBACPolicy, error)
	UpdateRBACPolicy(ctx context.Context, who Caller, id string, spec RBACPolicySpec, cond If) (RBACPolicy, error)
	DeleteRBACPolicy(ctx context.Context, who Caller, id string, cond If) error
}

// Agents is what administrators see and do; a member who lists agents gets none.
type Agents interface {
	GetAgent(ctx context.Context, who Caller, id string) (Agent, error)
	ListAgents(ctx context.Context, who Caller, q Query) ([]Agent, error)
	UpdateAgent(ctx context.Context, who Caller, id string, spec AgentSpec) (Agent, error)
	DeleteAgent(ctx context.Context, who Caller, id string) error
	ListAvailabilityZones(ctx context.Context, who Caller) ([]AvailabilityZone, error)
}

// Hosting is which agent hosts a router.
type Hosting interface {
	RoutersOnAgent(ctx context.Context, who Caller, agentID string) ([]Router, error)
	AgentsOfRouter(ctx context.Context, who Caller, routerID string) ([]Agent, error)
	AddRouterToAgent(ctx context.Context, who Caller, agentID, routerID string) error
	RemoveRouterFromAgent(ctx context.Context, who Caller, agentID, routerID string) error
}

// Reporting takes what agents say. No caller is checked: whoever calls it has done so.
type Reporting interface {
	// Attach gives an agent's process the session of its host, or returns ErrHostTaken while an
	// agent on another machine has it and is alive.
	Attach(ctx context.Context, session agent.Session) error
	// Heartbeat registers an agent, or notes that it is alive; one that comes up takes the routers
	// that nobody hosts and that it fits. Its inventory corrects the status of the host's routers,
	// confirms departures, and shows orphans. It is ErrHostTaken as for Attach, and changes nothing
	// then.
	Heartbeat(ctx context.Context, h agent.Heartbeat) (Agent, error)
	// Report takes what an agent says of a router. One of an earlier epoch or revision changes
	// nothing.
	Report(ctx context.Context, r agent.Report) error
	// Sight takes what an agent says of addresses that are in use on its host. The newest sighting
	// of an address counts; see [Sighting].
	Sight(ctx context.Context, s agent.Sightings) error
}

// Quotas bounds what a project may have. They are kept under every lock that concurrent creation
// needs.
type Quotas interface {
	GetQuota(ctx context.Context, who Caller, project string) (map[string]int, error)
	DefaultQuota(ctx context.Context, who Caller, project string) (map[string]int, error)
	QuotaDetails(ctx context.Context, who Caller, project string) (map[string]QuotaDetail, error)
	ListQuotas(ctx context.Context, who Caller) (map[string]map[string]int, error)
	SetQuota(ctx context.Context, who Caller, project string, limits map[string]int) (map[string]int, error)
	// SetQuotaAboveUsage is SetQuota that refuses a limit below what the project uses.
	SetQuotaAboveUsage(ctx context.Context, who Caller, project string, limits map[string]int) (map[string]int, error)
	DeleteQuota(ctx context.Context, who Caller, project string) error
}

// QuotaDetail is the state of one quota.
type QuotaDetail struct {
	Limit    int `json:"limit"` // -1: none
	Used     int `json:"used"`
	Reserved int `json:"reserved"` // always 0: what is made counts at once
}

// Tags is what can be done with the tags of any resource that has them.
type Tags interface {
	GetTags(ctx context.Context, who Caller, kind Kind, id string) ([]string, error)
	// SetTags replaces the tags. AddTag adds one, twice is fine. RemoveTag is NotFound for one that
	// is not there. All of them grow the revision if they change something.
	SetTags(ctx context.Context, who Caller, kind Kind, id string, tags []string) ([]string, error)
	AddTag(ctx context.Context, who Caller, kind Kind, id, tag string) error
	RemoveTag(ctx context.Context, who Caller, kind Kind, id, tag string) error
}

// Permissions tells what the policy lets callers do, for whoever shows them resources.
type Permissions interface {
	Allows(who Caller, rule string, to Relation) bool
}

// Desired is what hosts must realise, and what the database records of routers that left them.
type Desired interface {
	// Deployment returns the identity of the database.
	Deployment(ctx context.Context) (Deployment, error)
	// ClaimBus records that a message queue serves the database, and renews that record; server
	// names the process for people. While another queue's claim is younger than [BusClaimTime] it
	// is ErrOtherBus, and nothing is recorded.
	ClaimBus(ctx context.Context, bus, server string) error
	// ReleaseBus ends the claim of a server that stops. If another server has renewed it since, it
	// stays.
	ReleaseBus(ctx context.Context, bus, server string) error
	// Hosts lists the hosts that have placements: those of agents and of departures.
	Hosts(ctx context.Context) ([]string, error)
	// PlacementOf returns what is recorded of a router on a host. It is NotFound when nothing is:
	// then the host keeps what it has.
	PlacementOf(ctx context.Context, host, routerID string) (Placement, error)
	// PlacementsOn returns everything that is recorded of a host, ordered by router.
	PlacementsOn(ctx context.Context, host string) ([]Placement, error)
	// Reconcile compares the database with what the message queue has, in full, before anything is
	// published. Where the queue knows a later version, the database was restored from a backup:
	// the epochs of all bindings are raised above it, a router that runs elsewhere by then stays
	// there, and what the database does not know becomes an [Orphan]. It reports whether that was
	// so. What the queue has that is older changes nothing.
	Reconcile(ctx context.Context, queued []Placement) (restored bool, err error)
}
