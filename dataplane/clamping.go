package dataplane

// Headers of TCP segments without options (RFC 791, RFC 8200, RFC 9293).
const (
	segmentHeaders4 = 20 + 20
	segmentHeaders6 = 40 + 20
)

// MaxMSS4 is the largest maximum segment size of TCP over IPv4 that fits the port.
func (p Port) MaxMSS4() uint16 { return uint16(max(p.MTU-segmentHeaders4, 0)) }

// MaxMSS6 is the same over IPv6.
func (p Port) MaxMSS6() uint16 { return uint16(max(p.MTU-segmentHeaders6, 0)) }

// clamp bounds what the first segments of a TCP connection may announce that another host opens.
func (w *walk) clamp(out *modelPort) {
	if !w.model.clamp || w.in == nil || w.trace.Packet.Proto != TCP {
		return
	}
	narrow := w.in
	if out.mtu < narrow.mtu {
		narrow = out
	}
	port := Port{MTU: narrow.mtu}
	w.trace.MaxMSS = port.MaxMSS4()
	if w.dst.Is6() {
		w.trace.MaxMSS = port.MaxMSS6()
	}
	w.step("egress", "TCP announces segments of %d bytes at most: the MTU of %s is %d", w.trace.MaxMSS, narrow, narrow.mtu)
}
