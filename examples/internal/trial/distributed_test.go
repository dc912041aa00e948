package trial_test

import (
	"bytes"
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/internal/frame"
	"github.com/l3kit/l3kit/internal/test/deployment"
	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/internal/test/needs"
)

// spread is a cluster with a distributed router on three networks: the last two hosts are network
// nodes, which alone can have its centre, and the others have its workloads. The third host routes
// nothing.
type spread struct {
	*site
	whole   *testing.T // the test that the cluster is for; that of site may be a part of it
	app     *deployment.Tiers
	compute []*deployment.Host
	nodes   []*deployment.Host
	frames  map[string]*lab.Frames
	claims  map[netip.Addr]int // who has answered for floating IPs, counted anew by each call of contained

	explainer *deployment.Program
}

func startSpread(t *testing.T, wiring, backend string) *spread {
	t.Helper()
	const hosts = 6
	c := quick(hosts)
	c.Wiring = wiring
	c.AgentFlags = func(h *deployment.Host) []string {
		mode := agent.ModeDVR
		switch {
		case h.Number == 3:
			mode = agent.ModeLegacy
		case h.Number >= hosts-2:
			mode = agent.ModeDVRSNAT
		}
		return []string{"--mode=" + mode, "--dataplane=" + backend}
	}
	s := &spread{site: start(t, c), whole: t, frames: map[string]*lab.Frames{}, claims: map[netip.Addr]int{}}
	s.compute, s.nodes = s.Hosts[:hosts-2], s.Hosts[hosts-2:]
	for _, h := range s.Hosts {
		for device, cable := range map[string]struct {
			ethernet *lab.Underlay
			far      string
		}{deployment.TunnelDevice: {s.Tunnels, h.TunnelPort()}, deployment.ExternalDevice: {s.External, h.ExternalPort()}} {
			f, err := cable.ethernet.CaptureFrames(cable.far)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, f.Close()) })
			s.frames[h.Name+" "+device] = f
		}
	}
	var err error
	s.app, err = deployment.NewTiers(within(t, time.Minute), s.api(), s.external, "app", 3)
	require.NoError(t, err)
	return s
}

// in is s for a part of the test.
func (s *spread) in(t *testing.T) *spread {
	part, site := *s, *s.site
	site.T, part.site = t, &site
	return &part
}

// put places a workload on a host, with an echo service on it.
func (s *spread) put(h *deployment.Host, w *deployment.Tenant) *lab.Host {
	s.Helper()
	on, err := h.PlaceAndAttach(within(s.T, 20*time.Second), s.api(), w)
	require.NoError(s, err)
	service, err := on.Serve(echoPort)
	require.NoError(s, err)
	s.whole.Cleanup(func() { require.NoError(s.whole, service.Close()) })
	return on
}

// floats gives a workload a floating IP.
func (s *spread) floats(w *deployment.Tenant) {
	s.Helper()
	require.NoError(s, w.Bind(within(s.T, 10*time.Second), s.api(), s.external))
}

// settled waits until the router is ACTIVE.
func (s *spread) settled() {
	s.Helper()
	ctx := within(s.T, 40*time.Second)
	for {
		status, reason, err := deployment.StatusOf(ctx, s.api(), s.app.Router)
		if err == nil && status == "ACTIVE" {
			return
		}
		if ctx.Err() != nil {
			require.Failf(s, "not ACTIVE", "%s: %s: %v", status, reason, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// on names the hosts that have the router, or a part of it.
func (s *spread) on() (hosts []string) {
	s.Helper()
	var answer struct {
		Agents []struct {
			Host string `json:"host"`
		} `json:"agents"`
	}
	_, err := s.api().Get(within(s.T, 10*time.Second), s.api().ServiceURL("routers", s.app.Router, "l3-agents"), &answer, nil)
	require.NoError(s, err)
	for _, a := range answer.Agents {
		hosts = append(hosts, a.Host)
	}
	slices.Sort(hosts)
	return hosts
}

// asks sends a request, and says whom the server saw. It sends another one only where packets may be
// lost.
func (s *spread) asks(from *lab.Host, to netip.Addr) netip.Addr {
	s.Helper()
	ctx, patience := within(s.T, 5*time.Second), 5*time.Second
	if s.userspace {
		patience = time.Second
	}
	for {
		attempt, cancel := context.WithTimeout(ctx, patience)
		seen, err := from.Ask(attempt, netip.AddrPortFrom(to, echoPort))
		cancel()
		if err == nil || !s.userspace || ctx.Err() != nil {
			require.NoError(s, err, "%s to %s", from.Name, to)
			return seen.Src.Addr()
		}
	}
}

// contained requires that no frame on a tunnel or on the external network has shown the MAC of an
// anycast leg since the last call, and that meanwhile one host alone has answered for each floating
// IP. Those that have moved may have had one host after another.
func (s *spread) contained(moved ...netip.Addr) {
	s.Helper()
	anycast, answered := s.legs(), map[netip.Addr]map[dataplane.MAC]string{}
	for _, w := range s.app.Tiers {
		if w.Floating.IsValid() {
			answered[w.Floating] = map[dataplane.MAC]string{}
		}
	}
	for name, f := range s.frames {
		require.NoError(s, f.Each(func(b []byte) {
			for _, m := range anycast {
				if at := bytes.Index(b, m[:]); at >= 0 {
					s.Errorf("%s: a frame has the anycast MAC %s at byte %d: %x", name, m, at, b[:min(len(b), 120)])
				}
			}
			if mac, addr, ok := claim(b); ok && answered[addr] != nil {
				answered[addr][mac] = name
			}
		}), name)
	}
	for floating, by := range answered { // each instance has a MAC of its own on the external network
		most := 1
		if slices.Contains(moved, floating) {
			most = 2
		}
		if len(by) > most {
			s.Errorf("%d MACs are those of floating IP %s, and the cables that showed them: %v", len(by), floating, by)
		}
		s.claims[floating] += len(by)
		if s.claims[floating] == 0 {
			s.Errorf("nobody has answered for floating IP %s", floating)
		}
	}
	if s.Failed() {
		s.FailNow()
	}
}

// claim reads an ARP packet, request or reply, in which somebody says that an address is its own.
func claim(b []byte) (mac dataplane.MAC, addr netip.Addr, ok bool) {
	const sender, senderAddr, packet = 8, 14, 28
	f, ok := frame.Parse(b)
	if !ok || f.Type != unix.ETH_P_ARP || len(f.Body) < packet {
		return mac, addr, false
	}
	return dataplane.MAC(f.Body[sender:]), netip.AddrFrom4([4]byte(f.Body[senderAddr:])), true
}

// legs are the MACs of the router's interfaces.
func (s *spread) legs() (macs []dataplane.MAC) {
	s.Helper()
	var answer struct {
		Ports []struct {
			MAC dataplane.MAC `json:"mac_address"`
		} `json:"ports"`
	}
	_, err := s.api().Get(within(s.T, 10*time.Second),
		s.api().ServiceURL("ports")+"?device_owner=network:router_interface_distributed&device_id="+s.app.Router, &answer, nil)
	require.NoError(s, err)
	require.Len(s, answer.Ports, 3)
	for _, p := range answer.Ports {
		macs = append(macs, p.MAC)
	}
	return macs
}

// lossless requires that nothing is lost between a client and a server while something is done.
func (s *spread) lossless(what string, from *lab.Host, to netip.Addr, do func()) {
	s.Helper()
	stream, err := from.Stream(within(s.T, 10*time.Second), netip.AddrPort{}, netip.AddrPortFrom(to, echoPort), interval)
	require.NoError(s, err, what)
	do()
	require.NoError(s, stream.Pause(within(s.T, 10*time.Second), afterwards), what)
	s.complete(what, stream.Stop(within(s.T, 0)))
	if s.Failed() {
		s.FailNow()
	}
}

// TestDistributedRouter: traffic between the router's networks, and floating IPs, go between the
// hosts of the workloads; a network node does the rest, and may die.
func TestDistributedRouter(t *testing.T) {
	needs.Program(t, "iptables", "iptables")
	needs.Program(t, "ovs-vswitchd", "openvswitch-switch")
	for _, c := range []struct {
		wiring, backend string
		always          bool
	}{
		{deployment.WiringBridge, "nftables", true},
		{deployment.WiringBridge, "iptables", true},
		{deployment.WiringOVS, "iptables", false},
		{deployment.WiringOVS, "nftables", false},
	} {
		if c.always || everything() {
			t.Run(c.backend+" "+c.wiring, func(t *testing.T) { testDistributedRouter(t, c.wiring, c.backend) })
		}
	}
}

func testDistributedRouter(t *testing.T, wiring, backend string) {
	s := startSpread(t, wiring, backend)
	tiers := s.app.Tiers
	client, err := tiers[2].More(s.Context(), s.api(), "client")
	require.NoError(t, err)
	apart, err := tiers[1].More(s.Context(), s.api(), "apart")
	require.NoError(t, err)
	a, b, c := s.put(s.compute[0], tiers[0]), s.put(s.compute[1], tiers[1]), s.put(s.compute[2], client)
	d := s.put(s.compute[3], apart)
	s.floats(tiers[0])
	s.floats(tiers[1])
	s.settled()
	hosts := s.on()
	require.Len(t, hosts, 4, "an edge for each host that can have one, and the centre")
	centre := slices.IndexFunc(s.nodes, func(h *deployment.Host) bool { return slices.Contains(hosts, h.Name) })
	require.GreaterOrEqual(t, centre, 0)

	everything := func(s *spread, snat bool) {
		t := s.T
		require.Equal(t, tiers[0].Fixed, s.asks(a, tiers[1].Fixed), "between networks, untranslated")
		require.Equal(t, tiers[1].Fixed, s.asks(b, tiers[0].Fixed))
		require.Equal(t, client.Fixed, s.asks(c, tiers[0].Fixed))
		require.Equal(t, deployment.OutsideAddr, s.asks(s.Outside, tiers[0].Floating), "from outside by a floating IP")
		require.Equal(t, deployment.OutsideAddr, s.asks(s.Outside, tiers[1].Floating))
		require.Equal(t, tiers[0].Floating, s.asks(a, deployment.OutsideAddr), "outwards as the floating IP")
		require.Equal(t, tiers[0].Floating, s.asks(a, tiers[1].Floating), "a floating IP to another")
		require.Equal(t, tiers[0].Floating, s.asks(a, tiers[0].Floating), "a floating IP to itself")
		shared := s.asks(c, tiers[0].Floating)
		require.Equal(t, shared, s.asks(c, tiers[1].Floating), "without one, as the router's gateway")
		require.NotEqual(t, client.Fixed, shared)
		if !snat {
			return
		}
		require.Equal(t, shared, s.asks(c, deployment.OutsideAddr))
		require.Equal(t, shared, s.asks(d, deployment.OutsideAddr), "from a host that routes nothing")
		require.Equal(t, apart.Fixed, s.asks(d, tiers[0].Fixed))
		require.Equal(t, tiers[0].Fixed, s.asks(a, apart.Fixed))
		require.Equal(t, shared, s.asks(d, tiers[0].Floating))
	}
	service, err := s.Outside.Serve(echoPort)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, service.Close()) })

	part := func(name string, do func(*testing.T, *spread)) {
		t.Run(name, func(t *testing.T) { do(t, s.in(t)) })
	}
	part("everything works", func(t *testing.T, s *spread) { everything(s, true); s.contained() })

	if backend == "nftables" && wiring == "bridge" {
		part("a lost packet is found", func(t *testing.T, s *spread) { s.findsLosses(t, tiers[0], tiers[1], client, s.nodes[centre]) })
	}

	part("the network node is lost", func(t *testing.T, s *spread) {
		victim := s.nodes[centre]
		s.lossless("east-west", a, tiers[1].Fixed, func() {
			s.lossless("floating IP", s.Outside, tiers[0].Floating, func() {
				require.NoError(t, victim.Agent.Kill())
				require.NoError(t, victim.Unplug(true))
				everything(s, false)
				require.Eventually(t, func() bool { // the centre moves
					ctx, cancel := context.WithTimeout(s.Context(), time.Second)
					defer cancel()
					_, err := c.Ask(ctx, netip.AddrPortFrom(deployment.OutsideAddr, echoPort))
					return err == nil
				}, lab.Patience(40*time.Second), 50*time.Millisecond)
			})
		})
		everything(s, true)
		s.contained()
		s.lossless("it returns", a, tiers[1].Fixed, func() {
			require.NoError(t, victim.Isolate(false))
			require.NoError(t, victim.Agent.Start())
			require.NoError(t, victim.Ready(within(t, 30*time.Second)))
			require.NoError(t, victim.Unplug(false))
			s.settled()
		})
		everything(s, true)
		s.contained()
	})

	part("a virtual address moves", func(t *testing.T, s *spread) {
		virtual := netip.MustParseAddr("10.0.1.200")
		peer, err := tiers[1].More(s.Context(), s.api(), "peer")
		require.NoError(t, err)
		other := s.put(s.compute[0], peer)
		s.settled()
		holders := map[*lab.Host]dataplane.MAC{b: tiers[1].MAC, other: peer.MAC}
		for round, holder := range []*lab.Host{b, other, b} {
			for host := range holders {
				require.NoError(t, host.Hold(virtual, host == holder))
			}
			service, err := holder.ServeAt(netip.AddrPortFrom(virtual, echoPort))
			require.NoError(t, err)
			require.Eventually(t, func() bool {
				// Again and again, as VRRP does: what two hosts say within a millisecond has no
				// order.
				require.NoError(t, holder.Announce(virtual, holders[holder]))
				ctx, cancel := context.WithTimeout(s.Context(), time.Second)
				defer cancel()
				seen, err := c.Ask(ctx, netip.AddrPortFrom(virtual, echoPort))
				return err == nil && seen.Src.Addr() == client.Fixed && len(service.Requests()) > 0
			}, lab.Patience(20*time.Second), 20*time.Millisecond, "round %d: on %s", round, holder.Name)
			require.NoError(t, service.Close())
		}
		require.NoError(t, b.Hold(virtual, false))
		s.contained()
	})

	part("a workload moves", func(t *testing.T, s *spread) {
		stream, err := a.Stream(within(t, 10*time.Second), netip.AddrPort{}, netip.AddrPortFrom(tiers[1].Fixed, echoPort), interval)
		require.NoError(t, err)
		require.NoError(t, b.Detach(within(t, 10*time.Second)))
		b = s.put(s.compute[0], tiers[1])
		require.NoError(t, stream.Pause(within(t, 20*time.Second), afterwards), "the stream goes on")
		stream.Stop(within(t, 0))
		s.settled()
		require.NotContains(t, s.on(), s.compute[1].Name, "its last workload has left")
		require.Eventually(t, func() bool {
			routers, err := s.compute[1].Routers()
			require.NoError(t, err)
			return len(routers) == 0
		}, lab.Patience(10*time.Second), 20*time.Millisecond)
		s.contained(tiers[1].Floating)
		everything(s, true)
		s.contained()
	})

	part("a host loses its power", func(t *testing.T, s *spread) {
		victim := s.compute[2]
		ports, err := victim.Ports()
		require.NoError(t, err)
		require.Equal(t, map[string]int{s.app.Router: 2}, ports, "an edge has a port on the network of the workload here, and one on the transit")
		require.NoError(t, victim.Agent.Kill())
		require.NoError(t, victim.Reboot(within(t, 30*time.Second)))
		routers, err := victim.Routers()
		require.NoError(t, err)
		require.Empty(t, routers)
		require.NoError(t, victim.Agent.Start())
		require.NoError(t, victim.Ready(within(t, 30*time.Second)))
		again := *client
		again.Name = "client-again"
		c = s.put(victim, &again)
		s.settled()
		everything(s, true)
		now, err := victim.Ports()
		require.NoError(t, err)
		require.Equal(t, ports, now)
		s.contained()
	})
}
