package dataplanetest

import "github.com/l3kit/l3kit/dataplane"

func scopeDefects() []defect {
	const clause = "address-scopes"
	// scoped changes the address scopes of all ports.
	scoped := func(change func(*dataplane.Scopes)) func(*broken) {
		return misreads(func(r *dataplane.Router) {
			for i := range r.Ports {
				change(&r.Ports[i].Scopes)
			}
			if r.Gateway != nil {
				change(&r.Gateway.Scopes)
			}
		})
	}
	return []defect{
		{clause, "nobody looks at scopes", "who must not be reached", scoped(func(s *dataplane.Scopes) { *s = dataplane.Scopes{} })},
		{clause, "nobody looks at scopes of IPv6", "who must not be reached", scoped(func(s *dataplane.Scopes) { s.IPv6 = "" })},
		{clause, "no scope is that of the others", "who must not be reached", scoped(func(s *dataplane.Scopes) {
			if s.IPv6 == "" {
				s.IPv6 = "blue"
			}
		})},
		{clause, "all are translated", "outside saw the source 203.0.113.2, not 10.0.1.11", misroutes(func(r dataplane.Router, t *dataplane.Trace) {
			if r.Gateway != nil && r.Gateway.SNAT && t.Out == "ext" && t.Dst.Is4() && t.Src == t.Packet.Src && t.Packet.In != "" {
				t.Src = gatewayAddr
			}
		})},
		{clause, "the guard is for all", "tcp from outside to 10.0.1.11: no answer", misroutes(func(r dataplane.Router, t *dataplane.Trace) {
			if t.Packet.In == "ext" && r.Gateway.SNAT && t.Dst == t.Packet.Dst && t.Dst.Is4() {
				t.Verdict = dataplane.Dropped
			}
		})},
		{clause, "floating IPs do not lead across", "tcp from outside to 203.0.113.103: no answer", misroutes(func(r dataplane.Router, t *dataplane.Trace) {
			if t.Out == "db" && t.Dst != t.Packet.Dst {
				t.Verdict = dataplane.Dropped
			}
		})},
		{clause, "only SNAT confines", "without a floating IP, SNAT false: icmp from db1 to 203.0.113.50", misreads(func(r *dataplane.Router) {
			if r.Gateway != nil && !r.Gateway.SNAT && len(r.FloatingIPs) == 2 {
				r.Gateway.Scopes.IPv4 = r.Ports[2].Scopes.IPv4
			}
		})},
		{clause, "hosts with a floating IP are reached by nothing else", "tcp from outside to 10.0.1.10: no answer", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.Packet.In == "ext" && t.Packet.Dst == web1Addr {
				t.Verdict = dataplane.Dropped
			}
		})},
	}
}
