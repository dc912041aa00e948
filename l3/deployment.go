package l3

import (
	"errors"
	"fmt"
	"time"

	"github.com/l3kit/l3kit/dataplane/agent"
)

// Deployment is the identity of a database. It is made with the database and never changes, so that
// a host can tell a database that is empty, or another one, from the one that it serves.
type Deployment struct {
	ID    string `json:"id"`    // a random UUID
	Epoch uint64 `json:"epoch"` // the highest that a router was given; see [RouterState]

	// Bus is the message queue that serves this database. There is one, because hosts on another
	// would not hear of half of the changes.
	Bus BusClaim `json:"bus"`
}

// BusClaim says which message queue serves a database, and which server used it last.
type BusClaim struct {
	ID     string    `json:"id"`      // of the message queue, made with it; empty: none yet
	Server string    `json:"server"`  // host name and process of the server that renewed the claim
	SeenAt time.Time `json:"seen_at"` // when it was renewed
}

// BusClaimTime is how long a message queue's claim on a database lasts without being renewed.
const BusClaimTime = 30 * time.Second

// Departure records that a router has left a host: it was deleted, moved, or has nothing to realise
// any more. It outlives the router, until the host confirms that the router is gone. Without a
// departure no host removes a router.
type Departure struct {
	ID       string    `json:"id"` // <host>/<router ID>
	Host     string    `json:"host"`
	RouterID string    `json:"router_id"`
	Epoch    uint64    `json:"epoch"`             // of the last binding to the host
	Revision uint64    `json:"revision"`          // the router's last revision there
	Request  string    `json:"request,omitempty"` // because of which it left; see [WithRequest]
	At       time.Time `json:"at"`

	// Orphan says that the router is removed whosever it is. Else the host keeps a router of that
	// ID if it belongs to another deployment.
	Orphan bool `json:"orphan,omitempty"`
}

// Placement is what the database records of a router on a host: that the host must realise it, or
// that it has left.
type Placement struct {
	Host       string
	RouterID   string
	Deployment string
	Epoch      uint64
	Revision   uint64
	Request    string            // see [WithRequest]
	Assignment *agent.Assignment // nil: the router has left the host; see [Departure]
	Orphan     bool              // as Departure.Orphan
}

// ErrOtherBus is returned by [Desired.ClaimBus] while another message queue serves the database.
var ErrOtherBus = errors.New("another message queue serves the database")

// OtherBusError is ErrOtherBus with both message queues.
type OtherBusError struct {
	Deployment Deployment // with the claim of the queue that serves it
	Bus        string     // that was refused
}

func (e *OtherBusError) Error() string {
	return fmt.Sprintf("database %s is served over message queue %s by %s, last at %s; this server has message queue %s: "+
		"all servers of a database share one message queue",
		e.Deployment.ID, e.Deployment.Bus.ID, e.Deployment.Bus.Server, e.Deployment.Bus.SeenAt.Format(time.RFC3339), e.Bus)
}

// Is makes it ErrOtherBus.
func (e *OtherBusError) Is(target error) bool { return target == ErrOtherBus }

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
