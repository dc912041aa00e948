package dataplane

import (
	"context"
	"net/netip"
	"time"
)

// Sighter is a [Dataplane] that sees which addresses are in use on the links of anycast ports,
// beside those that it was told of. It is an interface of its own because only distributed routers
// need it. [Fake] and the dataplanes of this module implement it.
type Sighter interface {
	Dataplane

	// Sight calls fn for each address that it sees on an anycast port of a router, until ctx ends;
	// then it returns nil. When it cannot go on, or the Dataplane is closed, it returns an error.
	// Only one Sight may be under way.
	//
	// An address is seen when a host on the port's link sends ARP or neighbour discovery from it,
	// be it a request, a reply, or unasked. It lies in one of the port's subnets, is not the
	// router's own, and is not one of [Anycast.Neighbours]. Routers that this Dataplane has not
	// applied are not looked at; of one that it applied before Sight was called, what is sent from
	// then on is seen.
	//
	// An address that stays in use is told again, but not with each packet. One that announced
	// itself while it was among Anycast.Neighbours is told when an Apply takes it from them, with
	// the time of the announcement: it may have come back while it was thought to be leaving.
	//
	// fn is called by one goroutine at a time, and no later than Sight returns. While it blocks,
	// further sightings may be lost. It must not call the Dataplane.
	Sight(ctx context.Context, fn func(Sighting)) error
}

// Sighting is an address that was seen on an anycast port.
type Sighting struct {
	Router string     `json:"router"` // its ID
	Port   string     `json:"port"`   // its ID
	Addr   netip.Addr `json:"addr"`
	At     time.Time  `json:"at"` // when it was seen last
}
