package l3

import (
	"errors"
	"fmt"
	"time"
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
