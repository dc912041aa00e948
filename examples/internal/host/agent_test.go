package host

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/dataplane/workload"
	"github.com/l3kit/l3kit/examples/internal/explain"
	"github.com/l3kit/l3kit/examples/internal/setting"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/internal/test/needs"
	"github.com/l3kit/l3kit/l3/natsbus"
)

func applied(word map[string]any) bool { return word["error"] == nil }

// TestAgent: a router comes, passes packets, outlives its agent and goes.
func TestAgent(t *testing.T) {
	r := newRig(t)
	b := newBus(t, loopback)
	b.put(office(), 1)
	b.put(overlay(), 1)
	b.write("$KV.peers.host2", map[string]any{"host": "host2", "address": "192.0.2.2"})
	reports, beats := b.hear("reports.host1"), b.hear("$KV.agents.host1")
	p := r.start(b.login())

	for range 2 {
		require.EqualValues(t, 1, next(t, reports, applied)["revision"])
	}
	beat := next(t, beats, func(w map[string]any) bool { return w["configurations"].(map[string]any)["routers"] == 2.0 })["configurations"].(map[string]any)
	require.Contains(t, []any{agent.ModeDVRNoExternal, agent.ModeLegacy}, beat["agent_mode"], "as the host can; see TestMode")
	require.Equal(t, "192.0.2.1", beat["tunneling_ip"])
	require.Equal(t, []any{}, beat["physical_networks"], "it reaches none, which is not the same as not to say")
	require.Equal(t, []any{"vxlan"}, beat["tunnel_types"])
	require.Equal(t, "nftables", beat["dataplane"])
	require.NotEmpty(t, beat["kernel"])
	require.Equal(t, 1.0, beat["floating_ips"])

	eventually(t, p.ready, "ready")
	for name, want := range map[string]float64{"l3kit_agent_routers": 2, "l3kit_agent_waiting": 0, "l3kit_agent_failing": 0, "l3kit_agent_apply_seconds": 2} {
		eventually(t, func() bool { got, ok := p.metric(name); return ok && got == want }, name)
	}
	server, client := r.neighbours()
	service, err := server.Serve(7)
	require.NoError(t, err)
	defer service.Close()
	require.NoError(t, client.Ping(t.Context(), "203.0.113.5"))
	eventually(t, func() bool {
		peers, err := r.machine.FloodPeers("vxlan-42")
		return err == nil && len(peers) == 1
	}, "the wiring knows the other host")

	stream, err := client.Stream(t.Context(), netip.AddrPort{}, netip.MustParseAddrPort("203.0.113.5:7"), 5*time.Millisecond)
	require.NoError(t, err)
	p.end()
	t.Setenv("PATH", "/nowhere") // so that it could start no program, if it tried
	var again *process
	writes, err := lab.Writes([]string{r.machine.HostNS, filepath.Join(r.machine.Dir, dataplane.NamespaceName(office().ID))}, func() error {
		again = r.start(b.login())
		for range 2 { // whichever is first
			next(t, reports, applied)
		}
		eventually(t, again.ready, "ready again")
		return nil
	})
	require.NoError(t, err)
	require.Empty(t, writes, "a router that is there is left alone, and so are tunnels")
	flow := stream.Stop(t.Context())
	require.Zero(t, flow.Lost, flow)

	b.take(office().ID, 1)
	eventually(t, func() bool {
		_, err := os.Stat(filepath.Join(r.machine.Dir, dataplane.NamespaceName(office().ID)))
		return os.IsNotExist(err)
	}, "it goes")
	again.end()
}

// TestMode: --mode restricts what the host can do, and cannot extend it.
func TestMode(t *testing.T) {
	b := newBus(t, loopback)
	beats := b.hear("$KV.agents.host1")
	for asked, want := range map[string]string{"auto": agent.ModeDVRNoExternal, "dvr": agent.ModeDVR, "legacy": agent.ModeLegacy} {
		r := newRig(t)
		r.withSwitch()
		r.flags.Mode = asked
		p := r.start(b.login())
		next(t, beats, func(w map[string]any) bool { return w["configurations"].(map[string]any)["agent_mode"] == want })
		p.end()
	}
	r := newRig(t)
	r.flags.Mode = agent.ModeDVRSNAT
	require.ErrorContains(t, r.start(b.login()).fails(), "--mode: dvr_snat is for hosts that reach external networks")
}

// withSwitch gives the machine an Open vSwitch, and the agent the flags for it.
func (r *rig) withSwitch() *lab.Switch {
	r.t.Helper()
	needs.Program(r.t, "ovs-vswitchd", "openvswitch-switch")
	s, err := r.machine.Switch(r.t.Context())
	require.NoError(r.t, err)
	r.flags.Wiring, r.flags.OVS = "ovs", Switch{
		Endpoint: []string{s.Endpoint}, RunDir: s.RunDir, Datapath: "netdev", Device: "auto", Integration: "br-int", Tunnel: "br-tun",
	}
	return s
}

func TestAgentWithOpenVSwitch(t *testing.T) {
	r := newRig(t)
	s := r.withSwitch()
	b := newBus(t, loopback)
	b.put(office(), 1)
	b.put(overlay(), 1)
	b.write("$KV.peers.host2", map[string]any{"host": "host2", "address": "192.0.2.2"})
	reports := b.hear("reports.host1")
	p := r.start(b.login())
	for range 2 {
		require.EqualValues(t, 1, next(t, reports, applied)["revision"])
	}
	tunnels := func() bool {
		text, err := s.Vsctl("list-ports", "br-tun")
		return err == nil && strings.Contains(text, "vxlan-c0000202")
	}
	eventually(t, tunnels, "a tunnel to the other host")
	eventually(t, func() bool {
		kept, err := agent.ReadCache(r.flags.Cache)
		return err == nil && len(kept.Peers) == 1
	}, "the agent has done all that the other host's tunnel needs: its port comes before its flows")
	p.end()
	writes, err := s.Writes(func() error {
		again := r.start(b.login())
		for range 2 {
			next(t, reports, applied)
		}
		eventually(t, again.ready, "ready again")
		text, err := r.runs(&Plan{Machine: r.flags.Machine})
		require.NoError(t, err, "%s", text)
		again.end()
		return nil
	})
	require.NoError(t, err)
	require.Empty(t, writes)
	require.True(t, tunnels())
}

// attached gives a port to a workload in a namespace without a name, until end is called.
func attached(t *testing.T, w wiring, port string) (end func()) {
	t.Helper()
	ns, err := netns.New(nil)
	require.NoError(t, err)
	require.NoError(t, workload.Attach(t.Context(), w, namespace.NS{FD: int(ns.Fd())}, "eth0", workload.Config{Port: dataplane.Port{
		ID: port, Network: dataplane.Network{ID: "blue"}, MTU: 1400, MAC: dataplane.MAC{0xfa, 0x16, 0x3e, 0, 0, port[0]},
	}}))
	return func() { require.NoError(t, ns.Close()) }
}

// TestBridgesOfWorkloadsThatHaveGone: with a namespace its port goes, and the bridge of the port's
// network stays until it is swept.
func TestBridgesOfWorkloadsThatHaveGone(t *testing.T) {
	r := newRig(t)
	w, err := r.flags.wire(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, w.Close()) }()
	there := func(link string) (found bool) {
		require.NoError(t, r.flags.inHost(func() error {
			_, err := netlink.LinkByName(link)
			found = err == nil
			return nil
		}))
		return found
	}
	attached(t, w, "11111111-a")()
	eventually(t, func() bool { return !there("tap11111111-a") }, "the port is gone")
	require.True(t, there("brqblue"))
	left, err := w.RemoveWorkloads(t.Context(), func(string) bool { return true })
	require.NoError(t, err)
	require.Empty(t, left)
	require.False(t, there("brqblue"))
}

// TestWorkloadsThatHaveGone: Open vSwitch keeps the port of a workload that has gone with its
// namespace. It is removed, and no other workload's.
func TestWorkloadsThatHaveGone(t *testing.T) {
	r := newRig(t)
	s := r.withSwitch()
	ports := func() string {
		text, err := s.Vsctl("list-ports", "br-int")
		require.NoError(t, err)
		return text
	}
	w, err := r.flags.wire(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, w.Close()) }()
	attached(t, w, "11111111-a")()
	attached(t, w, "22222222-b")()
	defer attached(t, w, "33333333-c")()
	require.Contains(t, ports(), "tap11111111-a")
	eventually(t, func() bool {
		all, err := w.Workloads(t.Context())
		require.NoError(t, err)
		return slices.Equal(all, []string{"33333333-c"})
	}, "the ports of those that have gone are not reported as attached")
	left, err := w.RemoveWorkloads(t.Context(), func(port string) bool { return port == "11111111-a" })
	require.NoError(t, err)
	require.Equal(t, []string{"11111111-a"}, left)
	require.NotContains(t, ports(), "tap11111111-a")
	require.Contains(t, ports(), "tap22222222-b")
	require.Contains(t, ports(), "tap33333333-c")

	text, err := r.runs(&Clean{Machine: r.flags.Machine})
	require.NoError(t, err)
	require.Contains(t, text, "removed port 22222222-b, whose workload has gone\n")
	require.NotContains(t, ports(), "tap22222222-b")
}

// TestBootWithoutServers: the machine has forgotten everything, and nobody answers; later somebody
// does.
func TestBootWithoutServers(t *testing.T) {
	r := newRig(t)
	b := newBus(t, loopback)
	b.put(office(), 3)
	reports := b.hear("reports.host1")
	p := r.start(b.login())
	next(t, reports, applied)
	p.end()
	address := netip.MustParseAddrPort(b.server.URL()[len("nats://"):])
	b.nc.Close()
	b.server.Shutdown()
	login := b.login()
	site, err := r.flags.open(t.Context(), p.Log, nil)
	require.NoError(t, err)
	require.NoError(t, site.Delete(t.Context(), office().ID))
	require.NoError(t, site.Close())

	login.URLs = []string{"nats://" + address.String()}
	p = r.start(login)
	eventually(t, func() bool { n, _ := p.metric("l3kit_agent_apply_seconds"); return n == 1 }, "it is there again")
	_, client := r.neighbours()
	require.NoError(t, client.Ping(t.Context(), "203.0.113.5"))
	require.False(t, p.ready(), "but nobody has said so")
	_, known := p.metric("l3kit_agent_heard_age_seconds")
	require.False(t, known)

	b = newBus(t, address)
	b.put(office(), 3)
	eventually(t, p.ready, "the servers are back")
	p.end()
}

// TestLoginRefusedLater: what worked before is somebody else's mistake, and may be put right.
func TestLoginRefusedLater(t *testing.T) {
	r := newRig(t)
	b := newBus(t, loopback)
	p := r.start(b.login())
	eventually(t, p.ready, "ready")
	address := netip.MustParseAddrPort(b.server.URL()[len("nats://"):])
	b.nc.Close()
	b.server.Shutdown()
	other, err := natsbus.StartServer(natsbus.ServerConfig{Secret: []byte("fedcba9876543210"), Dir: t.TempDir(), Listen: address})
	require.NoError(t, err)
	eventually(t, func() bool { return strings.Contains(p.said.String(), "the connection was closed for good") }, "it is refused for good")
	other.Shutdown()

	b = newBus(t, address)
	b.put(office(), 1)
	next(t, b.hear("reports.host1"), applied)
	p.end()
}

func TestRefusals(t *testing.T) {
	r := newRig(t)
	b := newBus(t, loopback)
	wrong := b.login()
	wrong.Password = "guessed"
	require.ErrorContains(t, r.start(wrong).fails(), "Authorization Violation")

	p := r.start(b.login())
	eventually(t, p.ready, "one runs")
	require.ErrorContains(t, r.start(b.login()).fails(), "another agent runs on this host")
	p.end()
	require.NoError(t, r.start(b.login()).stopped(), "its lock ends with it")

	cache := r.flags.Cache
	r.flags.Cache = filepath.Join(cache, "lock", "below")
	require.ErrorContains(t, r.start(b.login()).fails(), "--cache: mkdir")
	r.flags.Cache = t.TempDir()
	require.NoError(t, os.Symlink("/dev/null", filepath.Join(r.flags.Cache, "lock")))
	require.ErrorContains(t, r.start(b.login()).fails(), "too many levels of symbolic links")
	r.flags.Cache = t.TempDir()
	require.NoError(t, os.Chmod(r.flags.Cache, 0o777))
	err := r.start(b.login()).fails()
	require.ErrorContains(t, err, "--cache: everybody can write to "+r.flags.Cache)
	require.ErrorAs(t, err, new(*setting.Error))
	r.flags.Cache = cache
	has := r.flags.TunnelAddress
	r.flags.TunnelAddress = netip.MustParseAddr("192.0.2.99")
	err = r.start(b.login()).fails()
	require.ErrorContains(t, err, "--tunnel-address: this host does not have the address 192.0.2.99")
	require.ErrorAs(t, err, new(*setting.Error))
	r.flags.TunnelAddress = has
	for _, bad := range []string{"two words", "*", "line\nfeed"} {
		r.flags.Host = bad
		require.ErrorContains(t, r.start(b.login()).fails(), "--host: the host name ")
	}
	r.flags.Host = "host1"

	r.flags.OnDisconnect = "fence"
	r.flags.Lease = time.Second
	require.ErrorContains(t, r.start(b.login()).fails(), "too short for a heartbeat every 1s")
	r.flags.Lease = 0
	require.ErrorContains(t, r.start(b.login()).fails(), "--lease")
}

func (p *process) stopped() error {
	p.stop()
	return p.fails()
}

func TestCommands(t *testing.T) {
	r := newRig(t)
	text, err := r.runs(&Inspect{Machine: r.flags.Machine})
	require.NoError(t, err)
	require.Equal(t, "no routers on this host\n", text, "no agent has run yet")

	b := newBus(t, loopback)
	b.put(office(), 4)
	reports := b.hear("reports.host1")
	p := r.start(b.login())
	next(t, reports, applied)
	eventually(t, func() bool { kept, err := agent.ReadCache(r.flags.Cache); return err == nil && len(kept.Routers) == 1 }, "cached")
	_, client := r.neighbours()
	require.NoError(t, client.Ping(t.Context(), "203.0.113.5"))

	inside := filepath.Join(r.machine.Dir, dataplane.NamespaceName(office().ID))
	writes, err := lab.Writes([]string{r.machine.HostNS, inside}, func() error {
		text, err = r.runs(&Plan{Machine: r.flags.Machine})
		require.NoError(t, err)
		require.Equal(t, "nothing to do\n", text)
		text, err = r.runs(&Inspect{Machine: r.flags.Machine, Routers: []string{"5a1c"}})
		require.NoError(t, err)
		return nil
	})
	require.NoError(t, err)
	require.Empty(t, writes, "they look, beside the agent")
	for _, want := range []string{
		"router 5a1c0e3a-office\n  as it was applied\n", "epoch 1, revision 4", "qr-lan", "qg-wan", "203.0.113.2/24", "via 203.0.113.1, SNAT",
		"FORWARDED    PROTOCOL  PORTS      FIXED IP  PORTS\n  203.0.113.6  tcp       8080-8089  10.0.1.5  80-89\n",
		"PORT      DEVICE  ADDRESSES", "FLOATING IP  FIXED IP  PACKETS IN  BYTES IN  PACKETS OUT  BYTES OUT\n  203.0.113.5  10.0.1.5 ",
	} {
		require.Contains(t, text, want)
	}
	require.Regexp(t, `203\.0\.113\.5 +10\.0\.1\.5 +[1-9]\d* +\d+ +[1-9]\d* +\d+\n`, text)
	p.end()

	question := explain.HostQuestion{Question: explain.Question{From: netip.MustParseAddr("10.0.1.5"), To: netip.MustParseAddr("203.0.113.1"), Proto: "icmp"}, Check: true}
	text, err = r.runs(&Explain{Router: "5a1c", HostQuestion: question, Machine: r.flags.Machine})
	require.NoError(t, err)
	require.Contains(t, text, "10.0.1.5 leaves as its floating IP 203.0.113.5")
	require.Contains(t, text, "The kernel agrees")

	file := filepath.Join(t.TempDir(), "office.json")
	written, err := json.Marshal(office())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, written, 0o644))
	text, err = r.runs(&Explain{Router: file, HostQuestion: question, Machine: Machine{ns: r.machine.HostNS, Namespaces: r.machine.Dir}})
	require.NoError(t, err)
	require.Contains(t, text, "The kernel agrees")
	require.NoError(t, os.WriteFile(file, []byte(`{"id": "a/b"}`), 0o644))
	_, err = r.runs(&Explain{Router: file, HostQuestion: question})
	require.ErrorContains(t, err, "office.json: ")

	h, err := r.machine.Enter(inside)
	require.NoError(t, err)
	require.NoError(t, h.Do(func() error {
		gateway, err := netlink.LinkByName("qg-wan")
		if err != nil {
			return err
		}
		return netlink.AddrDel(gateway, &netlink.Addr{IPNet: netlink.NewIPNet(netip.MustParseAddr("203.0.113.5").AsSlice())})
	}))
	text, err = r.runs(&Plan{Machine: r.flags.Machine})
	require.ErrorIs(t, err, errDrift)
	require.ErrorContains(t, err, "1 of 1 routers would change")
	require.Contains(t, text, "+ address qg-wan 203.0.113.5/32")
	text, err = r.runs(&Inspect{Machine: r.flags.Machine})
	require.NoError(t, err)
	require.Contains(t, text, "changed since it was applied, in 1 places")

	site, err := r.flags.open(t.Context(), p.Log, nil)
	require.NoError(t, err)
	require.NoError(t, site.Delete(t.Context(), office().ID))
	_, err = site.Apply(t.Context(), dataplane.Router{ID: "stray"})
	require.NoError(t, err)
	require.NoError(t, site.Close())
	text, err = r.runs(&Inspect{Machine: r.flags.Machine, JSON: true})
	require.NoError(t, err)
	var seen []sighting
	require.NoError(t, json.Unmarshal([]byte(text), &seen))
	require.Len(t, seen, 2)
	require.False(t, seen[0].Present)
	require.NotEmpty(t, seen[0].Drift)
	require.Equal(t, "stray", seen[1].ID)
	require.Nil(t, seen[1].Applied)

	_, err = r.runs(&Plan{Machine: r.flags.Machine, Routers: []string{"nobody"}})
	require.ErrorContains(t, err, "no router nobody on this host")
}
