package dataplane

import (
	"context"
	"net/netip"
)

// CounterReader is a [Dataplane] that counts what passes through floating IPs. It is an interface
// of its own because a dataplane can realise a router without counting packets, and an agent does
// not need the counters. [Fake] and the dataplanes of this module implement it.
type CounterReader interface {
	Dataplane

	// Counters returns what has passed through each floating IP of a router, by its address, since
	// the host began to translate that address. A floating IP that gets another fixed address keeps
	// its counters, and they outlive the process that applied the router. Counters reads from the
	// host and changes nothing. A router that is not there is [os.ErrNotExist].
	Counters(ctx context.Context, id string) (map[netip.Addr]Counters, error)
}

// Counters is what has passed through a floating IP, and what a [Limit] has dropped of that. The zero
// value is no traffic.
type Counters struct {
	In  Traffic `json:"in"`  // towards the floating IP
	Out Traffic `json:"out"` // from it
}

// Traffic counts whole IP packets, headers included.
type Traffic struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

func (t Traffic) plus(u Traffic) Traffic {
	return Traffic{Packets: t.Packets + u.Packets, Bytes: t.Bytes + u.Bytes}
}
