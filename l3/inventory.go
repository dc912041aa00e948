package l3

import (
	"net/netip"

	"github.com/l3kit/l3kit/dataplane"
)

// Session is an agent's request to serve a host.
type Session struct {
	Host       string `json:"host"`
	Instance   string `json:"instance"`             // random, of the agent's process
	Machine    string `json:"machine"`              // the same for every process on one machine until it reboots
	Deployment string `json:"deployment,omitempty"` // that the agent served before; empty: none
}

// Inventory lists what is on a host, whoever asked for it.
type Inventory struct {
	// Seq orders the inventories and reports of one process: a report with a higher number is
	// newer.
	Seq      uint64          `json:"seq"`
	MaxEpoch uint64          `json:"max_epoch"` // the highest epoch that the agent has seen
	Routers  []RunningRouter `json:"routers"`
	// Ports are the IDs of the ports that workloads are attached by; nil: the agent does not know.
	Ports []string `json:"ports,omitzero"`
}

// RunningRouter is a router in an [Inventory].
type RunningRouter struct {
	ID       string `json:"id"`
	Epoch    uint64 `json:"epoch,omitempty"`    // of the version that was applied; 0: not known
	Revision uint64 `json:"revision,omitempty"` // likewise

	// Orphan says that the agent has no record of the router in its control plane's listing.
	Orphan     bool       `json:"orphan,omitempty"`
	Deployment string     `json:"deployment,omitempty"` // of an orphan: who asked for it; empty: not known
	Addrs      []HeldAddr `json:"addrs,omitempty"`      // of an orphan: its addresses on its networks
}

// HeldAddr is an address that an orphan answers for.
type HeldAddr struct {
	Network dataplane.Network `json:"network"`
	Addr    netip.Addr        `json:"addr"`
}

// Orphan is a router that runs on a host although the database has no record of it. It keeps
// running, its addresses and segments are not given to others, and an administrator decides.
type Orphan struct {
	ID         string     `json:"id"` // <host>/<router ID>
	Host       string     `json:"host"`
	RouterID   string     `json:"router_id"`
	Epoch      uint64     `json:"epoch"`
	Revision   uint64     `json:"revision"`
	Deployment string     `json:"deployment"` // that asked for it; empty: not known
	Addrs      []HeldAddr `json:"addrs"`
	// Conflicts are addresses of the orphan that the database has given to a port.
	Conflicts []netip.Addr `json:"conflicts,omitempty"`
}
