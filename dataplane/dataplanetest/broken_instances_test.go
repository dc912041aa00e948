package dataplanetest

import (
	"context"
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
)

// forwards lets a packet out by a port, as it came.
func forwards(t *dataplane.Trace, out string, hops ...netip.Addr) {
	t.Verdict, t.Out, t.NextHops, t.Src, t.Dst = dataplane.Forwarded, out, hops, t.Packet.Src, t.Packet.Dst
}

// mistakes changes what is asked for of instances alone.
func mistakes(change func(*dataplane.Router)) func(*broken) {
	return misreads(func(r *dataplane.Router) {
		if r.Transit != nil {
			change(r)
		}
	})
}

// asks changes what routers ask their links.
func asks(change func(ARP) []ARP) func(*broken) { return func(b *broken) { b.net.asks = change } }

func instanceDefects() []defect {
	hub := addr("169.254.64.99")
	return []defect{
		{"edge-neighbours", "the whole subnet is on the link", "stray answered, not hub", mistakes(func(r *dataplane.Router) {
			for i := range r.Ports {
				r.Ports[i].Anycast = nil
			}
		})},
		{"edge-neighbours", "so is that of IPv6", "packets asked for what is no neighbour", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.Packet.Dst == strayAddr6 && t.Packet.In == "app" {
				forwards(t, "web", strayAddr6)
			}
		})},
		{"edge-neighbours", "others are asked for", "asked for 10.0.1.77, which is no neighbour", asks(func(a ARP) []ARP {
			return []ARP{a, {MAC: a.MAC, Sender: a.Sender, Target: strayAddr}}
		})},
		{"edge-neighbours", "neighbours are asked for by another address", "10.0.2.1 asked for", asks(func(a ARP) []ARP {
			a.Sender = addr("10.0.2.1")
			return []ARP{a}
		})},
		{"edge-neighbours", "nothing is on the link", "from web1 to 10.0.2.10: no answer", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.Out == "app" {
				forwards(t, "transit", hub)
			}
		})},
		{"edge-neighbours", "routes to other edges are left out", "no answer", mistakes(func(r *dataplane.Router) {
			r.Transit.Routes = slices.DeleteFunc(r.Transit.Routes, func(r dataplane.Route) bool { return r.Dest.IsSingleIP() })
		})},

		{"edge-gateway", "everybody leaves by it", "outside answered, not hub", misroutes(func(r dataplane.Router, t *dataplane.Trace) {
			if t.Packet.Dst == outsideAddr && t.Out == "transit" {
				forwards(t, "ext", outsideAddr)
				t.Src = fip1
			}
		})},
		{"edge-gateway", "floating IPs leave by the centre", "hub answered, not outside", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.Out == "ext" {
				forwards(t, "transit", hub)
			}
		})},
		{"edge-gateway", "clients show their own address by hairpin", "no answer", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.Src == gatewayAddr {
				t.Src = t.Packet.Src
			}
		})},
		{"edge-gateway", "nothing guards the inside", "has received", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.Packet.In == "ext" && t.Packet.Dst == web2Addr {
				forwards(t, "web", web2Addr)
			}
		})},
		{"edge-gateway", "nothing guards other edges", "peer has received", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.Packet.In == "ext" && t.Packet.Dst == remoteApp {
				forwards(t, "transit", addr("169.254.64.2"))
			}
		})},
		{"edge-gateway", "IPv6 comes in", "has received", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.Packet.In == "ext" && t.Packet.Dst == web1Addr6 {
				forwards(t, "web", web1Addr6)
			}
		})},
		{"edge-gateway", "IPv6 leaves", "from web1 to 2001:db8:1::50: no answer", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.Packet.In == "web" && t.Packet.Dst == outsideAddr6 {
				forwards(t, "ext", outsideAddr6)
			}
		})},
		{"edge-gateway", "only subnets with a leg here are inside", "has received", misroutes(func(r dataplane.Router, t *dataplane.Trace) {
			if t.Packet.Src == db1Addr {
				believes("ext")(r, t)
			}
		})},
		{"edge-gateway", "nobody looks at sources", "has received", misroutes(believes("ext"))},

		{"edge-arp-outside", "the first address of the host is shown", "10.0.1.1 asked for", asks(func(a ARP) []ARP {
			a.Sender = addr("10.0.1.1")
			return []ARP{a}
		})},
		{"edge-errors-outside", "errors leave by the transit", "no ICMP error", hosts(func(h Host) Host { return numbHost{Host: h} })},

		{"edge-transit", "own addresses are martians", "has not received it", misroutes(func(r dataplane.Router, t *dataplane.Trace) {
			if t.Packet.In == "transit" && slices.Contains([]netip.Addr{anycastAddr, anycast6}, t.Packet.Src) {
				t.Verdict = dataplane.Dropped
			}
		})},
		{"edge-transit", "own addresses of IPv6 are", "has not received it", misroutes(func(r dataplane.Router, t *dataplane.Trace) {
			if t.Packet.In == "transit" && t.Packet.Src == anycast6 {
				t.Verdict = dataplane.Dropped
			}
		})},
		{"edge-transit", "answers leave by the floating IP", "from hub to 10.0.1.10: no answer", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			t.OneWay = t.OneWay || t.Packet.In == "transit" && t.Packet.Src == internetAddr && t.Packet.Dst == web1Addr
		})},
		{"edge-transit", "packets go round", "has received", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.Packet.In == "transit" && t.Verdict == dataplane.Dropped {
				forwards(t, "transit", hub)
			}
		})},
		{"edge-transit", "packets of IPv6 go round", "has received", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.Packet.In == "transit" && t.Verdict == dataplane.Dropped && t.Packet.Dst.Is6() {
				forwards(t, "transit", addr("fe80::99"))
			}
		})},

		{"edge-transit", "nobody hears that the transit is narrow", "no ICMP error", hosts(func(h Host) Host { return numbHost{Host: h} })},
		{"edge-elsewhere", "all are translated here", "web1 answered, not hub", mistakes(func(r *dataplane.Router) { r.Transit.Elsewhere = nil })},
		{"edge-elsewhere", "another edge's floating IPs are forgotten", "peer answered, not hub", misroutes(func(r dataplane.Router, t *dataplane.Trace) {
			if t.Packet.Dst == fip2 && t.Out == "transit" {
				forwards(t, "transit", addr("169.254.64.2"))
			}
		})},
		{"edge-elsewhere", "everything of it goes to the centre", "from web3 to 10.0.2.10: no answer", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.Packet.Src == web3Addr {
				forwards(t, "transit", hub)
			}
		})},

		{"edge-extra-routes", "there are none", "no answer", mistakes(func(r *dataplane.Router) { r.Routes = nil })},
		{"edge-extra-routes", "they are for floating IPs alone", "no answer", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.Packet.Src == web2Addr && t.Packet.Dst == behindAddr {
				forwards(t, "transit", hub)
			}
		})},
		{"edge-extra-routes", "all leave by a next hop outside", "outside answered, not hub", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.Packet.Dst == beyond {
				forwards(t, "ext", outsideAddr)
				t.Src = fip1
			}
		})},
		{"edge-extra-routes", "a default route inside comes before other edges", "from web2 to 203.0.113.102: no answer", misroutes(func(r dataplane.Router, t *dataplane.Trace) {
			if r.Routes[len(r.Routes)-1].Dest.Bits() == 0 && t.Packet.Dst == fip2 {
				forwards(t, "app", addr("10.0.2.250"))
			}
		})},

		{"centre-forwards", "nothing returns to the transit", "no answer", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.Packet.In == "transit" && t.Out == "transit" {
				t.Verdict = dataplane.Dropped
			}
		})},
		{"centre-forwards", "own addresses are martians", "has not received it", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.Packet.Src == anycastAddr {
				t.Verdict = dataplane.Dropped
			}
		})},
		{"centre-forwards", "only subnets on the link are translated", "saw the source 10.0.1.11", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.Out == "ext" && t.Packet.In == "transit" {
				t.Src = t.Packet.Src
			}
		})},
		{"centre-elsewhere", "everything is translated", "outside has received 203.0.113.2", mistakes(func(r *dataplane.Router) { r.Transit.Elsewhere = nil })},
		{"centre-elsewhere", "it is dropped wherever it goes", "no answer", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			if t.Packet.Src == web1Addr || t.Packet.Src == web1Addr6 {
				t.Verdict = dataplane.Dropped
			}
		})},

		{"edge-one-more", "neighbours that come are overlooked", "a neighbour comes", quickly(func(have, r *dataplane.Router) {
			r.Ports[0].Anycast = have.Ports[0].Anycast
		})},
		{"edge-one-more", "routes that go stay", "the neighbour returns: a fresh process finds something to do", quickly(func(have, r *dataplane.Router) {
			for _, was := range have.Transit.Routes {
				if !slices.Contains(r.Transit.Routes, was) {
					r.Transit.Routes = append(r.Transit.Routes, was)
				}
			}
		})},
		{"edge-one-more", "floating IPs of other edges are overlooked", "hub answered, not peer", quickly(func(have, r *dataplane.Router) {
			r.Transit.External = have.Transit.External
		})},
		{"edge-one-more", "what is translated elsewhere is overlooked", "peer answered, not hub", quickly(func(have, r *dataplane.Router) {
			r.Transit.Elsewhere = have.Transit.Elsewhere
		})},
		{"edge-one-more", "everything is built anew", "has ended, although", rebuilds},

		{"edge-counters", "what goes to the centre is counted", "1 packets counted in, not 0", misroutes(func(r dataplane.Router, t *dataplane.Trace) {
			if t.Packet.Src == web3Addr && t.Packet.Dst == fip1 {
				*t = r.Trace(dataplane.Packet{In: "web", Src: web2Addr, Dst: fip1, Proto: t.Packet.Proto})
				t.Packet.Src = web3Addr
			}
		})},
		{"edge-counters", "hairpin is not counted", "0 packets counted in, not 1", func(b *broken) {
			b.count = func(counters map[netip.Addr]dataplane.Counters, err error) error {
				for a, c := range counters { // of three kinds of question, the third
					c.In.Packets = min(c.In.Packets, 4)
					counters[a] = c
				}
				return err
			}
		}},

		{"edge-damage", "it never announces", "r1 was not announced", func(b *broken) {
			b.watch = func(ctx context.Context, inner dataplane.Watcher) (<-chan dataplane.Drift, error) {
				_, err := inner.Watch(ctx)
				return make(chan dataplane.Drift), err
			}
		}},
		{"edge-damage", "Plan looks at ports alone", "does not mention", func(b *broken) {
			b.plan = func(ctx context.Context, inner dataplane.Dataplane, r dataplane.Router) (dataplane.Plan, error) {
				plan, err := inner.Plan(ctx, r)
				plan.Steps = slices.DeleteFunc(plan.Steps, func(s dataplane.Step) bool { return s.Kind != dataplane.KindLink })
				return plan, err
			}
		}},
		{"edge-damage", "what is translated elsewhere is not mended", "10.0.1.12 is translated elsewhere", quickly(func(have, r *dataplane.Router) {
			if r.Transit != nil {
				r.Transit.Elsewhere = have.Transit.Elsewhere
			}
		})},
		{"edge-restart", "everything is built anew", "a write that changes nothing", rebuilds},
		{"edge-restart", "it writes what is there", "a write that changes nothing", scribbles(always)},
	}
}

// quickly changes what is asked for when a router is there already.
func quickly(change func(have, want *dataplane.Router)) func(*broken) {
	return func(b *broken) {
		b.apply = func(ctx context.Context, inner dataplane.Dataplane, r dataplane.Router) (dataplane.Plan, error) {
			if have, ok := b.fake.host.Router(r.ID); ok {
				r = with(r, func(r *dataplane.Router) { change(&have, r) })
			}
			return inner.Apply(ctx, r)
		}
	}
}
