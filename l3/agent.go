package l3

import "time"

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

	Alive bool `json:"-"` // heard of within the service's AgentDownTime
}

// Heartbeat is what an agent says of itself.
type Heartbeat struct {
	Host             string
	Binary           string
	AvailabilityZone string // empty: nova
	StartedAt        time.Time
	Configurations   map[string]any
}

// PhysicalNetworks are those that an agent can reach, by its configuration "physical_networks"; ok is false when it does not say, and then it
// is taken to reach all.
func (a Agent) PhysicalNetworks() (names []string, ok bool) {
	list, ok := a.Configurations["physical_networks"].([]any)
	for _, v := range list {
		if name, is := v.(string); is {
			names = append(names, name)
		}
	}
	return names, ok
}

// AgentSpec is what an administrator may change of an agent; see [NetworkSpec].
type AgentSpec struct {
	AdminStateUp *bool
	Description  *string
}

// Binding of a router to the one agent that hosts it. Epoch grows with every move, so that what an earlier host says can be told from what the
// present one says.
type RouterBinding struct {
	RouterID string `json:"router_id"`
	AgentID  string `json:"agent_id"`
	Host     string `json:"host"`
	Epoch    uint64 `json:"epoch"`
}

// Report is what an agent says of a router that it hosts.
type Report struct {
	Host        string
	RouterID    string
	Epoch       uint64
	Generation  uint64            // that was applied, or tried; see Router.Generation
	Error       string            // why it could not be applied; empty: it was
	FloatingIPs map[string]string // by ID: why one could not; empty: it was. One that is not named shares the router's fate.
}

// AvailabilityZone is a group of agents.
type AvailabilityZone struct {
	Name     string
	Resource string // network or router
	State    string // available, unavailable
}
