package agent

import (
	"net/netip"
	"time"
)

// Sightings are what an agent says of addresses that are in use on its host, beside those that the
// control plane has bound to it.
type Sightings struct {
	Host  string
	Addrs []Sighting

	// At is when the message was accepted, by one clock for all hosts, so that the newest sighting
	// of an address can be told; zero: now.
	At time.Time
}

// Sighting is an address in use on a network of a distributed router; see [dataplane.Sighter].
type Sighting struct {
	RouterID string
	PortID   string // of the router
	Addr     netip.Addr
	Age      time.Duration // since it was seen, when the message was sent
}
