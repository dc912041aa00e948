package dataplanetest

import (
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
)

// mss is the maximum segment size that a workload announces to an address.
func (n *fakeNode) mss(to netip.Addr) uint16 {
	_, out, _ := n.way(to)
	if to.Is6() {
		return n.spec.Ports[out].MaxMSS6()
	}
	return n.spec.Ports[out].MaxMSS4()
}

// clamp is what becomes of a maximum segment size on the way through a router.
func (n *fakeNetwork) clamp(mss uint16, t dataplane.Trace) uint16 {
	if mss == 0 || t.MaxMSS == 0 || mss < t.MaxMSS && !n.raises {
		return mss
	}
	return t.MaxMSS
}

// answeredMSS is the maximum segment size that the sender of a first segment is announced.
func (n *fakeNetwork) answeredMSS(f fate) uint16 {
	mss := f.end.node.mss(f.packet.src.Addr())
	for _, h := range slices.Backward(f.hops) {
		mss = n.clamp(mss, h.trace)
	}
	return mss
}
