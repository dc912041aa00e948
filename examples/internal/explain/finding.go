package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
)

// finding is what the kernel was seen to do with a packet.
type finding struct {
	Packet  dataplane.Packet  `json:"packet"` // as sent
	Verdict dataplane.Verdict `json:"verdict"`
	Out     string            `json:"out,omitempty"`      // port that it left by
	NextHop netip.Addr        `json:"next_hop,omitzero"`  // neighbour that was asked for; zero when its MAC was known
	Src     netip.Addr        `json:"src,omitzero"`       // as it left; zero where that could not be seen
	Dst     netip.Addr        `json:"dst,omitzero"`       //
	DstPort uint16            `json:"dst_port,omitempty"` //
	Reply   bool              `json:"answered,omitempty"` // the router itself answered an echo request
	Agrees  bool              `json:"agrees"`             // with one of the model's paths
}

// compare notes whether one of the model's paths is the one that was seen.
func (f *finding) compare(paths []dataplane.Trace) {
	f.Agrees = slices.ContainsFunc(paths, func(t dataplane.Trace) bool {
		switch {
		case t.Verdict != f.Verdict || t.Out != f.Out:
			return false
		case t.Verdict == dataplane.Local:
			return t.Answered == f.Reply || t.Packet.Proto == dataplane.TCP // nobody waits for the metadata proxy
		case t.Verdict != dataplane.Forwarded:
			return true
		}
		hop := !f.NextHop.IsValid() || slices.Contains(t.NextHops, f.NextHop)
		return hop && t.Src == f.Src && t.Dst == f.Dst && (f.DstPort == 0 || t.DstPort == f.DstPort)
	})
}

// String prints "The kernel agrees: …".
func (f *finding) String() string {
	var b strings.Builder
	b.WriteString("The kernel agrees: ")
	if !f.Agrees {
		b.Reset()
		b.WriteString("The kernel DOES NOT agree: ")
	}
	fmt.Fprintf(&b, "%s was %s", f.Packet, f.Verdict)
	switch f.Verdict {
	case dataplane.Forwarded:
		dst := f.Dst.String()
		if f.DstPort != 0 && f.DstPort != f.Packet.DstPort {
			dst = netip.AddrPortFrom(f.Dst, f.DstPort).String()
		}
		fmt.Fprintf(&b, " by %s, as %s → %s", f.Out, f.Src, dst)
		if f.NextHop.IsValid() {
			fmt.Fprintf(&b, "; %s was asked for its MAC", f.NextHop)
		}
	case dataplane.Local:
		b.WriteString(" to the router")
		if f.Reply {
			b.WriteString(", which answered")
		}
	}
	return b.String()
}
