package dataplanetest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
)

// instanceClauses are the promises of Dataplane's methods, for instances of a distributed router.
func instanceClauses() []clause {
	return []clause{
		{
			name: "edge-one-more",
			why: "A neighbour, a route to another instance, another edge's floating IP and a fixed " +
				"address that is translated elsewhere may be there by the thousand. One more or one " +
				"less is in force when Apply returns, harms no connection, and leads to the same " +
				"state as a fresh Apply.",
			test: edgeOneMore,
		}, {
			name: "edge-counters-are-exact",
			why: "An edge counts what passes by its floating IPs, from outside, to the outside and by " +
				"hairpin. It does not count what it sends to other instances, because those count it.",
			test: edgeCounting,
		}, {
			name: "edge-damage-is-announced-and-mended",
			why: "Watch announces, Plan names and Apply mends whatever another process breaks of an " +
				"edge, its policy rules and their order included. A leg that was down has lost its " +
				"link-local address for good (addrconf_ifdown removes it, whatever keep_addr_on_down " +
				"says), and without one it solicits nobody.",
			test: edgeDamage,
		}, {
			name: "edge-restart",
			why: "A process that starts afresh over an edge leaves it alone: no kernel write, no " +
				"packet lost, connections and counters intact.",
			test: func(s *scene) {
				s.host("peer")
				s.steadyTraffic(edge(), edgeTalks, func() error { return s.restarts(edge()) })
			},
		},
	}
}

// The connections through an edge.
var (
	hairpinHere = talk{"hairpin in a subnet", "web2", netip.Addr{}, fip1, gatewayAddr, 0}
	sharedHere  = talk{"out by shared SNAT", "web2", netip.Addr{}, outsideAddr, gatewayAddr, 0}
	remote      = talk{"to another edge", "web1", netip.Addr{}, remoteApp, web1Addr, 0}
	fromRemote  = talk{"from another edge", "peer", remoteApp, web1Addr, remoteApp, 0}
	remote6     = talk{"IPv6 to another edge", "web1", netip.Addr{}, remoteApp6, web1Addr6, 0}
	byCentre    = talk{"out by the centre", "web2", netip.Addr{}, internetAddr, web2Addr, 0}
	fromCentre  = talk{"from outside by the centre", "hub", internetAddr, web1Addr, internetAddr, 0}
	centred     = talk{"to a floating IP by the centre", "web3", netip.Addr{}, fip1, web3Addr, 0}

	edgeTalks = []talk{in1, out1, east, hairpinHere, remote, fromRemote, remote6, byCentre, fromCentre, centred}
)

// instanceChanges are changes of instances, and into them.
func instanceChanges() []change {
	central := with(plain(), floating(fip1, web1Addr), behind)
	asCentre := inPlace(with(edge(), func(r *dataplane.Router) {
		r.Gateway = central.Gateway
		for i := range r.Ports {
			r.Ports[i].Anycast, r.Ports[i].Outside = nil, true
		}
		t := r.Transit
		t.Centre, t.External = nil, to("169.254.64.2", fip2.String()+"/32")
		t.Routes = slices.DeleteFunc(t.Routes, func(r dataplane.Route) bool { return !r.Dest.IsSingleIP() })
	}))
	left := with(withoutGateway(), func(r *dataplane.Router) {
		r.Transit.External = append(r.Transit.External, to("169.254.64.3", fip1.String()+"/32")...)
	})
	return []change{
		{
			name: "central-to-edge", from: central, to: edge(), converts: true,
			survive: []talk{in1, out1, east, hairpinHere},
			end:     []talk{sharedHere, shared1},
			then: []probe{
				{from: "web2", to: outsideAddr, at: "hub", sees: web2Addr},
				{from: "web1", to: remoteApp, at: "peer", sees: web1Addr},
				{from: "web1", to: outsideAddr6, at: "hub", sees: web1Addr6},
			},
		}, {
			name: "edge-to-centre", from: edge(), to: asCentre, converts: true,
			survive: []talk{in1, out1, east, hairpinHere, remote, fromRemote, remote6},
			end:     []talk{byCentre},
			then: []probe{
				{from: "web2", to: outsideAddr, at: "outside", sees: gatewayAddr},
				{from: "peer", src: remoteApp, to: outsideAddr, at: "outside", sees: gatewayAddr},
				{from: "web1", to: outsideAddr6, at: "outside", sees: web1Addr6},
				{from: "web3", to: outsideAddr, near: "outside"}, // it is still translated elsewhere
			},
		}, {
			name: "centre-to-central", from: asCentre, to: central, converts: true,
			survive: []talk{in1, out1, east, hairpinHere, sharedHere, six},
			then: []probe{
				{from: "web3", to: outsideAddr, at: "outside", sees: gatewayAddr},
			},
		}, {
			name: "edge-to-central", from: edge(), to: central, converts: true,
			survive: []talk{in1, out1, east, hairpinHere},
			end:     []talk{byCentre},
			then: []probe{
				{from: "web2", to: outsideAddr, at: "outside", sees: gatewayAddr},
				{from: "web1", to: outsideAddr6, at: "outside", sees: web1Addr6},
			},
		}, {
			name: "edge-floating-ip-bound", from: edge(), to: with(edge(), floating(fip4, web2Addr)),
			survive: []talk{in1, out1, east, remote, fromRemote, remote6, fromCentre, centred},
			end:     []talk{byCentre, hairpinHere},
			anew:    []talk{hairpinHere},
			then: []probe{
				{from: "web2", to: outsideAddr, at: "outside", sees: fip4},
				{from: "outside", to: fip4, at: "web2", sees: outsideAddr, as: web2Addr},
			},
		}, {
			name: "edge-floating-ip-leaves", from: edge(), to: left,
			survive: []talk{east, remote, fromRemote, remote6, byCentre, fromCentre, centred},
			end:     []talk{in1, out1, hairpinHere},
			then: []probe{
				{from: "web1", to: outsideAddr, at: "hub", sees: web1Addr},
				{from: "web2", to: fip1, at: "third", sees: web2Addr},
				{from: "outside", to: fip1, near: "web1"},
			},
		},
	}
}

// edgeOneMore changes one thing at a time, always of a router that was found as it was left.
func edgeOneMore(s *scene) {
	s.cast("web1", "web2", "web3", "app1", "mover", "peer", "hub", "outside")
	transit := func(change func(*dataplane.Transit)) func(*dataplane.Router) {
		return func(r *dataplane.Router) { change(r.Transit) }
	}
	here := func(r *dataplane.Router) {
		r.Ports[0].Anycast.Neighbours = append(r.Ports[0].Anycast.Neighbours, moverAddr)
	}
	there := transit(func(t *dataplane.Transit) {
		t.Routes = append(t.Routes, to("169.254.64.2", moverAddr.String()+"/32")...)
	})
	floats := transit(func(t *dataplane.Transit) {
		t.External = append(t.External, to("169.254.64.2", fip4.String()+"/32")...)
	})
	away := transit(func(t *dataplane.Transit) { t.Elsewhere = append(t.Elsewhere, web2Addr) })
	steps := []struct {
		name   string
		router dataplane.Router
		probes []probe
	}{
		{"a neighbour comes", with(edge(), here), []probe{{from: "app1", to: moverAddr, at: "mover", sees: app1Addr}}},
		{"it moves to another edge", with(edge(), there), []probe{{from: "app1", to: moverAddr, at: "peer", sees: app1Addr}}},
		{"another edge's floating IP comes", with(edge(), there, floats), []probe{{from: "web2", to: fip4, at: "peer", sees: web2Addr}}},
		{"an address is translated elsewhere", with(edge(), there, floats, away), []probe{
			{from: "web2", to: fip4, at: "hub", sees: web2Addr}, {from: "web2", to: fip1, at: "hub", sees: web2Addr},
		}},
		{"it is so no more", with(edge(), there, floats), []probe{
			{from: "web2", to: fip4, at: "peer", sees: web2Addr}, {from: "web2", to: fip1, at: "web1", sees: gatewayAddr, as: web1Addr},
		}},
		{"another edge's floating IP goes", with(edge(), there), []probe{{from: "web2", to: fip4, at: "hub", sees: web2Addr}}},
		{"the neighbour returns", with(edge(), here), []probe{{from: "app1", to: moverAddr, at: "mover", sees: app1Addr}}},
		{"it goes", edge(), nil},
	}
	s.apply(edge())
	want := s.steady(s.snapshot)
	s.apply(edge())
	open := s.begin(slices.DeleteFunc(slices.Clone(edgeTalks), func(t talk) bool { return t == hairpinHere }), true) // which is translated elsewhere for a while
	for _, step := range steps {
		s.during("%s", step.name)
		open.pause(s)
		s.apply(step.router)
		fresh, err := s.h.Reopen()
		s.must(err)
		plan, err := fresh.Plan(s.ctx, step.router)
		s.fail(err)
		if !plan.Empty() {
			s.failf("a fresh process finds something to do: %s", plan)
		}
		s.fail(fresh.Close())
		s.check(step.probes...)
		s.apply(step.router)
	}
	open.pause(s)
	open.expectUnharmed(s)
	s.settled("the host, after all of it,", want, s.snapshot)
}

func edgeCounting(s *scene) {
	s.apply(edge())
	s.cast("web1", "web2", "web3", "app1", "peer", "hub", "outside")
	// So that nothing has to be resolved later, and no packet is sent twice.
	s.check(
		probe{from: "outside", proto: dataplane.UDP, to: fip1, at: "web1", sees: outsideAddr, as: web1Addr},
		probe{from: "web2", proto: dataplane.UDP, to: fip1, at: "web1", sees: gatewayAddr, as: web1Addr},
		probe{from: "web2", proto: dataplane.UDP, to: fip2, at: "peer", sees: web2Addr},
		probe{from: "web3", proto: dataplane.UDP, to: fip1, at: "hub", sees: web3Addr},
		probe{from: "web1", proto: dataplane.UDP, to: app1Addr, at: "app1", sees: web1Addr},
		probe{from: "web1", proto: dataplane.UDP, to: remoteApp, at: "peer", sees: web1Addr},
	)
	at := s.counts(s.dp)
	for _, q := range []struct {
		from    string
		to      netip.Addr
		in, out uint64
	}{
		{"outside", fip1, 1, 1},
		{"web1", outsideAddr, 1, 1},
		{"web2", fip1, 1, 1},     // hairpin
		{"web2", fip2, 0, 0},     // another edge's
		{"web3", fip1, 0, 0},     // by the centre
		{"web1", app1Addr, 0, 0}, // from the fixed address
		{"web1", remoteApp, 0, 0},
	} {
		s.during("a question from %s to %s, and its answer", q.from, q.to)
		ctx, cancel := s.soon()
		_, err := s.host(q.from).Ask(ctx, netip.AddrPortFrom(q.to, servicePort))
		cancel()
		s.fail(err)
		at = s.counted(at, q.in, q.out)
	}
	s.during("a fresh process")
	fresh, err := s.h.Reopen()
	s.must(err)
	s.closeLater(fresh)
	if now := s.counts(fresh); now[fip1] != at[fip1] || len(now) != 1 {
		s.failf("the counters are %+v, not %+v", now, at)
	}
}

// edgeDamage breaks an edge in the presence of a process that watches.
func edgeDamage(s *scene) {
	d, ok := s.h.(InstanceDamager)
	if !ok {
		panic(abort{notApplicable("no edge can be damaged on this host")})
	}
	s.cast("web1", "web2", "app1", "peer", "hub", "outside")
	other, err := s.h.Reopen()
	s.must(err)
	s.closeLater(other)
	s.apply(edge())
	want := s.steady(s.snapshot)
	announced := s.watches()
	for i, blow := range d.InstanceDamages() {
		s.during("%s", blow.Name)
		s.must(blow.Do(s.ctx, "r1"))
		s.announces(announced, "r1")
		dp := s.dp
		if i%2 == 1 {
			dp = other
		}
		plan, err := dp.Plan(s.ctx, edge())
		s.must(err)
		if !strings.Contains(plan.String(), blow.Mentions) {
			s.failf("Plan does not mention %q: %s", blow.Mentions, plan)
		}
		done, err := s.dp.Apply(s.ctx, edge())
		if err != nil {
			s.must(fmt.Errorf("Apply: %w", err))
		}
		if done.Empty() {
			s.failf("Apply has done nothing")
		}
		s.recovers(announced, other)
		s.settled("the host, after Apply,", want, s.snapshot)
		s.check(
			probe{from: "outside", proto: dataplane.TCP, to: fip1, at: "web1", sees: outsideAddr, as: web1Addr},
			probe{from: "web1", proto: dataplane.UDP, to: outsideAddr, at: "outside", sees: fip1},
			probe{from: "web2", proto: dataplane.UDP, to: outsideAddr, at: "hub", sees: web2Addr},
			probe{from: "web2", proto: dataplane.UDP, to: fip2, at: "peer", sees: web2Addr},
			probe{from: "app1", proto: dataplane.UDP, to: web1Addr6, at: "web1", sees: app1Addr6},
			probe{from: "peer", src: remoteApp6, proto: dataplane.UDP, to: web1Addr6, at: "web1", sees: remoteApp6},
		)
	}
}
