package service

import (
	"log/slog"
	"time"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
)

// Config is what a [Service] is made of. Only Store must be given.
type Config struct {
	Store     l3.Store
	Scheduler l3.Scheduler // nil: the zero scheduler.LeastRouters
	Policy    l3.Policy    // nil: DefaultPolicy

	BaseMAC       dataplane.MAC  // first three bytes of generated MAC addresses; zero: fa:16:3e
	SegmentRanges []SegmentRange // that networks without a given segmentation ID get theirs from, the first with room, in turn; nil: VXLAN 1–16777215
	PhysicalMTU   int            // bytes of the underlying network, which bounds a network's MTU; 0: 1500
	MaxRoutes     int            // extra routes of a router whose project has no quota router_route, -1 unlimited; 0: 30
	Quotas        map[string]int // defaults by resource, -1 unlimited; what is missing is as DefaultQuotas says
	AgentDownTime time.Duration  // since the last heartbeat, after which an agent is not alive; 0: 75 s
	// RemoveOrphans has hosts remove routers that the database does not know; see [l3.Orphan].
	// False: they are kept until an administrator removes each. With an empty database that is all
	// of them.
	RemoveOrphans bool
	// Distributed makes routers distributed whose callers do not say, or may not.
	Distributed bool
	Now         func() time.Time // nil: time.Now
	Logger      *slog.Logger     // nil: nothing is logged
}

// SegmentRange is a stretch of segmentation IDs; of type local, which has none, it never runs out.
type SegmentRange struct {
	Type        dataplane.NetworkType
	Physical    string // of VLAN networks
	First, Last uint32
}

// quotaRoutes names the quota of a router's extra routes. It belongs to the project, and bounds
// each of its routers.
const quotaRoutes = "router_route"

// DefaultQuotas are the limits of a project that was given none. -1 is unlimited. That of
// router_route is [Config.MaxRoutes].
func DefaultQuotas() map[string]int {
	return map[string]int{
		"network": 100, "subnet": 100, "subnetpool": -1, "address_scope": -1, "port": 500, "router": 10, quotaRoutes: 30, "floatingip": 50,
		"port_forwarding": 500,
		"security_group":  10, "security_group_rule": 100, "rbac_policy": 10,
	}
}
