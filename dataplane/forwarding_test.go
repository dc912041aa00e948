package dataplane_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/l3kit/l3kit/dataplane"
)

// forward makes a forwarding by text: "203.0.113.7 tcp 80", "10.0.0.7 8080".
func forward(id, from, to string) dataplane.PortForwarding {
	var a, proto, ports, fixed, fixedPorts string
	if n, err := fmt.Sscan(from, &a, &proto, &ports); n != 3 {
		panic(err)
	}
	if n, err := fmt.Sscan(to, &fixed, &fixedPorts); n != 2 {
		panic(err)
	}
	return dataplane.PortForwarding{ID: id, Addr: addr(a), Proto: dataplane.Proto(proto), Ports: portRange(ports), Fixed: addr(fixed), FixedPorts: portRange(fixedPorts)}
}

func portRange(s string) dataplane.PortRange {
	r, err := dataplane.ParsePortRange(s)
	if err != nil {
		panic(err)
	}
	return r
}

// forwarding is threeTier with forwardings: of an address of their own, one of them to a host with
// a floating IP, and of the gateway's.
func forwarding() dataplane.Router {
	r := threeTier()
	r.PortForwardings = []dataplane.PortForwarding{
		forward("pf-web", "203.0.113.7 tcp 80", "10.0.0.7 8080"),
		forward("pf-dns", "203.0.113.7 udp 80", "10.0.1.7 53"),
		forward("pf-range", "203.0.113.7 tcp 8000-8099", "10.0.0.7 9000-9099"),
		forward("pf-same", "203.0.113.7 sctp 1000-2000", "10.0.0.7 1000-2000"),
		forward("pf-one", "203.0.113.7 tcp 100-199", "10.0.1.7 22"),
		forward("pf-fip", "203.0.113.7 tcp 443", "10.0.0.5 443"),
		forward("pf-gw", "203.0.113.2 tcp 80", "10.0.0.7 80"),
	}
	return r
}

func TestP23PortForwarding(t *testing.T) {
	for _, r := range []dataplane.Router{forwarding(), snatOff(forwarding())} {
		require.NoError(t, r.Validate())
		for _, c := range []struct {
			in, src, dst string
			proto        dataplane.Proto
			port         uint16
			want         string // verdict, and what the receiver sees
		}{
			{"ext", outside, "203.0.113.7", dataplane.TCP, 80, "forwarded web 198.51.100.9 10.0.0.7:8080"},
			{"ext", outside, "203.0.113.7", dataplane.UDP, 80, "forwarded app 198.51.100.9 10.0.1.7:53"},
			{"ext", outside, "203.0.113.7", dataplane.TCP, 8000, "forwarded web 198.51.100.9 10.0.0.7:9000"},
			{"ext", outside, "203.0.113.7", dataplane.TCP, 8099, "forwarded web 198.51.100.9 10.0.0.7:9099"},
			{"ext", outside, "203.0.113.7", dataplane.SCTP, 1234, "forwarded web 198.51.100.9 10.0.0.7:1234"},
			{"ext", outside, "203.0.113.7", dataplane.TCP, 150, "forwarded app 198.51.100.9 10.0.1.7:22"},
			{"ext", outside, "203.0.113.7", dataplane.TCP, 443, "forwarded web 198.51.100.9 10.0.0.5:443"},
			{"ext", outside, "203.0.113.2", dataplane.TCP, 80, "forwarded web 198.51.100.9 10.0.0.7:80"},

			{"ext", outside, "203.0.113.7", dataplane.TCP, 7999, "refused"},
			{"ext", outside, "203.0.113.7", dataplane.TCP, 8100, "refused"},
			{"ext", outside, "203.0.113.7", dataplane.UDP, 8000, "refused"},
			{"ext", outside, "203.0.113.7", "253", 80, "refused"},
			{"ext", outside, "203.0.113.7", dataplane.ICMP, 0, "answered"},
			{"ext", outside, "203.0.113.2", dataplane.TCP, 81, "refused"},
			{"ext", "203.0.113.7", "203.0.113.7", dataplane.TCP, 80, "dropped"}, // P17

			{"app", "10.0.1.7", "203.0.113.7", dataplane.TCP, 80, "forwarded web 203.0.113.2 10.0.0.7:8080"}, // P7
			{"web", "10.0.0.7", "203.0.113.7", dataplane.TCP, 80, "forwarded web 203.0.113.2 10.0.0.7:8080"},
			{"app", "10.0.1.6", "203.0.113.7", dataplane.TCP, 80, "forwarded web 203.0.113.6 10.0.0.7:8080"},
			{"app", "10.0.1.7", "203.0.113.2", dataplane.TCP, 80, "forwarded web 203.0.113.2 10.0.0.7:80"},
			{"app", "10.0.1.7", "203.0.113.7", dataplane.TCP, 81, "refused"},
			{"", "203.0.113.2", "203.0.113.7", dataplane.TCP, 80, "forwarded web 203.0.113.2 10.0.0.7:8080"}, // P8
			{"web", "10.0.0.5", outside, dataplane.TCP, 80, "forwarded ext 203.0.113.5 198.51.100.9:80"},     // P5
		} {
			got := r.Trace(dataplane.Packet{In: c.in, Src: addr(c.src), Dst: addr(c.dst), Proto: c.proto, SrcPort: 4711, DstPort: c.port})
			text := string(got.Verdict)
			switch {
			case got.Verdict == dataplane.Forwarded:
				text = fmt.Sprintf("forwarded %s %s %s", got.Out, got.Src, netip.AddrPortFrom(got.Dst, got.DstPort))
			case got.Answered:
				text = "answered"
			case got.Verdict == dataplane.Local:
				text = "refused"
			}
			require.Equal(t, c.want, text, "%s", got)
		}
		source := r.Trace(dataplane.Packet{In: "web", Src: addr("10.0.0.7"), Dst: addr(outside), Proto: dataplane.TCP, SrcPort: 8080, DstPort: 80})
		if r.Gateway.SNAT {
			require.Equal(t, addr("203.0.113.2"), source.Src, "a forwarding says nothing about the host's own connections: %s", source)
		} else {
			require.Equal(t, addr("10.0.0.7"), source.Src, "%s", source)
		}
	}
	r := forwarding()
	got := r.Trace(dataplane.Packet{In: "ext", Src: addr(outside), Dst: addr("203.0.113.7"), Proto: dataplane.TCP, SrcPort: 4711, DstPort: 80})
	require.Contains(t, got.String(), "as 198.51.100.9 → 10.0.0.7:8080")
	require.Contains(t, got.String(), "203.0.113.7:80 is forwarded to 10.0.0.7:8080")
	require.Equal(t, "tcp 203.0.113.7:80 → 198.51.100.9:4711", got.Reply().String(), "the answer leaves as the address that was asked")
}

func TestFakeEndsWhatAForwardingTouches(t *testing.T) {
	host := new(dataplane.FakeHost)
	fake := dataplane.NewFake(host)
	mustApply(t, fake, forwarding())
	open := func(proto dataplane.Proto, dst string, port uint16) *dataplane.Flow {
		f, got := host.Open("r1", dataplane.Packet{In: "ext", Src: addr(outside), Dst: addr(dst), Proto: proto, SrcPort: 4711, DstPort: port})
		require.True(t, f.Alive(), "%s", got)
		return f
	}
	web, dns, ranged, gateway := open(dataplane.TCP, "203.0.113.7", 80), open(dataplane.UDP, "203.0.113.7", 80),
		open(dataplane.TCP, "203.0.113.7", 8000), open(dataplane.TCP, "203.0.113.2", 80)
	r := forwarding()
	r.PortForwardings[0].FixedPorts = portRange("8081")
	plan := mustApply(t, fake, r)
	require.Equal(t, []string{"~ port-forwarding 203.0.113.7 tcp 80: → 10.0.0.7 8081, was → 10.0.0.7 8080  !",
		"- connections tcp 198.51.100.9:4711 → 203.0.113.7:80  !"}, []string{plan.Steps[0].String(), plan.Steps[1].String()})
	require.Equal(t, "pf-web", plan.Steps[0].ID)
	require.False(t, web.Alive())
	r.PortForwardings = r.PortForwardings[6:]
	plan = mustApply(t, fake, r)
	require.Contains(t, plan.String(), "- address qg-ext 203.0.113.7/32")
	require.False(t, dns.Alive())
	require.False(t, ranged.Alive())
	require.True(t, gateway.Alive())
	in, err := fake.Inspect(t.Context(), "r1")
	require.NoError(t, err)
	require.NotContains(t, in.Held, dataplane.HeldAddr{Network: dataplane.Network{ID: "net-ext", Type: dataplane.NetworkLocal}, Addr: addr("203.0.113.7")})
	mustApply(t, fake, forwarding())
	in, err = fake.Inspect(t.Context(), "r1")
	require.NoError(t, err)
	require.Contains(t, in.Held, dataplane.HeldAddr{Network: dataplane.Network{ID: "net-ext", Type: dataplane.NetworkLocal}, Addr: addr("203.0.113.7")})
}

func TestValidateNamesTheFaultOfAForwarding(t *testing.T) {
	add := func(from, to string) func(*dataplane.Router) {
		return func(r *dataplane.Router) { r.PortForwardings = append(r.PortForwardings, forward("pf-x", from, to)) }
	}
	first := func(change func(*dataplane.PortForwarding)) func(*dataplane.Router) {
		return func(r *dataplane.Router) { change(&r.PortForwardings[0]) }
	}
	for _, c := range []struct {
		damage func(*dataplane.Router)
		fault  string
	}{
		{first(func(f *dataplane.PortForwarding) { f.ID = "" }), `PortForwardings[0].ID: is empty`},
		{first(func(f *dataplane.PortForwarding) { f.ID = "pf-gw" }), `PortForwardings[6].ID: "pf-gw" is also PortForwardings[0].ID`},
		{first(func(f *dataplane.PortForwarding) { f.Proto = "icmp" }), `PortForwardings[0].Proto: "icmp" is none of tcp, udp, sctp`},
		{first(func(f *dataplane.PortForwarding) { f.Proto = "dccp" }), `PortForwardings[0].Proto: "dccp" is none of tcp, udp, sctp`},
		{first(func(f *dataplane.PortForwarding) { f.Ports = dataplane.PortRange{} }), `PortForwardings[0].Ports: 0: there is no port 0`},
		{first(func(f *dataplane.PortForwarding) { f.FixedPorts = dataplane.PortRange{First: 0, Last: 4} }), `PortForwardings[0].FixedPorts: 0-4: there is no port 0`},
		{first(func(f *dataplane.PortForwarding) { f.Ports = dataplane.PortRange{First: 81, Last: 80} }), `PortForwardings[0].Ports: 81-80 ends before it begins`},
		{first(func(f *dataplane.PortForwarding) { f.FixedPorts = portRange("80-81") }), `PortForwardings[0].FixedPorts: 80-81 is 2 ports, and Ports is 1: as many are needed, or one`},
		{first(func(f *dataplane.PortForwarding) { f.Addr = netip.Addr{} }), `PortForwardings[0].Addr: is missing`},
		{first(func(f *dataplane.PortForwarding) { f.Fixed = netip.Addr{} }), `PortForwardings[0].Fixed: is missing`},
		{add("203.0.113.7 tcp 80", "10.0.1.9 80"), `PortForwardings[7].Ports: tcp 80 of 203.0.113.7 overlaps 80 of PortForwardings[0]`},
		{add("203.0.113.7 tcp 8050", "10.0.1.9 80"), `PortForwardings[7].Ports: tcp 8050 of 203.0.113.7 overlaps 8000-8099 of PortForwardings[2]`},
		{add("203.0.113.7 tcp 7000-8000", "10.0.1.9 80"), `PortForwardings[7].Ports: tcp 7000-8000 of 203.0.113.7 overlaps 8000-8099 of PortForwardings[2]`},
		{add("203.0.113.7 tcp 8050-9000", "10.0.1.9 80"), `PortForwardings[7].Ports: tcp 8050-9000 of 203.0.113.7 overlaps 8000-8099 of PortForwardings[2]`},
		{add("203.0.113.5 tcp 80", "10.0.1.9 80"), `PortForwardings[7].Addr: 203.0.113.5 is also FloatingIPs[0].Addr`},
		{add("203.0.113.1 tcp 80", "10.0.1.9 80"), `PortForwardings[7].Addr: 203.0.113.1 is also Gateway.NextHops[0]`},
		{add("10.0.0.1 tcp 80", "10.0.1.9 80"), `PortForwardings[7].Addr: 10.0.0.1 is also Ports[0].Addrs[0]`},
		{add("10.0.0.9 tcp 80", "10.0.1.9 80"), `PortForwardings[7].Addr: 10.0.0.9 is in 10.0.0.0/24 of Ports[0].Addrs[0], not on the external network`},
		{add("203.0.113.255 tcp 80", "10.0.1.9 80"), `PortForwardings[7].Addr: 203.0.113.255 is the broadcast address of 203.0.113.0/24`},
		{add("2001:db8:0:f::2 tcp 80", "10.0.1.9 80"), `PortForwardings[7].Addr: 2001:db8:0:f::2 is not an IPv4 address`},
		{add("203.0.113.9 tcp 80", "10.0.9.9 80"), `PortForwardings[7].Fixed: 10.0.9.9 is in no subnet of the router`},
		{add("203.0.113.9 tcp 80", "203.0.113.8 80"), `PortForwardings[7].Fixed: 203.0.113.8 is in 203.0.113.0/24 of the gateway, not of an internal port`},
		{add("203.0.113.9 tcp 80", "10.0.0.1 80"), `PortForwardings[7].Fixed: 10.0.0.1 is the router's own address, Ports[0].Addrs[0]`},
		{add("203.0.113.9 tcp 80", "2001:db8:0:1::7 80"), `PortForwardings[7].Fixed: 2001:db8:0:1::7 is not an IPv4 address`},
		{func(r *dataplane.Router) {
			r.Gateway, r.FloatingIPs = nil, nil
			r.PortForwardings = r.PortForwardings[:1]
		}, `PortForwardings: need a gateway with an IPv4 address`},
		{func(r *dataplane.Router) { *r = edge(); add("203.0.113.9 tcp 80", "10.0.0.7 80")(r) }, `PortForwardings: belong to the centre of a distributed router`},
		{func(r *dataplane.Router) { *r = centre(); add("203.0.113.9 tcp 80", "10.0.0.5 80")(r) },
			`PortForwardings[0].Fixed: 10.0.0.5 is also Transit.Elsewhere[0], and so translated by another instance`},
		{func(r *dataplane.Router) {
			*r = centre()
			r.Transit.External = []dataplane.Route{{Dest: prefix("203.0.113.9/32"), NextHop: addr("169.254.64.1")}}
			add("203.0.113.9 tcp 80", "10.0.0.7 80")(r)
		}, `PortForwardings[0].Addr: 203.0.113.9 is also Transit.External[0].Dest, of another instance`},
		{func(r *dataplane.Router) {
			add("203.0.113.9 tcp 1-65535", "10.0.1.9 1-65535")(r)
			add("203.0.113.9 udp 1-65535", "10.0.1.9 1-65535")(r)
			r.PortForwardings[8].ID = "pf-y"
		}, `PortForwardings: 132275 ports are forwarded, and 131072 at most are allowed`},
	} {
		r := forwarding()
		c.damage(&r)
		require.EqualError(t, r.Validate(), "invalid router: "+c.fault)
	}
	r := forwarding()
	for i := range 10_000 {
		r.PortForwardings = append(r.PortForwardings, forward(fmt.Sprint("many-", i), fmt.Sprintf("203.0.113.9 tcp %d", i+1), "10.0.1.9 80"))
	}
	require.NoError(t, r.Validate(), "ten thousand of one address to one port")
	c := centre()
	c.PortForwardings = []dataplane.PortForwarding{forward("pf", "203.0.113.9 tcp 80", "10.0.1.7 80")}
	require.NoError(t, c.Validate(), "the centre has them")
}

func TestPortRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first := rapid.Uint16().Draw(t, "first")
		r := dataplane.PortRange{First: first, Last: rapid.Uint16Range(first, math.MaxUint16).Draw(t, "last")}
		text, err := json.Marshal(r)
		require.NoError(t, err)
		var back dataplane.PortRange
		require.NoError(t, json.Unmarshal(text, &back))
		require.Equal(t, r, back)
	})
	for _, s := range []string{"", "-", "80-", "-80", "80-80", "81-80", "65536", "080", "+80", "80 ", "8-9-10", "x"} {
		_, err := dataplane.ParsePortRange(s)
		require.Error(t, err, "%q", s)
	}
}

// genForwardings draws forwardings to hosts with floating IPs and without. Their slots do not
// overlap.
func genForwardings(t *rapid.T, r dataplane.Router) []dataplane.PortForwarding {
	var fixed []netip.Addr
	for _, p := range r.Ports {
		if a := p.Addrs[0].Addr(); a.Is4() {
			b := a.As4()
			b[3] = 5
			fixed = append(fixed, netip.AddrFrom4(b), a.Next())
		}
	}
	if len(fixed) == 0 {
		return nil
	}
	slot := rapid.Custom(func(t *rapid.T) string {
		return rapid.SampledFrom([]string{"203.0.113.2", "203.0.113.96", "203.0.113.97", "198.51.100.97"}).Draw(t, "external address") +
			rapid.SampledFrom([]string{" tcp ", " udp "}).Draw(t, "protocol") + rapid.SampledFrom([]string{"80", "81-90"}).Draw(t, "ports")
	})
	var list []dataplane.PortForwarding
	for i, s := range rapid.SliceOfNDistinct(slot, 0, 6, rapid.ID).Draw(t, "forwardings") {
		to := rapid.SampledFrom(fixed).Draw(t, "fixed address").String() + " 8080"
		f := forward(fmt.Sprint("pf-", i), s, to)
		if rapid.Bool().Draw(t, "as many ports") {
			f.FixedPorts.Last += f.Ports.Last - f.Ports.First
		}
		list = append(list, f)
	}
	return list
}
