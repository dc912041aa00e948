package namespace

// Bits of the packet mark by which a [Firewall] chooses a packet's way at an edge of a distributed
// router. Each is the mask, too.
const (
	// MarkFloatingIP marks what is of a floating IP here: what came by the gateway, and what its
	// fixed address sends.
	MarkFloatingIP = 0x20000
	// MarkToCentre marks what the centre is to translate: what [dataplane.Transit.Elsewhere] sends
	// to a floating IP of an edge.
	MarkToCentre = 0x40000
)
