package service_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/service"
)

// fabric is a distributed router on its hosts: packets go from instance to instance, over the
// transit and over the external network, as far as models of the instances send them.
type fabric struct {
	whole     *dataplane.Model
	in        service.Intent
	instances map[string]*instance // edges by host, and the centre as ""
}

type instance struct {
	name   string
	router dataplane.Router
	model  *dataplane.Model
}

// newFabric compiles an intent for all hosts; change may spoil what was compiled.
func newFabric(in service.Intent, change func(host string, r *dataplane.Router)) (*fabric, error) {
	central := in
	central.Spread = nil
	whole, err := service.Compile(central)
	if err != nil {
		return nil, err
	}
	f := &fabric{whole: dataplane.NewModel(whole), in: in, instances: map[string]*instance{}}
	add := func(host string, r dataplane.Router, err error) error {
		if err != nil {
			return err
		}
		if change != nil {
			change(host, &r)
		}
		f.instances[host] = &instance{host, r, dataplane.NewModel(r)}
		return nil
	}
	r, err := service.Compile(in)
	if err := add("", r, err); err != nil {
		return nil, err
	}
	for _, e := range in.Spread.Edges {
		r, err := service.CompileEdge(in, e.Host)
		if err := add(e.Host, r, err); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// home is the host on which an address is known to be.
func (f *fabric) home(a netip.Addr) string {
	for _, l := range f.in.Spread.Located {
		if l.Addr == a {
			return l.Host
		}
	}
	return ""
}

// leg is the port of an instance that is on a network, and empty if it has none.
func (i *instance) leg(network string) string {
	for _, p := range i.router.Ports {
		if p.Network.ID == network {
			return p.ID
		}
	}
	return ""
}

// fate is what became of a packet, in terms that do not depend on where the router is.
type fate struct {
	verdict  dataplane.Verdict
	answered bool
	network  string // that it leaves to
	src, dst netip.Addr
	port     uint16 // of dst
	hops     []netip.Addr
}

func (f fate) String() string {
	return fmt.Sprintf("%s answered=%t to %s as %s → %s port %d via %v", f.verdict, f.answered, f.network, f.src, f.dst, f.port, f.hops)
}

func networkOf(r dataplane.Router, port string) string {
	for _, p := range r.Ports {
		if p.ID == port {
			return p.Network.ID
		}
	}
	if r.Gateway != nil && r.Gateway.ID == port {
		return r.Gateway.Network.ID
	}
	return "transit"
}

func fateOf(r dataplane.Router, t dataplane.Trace) fate {
	f := fate{verdict: t.Verdict, answered: t.Answered}
	if t.Verdict == dataplane.Forwarded {
		f.network, f.src, f.dst, f.port, f.hops = networkOf(r, t.Out), t.Src, t.Dst, t.DstPort, t.NextHops
	}
	return f
}

// follow sends a packet into an instance, and returns what becomes of it in the end and by which
// instances it went.
func (f *fabric) follow(at *instance, p dataplane.Packet) (end fate, path []string, traces []dataplane.Trace) {
	for range 8 {
		path = append(path, at.name)
		t := at.model.Trace(p)
		traces = append(traces, t)
		end = fateOf(at.router, t)
		if t.Verdict != dataplane.Forwarded {
			return end, path, traces
		}
		var next *instance
		var in string
		switch external := at.router.Gateway != nil && t.Out == at.router.Gateway.ID; {
		case t.Out == at.router.Transit.ID:
			next = f.instanceAt(t.NextHops[0])
			if next == nil {
				end.verdict = dataplane.Dropped
				return end, path, traces
			}
			in = next.router.Transit.ID
		case external && len(t.NextHops) == 1:
			next = f.answering(t.NextHops[0])
			if next == nil {
				return end, path, traces
			}
			in = next.router.Gateway.ID
		default:
			return end, path, traces
		}
		p.In, p.Src, p.Dst, p.DstPort = in, t.Src, t.Dst, t.DstPort
		at = next
	}
	end.verdict = "loop"
	return end, path, traces
}

// instanceAt is the instance with an address on the transit.
func (f *fabric) instanceAt(a netip.Addr) *instance {
	for _, i := range f.instances {
		m := i.router.Transit.MAC
		linkLocal := netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
		if i.router.Transit.Addrs[0].Addr() == a || linkLocal == a {
			return i
		}
	}
	return nil
}

// answering is the instance that has an address on the external network.
func (f *fabric) answering(a netip.Addr) *instance {
	for _, i := range f.instances {
		if i.router.Gateway == nil {
			continue
		}
		for _, own := range i.router.Gateway.Addrs {
			if own.Addr() == a {
				return i
			}
		}
		for _, fip := range i.router.FloatingIPs {
			if fip.Addr == a {
				return i
			}
		}
		if slices.Contains(i.router.ForwardingAddrs(), a) {
			return i
		}
	}
	return nil
}

// probe is a packet, and where it enters: from a host's workloads on a network, or from outside.
type probe struct {
	host    string // empty: one without an agent
	network string
	packet  dataplane.Packet
}

// enter finds the instance and the port by which a packet enters.
func (f *fabric) enter(p probe) (*instance, dataplane.Packet) {
	at := f.instances[""]
	packet := p.packet
	if p.network == "ext" {
		if owner := f.answering(packet.Dst); owner != nil {
			at = owner
		}
		packet.In = at.router.Gateway.ID
		return at, packet
	}
	if edge := f.instances[p.host]; edge != nil && edge.leg(p.network) != "" {
		at = edge
	}
	packet.In = at.leg(p.network)
	return at, packet
}

// check holds the instances to what the whole router does to a packet.
func (f *fabric) check(p probe) error {
	packet := p.packet
	for _, port := range f.in.Ports {
		if port.NetworkID == p.network {
			packet.In = port.ID
		}
	}
	central := f.in
	central.Spread = nil
	router, err := service.Compile(central)
	if err != nil {
		return err
	}
	at, entering := f.enter(p)
	got, path, traces := f.follow(at, entering)
	var wants []fate
	for _, t := range f.whole.Paths(packet) {
		want := fateOf(router, t)
		wants = append(wants, want)
		same := got.verdict == want.verdict && got.answered == want.answered && got.network == want.network && got.src == want.src && got.dst == want.dst && got.port == want.port
		for _, hop := range got.hops {
			same = same && slices.Contains(want.hops, hop)
		}
		if same {
			if err := f.answers(p, got); err != nil {
				return err
			}
			return f.direct(p, path, got)
		}
	}
	return fmt.Errorf("%+v\nby %q: %v\nwant %v\n%v", p, path, got, wants, traces)
}

// forwards reports whether ports are forwarded to an address.
func (f *fabric) forwards(a netip.Addr) bool {
	return slices.ContainsFunc(f.in.PortForwardings, func(pf l3.PortForwarding) bool { return pf.FixedIP == a })
}

// answers says whether the answer to a packet that the centre translated comes to the centre as the
// server sends it: the centre alone knows what it answers.
func (f *fabric) answers(p probe, end fate) error {
	home := f.instances[f.home(end.dst)]
	centre := f.instances[""].router
	asked := slices.Contains(centre.ForwardingAddrs(), p.packet.Dst) ||
		slices.ContainsFunc(centre.FloatingIPs, func(t dataplane.FloatingIP) bool { return t.Addr == p.packet.Dst })
	if end.verdict != dataplane.Forwarded || !asked || home == nil || home.leg(end.network) == "" {
		return nil
	}
	answer := dataplane.Packet{In: home.leg(end.network), Src: end.dst, Dst: end.src, Proto: p.packet.Proto, SrcPort: end.port, DstPort: 40000}
	_, path, traces := f.follow(home, answer)
	at := slices.Index(path, "")
	if at < 0 || traces[at].Packet.Src != end.dst || traces[at].Packet.Dst != end.src {
		return fmt.Errorf("%+v is forwarded, and the answer %s goes by %q:\n%v", p, answer, path, traces)
	}
	return nil
}

// placed says whether each floating IP is where it belongs, and nowhere else: on the host of its
// address if that reaches the external network and the floating IP may be there, and else at the
// centre, as are those of addresses that ports are forwarded to.
func (f *fabric) placed() error {
	reaches := map[string]bool{}
	for _, e := range f.in.Spread.Edges {
		reaches[e.Host] = e.External
	}
	for _, fip := range f.in.FloatingIPs {
		want := ""
		if !fip.FixedIP.IsValid() {
			for host, i := range f.instances {
				if has := slices.Contains(i.router.ForwardingAddrs(), fip.Address); has != (host == "") {
					return fmt.Errorf("floating IP %s with forwardings at %q: %t", fip.Address, host, has)
				}
			}
			continue
		}
		if home := f.home(fip.FixedIP); fip.Distributed && reaches[home] && !f.forwards(fip.FixedIP) {
			want = home
		}
		for host, i := range f.instances {
			has := slices.ContainsFunc(i.router.FloatingIPs, func(t dataplane.FloatingIP) bool { return t.Addr == fip.Address })
			if has != (host == want) {
				return fmt.Errorf("floating IP %s of %s at %q: %t, and it belongs to %q", fip.Address, fip.FixedIP, host, has, want)
			}
		}
	}
	return nil
}

// direct says whether a packet that was delivered took the way that its answers take, too: known
// addresses are reached through the edge on their host, and between them, and to floating IPs that
// edges have, there is no centre.
func (f *fabric) direct(p probe, path []string, end fate) error {
	from, to := f.home(p.packet.Src), f.home(end.dst)
	if end.verdict != dataplane.Forwarded || len(end.hops) != 1 || end.hops[0] != end.dst || to == "" {
		return nil
	}
	if path[len(path)-1] != to {
		return fmt.Errorf("%+v is delivered by %q instead of the edge on %s", p, path, to)
	}
	var client, server string // hosts whose edges have the floating IPs, if there are any
	if f.forwards(p.packet.Src) {
		client = "/"
	}
	for host, i := range f.instances {
		for _, fip := range i.router.FloatingIPs {
			if fip.Fixed == p.packet.Src {
				client = host + "/"
			}
			if fip.Addr == p.packet.Dst {
				server = host + "/"
			}
		}
	}
	local := p.packet.Dst == end.dst || server == to+"/" && (client == from+"/" || client == "")
	if p.network != "ext" && p.host == from && from != "" && local && slices.Contains(path, "") {
		return fmt.Errorf("%+v goes by %q", p, path)
	}
	return nil
}

// spreadNets are the networks of the intents below: an IPv4 and an IPv6 subnet each.
var spreadNets = []string{"net-a", "net-b", "net-c"}

func subnetAddr(network, i int, v6 bool) netip.Addr {
	if v6 {
		return netip.MustParseAddr(fmt.Sprintf("2001:db8:0:%d::%x", network+1, i))
	}
	return netip.AddrFrom4([4]byte{10, 0, byte(network), byte(i)})
}

// baseIntent is a router on three networks, with a gateway.
func baseIntent(snat bool) service.Intent {
	in := service.Intent{
		Router:   l3.Router{AdminStateUp: true, EnableSNAT: snat, Distributed: true},
		Networks: map[string]l3.Network{}, Subnets: map[string]l3.Subnet{},
		Spread: &service.Spread{Transit: dataplane.Network{ID: "net-transit", Type: dataplane.NetworkVXLAN, Segment: 99}, MTU: 1450},
	}
	in.Router.ID = "r"
	network := func(id string, segment uint32) {
		n := l3.Network{MTU: 1450, Segments: []l3.Segment{{Type: dataplane.NetworkVXLAN, ID: segment}}}
		n.ID = id
		in.Networks[id] = n
	}
	subnet := func(id, network, cidr, gateway string) {
		s := l3.Subnet{NetworkID: network, CIDR: netip.MustParsePrefix(cidr), GatewayIP: netip.MustParseAddr(gateway)}
		s.ID = id
		in.Subnets[id] = s
	}
	port := func(id, network, owner string, mac byte, ips ...l3.FixedIP) {
		p := l3.Port{NetworkID: network, AdminStateUp: true, DeviceOwner: owner, DeviceID: "r", MAC: dataplane.MAC{0xfa, 0x16, 0x3e, 0, 0, mac}, FixedIPs: ips}
		p.ID = id
		in.Ports = append(in.Ports, p)
	}
	for i, id := range spreadNets {
		network(id, uint32(i+1))
		v4, v6 := fmt.Sprintf("%s-4", id), fmt.Sprintf("%s-6", id)
		subnet(v4, id, fmt.Sprintf("10.0.%d.0/24", i), fmt.Sprintf("10.0.%d.1", i))
		subnet(v6, id, fmt.Sprintf("2001:db8:0:%d::/64", i+1), fmt.Sprintf("2001:db8:0:%d::1", i+1))
		ip4, ip6 := l3.FixedIP{SubnetID: v4, IPAddress: subnetAddr(i, 1, false)}, l3.FixedIP{SubnetID: v6, IPAddress: subnetAddr(i, 1, true)}
		if i == 0 {
			port("port-"+id, id, l3.OwnerRouterInterface, byte(i+1), ip4, ip6)
			continue
		}
		port("port-"+id, id, l3.OwnerRouterInterface, byte(i+1), ip4) // as the API makes them
		port("port6-"+id, id, l3.OwnerRouterInterface, byte(i+11), ip6)
	}
	network("ext", 77)
	subnet("ext-4", "ext", "203.0.113.0/24", "203.0.113.1")
	subnet("ext-6", "ext", "2001:db8:f::/64", "2001:db8:f::1")
	port("gw", "ext", l3.OwnerRouterGateway, 9,
		l3.FixedIP{SubnetID: "ext-4", IPAddress: netip.MustParseAddr("203.0.113.2")}, l3.FixedIP{SubnetID: "ext-6", IPAddress: netip.MustParseAddr("2001:db8:f::2")})
	in.Spread.Centre = service.Instance{Host: "nn", Number: 1, MAC: dataplane.MAC{0xfa, 0x16, 0x3e, 9, 9, 0}}
	return in
}

// place puts addresses on hosts, and an edge on each.
func place(in *service.Intent, external map[string]bool, at map[netip.Addr]string) {
	for _, a := range slices.SortedFunc(maps.Keys(at), netip.Addr.Compare) {
		host, network := at[a], spreadNets[0]
		for _, s := range in.Subnets {
			if s.CIDR.Contains(a) {
				network = s.NetworkID
			}
		}
		in.Spread.Located = append(in.Spread.Located, service.Located{NetworkID: network, Host: host, Addr: a})
		known := func(e service.Instance) bool { return e.Host == host }
		if !slices.ContainsFunc(in.Spread.Edges, known) {
			n := byte(len(in.Spread.Edges) + 2)
			in.Spread.Edges = append(in.Spread.Edges, service.Instance{
				Host: host, Number: uint16(n), MAC: dataplane.MAC{0xfa, 0x16, 0x3e, 9, 9, n}, External: external[host],
			})
		}
	}
}

func fipOn(in *service.Intent, n int, fixed netip.Addr) {
	f := l3.FloatingIP{Address: netip.AddrFrom4([4]byte{203, 0, 113, byte(100 + n)}), FixedIP: fixed, RouterID: "r", Distributed: true}
	f.ID = fmt.Sprintf("fip-%d", n)
	in.FloatingIPs = append(in.FloatingIPs, f)
}

// pfOn forwards ports of a floating IP of its own, for each n.
func pfOn(in *service.Intent, n int, external, internal string, fixed netip.Addr) {
	f := l3.FloatingIP{Address: netip.AddrFrom4([4]byte{203, 0, 113, byte(200 + n)}), RouterID: "r", Distributed: true}
	f.ID = fmt.Sprintf("forwarding-%d", n)
	if !slices.ContainsFunc(in.FloatingIPs, func(o l3.FloatingIP) bool { return o.ID == f.ID }) {
		in.FloatingIPs = append(in.FloatingIPs, f)
	}
	pf := l3.PortForwarding{FloatingIPID: f.ID, RouterID: "r", FixedIP: fixed, Protocol: dataplane.TCP}
	pf.ID = fmt.Sprintf("pf-%d", len(in.PortForwardings))
	from, _ := l3.ParsePortRange(external)
	to, _ := l3.ParsePortRange(internal)
	pf.SetRanges(from, to)
	in.PortForwardings = append(in.PortForwardings, pf)
}

// genSpread draws routers with their workloads on hosts, some of them nowhere listed.
func genSpread(t *rapid.T) service.Intent {
	in := baseIntent(rapid.Bool().Draw(t, "snat"))
	external := map[string]bool{}
	hosts := []string{"h1", "h2", "h3"}
	for _, h := range hosts {
		external[h] = rapid.Bool().Draw(t, "external "+h)
	}
	at := map[netip.Addr]string{}
	for n := range spreadNets {
		for i := 11; i < 15; i++ {
			for _, v6 := range []bool{false, true} {
				if host := rapid.SampledFrom(append([]string{""}, hosts...)).Draw(t, "host"); host != "" {
					at[subnetAddr(n, i, v6)] = host
				}
			}
		}
	}
	place(&in, external, at)
	for n := range spreadNets {
		for i := 11; i < 15; i++ {
			if rapid.IntRange(0, 2).Draw(t, "floating") == 0 {
				fipOn(&in, n*10+i, subnetAddr(n, i, false))
				in.FloatingIPs[len(in.FloatingIPs)-1].Distributed = rapid.IntRange(0, 3).Draw(t, "distributed") > 0
			}
		}
	}
	for n := range rapid.IntRange(0, 3).Draw(t, "floating IPs with forwardings") {
		for _, ports := range [][2]string{{"80", "8080"}, {"90:99", "1090:1099"}} {
			fixed := subnetAddr(rapid.IntRange(0, 2).Draw(t, "forwarded network"), rapid.SampledFrom([]int{11, 12, 13, 14, 19}).Draw(t, "forwarded to"), false)
			pfOn(&in, n, ports[0], ports[1], fixed)
		}
	}
	hops := map[bool][]netip.Addr{false: {netip.MustParseAddr("203.0.113.7")}}
	for n := range spreadNets {
		for _, i := range []int{11, 12, 19} {
			hops[false] = append(hops[false], subnetAddr(n, i, false))
			hops[true] = append(hops[true], subnetAddr(n, i, true))
		}
	}
	dests := []string{"10.9.0.0/16", "10.8.0.0/16", "10.0.1.128/25", "0.0.0.0/0", "198.51.100.0/24", "2001:db8:9::/48", "::/0"}
	for _, dest := range rapid.SliceOfNDistinct(rapid.SampledFrom(dests), 0, 3, rapid.ID).Draw(t, "destinations") {
		d := netip.MustParsePrefix(dest)
		near := hops[d.Addr().Is6()]
		if d.Bits() == 25 {
			near = near[1:] // a part of a subnet that is outside: floating IPs of edges do not reach it
		}
		for _, hop := range rapid.SliceOfNDistinct(rapid.SampledFrom(near), 1, 2, rapid.ID).Draw(t, "next hops") {
			in.Router.Routes = append(in.Router.Routes, l3.Route{Destination: d, NextHop: hop})
		}
	}
	return in
}

func genProbe(t *rapid.T, f *fabric) probe {
	v6 := rapid.IntRange(0, 4).Draw(t, "v6") == 0
	n := rapid.IntRange(0, len(spreadNets)-1).Draw(t, "network")
	p := probe{network: spreadNets[n], packet: dataplane.Packet{Proto: rapid.SampledFrom([]dataplane.Proto{dataplane.TCP, dataplane.ICMP}).Draw(t, "proto")}}
	p.packet.Src = subnetAddr(n, rapid.SampledFrom([]int{11, 12, 13, 14, 19}).Draw(t, "source"), v6)
	if p.host = f.home(p.packet.Src); p.host == "" {
		p.host = rapid.SampledFrom([]string{"h1", "h2", "h3", "none"}).Draw(t, "host")
	}
	outside := map[bool]netip.Addr{false: netip.MustParseAddr("198.51.100.9"), true: netip.MustParseAddr("2001:db8:e::9")}[v6]
	if rapid.IntRange(0, 3).Draw(t, "from outside") == 0 {
		p.network, p.packet.Src = "ext", outside
	}
	dsts := []netip.Addr{outside, subnetAddr(n, 1, v6)}
	for i := range spreadNets {
		for _, k := range []int{1, 11, 12, 13, 14, 19, 200} {
			dsts = append(dsts, subnetAddr(i, k, v6))
		}
	}
	if v6 {
		dsts = append(dsts, netip.MustParseAddr("2001:db8:9::1"), netip.MustParseAddr("2001:db8:f::2"))
	} else {
		for _, fip := range f.in.FloatingIPs {
			dsts = append(dsts, fip.Address)
		}
		dsts = append(dsts, netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.8.0.1"), netip.MustParseAddr("203.0.113.2"), netip.MustParseAddr("203.0.113.77"))
	}
	p.packet.Dst = rapid.SampledFrom(dsts).Draw(t, "destination")
	if p.packet.Proto == dataplane.TCP {
		p.packet.SrcPort, p.packet.DstPort = 40000, rapid.SampledFrom([]uint16{80, 81, 95}).Draw(t, "port")
	}
	return p
}

// D2: the instances on all hosts do to a packet what the model says of the one router.
func TestInstancesAreOneRouter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := genSpread(t)
		f, err := newFabric(in, nil)
		require.NoError(t, err)
		require.NoError(t, f.placed())
		for range 40 {
			if err := f.check(genProbe(t, f)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// An extra route through a host inside takes answers to clients outside, as it does at the one
// router, but not before the centre has translated them back.
func TestCentreTranslatesBackBeforeExtraRoutes(t *testing.T) {
	client := netip.MustParseAddr("198.51.100.9")
	server := subnetAddr(0, 11, false)
	forwarded := func(in *service.Intent) netip.Addr {
		pfOn(in, 1, "80", "8080", server)
		return in.FloatingIPs[len(in.FloatingIPs)-1].Address
	}
	floating := func(in *service.Intent) netip.Addr {
		fipOn(in, 1, server) // on a host that does not reach the external network
		return in.FloatingIPs[len(in.FloatingIPs)-1].Address
	}
	for name, ask := range map[string]func(*service.Intent) netip.Addr{"forwarded port": forwarded, "floating IP": floating} {
		for _, dest := range []string{"0.0.0.0/0", "198.51.100.0/24"} {
			for _, hop := range []netip.Addr{server, subnetAddr(1, 12, false), subnetAddr(1, 13, false), subnetAddr(2, 19, false)} {
				for _, snat := range []bool{true, false} {
					t.Run(fmt.Sprintf("%s/%s via %s/snat %t", name, dest, hop, snat), func(t *testing.T) {
						in := baseIntent(snat)
						place(&in, nil, map[netip.Addr]string{server: "h1", subnetAddr(1, 12, false): "h1", subnetAddr(1, 13, false): "h2", subnetAddr(2, 11, false): "h3"})
						in.Router.Routes = []l3.Route{{Destination: netip.MustParsePrefix(dest), NextHop: hop}}
						asked := ask(&in)
						f, err := newFabric(in, nil)
						require.NoError(t, err)
						require.NoError(t, f.check(probe{network: "ext", packet: dataplane.Packet{Src: client, Dst: asked, Proto: dataplane.TCP, SrcPort: 40000, DstPort: 80}}))
						require.NoError(t, f.check(probe{"h1", "net-a", dataplane.Packet{Src: server, Dst: client, Proto: dataplane.TCP, SrcPort: 8080, DstPort: 40000}}))
						require.NoError(t, f.check(probe{"h3", "net-c", dataplane.Packet{Src: subnetAddr(2, 11, false), Dst: client, Proto: dataplane.UDP}}))

						// what nothing is translated for takes the shortest way
						if f.home(hop) != "h2" {
							return
						}
						at, packet := f.enter(probe{"h3", "net-c", dataplane.Packet{Src: subnetAddr(2, 11, false), Dst: client, Proto: dataplane.UDP}})
						_, path, _ := f.follow(at, packet)
						require.Equal(t, []string{"h3", "h2"}, path)
					})
				}
			}
		}
	}
}

// fixedSpread is a router with something of everything: floating IPs at edges and at the centre,
// addresses that are nowhere listed, and extra routes of each kind.
func fixedSpread() service.Intent {
	in := baseIntent(true)
	place(&in, map[string]bool{"h1": true, "h2": true}, map[netip.Addr]string{
		subnetAddr(0, 11, false): "h1", subnetAddr(0, 12, false): "h1", subnetAddr(0, 13, false): "h3", subnetAddr(0, 11, true): "h1",
		subnetAddr(1, 11, false): "h2", subnetAddr(1, 12, false): "h2", subnetAddr(1, 13, false): "h1", subnetAddr(1, 11, true): "h2",
		subnetAddr(2, 11, false): "h3", subnetAddr(2, 12, false): "h2",
	})
	fipOn(&in, 1, subnetAddr(0, 11, false)) // h1
	fipOn(&in, 2, subnetAddr(1, 11, false)) // h2
	fipOn(&in, 3, subnetAddr(0, 13, false)) // h3, which does not reach the external network
	fipOn(&in, 4, subnetAddr(1, 14, false)) // nowhere listed
	fipOn(&in, 5, subnetAddr(0, 12, false)) // h1, but kept at the centre
	in.FloatingIPs[4].Distributed = false
	pfOn(&in, 1, "80", "8080", subnetAddr(1, 12, false))     // h2
	pfOn(&in, 1, "81:82", "81:82", subnetAddr(0, 14, false)) // nowhere listed
	for dest, hop := range map[string]netip.Addr{
		"10.9.0.0/16": subnetAddr(1, 12, false), "10.8.0.0/16": subnetAddr(2, 19, false), "192.0.2.0/24": netip.MustParseAddr("203.0.113.7"),
		"2001:db8:9::/48": subnetAddr(1, 11, true),
	} {
		in.Router.Routes = append(in.Router.Routes, l3.Route{Destination: netip.MustParsePrefix(dest), NextHop: hop})
	}
	return in
}

// probes are all packets of interest between the addresses of fixedSpread.
func probes(f *fabric) []probe {
	var dsts []netip.Addr
	for n := range spreadNets {
		for _, i := range []int{1, 11, 12, 13, 14, 19} {
			dsts = append(dsts, subnetAddr(n, i, false), subnetAddr(n, i, true))
		}
	}
	for _, fip := range f.in.FloatingIPs {
		dsts = append(dsts, fip.Address)
	}
	for _, a := range []string{"198.51.100.9", "2001:db8:e::9", "10.9.0.1", "10.8.0.1", "192.0.2.1", "2001:db8:9::1", "203.0.113.2", "203.0.113.77"} {
		dsts = append(dsts, netip.MustParseAddr(a))
	}
	var all []probe
	add := func(host, network string, src netip.Addr) {
		for _, dst := range dsts {
			if dst.Is4() == src.Is4() {
				all = append(all, probe{host, network, dataplane.Packet{Src: src, Dst: dst, Proto: dataplane.TCP, SrcPort: 40000, DstPort: 80}})
			}
		}
	}
	for n, network := range spreadNets {
		for _, i := range []int{11, 12, 13, 14} {
			for _, v6 := range []bool{false, true} {
				src := subnetAddr(n, i, v6)
				if home := f.home(src); home != "" {
					add(home, network, src)
					continue
				}
				for _, host := range []string{"h1", "h2", "h3", "none"} {
					add(host, network, src)
				}
			}
		}
	}
	add("", "ext", netip.MustParseAddr("198.51.100.9"))
	add("", "ext", netip.MustParseAddr("2001:db8:e::9"))
	add("", "ext", subnetAddr(0, 12, false)) // spoofed
	return all
}

func failures(f *fabric) (errs []error) {
	if err := f.placed(); err != nil {
		errs = append(errs, err)
	}
	for _, p := range probes(f) {
		if err := f.check(p); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// Each way to compile an instance wrongly makes it something else than its part of the router.
func TestWrongInstancesAreNoticed(t *testing.T) {
	f, err := newFabric(fixedSpread(), nil)
	require.NoError(t, err)
	require.Empty(t, failures(f))

	at := func(host string, change func(*dataplane.Router)) func(string, *dataplane.Router) {
		return func(h string, r *dataplane.Router) {
			if h == host {
				change(r)
			}
		}
	}
	routeTo := func(list []dataplane.Route, dest string) int {
		i := slices.IndexFunc(list, func(r dataplane.Route) bool { return r.Dest.String() == dest })
		require.GreaterOrEqual(t, i, 0, dest)
		return i
	}
	drop := func(list *[]dataplane.Route, dest string) {
		*list = slices.Delete(*list, routeTo(*list, dest), routeTo(*list, dest)+1)
	}
	for name, wrong := range map[string]func(string, *dataplane.Router){
		"a remote address is forgotten":      at("h1", func(r *dataplane.Router) { drop(&r.Transit.Routes, "10.0.1.11/32") }),
		"a remote IPv6 address is forgotten": at("h1", func(r *dataplane.Router) { drop(&r.Transit.Routes, "2001:db8:0:2::b/128") }),
		"a remote address is on the wrong host": at("h1", func(r *dataplane.Router) {
			r.Transit.Routes[routeTo(r.Transit.Routes, "10.0.1.11/32")].NextHop = netip.MustParseAddr("169.254.64.1")
		}),
		"a subnet is forgotten": at("h1", func(r *dataplane.Router) {
			drop(&r.Transit.Routes, "10.0.2.0/24")
			drop(&r.Transit.External, "203.0.113.0/24")
			r.Transit.Centre = r.Transit.Centre[1:]
			r.Gateway, r.FloatingIPs = nil, nil
		}),
		"a neighbour is forgotten":               at("h1", func(r *dataplane.Router) { r.Ports[0].Anycast.Neighbours = r.Ports[0].Anycast.Neighbours[1:] }),
		"the centre forgets where an address is": at("", func(r *dataplane.Router) { drop(&r.Transit.Routes, "10.0.0.12/32") }),
		"a floating IP of another edge":          at("h1", func(r *dataplane.Router) { drop(&r.Transit.External, "203.0.113.102/32") }),
		"a floating IP at two instances": at("", func(r *dataplane.Router) {
			r.FloatingIPs = append(r.FloatingIPs, dataplane.FloatingIP{ID: "x", Addr: netip.MustParseAddr("203.0.113.101"), Fixed: subnetAddr(0, 11, false)})
			r.Transit.Elsewhere = nil
		}),
		"a floating IP of the centre at an edge": at("h1", func(r *dataplane.Router) {
			r.FloatingIPs = append(r.FloatingIPs, dataplane.FloatingIP{ID: "fip-5", Addr: netip.MustParseAddr("203.0.113.105"), Fixed: subnetAddr(0, 12, false)})
		}),
		"a floating IP nowhere":                     at("h2", func(r *dataplane.Router) { r.FloatingIPs = nil }),
		"a client's floating IP elsewhere, unknown": at("h1", func(r *dataplane.Router) { r.Transit.Elsewhere = nil }),
		"hairpin without the gateway's address":     at("h2", func(r *dataplane.Router) { r.Gateway.Hairpin = netip.MustParseAddr("203.0.113.200") }),
		"a gateway for everything":                  at("h1", func(r *dataplane.Router) { r.Gateway.FloatingIPsOnly = false }),
		"an extra route is forgotten":               at("h2", func(r *dataplane.Router) { drop(&r.Routes, "10.9.0.0/16") }),
		"an extra route leads back": at("h2", func(r *dataplane.Router) {
			r.Routes[routeTo(r.Routes, "10.9.0.0/16")].NextHop = netip.MustParseAddr("169.254.64.1")
		}),
		"a route outside by the centre only":             at("h1", func(r *dataplane.Router) { drop(&r.Routes, "192.0.2.0/24") }),
		"a port is not forwarded":                        at("", func(r *dataplane.Router) { r.PortForwardings = r.PortForwardings[1:] }),
		"answers of a forwarded port pass the centre by": at("h2", func(r *dataplane.Router) { r.Transit.Elsewhere = nil }),
		"the centre does not translate":                  at("", func(r *dataplane.Router) { r.Gateway.SNAT = false }),
		"the transit is an ordinary port": at("h2", func(r *dataplane.Router) {
			r.Ports = append(r.Ports, r.Transit.Port)
			r.Transit = &dataplane.Transit{Port: dataplane.Port{ID: "none", Addrs: r.Transit.Addrs}}
		}),
		"no way to the centre": at("h3", func(r *dataplane.Router) { r.Transit.Centre = nil }),
	} {
		t.Run(name, func(t *testing.T) {
			f, err := newFabric(fixedSpread(), wrong)
			require.NoError(t, err)
			require.NotEmpty(t, failures(f))
		})
	}
}

// The order of an intent's lists is without effect.
func TestCompileEdgeIgnoresOrder(t *testing.T) {
	in := fixedSpread()
	again := fixedSpread()
	slices.Reverse(again.Spread.Located)
	slices.Reverse(again.Spread.Edges)
	slices.Reverse(again.FloatingIPs)
	slices.Reverse(again.PortForwardings)
	slices.Reverse(again.Router.Routes)
	slices.Reverse(again.Ports)
	for _, host := range []string{"h1", "h2", "h3"} {
		a, err := service.CompileEdge(in, host)
		require.NoError(t, err)
		b, err := service.CompileEdge(again, host)
		require.NoError(t, err)
		require.True(t, a.Equal(b))
		require.Equal(t, a, b)
	}
	_, err := service.CompileEdge(in, "elsewhere")
	require.ErrorContains(t, err, "no edge on host elsewhere")
}

// An edge of a router with 1,000 workloads on 100 hosts.
func BenchmarkCompileEdge(b *testing.B) {
	in := manyPlaced()
	for b.Loop() {
		if _, err := service.CompileEdge(in, "host-7"); err != nil {
			b.Fatal(err)
		}
	}
}

func manyPlaced() service.Intent {
	in := baseIntent(true)
	for id, s := range in.Subnets {
		if s.CIDR.Addr().Is4() && s.NetworkID != "ext" {
			s.CIDR = netip.PrefixFrom(s.CIDR.Addr(), 22)
			in.Subnets[id] = s
		}
	}
	in.Subnets["net-b-4"], in.Subnets["net-c-4"] = l3.Subnet{NetworkID: "net-b", CIDR: netip.MustParsePrefix("10.1.0.0/22")}, l3.Subnet{NetworkID: "net-c", CIDR: netip.MustParsePrefix("10.2.0.0/22")}
	for i := range in.Ports {
		switch in.Ports[i].NetworkID {
		case "net-b":
			in.Ports[i].FixedIPs[0].IPAddress = netip.MustParseAddr("10.1.0.1")
		case "net-c":
			in.Ports[i].FixedIPs[0].IPAddress = netip.MustParseAddr("10.2.0.1")
		}
	}
	at := map[netip.Addr]string{}
	for i := range 1000 {
		a := netip.AddrFrom4([4]byte{10, byte(i % 3), byte(1 + i/3/200), byte(1 + i/3%200)})
		at[a] = fmt.Sprintf("host-%d", i%100)
	}
	place(&in, map[string]bool{}, at)
	return in
}

// TestInstancesLimitWhatTheyTranslate: an edge limits its floating IPs, and the centre the others and
// the gateway.
func TestInstancesLimitWhatTheyTranslate(t *testing.T) {
	in := baseIntent(true)
	in.Router.Gateway = &l3.GatewayInfo{NetworkID: "ext-net", QoSPolicyID: "gateway"}
	var gateway netip.Addr
	for _, p := range in.Ports {
		if p.DeviceOwner == l3.OwnerRouterGateway {
			gateway, in.Router.Gateway.NetworkID = p.FixedIPs[0].IPAddress, p.NetworkID
		}
	}
	rule := func(kbps int) []l3.QoSRule {
		return []l3.QoSRule{{Type: l3.QoSBandwidthLimit, Direction: "egress", MaxKbps: kbps}, {Type: l3.QoSMinimumBandwidth, Direction: "ingress", MinKbps: 1}}
	}
	in.QoS = map[string][]l3.QoSRule{"here": rule(10), "there": rule(20), "gateway": rule(30), "vast": rule(2_000_000_000)}
	at := map[netip.Addr]string{}
	here, there, vast := subnetAddr(0, 11, false), subnetAddr(0, 12, false), subnetAddr(0, 13, false)
	at[here], at[vast] = "h1", "h1"
	place(&in, map[string]bool{"h1": true}, at)
	for n, a := range []netip.Addr{here, there, vast} {
		fipOn(&in, n, a)
		in.FloatingIPs[n].QoSPolicyID = []string{"here", "there", "vast"}[n]
	}
	limits := func(r dataplane.Router, err error) map[netip.Addr]uint32 {
		require.NoError(t, err)
		rates := map[netip.Addr]uint32{}
		for _, l := range r.Limits {
			require.True(t, l.Ingress.IsZero())
			rates[l.Addr] = l.Egress.Rate
		}
		return rates
	}
	require.Equal(t, map[netip.Addr]uint32{in.FloatingIPs[0].Address: 10}, limits(service.CompileEdge(in, "h1")))
	require.Equal(t, map[netip.Addr]uint32{in.FloatingIPs[1].Address: 20, gateway: 30}, limits(service.Compile(in)))
}
