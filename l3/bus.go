package l3

import (
	"context"

	"github.com/l3kit/l3kit/dataplane/agent"
)

// Bus carries routers to hosts, and heartbeats and reports back to the control plane. It is made
// for one [ControlPlane]. Its methods may be called concurrently. Package l3test has the
// conformance suite.
type Bus interface {
	// Run works until ctx ends, and then returns nil: it publishes what is committed, opens the
	// sessions of agents, and hands heartbeats and reports to the control plane. It is called once.
	// An error says that this process cannot serve agents any more.
	Run(ctx context.Context) error
	// Ready returns why agents cannot be served now. It waits until ctx ends at most.
	Ready(ctx context.Context) error
	// CaughtUp returns nil when the control plane has taken every heartbeat that the bus accepted
	// before the call. An error says that agents cannot be heard now, so that their silence proves
	// nothing.
	CaughtUp(ctx context.Context) error
	// Source returns the source of the agent of a host in this process, which needs no port. It is
	// of use until Close, and waits while Run does not work.
	Source(host string) (agent.Source, error)
	// Close ends the watches of all sources and releases the database; Run must have returned. What
	// was accepted stays accepted. It does not wait for a database that does not answer.
	Close() error
}

// ControlPlane is what a [Bus] needs of the control plane that it serves.
type ControlPlane interface {
	Desired
	Outgoing
	Reporting
}

// Outgoing lists the changes that hosts must be told about. A [Notice] is there exactly when its
// change was committed.
type Outgoing interface {
	// Committed returns the channel that receives a value after a change that left notices was
	// committed. It has room for one, which stands for all. A bus must also look without being
	// told, because other processes commit as well.
	Committed() <-chan struct{}
	// Unpublished returns the first notices that were not published yet, in the order of the
	// changes.
	Unpublished(ctx context.Context, limit int) ([]Notice, error)
	// Published records that the bus has stored what these notices, the first in order, are about.
	Published(ctx context.Context, notices []Notice) error
}
