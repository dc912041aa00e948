package l3

import (
	"net/netip"
	"time"

	"github.com/l3kit/l3kit/dataplane/agent"
)

// Placement is what the database records of a router on a host: that the host must realise it, or
// that it has left.
type Placement struct {
	Host       string
	RouterID   string // as the host knows it; see [RouterState.Instance]
	Deployment string
	Epoch      uint64
	Revision   uint64
	Request    string            // see [WithRequest]
	Assignment *agent.Assignment // nil: the router has left the host; see [Departure]
	Orphan     bool              // as Departure.Orphan
}

// Version returns the version that is recorded.
func (p Placement) Version() agent.Version {
	return agent.Version{Epoch: p.Epoch, Revision: p.Revision}
}

// Departure records that a router has left a host: it was deleted, moved, or has nothing to realise
// any more. It outlives the router, until the host confirms that the router is gone. Without a
// departure no host removes a router.
type Departure struct {
	ID       string    `json:"id"` // <host>/<router ID>
	Host     string    `json:"host"`
	RouterID string    `json:"router_id"`         // as Placement.RouterID
	Epoch    uint64    `json:"epoch"`             // of the last binding to the host
	Revision uint64    `json:"revision"`          // the router's last revision there
	Request  string    `json:"request,omitempty"` // because of which it left; see [WithRequest]
	At       time.Time `json:"at"`

	// Left is the floating IPs that others may have by now, as [RouterState].Left.
	Left []netip.Addr `json:"left,omitempty"`

	// Orphan says that the router is removed whosever it is. Else the host keeps a router of that
	// ID if it belongs to another deployment.
	Orphan bool `json:"orphan,omitempty"`
}

// Version returns the router's last version on the host.
func (d Departure) Version() agent.Version {
	return agent.Version{Epoch: d.Epoch, Revision: d.Revision}
}
