package host

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/bridge"
	"github.com/l3kit/l3kit/examples/internal/daemon"
	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/internal/test/needs"
	"github.com/l3kit/l3kit/internal/test/transcript"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/natsbus"
)

// patience bounds the wait for what must happen.
var patience = lab.Patience(30 * time.Second)

var (
	secret   = []byte("0123456789abcdef0123456789abcdef")
	loopback = netip.MustParseAddrPort("127.0.0.1:0")
)

// bus is a message queue with a control plane that a test speaks for, in the words of package
// natsbus.
type bus struct {
	t      *testing.T
	server *natsbus.Server
	nc     *nats.Conn
}

func newBus(t *testing.T, listen netip.AddrPort) *bus {
	t.Helper()
	b := &bus{t: t}
	var err error
	b.server, err = natsbus.StartServer(natsbus.ServerConfig{Secret: secret, Dir: t.TempDir(), Listen: listen})
	require.NoError(t, err)
	t.Cleanup(b.server.Shutdown)
	b.nc, err = natsbus.Connect(natsbus.Login{Server: b.server})
	require.NoError(t, err)
	t.Cleanup(b.nc.Close)
	_, err = natsbus.Open(t.Context(), b.nc, records{}, natsbus.Options{})
	require.NoError(t, err)
	_, err = b.nc.Subscribe("session.*", b.session)
	require.NoError(t, err)
	return b
}

// records are those of a database that the bus is opened for.
type records struct{ l3.ControlPlane }

// testDeployment is the identity of that database.
const testDeployment = "00000000-0000-4000-8000-000000000001"

func (records) Deployment(context.Context) (l3.Deployment, error) {
	return l3.Deployment{ID: testDeployment}, nil
}

func (records) ClaimBus(context.Context, string, string) error { return nil }

// session gives a host its consumers, and tells it up to where it must read for a listing to be
// complete.
func (b *bus) session(request *nats.Msg) {
	host := strings.TrimPrefix(request.Subject, "session.")
	answer := map[string]any{"session": "1", "deployment": testDeployment, "filling": "1"}
	js, err := jetstream.New(b.nc)
	if err != nil {
		return // the agent asks again
	}
	for bucket, keys := range map[string][2]string{"routers": {host + ".>", host + ".="}, "peers": {">", "="}} {
		stream := "KV_" + bucket
		_ = js.DeleteConsumer(b.t.Context(), stream, host) // there may be none
		_, err := js.CreateConsumer(b.t.Context(), stream, jetstream.ConsumerConfig{
			Name: host, FilterSubject: "$KV." + bucket + "." + keys[0], DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy,
			AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: time.Hour,
		})
		if err != nil {
			return
		}
		mark, err := js.Publish(b.t.Context(), "$KV."+bucket+"."+keys[1], []byte(`{"session":"1"}`))
		if err != nil {
			return
		}
		answer[bucket] = mark.Sequence
	}
	text, err := json.Marshal(answer)
	if err == nil {
		_ = request.Respond(text)
	}
}

func (b *bus) write(subject string, v any) {
	b.t.Helper()
	text, err := json.Marshal(v)
	require.NoError(b.t, err)
	_, err = b.nc.Request(subject, text, patience)
	require.NoError(b.t, err)
}

// put gives a router to the host.
func (b *bus) put(r dataplane.Router, revision int) {
	b.t.Helper()
	b.write("$KV.routers.host1."+r.ID, map[string]any{"host": "host1", "deployment": testDeployment, "epoch": 1, "revision": revision, "router": r})
}

// take takes it away.
func (b *bus) take(id string, revision int) {
	b.t.Helper()
	b.write("$KV.routers.host1."+id, map[string]any{"host": "host1", "deployment": testDeployment, "epoch": 1, "revision": revision, "router": nil})
}

// hear waits for word of the agent, as JSON.
func (b *bus) hear(subject string) <-chan map[string]any {
	b.t.Helper()
	words := make(chan map[string]any, 100)
	sub, err := b.nc.Subscribe(subject, func(m *nats.Msg) {
		var word map[string]any
		if json.Unmarshal(m.Data, &word) == nil {
			words <- word
		}
	})
	require.NoError(b.t, err)
	b.t.Cleanup(func() { sub.Unsubscribe() })
	return words
}

func (b *bus) login() natsbus.Login {
	return natsbus.Login{URLs: []string{b.server.URL()}, Password: natsbus.Credential(secret, "host1")}
}

// rig is a pretended machine with an agent's flags for it.
type rig struct {
	t       *testing.T
	machine *lab.Lab
	flags   Agent
}

func newRig(t *testing.T) *rig {
	t.Helper()
	needs.Root(t)
	machine, err := lab.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, machine.Close()) })
	r := &rig{t: t, machine: machine, flags: Agent{
		Host: "host1", AvailabilityZone: "nova", Heartbeat: time.Second, Check: time.Hour, OnDisconnect: "keep", Lease: time.Minute,
		Machine: Machine{
			Dataplane: "nftables", Wiring: "bridge", VXLANPort: 4789, TunnelAddress: netip.MustParseAddr("192.0.2.1"),
			Cache: filepath.Join(t.TempDir(), "cache"), Namespaces: machine.Dir, ns: machine.HostNS,
		},
	}}
	require.NoError(t, r.flags.inHost(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.AddrAdd(lo, &netlink.Addr{IPNet: netlink.NewIPNet(r.flags.TunnelAddress.AsSlice())})
	}))
	return r
}

// process is one that is running.
type process struct {
	*daemon.Process
	t     *testing.T
	stop  context.CancelFunc
	ended chan error
	said  *transcript.Buffer
}

func (r *rig) start(login natsbus.Login) *process {
	r.t.Helper()
	p := &process{t: r.t, ended: make(chan error, 1), said: &transcript.Buffer{}}
	p.Process = &daemon.Process{Log: slog.New(slog.NewTextHandler(p.said, nil)), Metrics: prometheus.NewRegistry()}
	var ctx context.Context
	ctx, p.stop = context.WithCancel(context.Background())
	part := r.flags.Part(login, 75*time.Second)
	go func() { p.ended <- part(ctx, p.Process) }()
	r.t.Cleanup(p.end)
	return p
}

// end is what SIGTERM does.
func (p *process) end() {
	p.stop()
	select {
	case err := <-p.ended:
		require.NoError(p.t, err, "%s", p.said)
		p.ended <- nil
	case <-time.After(patience):
		require.Fail(p.t, "the agent does not end", "%s", p.said)
	}
}

// fails waits until the process ends by itself.
func (p *process) fails() error {
	select {
	case err := <-p.ended:
		p.ended <- nil
		return err
	case <-time.After(patience):
		require.Fail(p.t, "the agent does not end", "%s", p.said)
		return nil
	}
}

// metric is a gauge's or a counter's value; false: there is none.
func (p *process) metric(name string) (float64, bool) {
	p.t.Helper()
	families, err := p.Metrics.Gather()
	require.NoError(p.t, err)
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount()), true
		}
	}
	return 0, false
}

// ready asks as /readyz does, once there is something to ask.
func (p *process) ready() bool {
	if _, runs := p.metric("l3kit_agent_synced"); !runs {
		return false
	}
	w := &answer{header: http.Header{}}
	request, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, "/readyz", nil)
	require.NoError(p.t, err)
	p.Handler().ServeHTTP(w, request)
	return w.status == http.StatusOK || w.status == 0
}

type answer struct {
	header http.Header
	status int
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) Write(b []byte) (int, error) { return len(b), nil }
func (a *answer) WriteHeader(status int)      { a.status = status }

// office is a router with a workload's floating IP, and forwarded ports.
func office() dataplane.Router {
	return dataplane.Router{
		ID: "5a1c0e3a-office",
		Ports: []dataplane.Port{{
			ID: "lan", Network: dataplane.Network{ID: "lan"}, MAC: dataplane.MAC{0xfa, 0x16, 0x3e, 0, 0, 1}, MTU: 1500,
			Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.1.1/24")},
		}},
		Gateway: &dataplane.Gateway{SNAT: true, NextHops: []netip.Addr{netip.MustParseAddr("203.0.113.1")}, Port: dataplane.Port{
			ID: "wan", Network: dataplane.Network{ID: "wan"}, MAC: dataplane.MAC{0xfa, 0x16, 0x3e, 0, 0, 2}, MTU: 1500,
			Addrs: []netip.Prefix{netip.MustParsePrefix("203.0.113.2/24")},
		}},
		FloatingIPs: []dataplane.FloatingIP{{ID: "f", Addr: netip.MustParseAddr("203.0.113.5"), Fixed: netip.MustParseAddr("10.0.1.5")}},
		PortForwardings: []dataplane.PortForwarding{{
			ID: "pf", Proto: dataplane.TCP, Addr: netip.MustParseAddr("203.0.113.6"), Ports: dataplane.PortRange{First: 8080, Last: 8089},
			Fixed: netip.MustParseAddr("10.0.1.5"), FixedPorts: dataplane.PortRange{First: 80, Last: 89},
		}},
	}
}

// overlay is a router on a network that tunnels to other hosts carry.
func overlay() dataplane.Router {
	return dataplane.Router{ID: "7b33-overlay", Ports: []dataplane.Port{{
		ID: "far", Network: dataplane.Network{ID: "far", Type: dataplane.NetworkVXLAN, Segment: 42}, MAC: dataplane.MAC{0xfa, 0x16, 0x3e, 0, 0, 3}, MTU: 1450,
		Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.2.1/24")},
	}}}
}

// neighbours are a workload behind the office's router, and a client outside.
func (r *rig) neighbours() (server, client *lab.Host) {
	r.t.Helper()
	w, err := bridge.New(bridge.Config{HostNS: r.machine.HostNS})
	require.NoError(r.t, err)
	r.t.Cleanup(func() { w.Close() })
	attach := func(name, network, addr string, hops ...netip.Addr) *lab.Host {
		h, err := r.machine.Attach(r.t.Context(), w, lab.Spec{Name: name, NextHops: hops, Ports: []dataplane.Port{{
			Network: dataplane.Network{ID: network}, Addrs: []netip.Prefix{netip.MustParsePrefix(addr)},
		}}})
		require.NoError(r.t, err)
		return h
	}
	return attach("server", "lan", "10.0.1.5/24", netip.MustParseAddr("10.0.1.1")), attach("client", "wan", "203.0.113.1/24")
}

func next(t *testing.T, words <-chan map[string]any, fits func(map[string]any) bool) map[string]any {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case w := <-words:
			if fits(w) {
				return w
			}
		case <-deadline:
			require.Fail(t, "the agent does not say what it should")
		}
	}
}

func eventually(t *testing.T, holds func() bool, what string) {
	t.Helper()
	require.Eventually(t, holds, patience, 10*time.Millisecond, what)
}

// runs a command that looks at the machine.
func (r *rig) runs(command interface {
	Run(context.Context, io.Writer) error
}) (string, error) {
	r.t.Helper()
	var out bytes.Buffer
	err := command.Run(r.t.Context(), &out)
	return out.String(), err
}
