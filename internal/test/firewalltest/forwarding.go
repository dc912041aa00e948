package firewalltest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
)

// Forward makes a forwarding of ports of the nth external address to the nth internal one. The
// ports there begin at a number, or, if that is negative, all lead to its opposite.
func Forward(n int, proto dataplane.Proto, ports string, to int) dataplane.PortForwarding {
	r, err := dataplane.ParsePortRange(ports)
	if err != nil {
		panic(err)
	}
	last := to + r.Len() - 1
	if to < 0 {
		to, last = -to, -to
	}
	return dataplane.PortForwarding{
		ID:   fmt.Sprintf("pf-%d-%s-%s", n, proto, ports),
		Addr: netip.AddrFrom4([4]byte{203, 0, byte(n >> 8), byte(n)}), Proto: proto, Ports: r,
		Fixed: netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), FixedPorts: dataplane.PortRange{First: uint16(to), Last: uint16(last)},
	}
}

// Forwarding is the example with forwardings of all shapes, one of them of the gateway's address,
// and so many of one address that it takes a tree to find one of them.
func Forwarding(fips ...dataplane.FloatingIP) dataplane.Router {
	r := Example(fips...)
	r.PortForwardings = []dataplane.PortForwarding{
		Forward(200, dataplane.TCP, "80", 8080),
		Forward(200, dataplane.UDP, "53", 53),
		Forward(200, dataplane.SCTP, "132", 132),
		Forward(200, dataplane.TCP, "8000-8007", 9000),
		Forward(200, dataplane.TCP, "100-108", -22),
		Forward(201, dataplane.UDP, "1000-1008", 1000),
		Forward(201, dataplane.UDP, "65535", 1),
	}
	gateway := Forward(5, dataplane.TCP, "443", 443)
	gateway.Addr = r.Gateway.Addrs[0].Addr()
	r.PortForwardings = append(r.PortForwardings, gateway)
	for n := range 40 {
		r.PortForwardings = append(r.PortForwardings, Forward(300, dataplane.TCP, fmt.Sprint(n*n*n+1), 80))
	}
	return r
}

// forwardingPlan: what is said of forwardings that come, go and change.
func (s Suite[P]) forwardingPlan(t *testing.T) {
	r := Example()
	r.PortForwardings = []dataplane.PortForwarding{
		Forward(200, dataplane.TCP, "80", 8080), Forward(200, dataplane.TCP, "81", 8081), Forward(200, dataplane.TCP, "8000-8099", 9000),
		Forward(200, dataplane.UDP, "100-199", -22),
	}
	first := []string{
		"+ port-forwarding 203.0.0.200 tcp 80: → 10.0.0.200 8080",
		"+ port-forwarding 203.0.0.200 tcp 81: → 10.0.0.200 8081",
		"+ port-forwarding 203.0.0.200 tcp 8000-8099: → 10.0.0.200 9000-9099",
		"+ port-forwarding 203.0.0.200 udp 100-199: → 10.0.0.200 22",
	}
	replace := func(i int, by ...dataplane.PortForwarding) func(*dataplane.Router) {
		return func(r *dataplane.Router) { r.PortForwardings = slices.Replace(r.PortForwardings, i, i+1, by...) }
	}
	for name, c := range map[string]struct {
		change func(*dataplane.Router)
		steps  []string
	}{
		"one less": {replace(0), []string{"- port-forwarding 203.0.0.200 tcp 80: → 10.0.0.200 8080  !"}},
		"one more": {replace(1, r.PortForwardings[1], Forward(201, dataplane.SCTP, "7-8", 9)), []string{"+ port-forwarding 203.0.0.201 sctp 7-8: → 10.0.0.201 9-10"}},
		"another port": {replace(0, Forward(200, dataplane.TCP, "80", 80)),
			[]string{"~ port-forwarding 203.0.0.200 tcp 80: → 10.0.0.200 80, was → 10.0.0.200 8080  !"}},
		"another range": {replace(2, Forward(200, dataplane.TCP, "8000-8099", 8000)),
			[]string{"~ port-forwarding 203.0.0.200 tcp 8000-8099: → 10.0.0.200 8000-8099, was → 10.0.0.200 9000-9099  !"}},
		"a range goes": {replace(3), []string{"- port-forwarding 203.0.0.200 udp 100-199: → 10.0.0.200 22  !"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := s.Open(t)
			require.Equal(t, slices.Concat(s.First, []string{"+ snat qg-out: 203.0.255.2"}, first), Plan(t, p.Rules(), r, nil))
			Apply(t, p.Rules(), r)
			want := Without(r, c.change)
			since := &namespace.Delta{Forwardings: namespace.Difference[dataplane.PortForwarding]{
				Removed: lacking(r.PortForwardings, want.PortForwardings), Added: lacking(want.PortForwardings, r.PortForwardings),
			}}
			require.Equal(t, c.steps, Plan(t, p.Rules(), want, nil), "by reading back")
			require.Equal(t, c.steps, Plan(t, p.Rules(), want, since), "by the delta")
			before := p.Listing()
			undo, err := p.Rules().Apply(t.Context(), namespace.Change{Want: want, Since: since})
			require.NoError(t, err)
			requireUnchanged(t, p, true)
			require.Empty(t, Plan(t, p.Rules(), want, nil), "the delta led elsewhere")
			require.NoError(t, undo(t.Context()))
			require.Equal(t, before, p.Listing())
		})
	}
}

// forwardingWalk: as walk, of forwardings, of which one address has many.
func (s Suite[P]) forwardingWalk(t *testing.T) {
	p, fresh := s.Open(t), s.Open(t)
	random := rand.New(rand.NewPCG(3, 4))
	now := Example(FIP(5))
	Apply(t, p.Rules(), now)
	for range 12 {
		next := now
		next.PortForwardings = slices.Clone(now.PortForwardings)
		for n := len(next.PortForwardings); n > 0 && random.IntN(3) > 0; n = len(next.PortForwardings) {
			first := random.IntN(n)
			next.PortForwardings = slices.Delete(next.PortForwardings, first, min(n, first+1+random.IntN(10)))
		}
		for range 1 + random.IntN(12) {
			first := 1 + random.IntN(1<<(5+random.IntN(11)))
			f := Forward(200+random.IntN(2)*random.IntN(3), []dataplane.Proto{dataplane.TCP, dataplane.UDP}[random.IntN(2)],
				dataplane.PortRange{First: uint16(first), Last: uint16(min(65535, first+random.IntN(2)*random.IntN(300)))}.String(), []int{80, -80, first}[random.IntN(3)])
			clash := func(o dataplane.PortForwarding) bool {
				return o.ID == f.ID || o.Addr == f.Addr && o.Proto == f.Proto && o.Ports.First <= f.Ports.Last && f.Ports.First <= o.Ports.Last
			}
			if int(f.FixedPorts.First) <= int(f.FixedPorts.Last) && !slices.ContainsFunc(next.PortForwardings, clash) {
				next.PortForwardings = append(next.PortForwardings, f)
			}
		}
		d := namespace.Delta{Forwardings: namespace.Difference[dataplane.PortForwarding]{
			Removed: lacking(now.PortForwardings, next.PortForwardings), Added: lacking(next.PortForwardings, now.PortForwardings),
		}}
		d.ForwardingAddrs = namespace.Difference[netip.Addr]{
			Removed: lacking(now.ForwardingAddrs(), next.ForwardingAddrs()), Added: lacking(next.ForwardingAddrs(), now.ForwardingAddrs()),
		}
		_, err := p.Rules().Apply(t.Context(), namespace.Change{Want: next, Since: &d})
		require.NoError(t, err)
		require.NoError(t, fresh.Rules().Clear(t.Context()))
		Apply(t, fresh.Rules(), next)
		require.Equal(t, fresh.Listing(), p.Listing())
		now = next
	}
}
