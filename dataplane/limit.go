package dataplane

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// Limit bounds what passes the gateway for one external IPv4 address: a floating IP, an address of
// which ports are forwarded, or an address of the gateway, which hosts without a floating IP share.
// What exceeds it is dropped. Traffic that does not pass the gateway, such as that of a client
// inside to a floating IP, is not limited, and neither is other traffic.
type Limit struct {
	Addr    netip.Addr `json:"addr"`
	Egress  Bandwidth  `json:"egress,omitzero"`  // from the address to the external network
	Ingress Bandwidth  `json:"ingress,omitzero"` // from there to the address
}

// Bandwidth is a rate and how far traffic may exceed it for a moment. The zero value does not limit.
type Bandwidth struct {
	Rate uint32 `json:"rate"` // kilobits per second, of whole IP packets; a kilobit is 1000 bits
	// Burst is the kilobits that may pass at once after a pause. What the rate lets pass in a second
	// may always, and so may the largest packet: with less, TCP would not reach the rate.
	Burst uint32 `json:"burst,omitempty"`
}

// Bounds of a [Bandwidth]: what the kernel's limiters can count.
const (
	maxRate  = 100_000_000 // 100 Gbit/s
	maxBurst = 32_000_000  // 4 GB

	// largestPacket is that of segmentation offload: the kernel forwards it whole.
	largestPacket = 64 << 10
	bytesPerKbit  = 1000 / 8
)

// IsZero reports whether it does not limit.
func (b Bandwidth) IsZero() bool { return b == Bandwidth{} }

// BytesPerSecond is the rate in bytes.
func (b Bandwidth) BytesPerSecond() uint64 { return uint64(b.Rate) * bytesPerKbit }

// Bucket is how many bytes may pass at once after a pause.
func (b Bandwidth) Bucket() uint64 {
	return max(b.BytesPerSecond(), uint64(b.Burst)*bytesPerKbit, largestPacket)
}

// String is the form of details of steps of a [Plan].
func (b Bandwidth) String() string {
	return fmt.Sprintf("%d kbit/s, %d bytes at once", b.Rate, b.Bucket())
}

// Direction is one of the two ways through the gateway.
type Direction string

// The directions, as the workload sees them.
const (
	Egress  Direction = "egress"
	Ingress Direction = "ingress"
)

// Object names one direction of a limit as steps of a [Plan] do.
func (l Limit) Object(d Direction) string { return LimitObject(l.Addr, d) }

// LimitObject names the limit of an address in one direction as steps of a [Plan] do.
func LimitObject(a netip.Addr, d Direction) string { return fmt.Sprintf("%s %s", a, d) }

// Of returns the bandwidth in one direction.
func (l Limit) Of(d Direction) Bandwidth {
	if d == Egress {
		return l.Egress
	}
	return l.Ingress
}

func compareLimits(a, b Limit) int {
	return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Egress.Rate, b.Egress.Rate), cmp.Compare(a.Egress.Burst, b.Egress.Burst),
		cmp.Compare(a.Ingress.Rate, b.Ingress.Rate), cmp.Compare(a.Ingress.Burst, b.Ingress.Burst))
}

// Answers reports whether an address is one that the gateway answers for: its own, a floating IP,
// or one of which ports are forwarded. It takes time proportional to their number.
func (r Router) Answers(a netip.Addr) bool {
	return r.Gateway.has(a) ||
		slices.ContainsFunc(r.FloatingIPs, func(f FloatingIP) bool { return f.Addr == a }) ||
		slices.ContainsFunc(r.PortForwardings, func(f PortForwarding) bool { return f.Addr == a })
}

// limited notes what the gateway lets pass no more than at a rate.
func (w *walk) limited(a netip.Addr, d Direction) {
	if b := w.model.limits[a].Of(d); !b.IsZero() {
		w.step("limit", "%s of %s is limited to %s", d, a, b)
	}
}
