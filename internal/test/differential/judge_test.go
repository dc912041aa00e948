package differential

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/frame"
)

// judge returns in what an answer differs from the model; nothing if it does not.
func (e expectation) judge(a answer) string {
	if a.Fault != "" {
		return a.Fault
	}
	if want := e.answersFor(); a.Answered != want {
		return fmt.Sprintf("answers for the MAC of %s at %s: %t, want %t", e.Dst, e.In, a.Answered, want)
	}
	paths := e.paths
	if e.In == "" && !e.Src.IsValid() && (e.sourceOfAnother(a) || e.sourceByHistory(a)) {
		p := e.Packet
		p.Src = a.Source
		paths = e.model.Paths(p)
	}
	var differences []string
	for _, t := range paths {
		why := e.judgeFirst(t, a)
		if why == "" {
			why = e.judgeBack(t, a)
		}
		if why == "" {
			return ""
		}
		differences = append(differences, why)
	}
	return strings.Join(differences, "; or ")
}

// judgeFirst compares what came of the packet.
func (e expectation) judgeFirst(t dataplane.Trace, a answer) string {
	sent := e.packet(a.Data)
	if sent.Src = t.Packet.Src; e.In == "" && t.Verdict == dataplane.Forwarded && a.Source != t.Packet.Src {
		return fmt.Sprintf("the kernel sends from %s, want %s", a.Source, t.Packet.Src)
	}
	switch t.Verdict {
	case dataplane.Forwarded:
		want := clamped(e.forwarded(sent), t)
		want.Src, want.Dst, want.DstPort = t.Src, t.Dst, t.DstPort
		return judgeDelivery(a.First, want, t.Out, t.NextHops, translated(t))
	case dataplane.Local:
		if !t.Dst.IsValid() {
			return e.judgeRefusal(a.First, sent)
		}
		return e.judgeLocal(t, a.First, sent)
	case dataplane.Dropped:
		if len(a.First) == 1 && e.Dst.IsMulticast() && a.First[0].Dst == e.Src && (a.First[0].IsEcho() || about(a.First[0].Packet, sent)) {
			return "" // the router is in the group, and speaks for itself
		}
	case dataplane.Unreachable: // or silence: IPv4 tells each sender so only once a second on average (net.ipv4.route.error_cost, of the whole machine)
		if len(a.First) == 1 && about(a.First[0].Packet, sent) && a.First[0].Type == unreachableOf(sent.Dst) {
			return ""
		}
	}
	return nothing(a.First)
}

// translated says that a packet's source was. Then its port may be another one, even if the address
// happens to be the same.
func translated(t dataplane.Trace) bool {
	steps := 0
	for _, s := range t.Steps {
		if s.Stage == "translation" {
			steps++
		}
	}
	if t.Dst != t.Packet.Dst {
		steps-- // the destination's
	}
	return steps > 0
}

// forwarded is a packet as it must leave after it came in by a wire. Of the router's own packets
// the kernel chooses the TTL, and leaves checksums to a device that sends them nowhere.
func (e expectation) forwarded(p frame.Packet) frame.Packet {
	if e.In != "" {
		p.TTL, p.Intact = 63, true
	}
	return p
}

func nothing(seen []sighting) string {
	if len(seen) == 0 {
		return ""
	}
	return fmt.Sprintf("%s, want nothing", seen[0])
}

// judgeDelivery requires one packet, by the port to one of the neighbours, as wanted. Its source
// port may differ where its source address was translated.
func judgeDelivery(seen []sighting, want frame.Packet, out string, hops []netip.Addr, repick bool) string {
	if len(seen) != 1 {
		return fmt.Sprintf("%d packets, want one: %s", len(seen), want)
	}
	got := seen[0]
	toNeighbour := slices.ContainsFunc(hops, func(a netip.Addr) bool { return neighbourMAC(a) == got.Hop })
	switch {
	case got.Port != out:
		return fmt.Sprintf("left by %q, want %q", got.Port, out)
	case out != "" && !toNeighbour:
		return fmt.Sprintf("went to %s, want one of %v", got.Hop, hops)
	case got.Src != want.Src || got.Dst != want.Dst:
		return fmt.Sprintf("shows %s → %s, want %s → %s", got.Src, got.Dst, want.Src, want.Dst)
	case got.Proto != want.Proto || got.Type != want.Type || got.Code != want.Code || got.Flags != want.Flags || got.MSS != want.MSS:
		return fmt.Sprintf("is %s, want %s", got.Packet, want)
	case got.DstPort != want.DstPort || got.SrcPort != want.SrcPort && !repick:
		return fmt.Sprintf("shows ports %d → %d, want %d → %d", got.SrcPort, got.DstPort, want.SrcPort, want.DstPort)
	case !bytes.Equal(got.Data, want.Data):
		return fmt.Sprintf("carries %q, want %q", got.Data, want.Data)
	case want.TTL != 0 && got.TTL != want.TTL:
		return fmt.Sprintf("has a TTL of %d, want %d", got.TTL, want.TTL)
	case want.Intact && !got.Intact:
		return "has a wrong checksum"
	}
	return ""
}

// judgeLocal requires the router's own answer, or refusal, if there is a way to the sender; nothing
// else.
func (e expectation) judgeLocal(t dataplane.Trace, seen []sighting, sent frame.Packet) string {
	reachable := slices.ContainsFunc(e.bare.Paths(dataplane.Packet{Src: t.Dst, Dst: e.Src}), func(t dataplane.Trace) bool {
		return t.Verdict == dataplane.Forwarded
	})
	at, _ := e.model.PortTo(t.Dst)
	anycast := at != "" // nobody speaks from such an address
	if why, done := e.judgeMetadataWay(seen); done {
		return why
	}
	switch {
	case t.Answered && e.Proto == dataplane.TCP:
		return e.judgeMetadata(seen, sent)
	case t.Answered:
		want := sent
		want.Src, want.Dst, want.Type = sent.Dst, t.Packet.Src, echoReplyOf(sent.Dst)
		if len(seen) != 1 || seen[0].Src != want.Src || seen[0].Dst != want.Dst || seen[0].Type != want.Type ||
			seen[0].SrcPort != want.SrcPort || !bytes.Equal(seen[0].Data, want.Data) {
			return fmt.Sprintf("%v, want %s", seen, want)
		}
		return ""
	case len(seen) == 0 && (anycast || e.Kind == stray || e.In == "" || !reachable):
		return ""
	case len(seen) == 1 && e.Kind == first && refuses(seen[0].Packet, sent):
		return ""
	case len(seen) == 1 && anycast && seen[0].IsEcho(): // from another address
		return ""
	case len(seen) == 1 && !reachable && seen[0].Src == sent.Dst && seen[0].Dst == sent.Src: // an answer to nobody
		return ""
	}
	return fmt.Sprintf("%v, want a refusal", seen)
}

// judgeRefusal requires that the sender of a packet to a link-local address is told so, if there is
// a way to it. Of a protocol that it does not know, the kernel takes the checksum for wrong
// (nf_reject_verify_csum), and keeps silent.
func (e expectation) judgeRefusal(seen []sighting, sent frame.Packet) string {
	reachable := slices.ContainsFunc(e.bare.Paths(dataplane.Packet{Dst: e.Src}), func(t dataplane.Trace) bool { return t.Verdict == dataplane.Forwarded })
	switch {
	case len(seen) == 0 && (e.Kind == stray || e.Proto == other || !reachable):
		return ""
	case len(seen) == 1 && (sent.Dst.Is4() && refuses(seen[0].Packet, sent) || sent.Dst.Is6() && about(seen[0].Packet, sent)):
		return ""
	}
	return fmt.Sprintf("%v, want a refusal", seen)
}

// refuses says that a packet tells its sender that nobody listens.
func refuses(got, sent frame.Packet) bool {
	if sent.Proto == unix.IPPROTO_TCP {
		return got.Proto == unix.IPPROTO_TCP && got.Flags&frame.RST != 0 &&
			got.Src == sent.Dst && got.Dst == sent.Src && got.SrcPort == sent.DstPort && got.DstPort == sent.SrcPort
	}
	return about(got, sent)
}

// about says that a packet is an ICMP error about that which was sent, in its sender's words.
func about(got, sent frame.Packet) bool {
	quoted, ok := got.About()
	return ok && got.Dst == sent.Src && quoted.Src == sent.Src && quoted.Dst == sent.Dst && quoted.Proto == sent.Proto &&
		quoted.SrcPort == sent.SrcPort && quoted.DstPort == sent.DstPort
}

func echoReplyOf(a netip.Addr) uint8 {
	if a.Is4() {
		return frame.EchoReply4
	}
	return frame.EchoReply6
}

func unreachableOf(a netip.Addr) uint8 {
	if a.Is4() {
		return frame.Unreachable4
	}
	return frame.Unreachable6
}

// judgeBack compares what came of the receiver's answer, or of the ICMP error about the packet.
func (e expectation) judgeBack(t dataplane.Trace, a answer) string {
	_, ok := a.delivered()
	if t.Verdict != dataplane.Forwarded || e.Kind == stray || !ok {
		return nothing(a.Back)
	}
	sent := e.packet(a.Data)
	sent.Src = t.Packet.Src
	want := t.Reply()
	from := t.Dst
	if e.ErrorFrom.IsValid() {
		if e.ErrorFrom != e.Dst {
			from = e.ErrorFrom
		}
		want = t.ICMPError(from)
	}
	if e.In == "" {
		if t.Out == gatewayID && e.isInside(from) { // spoofed (P17)
			return nothing(a.Back)
		}
		return e.judgeReturn(a.Back, want, sent, dataplane.Trace{})
	}
	var differences []string
	homewards := dataplane.Packet{In: t.Out, Src: from, Dst: e.Src, Proto: want.Proto}
	homes := e.bare.Paths(homewards)
	if isEdge(e.router) {
		homes = e.untranslatedPaths(homewards, t.Src, t.Dst != e.Dst)
	}
	for _, home := range homes {
		if e.untranslated(t, home) {
			home.Verdict = dataplane.Dropped
		}
		why := e.judgeReturn(a.Back, want, sent, home)
		if why == "" {
			return ""
		}
		differences = append(differences, why)
	}
	return strings.Join(differences, "; or ")
}

// isInside says that an address is in an internal subnet.
func (e expectation) isInside(a netip.Addr) bool {
	return slices.ContainsFunc(e.router.Ports, func(p dataplane.Port) bool {
		return slices.ContainsFunc(p.Addrs, func(subnet netip.Prefix) bool { return subnet.Contains(a) })
	})
}

// untranslated says that an answer would leave by the gateway as it is, while SNAT is on (P19).
func (e expectation) untranslated(t, home dataplane.Trace) bool {
	return e.Dst.Is4() && e.router.Gateway != nil && e.router.Gateway.SNAT && home.Out == gatewayID && t.Dst == t.Packet.Dst &&
		!e.shares(t.Out, home.Out)
}

// judgeReturn compares what came back to the sender by one of the ways that lead home.
func (e expectation) judgeReturn(back []sighting, want dataplane.Packet, sent frame.Packet, home dataplane.Trace) string {
	if e.In != "" && home.Verdict != dataplane.Forwarded {
		// The sender is nobody to whom anything can be sent. The one who answered may be told so.
		for _, b := range back {
			if b.Dst == e.Src {
				return fmt.Sprintf("%s, want nothing", b)
			}
		}
		return ""
	}
	expected := clamped(e.forwarded(e.back(sent)), home)
	expected.Src, expected.Dst = want.Src, want.Dst
	if !e.ErrorFrom.IsValid() { // nothing about the answer may change but what takes the translation of the first packet back
		if why := judgeDelivery(back, expected, home.Out, home.NextHops, false); why != "" {
			return "what came back " + why
		}
		return ""
	}
	if len(back) != 1 {
		return fmt.Sprintf("%d packets came back, want one: %s", len(back), expected)
	}
	got := back[0]
	if got.Port != home.Out || got.Src != want.Src || !about(got.Packet, sent) || e.In != "" && !got.Intact {
		return fmt.Sprintf("what came back is %s, want %s → %s by %q about %s", got, want.Src, want.Dst, home.Out, sent)
	}
	return ""
}
