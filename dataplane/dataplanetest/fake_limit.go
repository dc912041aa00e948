package dataplanetest

import (
	"math/rand/v2"
	"net/netip"

	"github.com/l3kit/l3kit/dataplane"
)

// bucket is a limiter of a router of the fake host. No time passes there, so it never fills again;
// another bandwidth is another limiter.
type bucket struct {
	router    string
	addr      netip.Addr
	direction dataplane.Direction
	dataplane.Bandwidth
}

// exceeds reports whether a packet that a router forwards is more than a limit allows, and else
// takes it out of the bucket.
func (n *fakeNetwork) exceeds(id string, r dataplane.Router, t dataplane.Trace, size int) bool {
	if r.Gateway == nil {
		return false
	}
	for _, l := range r.Limits {
		b := bucket{router: id, addr: l.Addr}
		switch {
		case t.Packet.In == r.Gateway.ID && t.Packet.Dst == l.Addr:
			b.direction = dataplane.Ingress
		case t.Out == r.Gateway.ID && t.Src == l.Addr:
			b.direction = dataplane.Egress
		default:
			continue
		}
		if b.Bandwidth = l.Of(b.direction); b.IsZero() {
			continue
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.buckets[b]+uint64(size) > b.Bucket() {
			return true
		}
		if n.buckets == nil {
			n.buckets = map[bucket]uint64{}
		}
		n.buckets[b] += uint64(size)
	}
	return false
}

// Send implements [Sender].
func (n *fakeNode) Send(to netip.AddrPort, count, size int) error {
	from := netip.AddrPortFrom(n.source(to.Addr()), uint16(32768+rand.Uint32N(28000)))
	for range count {
		n.net.walk(place{node: n}, datagram{proto: dataplane.UDP, src: from, dst: to, ttl: 64, size: size})
	}
	return nil
}
