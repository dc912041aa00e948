package explain

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
)

// observation is what was seen of a packet at one hop.
type observation struct {
	Unwatched string     `json:"unwatched,omitempty"` // why nobody watched
	Arrived   *point     `json:"arrived,omitempty"`   // nil: it did not
	Left      *point     `json:"left,omitempty"`      //
	Asked     netip.Addr `json:"asked,omitzero"`      // next hop whose MAC the instance asked for, and was not told
	Told      string     `json:"told,omitempty"`      // ICMP error that the instance sent
	Answered  bool       `json:"answered,omitempty"`  // an echo reply left towards the sender
}

// point is where a packet was seen, and how it looked.
type point struct {
	Port string     `json:"port"`
	Src  netip.Addr `json:"src"`
	Dst  netip.Addr `json:"dst"`
	to   dataplane.MAC
}

func (p point) String() string { return fmt.Sprintf("by %s as %s → %s", p.Port, p.Src, p.Dst) }

// observe reads what was seen on an instance. A packet that comes again to an instance of its way
// has later turns there.
func observe(h hop, seen []event, turn int) *observation {
	var p observation
	at := func(e event) *point {
		found := point{Port: e.Device, Src: e.Src, Dst: e.Dst, to: e.To}
		for _, port := range ports(h.at.Router) {
			if dataplane.IsDevice(e.Device, port.ID) {
				found.Port = port.ID
			}
		}
		return &found
	}
	arrivals := 0
	for _, e := range seen {
		if e.Kind == arrived {
			if arrivals++; arrivals == turn+1 {
				p.Arrived = at(e)
			}
		}
		if p.Arrived == nil || arrivals > turn+1 {
			continue
		}
		switch e.Kind {
		case left:
			if p.Left == nil {
				p.Left = at(e)
			}
		case asked:
			if slices.Contains(h.Trace.NextHops, e.Dst) {
				p.Asked = e.Dst
			}
		case told:
			p.Told = e.Reason
		case answered:
			p.Answered = true
		}
	}
	if p.Left != nil {
		p.Asked, p.Told = netip.Addr{}, "" // it was answered, and an error is the receiver's
	}
	return &p
}

// steps are the lines about what was seen.
func (p *observation) steps(t dataplane.Trace) (all []dataplane.TraceStep) {
	add := func(stage, format string, args ...any) {
		all = append(all, dataplane.TraceStep{Stage: stage, Reason: fmt.Sprintf(format, args...)})
	}
	switch {
	case p == nil:
		return nil
	case p.Unwatched != "":
		add("NOT WATCHED", "%s", p.Unwatched)
		return all
	case p.Arrived == nil:
		add("NOT SEEN", "the packet did not arrive")
		return all
	}
	add("seen in", "%s", p.Arrived)
	switch {
	case p.Left != nil:
		add("seen out", "%s", p.Left)
	case p.Asked.IsValid():
		add("NOT SEEN", "the packet did not leave: %s was asked for its MAC, and does not answer", p.Asked)
	case t.Verdict == dataplane.Forwarded:
		add("NOT SEEN", "the packet did not leave")
	default:
		add("seen", "the packet did not leave")
	}
	if p.Told != "" {
		add("seen", "the sender was told: %s", p.Told)
	}
	if p.Answered {
		add("seen back", "an answer left towards the sender")
	}
	return all
}

// silent says that the next hop has not said its MAC.
func (p *observation) silent() bool {
	return p.Left == nil && p.Asked.IsValid()
}

// fault is where the observation differs from what the model says; empty: nowhere.
func (p *observation) fault(h hop) string {
	t := h.Trace
	switch {
	case p.Arrived.Port != t.Packet.In || p.Arrived.Src != t.Packet.Src || p.Arrived.Dst != t.Packet.Dst:
		return fmt.Sprintf("it arrived on %s %s, not by %s as %s → %s", h.Host, p.Arrived, t.Packet.In, t.Packet.Src, t.Packet.Dst)
	case p.Left != nil && t.Verdict != dataplane.Forwarded:
		return fmt.Sprintf("it left %s %s, and should be %s there", h.Host, p.Left, t.Verdict)
	case p.Left != nil && (p.Left.Port != t.Out || p.Left.Src != t.Src || p.Left.Dst != t.Dst):
		return fmt.Sprintf("it left %s %s, not by %s as %s → %s", h.Host, p.Left, t.Out, t.Src, t.Dst)
	case t.Verdict == dataplane.Local && t.Answered && t.Packet.Proto == dataplane.ICMP && !p.Answered && p.Left == nil:
		return fmt.Sprintf("the router on %s did not answer", h.Host)
	case t.Verdict != dataplane.Forwarded || p.Left != nil:
		return ""
	case p.silent():
		return fmt.Sprintf("LOST on the way from %s to %s, who was asked for its MAC and does not answer", h.Host, p.Asked)
	}
	text := fmt.Sprintf("LOST on %s: it arrived %s, and did not leave", h.Host, p.Arrived)
	if p.Told != "" {
		text += "; the sender was told: " + p.Told
	}
	return text
}
