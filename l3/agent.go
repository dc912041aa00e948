package l3

import (
	"net/netip"
	"time"
)

// Agent is a process that realises routers on a host. It has no revision, tags or project.
type Agent struct {
	ID               string         `json:"id"`
	Type             string         `json:"agent_type"` // "L3 agent"
	Binary           string         `json:"binary"`
	Host             string         `json:"host"` // unique
	Topic            string         `json:"topic"`
	AdminStateUp     bool           `json:"admin_state_up"`
	Description      string         `json:"description"`
	AvailabilityZone string         `json:"availability_zone"`
	Configurations   map[string]any `json:"configurations"` // as reported: counts, dataplane, physical networks
	CreatedAt        time.Time      `json:"created_at"`
	StartedAt        time.Time      `json:"started_at"`
	HeartbeatAt      time.Time      `json:"heartbeat_timestamp"`
	ResourcesSynced  bool           `json:"resources_synced"`
	Instance         string         `json:"instance,omitempty"`      // of the process that holds the host's session
	Machine          string         `json:"machine,omitempty"`       // that it runs on
	AttachedAt       time.Time      `json:"attached_at,omitzero"`    // when the process was first heard of
	Deployment       string         `json:"deployment,omitempty"`    // that it serves, as it reported
	InventorySeq     uint64         `json:"inventory_seq,omitempty"` // of the process's last inventory

	Orphans []Orphan `json:"-"` // on its host
	Alive   bool     `json:"-"` // heard of within the service's AgentDownTime
}

// PhysicalNetworks are those that an agent can reach, by its configuration "physical_networks", a
// list of strings; ok is false when it does not say, and then it is taken to reach all.
func (a Agent) PhysicalNetworks() (names []string, ok bool) {
	switch list := a.Configurations["physical_networks"].(type) {
	case []string:
		return list, true
	case []any: // from JSON
		for _, v := range list {
			if name, is := v.(string); is {
				names = append(names, name)
			}
		}
		return names, true
	}
	return nil, false
}

// AgentSpec is what an administrator may change of an agent; see [NetworkSpec].
type AgentSpec struct {
	AdminStateUp *bool
	Description  *string
}

// RouterBinding is of a router to the one agent that hosts it. Epoch grows with every move, so that
// what an earlier host says can be told from what the present one says.
type RouterBinding struct {
	RouterID string `json:"router_id"`
	AgentID  string `json:"agent_id"`
	Host     string `json:"host"`
	Epoch    uint64 `json:"epoch"`
}

// RouterState is what must be realised of a router, as a number, and what its host said of it. It
// is kept beside the [Router], because it changes with what a router is joined to, and with what
// hosts report, neither of which grows Router.Revision unless its status changes. There is none
// before there is something to realise, or a host.
type RouterState struct {
	ID       string `json:"id"`                 // of the router
	Revision uint64 `json:"generation"`         // counts the changes of what a host must realise
	Request  string `json:"request,omitempty"`  // that caused the last of them; see [WithRequest]
	Announce uint64 `json:"announce,omitempty"` // see [agent.Assignment]
	Wanted   bool   `json:"wanted"`             // there is something to realise
	AgentID  string `json:"agent_id"`           // that hosts it, as [Bindings] has it; empty: none does
	Host     string `json:"host"`               // of that agent
	Epoch    uint64 `json:"epoch"`              // of that binding
	// Inside is the subnets whose addresses floating IPs can stand for: those of ports that are up,
	// while the gateway is up too.
	Inside []netip.Prefix `json:"inside,omitempty"`

	// Unhosted is why no agent can host it, as far as that was tried; empty: one can.
	// UnhostedDetail is for administrators.
	Unhosted       string `json:"unhosted,omitempty"`
	UnhostedDetail string `json:"unhosted_detail,omitempty"`
	// Removed says that an administrator took the router from its agent. [Service.Reschedule] gives
	// it no host then.
	Removed bool `json:"removed,omitempty"`

	// What the host of this epoch reported.
	Reported    uint64            `json:"reported"`               // revision that it applied, or tried; 0: nothing yet
	Applied     uint64            `json:"applied,omitempty"`      // revision that runs; 0: none
	Error       string            `json:"error,omitempty"`        // why it could not be applied
	FloatingIPs map[string]string `json:"floating_ips,omitempty"` // by ID: why one could not
	ReportedAt  time.Time         `json:"reported_at,omitzero"`   // as Report.At
	ReportedBy  string            `json:"reported_by,omitempty"`  // as Report.Instance
	ReportedSeq uint64            `json:"reported_seq,omitempty"` // as Report.Seq

	Lagging int `json:"lagging,omitempty"` // inventories in a row that showed that the host has not tried the version
}

// AvailabilityZone is a group of agents.
type AvailabilityZone struct {
	Name     string
	Resource string // network or router
	State    string // available, unavailable
}
