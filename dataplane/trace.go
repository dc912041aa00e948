package dataplane

import (
	"fmt"
	"net/netip"
	"strings"
)

// Verdict is what becomes of a packet.
type Verdict string

// The verdicts.
const (
	Forwarded   Verdict = "forwarded"   // to a neighbour
	Local       Verdict = "local"       // to the router itself, which answers echo requests and requests for metadata, and refuses anything else
	Dropped     Verdict = "dropped"     // without a word
	Unreachable Verdict = "unreachable" // there is no way; the sender is told so by an ICMP error
)

// Trace is what a router must do with the first packet of a connection, and with that all of it.
type Trace struct {
	// Packet is the one that was asked about. A source that the kernel chose is filled in.
	Packet  Packet  `json:"packet"`
	Verdict Verdict `json:"verdict"`
	// Out is the ID of the port that the packet leaves by; empty unless forwarded.
	Out string `json:"out,omitempty"`
	// NextHops are the neighbours that it may go to: the destination itself when that is connected,
	// several when routes share the load.
	NextHops []netip.Addr `json:"next_hops,omitempty"`
	// Src, Dst and DstPort are what the receiver sees; zero when there is none. The source's port
	// may change too, with SNAT.
	Src     netip.Addr `json:"src"`
	Dst     netip.Addr `json:"dst"`
	DstPort uint16     `json:"dst_port,omitempty"`
	// MaxMSS is the largest segment size that a TCP SYN may announce when it leaves, and the SYN-ACK
	// that answers it; 0 if the router does not touch it. See [Router.ClampMSS].
	MaxMSS uint16 `json:"max_mss,omitempty"`
	// Answered says that the router itself answers, from the address that was asked.
	Answered bool `json:"answered,omitempty"`
	// OneWay says that the router forwards the packet, but drops what the receiver answers: the
	// answer would show a private address outside, or come in by the gateway from an internal one,
	// or be for an address that other instances of the router have as well.
	OneWay bool `json:"one_way,omitempty"`
	// Steps are what happened to the packet, in order, with reasons for people.
	Steps []TraceStep `json:"steps,omitempty"`
}

// TraceStep is a station on a packet's way through the router.
type TraceStep struct {
	Stage  string `json:"stage"` // ingress, translation, routing, filter, limit, egress, answer
	Reason string `json:"reason"`
}

// Reply is the answer to the packet as its sender receives it, provided there is one (see OneWay):
// from the address and port that the sender wrote to. Its In is the port by which the packet left,
// where the receiver's answer is expected back.
func (t Trace) Reply() Packet {
	p := t.Packet
	r := Packet{In: t.Out, Src: p.Dst, Dst: p.Src, Proto: p.Proto, SrcPort: p.DstPort, DstPort: p.SrcPort}
	if p.Proto == ICMP { // the answer carries the identifier of the request
		r.SrcPort, r.DstPort = p.SrcPort, 0
	}
	return r
}

// ICMPError is an ICMP error about the packet (too big, unreachable, time exceeded) as the original
// sender receives it, when the host or router at from, beyond this router or this router itself,
// sends it about what was delivered. The packet it quotes is t.Packet: the sender's own words.
//
// The error itself is translated like an answer (nf_nat_icmp_reply_translation in the kernel):
// where the destination was translated, its source becomes the address that the sender wrote to,
// whoever sent it; else its source stays. So a private address is never shown outside.
func (t Trace) ICMPError(from netip.Addr) Packet {
	src := from
	if t.Verdict == Forwarded && t.Dst != t.Packet.Dst {
		src = t.Packet.Dst
	}
	return Packet{In: t.Out, Src: src, Dst: t.Packet.Src, Proto: ICMP}
}

// String prints the packet, what became of it, and each step on a line of its own.
func (t Trace) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", t.Packet, t.Verdict)
	switch t.Verdict {
	case Forwarded:
		dst := t.Dst.String()
		if t.DstPort != t.Packet.DstPort {
			dst = endpoint(t.Dst, t.DstPort)
		}
		fmt.Fprintf(&b, " by %s to %s, as %s → %s", t.Out, list(t.NextHops, " or "), t.Src, dst)
		if t.OneWay {
			b.WriteString("; no answer gets back")
		}
	case Local:
		if t.Answered {
			b.WriteString(", answered")
		}
	}
	for _, s := range t.Steps {
		fmt.Fprintf(&b, "\n  %-11s  %s", s.Stage, s.Reason)
	}
	return b.String()
}

func list[T fmt.Stringer](items []T, sep string) string {
	words := make([]string, len(items))
	for i, item := range items {
		words[i] = item.String()
	}
	return strings.Join(words, sep)
}
