package l3

import (
	"net/netip"

	"github.com/l3kit/l3kit/dataplane/agent"
)

// Orphan is a router that runs on a host although the database has no record of it. It keeps
// running, its addresses and segments are not given to others, and an administrator decides.
type Orphan struct {
	ID         string           `json:"id"` // <host>/<router ID>
	Host       string           `json:"host"`
	RouterID   string           `json:"router_id"`
	Epoch      uint64           `json:"epoch"`
	Revision   uint64           `json:"revision"`
	Deployment string           `json:"deployment"` // that asked for it; empty: not known
	Addrs      []agent.HeldAddr `json:"addrs"`
	// Conflicts are addresses of the orphan that the database has given to a port.
	Conflicts []netip.Addr `json:"conflicts,omitempty"`
}
