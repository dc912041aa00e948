package differential

import (
	"pgregory.net/rapid"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/frame"
)

// drawClamping makes some routers clamp, with ports of several sizes.
func drawClamping(t *rapid.T, r dataplane.Router) dataplane.Router {
	if r.ClampMSS = rapid.Bool().Draw(t, "clamps"); !r.ClampMSS {
		return r
	}
	size := func(p *dataplane.Port) { p.MTU = rapid.SampledFrom([]int{mtu, 1400, 1280}).Draw(t, "MTU of "+p.ID) }
	for i := range r.Ports {
		size(&r.Ports[i])
	}
	if r.Gateway != nil {
		size(&r.Gateway.Port)
	}
	if r.Transit != nil {
		size(&r.Transit.Port)
	}
	return r
}

// announcements are maximum segment sizes; 0: no option.
var announcements = []uint16{0, 1, 536, 1220, 1300, 1460, 65535}

// clamped is a packet as it leaves.
func clamped(p frame.Packet, t dataplane.Trace) frame.Packet {
	if t.MaxMSS != 0 {
		p.MSS = min(p.MSS, t.MaxMSS)
	}
	return p
}

func clamps(r dataplane.Router) bool { return r.ClampMSS && len(allPorts(r)) > 1 }

var clampingMutations = []mutation{
	{"the port that a segment comes by is not looked at", clamps, dropRule("clamp", 0)},
	{"the port that a segment leaves by is not looked at", clamps, dropRule("clamp", 1)},
	{"the port that a segment of IPv6 comes by is not looked at", both(clamps, speaks6), dropRule6("clamp", 0)},
	{"the port that a segment of IPv6 leaves by is not looked at", both(clamps, speaks6), dropRule6("clamp", 1)},
}
