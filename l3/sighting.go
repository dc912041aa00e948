package l3

import (
	"net/netip"
	"time"
)

// Sighting is an address in use on a host, on a network of a distributed router, that no port which
// is bound to a host has: a virtual address that moves between workloads, such as one of allowed
// address pairs. There is one for an address, the newest.
type Sighting struct {
	ID        string     `json:"id"` // see [SightingID]
	NetworkID string     `json:"network_id"`
	Addr      netip.Addr `json:"address"`
	Host      string     `json:"host"`
	SeenAt    time.Time  `json:"seen_at"`
}

// SightingID is the ID of the sighting of an address on a network.
func SightingID(networkID string, a netip.Addr) string { return networkID + "/" + a.String() }
