package l3

import (
	"errors"
	"fmt"
	"time"

	"github.com/l3kit/l3kit/dataplane/agent"
)

// Agent is a process that realises routers on a host. It has no revision, tags or project.
type Agent struct {
	ID               string             `json:"id"`
	Type             string             `json:"agent_type"` // "L3 agent"
	Binary           string             `json:"binary"`
	Host             string             `json:"host"` // unique
	Topic            string             `json:"topic"`
	AdminStateUp     bool               `json:"admin_state_up"`
	Description      string             `json:"description"`
	AvailabilityZone string             `json:"availability_zone"`
	Capabilities     agent.Capabilities `json:"configurations"` // as reported
	CreatedAt        time.Time          `json:"created_at"`
	StartedAt        time.Time          `json:"started_at"`
	HeartbeatAt      time.Time          `json:"heartbeat_timestamp"`
	ResourcesSynced  bool               `json:"resources_synced"`
	Instance         string             `json:"instance,omitempty"`      // of the process that holds the host's session
	Machine          string             `json:"machine,omitempty"`       // that it runs on
	AttachedAt       time.Time          `json:"attached_at,omitzero"`    // when the process was first heard of
	Deployment       string             `json:"deployment,omitempty"`    // that it serves, as it reported
	InventorySeq     uint64             `json:"inventory_seq,omitempty"` // of the process's last inventory

	Orphans []Orphan `json:"-"` // on its host
	Alive   bool     `json:"-"` // heard of within the service's AgentDownTime
}

// AgentSpec is what an administrator may change of an agent; see [NetworkSpec].
type AgentSpec struct {
	AdminStateUp *bool
	Description  *string
}

// AvailabilityZone is a group of agents.
type AvailabilityZone struct {
	Name     string `json:"name"`
	Resource string `json:"resource"` // network or router
	State    string `json:"state"`    // available, unavailable
}

// ErrHostTaken is returned for an agent whose host name another machine's agent uses.
var ErrHostTaken = errors.New("another machine uses the host name")

// HostTakenError is ErrHostTaken with the machine that uses the name.
type HostTakenError struct {
	Host    string
	Machine string    // as that agent reported it
	SeenAt  time.Time // its last heartbeat
}

func (e *HostTakenError) Error() string {
	return fmt.Sprintf("host name %s is in use by the agent on machine %s, last heard at %s: give one of them another --host",
		e.Host, e.Machine, e.SeenAt.Format(time.RFC3339))
}

// Is makes it ErrHostTaken.
func (e *HostTakenError) Is(target error) bool { return target == ErrHostTaken }
