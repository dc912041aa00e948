package dataplane

import (
	"fmt"
	"net/netip"
	"slices"
)

// Trace says what the router must do with a packet. Of several [Model.Paths] it is the first.
func (m *Model) Trace(p Packet) Trace { return m.Paths(p)[0] }

// Paths lists every way that a packet may take. There is one, unless routes share the packet's
// destination (ECMP): then there is one for each port that they go through, and the kernel chooses
// by a hash of the addresses, the same for all packets of a connection. For a packet of the router
// itself there is one for each next hop, as its source may depend on that.
func (m *Model) Paths(p Packet) []Trace {
	p.Src, p.Dst = p.Src.WithZone(""), p.Dst.WithZone("") // a zone is the sender's affair, not on the wire
	w := walk{model: m, in: m.ports[p.In], trace: Trace{Packet: p}, src: p.Src, dst: p.Dst, dstPort: p.DstPort}
	if w.enter(); w.done() {
		return []Trace{w.trace}
	}
	if !w.toCentre() {
		w.translateDst()
		if w.deliver(); w.done() {
			return []Trace{w.trace}
		}
	}
	route, ok := w.lookup()
	if !ok {
		w.end(Unreachable, "routing", "no route to %s", w.dst)
		return []Trace{w.trace}
	}
	var paths []Trace
	for _, l := range route.legs(!w.src.IsValid()) {
		path := w
		path.trace.Steps = slices.Clip(w.trace.Steps) // so that paths do not write into each other's
		path.forward(route, l)
		paths = append(paths, path.trace)
	}
	return paths
}

// walk follows a packet through the router, in the order of the kernel's hooks.
type walk struct {
	model      *Model
	in         *modelPort // nil: the router itself sends
	src, dst   netip.Addr // as they stand
	dstPort    uint16     // as it stands
	translated bool       // dst is: a floating IP was asked for, or a port that is forwarded
	centred    bool       // src is translated elsewhere, and so goes to the centre
	trace      Trace
}

func (w *walk) done() bool { return w.trace.Verdict != "" }

func (w *walk) step(stage, format string, args ...any) {
	w.trace.Steps = append(w.trace.Steps, TraceStep{stage, fmt.Sprintf(format, args...)})
}

func (w *walk) end(v Verdict, stage, format string, args ...any) {
	w.step(stage, format, args...)
	w.trace.Verdict = v
}

// enter refuses what a host may not send. The kernel does so while it routes a packet
// (ip_route_input_slow: "martians"; ip6_rcv_core), after the destination was translated; the
// outcome is the same, as no translation leads to or from such addresses.
//
// Spoofed sources are dropped here too (P17; RFC 2827, RFC 3704): the router's own addresses by any
// port, and those of internal subnets, which fixed addresses are among, by the gateway. Another
// internal source by an internal port is not: workloads with several ports answer that way.
func (w *walk) enter() {
	const stage = "ingress"
	p := w.trace.Packet
	switch {
	case p.In != "" && w.in == nil:
		w.end(Dropped, stage, "the router has no port %q", p.In)
	case !w.dst.IsValid():
		w.end(Dropped, stage, "no destination address")
	case w.src.IsValid() && w.src.Is4() != w.dst.Is4():
		w.end(Dropped, stage, "source and destination are of different families")
	case w.in == nil && (w.src.Is4In6() || w.dst.Is4In6()):
		w.end(Dropped, stage, "IPv4-mapped IPv6 addresses stand for IPv4 on a host (RFC 4291 2.5.5.2)")
	case w.dst.IsMulticast() || w.dst == limitedBroadcast:
		w.end(Dropped, stage, "%s is not for one host, and not forwarded", w.dst)
	case w.dst.IsUnspecified() && (w.dst.Is4() || w.in == nil):
		w.end(Dropped, stage, "%s is no host's address", w.dst)
	case w.in == nil && w.dst.Is6() && w.dst.IsLinkLocalUnicast():
		w.end(Dropped, stage, "%s is a link-local address, and could be on any port", w.dst)
	case w.in == nil:
		w.send()
	case !w.src.IsValid() || w.src == netip.IPv4Unspecified() || w.src.IsMulticast() || w.src == limitedBroadcast:
		w.end(Dropped, stage, "%s cannot be a source", w.src)
	case w.src.IsLoopback() || w.dst.IsLoopback():
		w.end(Dropped, stage, "loopback addresses are never seen on a link")
	case w.foreignMetadata():
		w.end(Dropped, stage, "%s is for hosts on the router's own networks", w.dst)
	case w.in.transit: // other instances have the same addresses
		w.step(stage, "arrives by %s", w.in)
	case w.model.isOwn(w.src) || w.model.isOwnLinkLocal(w.src):
		w.end(Dropped, stage, "%s is the router's own address: spoofed, as it cannot arrive as a source", w.src)
	case w.in.gateway && w.model.isInside(w.src):
		w.end(Dropped, stage, "%s is in an internal subnet: spoofed, as it cannot arrive from outside", w.src)
	case w.in.gateway && w.model.only && !w.model.isFloating(w.dst):
		w.end(Dropped, stage, "%s is no floating IP here, and the gateway is for those only", w.dst)
	default:
		w.step(stage, "arrives by %s", w.in)
		if w.in.gateway {
			w.limited(w.dst, Ingress)
		}
	}
}

// send begins the way of a packet that the router itself sends.
func (w *walk) send() {
	chosen := !w.src.IsValid() || w.src.IsUnspecified()
	own := w.model.isOwn(w.dst) || w.dst.IsLoopback()
	switch {
	case chosen && own: // the kernel sends from an own address to itself; also to a floating IP, before that is translated
		w.setSource(w.dst)
	case chosen:
		w.src = netip.Addr{} // known when the route is
	case w.dst.IsLoopback() && w.src.IsLoopback():
	case !w.model.isOwn(w.src):
		w.end(Dropped, "ingress", "%s is not an address of the router", w.src)
		return
	}
	w.step("ingress", "sent by the router itself")
}

// setSource notes the address that the kernel chose.
func (w *walk) setSource(a netip.Addr) { w.src, w.trace.Packet.Src = a, a }

// toCentre says that a floating IP that an edge has is asked for by a client whose own is
// elsewhere. The centre translates the client's address, so that the server sees the same as from
// anywhere (P7).
func (w *walk) toCentre() bool {
	m := w.model
	if w.in == nil || w.in.gateway || w.in.transit || len(m.centre) == 0 || !m.elsewhere[w.src] {
		return false
	}
	if _, here := m.fixedOf[w.dst]; !here && !m.remote[w.dst] {
		return false
	}
	w.centred = true
	w.step("translation", "%s is a floating IP, and that of %s is elsewhere: to the centre", w.dst, w.src)
	return true
}

// ofFloatingIP says that the packet is of a floating IP that is here: by its gateway, or from its
// fixed address.
func (w *walk) ofFloatingIP() bool {
	_, fixed := w.model.fipOf[w.src]
	return w.model.only && w.in != nil && (w.in.gateway || fixed && !w.in.transit)
}

// translateDst is what PREROUTING does, and OUTPUT to the router's own packets (P6, P7, P8).
func (w *walk) translateDst() {
	fixed, ok := w.model.fixedOf[w.dst]
	if !ok {
		w.forwardPort()
		return
	}
	w.step("translation", "%s is a floating IP of %s", w.dst, fixed)
	w.dst, w.translated = fixed, true
}

// forwardPort does the same for ports that are forwarded (P23).
func (w *walk) forwardPort() {
	f, ok := w.model.forwards.find(w.dst, w.trace.Packet.Proto, w.dstPort)
	if !ok {
		return
	}
	to := f.FixedPort(w.dstPort)
	w.step("translation", "%s is forwarded to %s", endpoint(w.dst, w.dstPort), endpoint(f.Fixed, to))
	w.dst, w.dstPort, w.translated = f.Fixed, to, true
}

// deliver ends packets that are for the router itself (P10): the kernel's table "local", before all
// others. They are not forwarded, so P9 does not concern them.
func (w *walk) deliver() {
	const stage = "routing"
	m, t := w.model, &w.trace
	if why, ok := m.deaf[w.dst]; ok {
		if w.dst.Is4() {
			w.end(Dropped, stage, "%s is %s, and not forwarded", w.dst, why)
			return
		}
		t.Src, t.Dst, t.DstPort = w.src, w.dst, w.dstPort // the answer comes from another address: the anycast one is never a source
		w.end(Local, stage, "%s is %s", w.dst, why)
		return
	}
	owner, ok := m.own[w.dst]
	metadata := m.isMetadata(w.in, w.dst)
	if metadata {
		owner, ok = "the metadata address", true
	}
	if !ok && w.dst.IsLoopback() {
		owner, ok = "the router's own", true
	}
	if !ok {
		return
	}
	t.Src, t.Dst, t.DstPort = w.src, w.dst, w.dstPort
	w.end(Local, stage, "%s is %s", w.dst, owner)
	switch {
	case metadata && !w.metadataReachesSource():
		w.step("egress", "no route inside back to %s: no answer", w.src)
	case metadata && t.Packet.Proto == TCP && w.dstPort == MetadataPort:
		t.Answered = true
		w.step("egress", "the metadata proxy answers")
	case t.Packet.Proto != ICMP:
		w.step("egress", "no service listens: refused")
	case !w.reachesSource():
		w.step("egress", "no route back to %s: no answer", w.src)
	default:
		t.Answered = true
		w.step("egress", "the echo is answered")
	}
}

// reachesSource says that the router can send an answer.
func (w *walk) reachesSource() bool {
	if w.answerEndsHere(w.src) {
		return false
	}
	if w.in == nil || w.src.IsLinkLocalUnicast() && w.src.Is6() {
		return true
	}
	if _, anycast := w.model.deaf[w.src]; w.src.IsUnspecified() || w.src.Is6() && (anycast || w.model.isOwn(w.src)) {
		return false // nobody's address, or the router's own
	}
	_, ok := w.model.PortTo(w.src)
	return ok
}

// answerEndsHere reports whether the packet arrived by the transit from a source that this instance
// has as well. The transit may bring such a source, but no answer leaves to it. A link-local address
// ends here only on the link that has it.
func (w *walk) answerEndsHere(src netip.Addr) bool {
	return w.in != nil && w.in.transit && (w.model.isOwn(src) || w.in.linkLocal && w.in.linkLocalAddr() == src)
}

// lookup finds the way to the destination. IPv6 looks for what is link-local on the link that it
// came from.
func (w *walk) lookup() (way, bool) {
	if w.dst.Is6() && w.dst.IsLinkLocalUnicast() {
		here := linkLocal6.Contains(w.dst) && w.in.linkLocal
		return way{dest: linkLocal6, origin: connected, hops: []hop{{port: w.in}}}, here
	}
	m := w.model
	switch {
	case w.centred:
		i := slices.IndexFunc(m.centre, func(h hop) bool { return h.via.Is4() })
		return way{dest: netip.PrefixFrom(w.dst, 0).Masked(), origin: defaultRoute, hops: m.centre[max(i, 0):][:1]}, i >= 0
	case w.ofFloatingIP():
		if way, ok := m.lookup(w.dst, m.floating); ok {
			return way, true
		}
	}
	return m.lookup(w.dst, m.rest)
}

// refuse ends packets of others to link-local addresses, which no router forwards (P18; RFC 3927
// 2.7, RFC 4291 2.5.6). The metadata addresses are among them, unless the router has them. Hosts
// inside are told so, TCP over IPv4 by a reset, and all else by ICMP's port unreachable; to the
// outside nobody speaks in the name of such an address.
func (w *walk) refuse() bool {
	if w.in == nil || !w.dst.IsLinkLocalUnicast() {
		return false
	}
	if w.in.gateway {
		w.end(Dropped, "filter", "%s is a link-local address, never forwarded", w.dst)
	} else {
		w.end(Local, "filter", "%s is a link-local address, never forwarded: refused", w.dst)
	}
	return true
}

// forward takes a packet out by a port: FORWARD, POSTROUTING.
func (w *walk) forward(route way, l leg) {
	w.explain(route, l)
	if w.in != nil && w.in != l.out && w.src.Is6() { // ip6_forward; back to the link that a packet comes from it forwards everything
		switch {
		case w.src.IsLinkLocalUnicast(): // answered by "beyond scope of source address"
			w.end(Unreachable, "filter", "%s is a link-local address, never forwarded to another link (RFC 4291 2.5.6)", w.src)
			return
		case w.src.IsUnspecified():
			w.end(Dropped, "filter", "%s cannot be a source (RFC 4291 2.5.2)", w.src)
			return
		}
	}
	if !w.src.IsValid() {
		src := w.model.source(l.out, l.neighbours(w.dst)[0], w.dst)
		if !src.IsValid() {
			w.end(Dropped, "routing", "the router has no address to send to %s from", w.dst)
			return
		}
		w.setSource(src)
		w.step("routing", "the kernel sends from %s", src)
	}
	if w.refuse() {
		return
	}
	if w.filter(l.out); w.done() {
		return
	}
	if w.dst.Is4() {
		w.translateSrc(l.out)
		if l.out.gateway {
			w.limited(w.src, Egress)
		}
	}
	t := &w.trace
	t.Verdict, t.Out, t.NextHops, t.Src, t.Dst, t.DstPort = Forwarded, l.out.id, l.neighbours(w.dst), w.src, w.dst, w.dstPort
	w.clamp(l.out)
	w.step("egress", "leaves by %s to %s", l.out, list(t.NextHops, " or "))
	w.answer(l.out)
}

// filter drops what may not pass from one port to another.
func (w *walk) filter(out *modelPort) {
	const stage = "filter"
	m := w.model
	_, fixed := m.fipOf[w.src]
	switch {
	case w.metadataLeaves(out):
		w.end(Dropped, stage, "the metadata proxy answers hosts on the router's own networks only")
	case w.dst.Is4() && w.in != nil && w.in.gateway && m.guarded && !w.translated && !sameScope(w.in, out): // P9
		w.end(Dropped, stage, "%s is reached from outside by a floating IP or a forwarded port only", w.dst)
	case w.in != nil && w.in.transit && out.transit && len(m.centre) > 0:
		w.end(Dropped, stage, "%s came by the transit, and does not return to it", w.dst)
	case out.gateway && m.only && !fixed:
		w.end(Dropped, stage, "%s has no floating IP here, and the gateway is for those only", w.src)
	case out.gateway && !m.only && w.dst.Is4() && m.elsewhere[w.src]:
		w.end(Dropped, stage, "%s has its floating IP at another instance", w.src)
	default:
		w.confine(out)
	}
}

// answer finds out whether an answer to a forwarded packet would get back.
func (w *walk) answer(out *modelPort) {
	const stage = "answer"
	m, t := w.model, &w.trace
	p := t.Packet
	switch {
	case out.gateway && m.isInside(t.Dst):
		t.OneWay = true
		w.step(stage, "from %s, an internal address, it would come in by %s, where it is dropped as spoofed", t.Dst, out)
	case w.answerEndsHere(p.Src):
		t.OneWay = true
		w.step(stage, "to %s, which this instance has too, it would end here", p.Src)
	case w.confinesAnswer(out):
		t.OneWay = true
		w.step(stage, "to %s it would leave its address scope", p.Src)
	case w.in != nil && p.Src.Is4() && t.Dst == p.Dst && m.guarded && m.leadsOutside(p.Src) && !sameScope(m.gateway(), out): // by nothing would its source change
		t.OneWay = true
		w.step(stage, "to %s it would leave by the gateway, and from %s untranslated: dropped while SNAT is on", p.Src, p.Dst)
	}
}

// explain says why the packet takes this way.
func (w *walk) explain(route way, l leg) {
	switch route.origin {
	case connected:
		w.step("routing", "%s is in %s, connected by %s", w.dst, route.dest, l.out)
	case toInstance:
		w.step("routing", "%s is in %s, which another instance has: %s", w.dst, route.dest, list(l.via, " or "))
	case extraRoute:
		w.step("routing", "%s is in %s, an extra route via %s", w.dst, route.dest, list(l.via, " or "))
	case defaultRoute:
		w.step("routing", "%s takes the default route via %s", w.dst, list(l.via, " or "))
	}
}

// translateSrc is what POSTROUTING does to IPv4: a floating IP before the shared address (P5, P2),
// and the answer's way home for clients inside that use a floating IP (P7). Everything else keeps
// its source (P1, P4, P6).
func (w *walk) translateSrc(out *modelPort) {
	const stage = "translation"
	m, from := w.model, w.src
	fip, hasFIP := m.fipOf[from]
	inside := w.in != nil && !w.in.gateway && !out.gateway
	switch {
	case out.gateway && hasFIP:
		w.src = fip
		w.step(stage, "%s leaves as its floating IP %s", from, fip)
	case out.gateway && m.shared.IsValid() && sameScope(w.in, out):
		w.step("filter", "%s keeps its address: %s and %s are in %s", from, w.in, out, scopeText(out, from))
	case out.gateway && m.shared.IsValid():
		w.src = m.shared
		w.step(stage, "%s has no floating IP and leaves as the gateway address %s", from, m.shared)
	case out.gateway && m.remote[w.dst] && m.hairpin.IsValid():
		w.src = m.hairpin
		w.step(stage, "hairpin: %s shows the gateway address %s to a floating IP of another instance", from, m.hairpin)
	case w.translated && inside && hasFIP:
		w.src = fip
		w.step(stage, "hairpin: %s shows its floating IP %s, so that the answer comes back here", from, fip)
	case w.translated && inside && m.hairpin.IsValid():
		w.src = m.hairpin
		w.step(stage, "hairpin: %s shows the gateway address %s, so that the answer comes back here", from, m.hairpin)
	}
}

var (
	limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
	linkLocal6       = netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfe, 0x80}), 64) // the part of fe80::/10 that is in use
)

// isThisNetwork says that an address is in 0.0.0.0/8 (RFC 1122 3.2.1.3), which is no place for a
// host. Linux forwards there since 5.3 all the same.
func isThisNetwork(a netip.Addr) bool { return a.Is4() && a.As4()[0] == 0 }
