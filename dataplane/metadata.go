package dataplane

import "net/netip"

// MetadataPort is the TCP port at which workloads ask for their metadata.
const MetadataPort = 80

var (
	metadata4 = netip.AddrFrom4([4]byte{169, 254, 169, 254})
	metadata6 = netip.AddrFrom16([16]byte{0xfe, 0x80, 12: 0xa9, 0xfe, 0xa9, 0xfe})
)

// MetadataAddrs returns the addresses at which workloads ask for their metadata: 169.254.169.254
// and fe80::a9fe:a9fe. That they are these is a convention of clouds.
func MetadataAddrs() (v4, v6 netip.Addr) { return metadata4, metadata6 }

// isMetadata says that a packet which arrives by a port is for the metadata addresses, and the
// router has them.
func (m *Model) isMetadata(in *modelPort, dst netip.Addr) bool {
	switch {
	case !m.metadata:
		return false
	case dst == metadata6:
		return in != nil && in.inner() && in.linkLocal
	}
	return dst == metadata4
}

// inner says that the port is on one of the router's own networks.
func (p *modelPort) inner() bool { return !p.gateway && !p.transit }

// foreignMetadata says that somebody asks for metadata who is not on a network of the router's own.
func (w *walk) foreignMetadata() bool {
	return w.in != nil && !w.in.inner() && w.dst == metadata4 && w.model.metadata
}

// metadataReachesSource says that the metadata proxy can answer. It does so only inside, and over
// IPv6 only on the link that the question came from.
func (w *walk) metadataReachesSource() bool {
	if w.in == nil || w.src.Is6() && w.src.IsLinkLocalUnicast() {
		return true
	}
	way, ok := w.model.lookup(w.src, w.model.rest)
	if !ok || w.model.isOwn(w.src) {
		return false
	}
	port := way.hops[0].port
	return port.inner() && (w.src.Is4() || w.trace.Packet.Proto != TCP || port == w.in)
}

// metadataLeaves says that a packet of the metadata proxy would leave for somewhere else than
// inside.
func (w *walk) metadataLeaves(out *modelPort) bool {
	return w.in == nil && w.src == metadata4 && w.model.metadata && !out.inner()
}

// metadata makes nobody else hold the address that the router answers at.
func (c *checker) metadata(r *Router) {
	if r.Metadata {
		unique(c.held, metadata4, "Metadata")
	}
}
