package dataplanetest

import "github.com/l3kit/l3kit/dataplane"

func clampingDefects() []defect {
	const clause = "clamped-segments"
	// clamped changes what is let pass.
	clamped := func(change func(r dataplane.Router, t *dataplane.Trace)) func(*broken) {
		return misroutes(func(r dataplane.Router, t *dataplane.Trace) {
			if t.MaxMSS != 0 {
				change(r, t)
			}
		})
	}
	return []defect{
		{clause, "nothing is clamped", "outside is announced segments of 1460 bytes, want 1360", misreads(clamps(false))},
		{clause, "everything is clamped always", "not clamped: web1 to 203.0.113.50: outside is announced segments of 1360 bytes, want 1460", misreads(clamps(true))},
		{clause, "the way out decides alone", "outside is announced segments of 1410 bytes, want 1360", clamped(func(r dataplane.Router, t *dataplane.Trace) {
			t.MaxMSS = portOf(r, t.Out).MaxMSS4()
		})},
		{clause, "the way in decides alone", "web1 is announced segments of 1410 bytes, want 1360", clamped(func(r dataplane.Router, t *dataplane.Trace) {
			t.MaxMSS = portOf(r, t.Packet.In).MaxMSS4()
		})},
		{clause, "IPv6 is forgotten", "outside is announced segments of 1440 bytes, want 1340", clamped(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.Dst.Is6() {
				t.MaxMSS = 0
			}
		})},
		{clause, "headers of IPv6 are taken for those of IPv4", "outside is announced segments of 1360 bytes, want 1340", clamped(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.Dst.Is6() {
				t.MaxMSS += 20
			}
		})},
		{clause, "floating IPs are forgotten", "web1 is announced segments of 1460 bytes, want 1360", clamped(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.Dst != t.Packet.Dst {
				t.MaxMSS = 0
			}
		})},
		{clause, "segments are made larger", "app1 is announced segments of 1460 bytes, want 1260", func(b *broken) { b.net.raises = true }},
		{clause, "a changed MTU is not noticed", "outside is announced segments of 1360 bytes, want 1260", quickly(func(have, r *dataplane.Router) {
			if r.ClampMSS && have.ClampMSS {
				*r = *have
			}
		})},
		{clause, "a connection ends with the switch", "has ended", rebuilds},
	}
}
