package natsbus_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3/natsbus"
)

// proxy is a wire between an agent and the bus that can be cut.
type proxy struct {
	listener net.Listener
	target   string
	wg       sync.WaitGroup
	mu       sync.Mutex
	away     bool
	conns    []net.Conn
}

func newProxy(t *testing.T, url string) *proxy {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: listener, target: strings.TrimPrefix(url, "nats://")}
	p.wg.Go(p.serve)
	t.Cleanup(func() {
		listener.Close()
		p.set(true)
		p.wg.Wait()
	})
	return p
}

func (p *proxy) serve() {
	for {
		in, err := p.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", p.target)
		p.mu.Lock()
		if err != nil || p.away {
			in.Close()
			if err == nil {
				out.Close()
			}
			p.mu.Unlock()
			continue
		}
		p.conns = append(p.conns, in, out)
		p.mu.Unlock()
		for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
			p.wg.Go(func() {
				io.Copy(pair[0], pair[1])
				pair[0].Close()
			})
		}
	}
}

// set cuts every connection, or lets them be made again.
func (p *proxy) set(away bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away = away
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

func TestWatchGoesOnAfterACut(t *testing.T) {
	r := newRig(t)
	w := newWorld("h1")
	w.put("h1", "r1", "r2", "r3")
	r.publish(w)
	p := newProxy(t, r.server.URL())
	nc := connect(t, natsbus.Login{URLs: []string{"nats://" + p.listener.Addr().String()}, Host: "h1", Password: natsbus.Credential(secret, "h1")})
	source, err := natsbus.NewSource(nc, "h1", nil)
	require.NoError(t, err)
	seen := watch(t, source)
	seen.until("all are there", func() bool { return seen.synced == 1 && len(seen.have) == 3 })
	puts := seen.number()
	for range 2 {
		p.set(true)
		w.put("h1", "r1")
		w.put("", "r2")
		require.Eventually(t, func() bool { return w.pending() == 0 }, patience, time.Millisecond)
		p.set(false)
		seen.until("the change and the departure", func() bool { return seen.have["r1"].Revision == w.revision("r1") && seen.gone["r2"] > 0 })
		puts++
		require.Equal(t, puts, seen.number(), "only what is new is read")
		w.put("h1", "r2")
		seen.until("it is back", func() bool { return seen.have["r2"].Router.ID == "r2" })
		puts++
	}
	require.Equal(t, 1, seen.synced)
}

func (w *world) revision(id string) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at[id].Revision
}

// TestServerRestarted: what was acknowledged is there, watches go on, and nobody is told that
// something is gone.
func TestServerRestarted(t *testing.T) {
	dir := t.TempDir()
	c := natsbus.ServerConfig{Secret: secret, Dir: dir, Listen: freePort(t)}
	s, err := natsbus.StartServer(c)
	require.NoError(t, err)
	login := natsbus.Login{URLs: []string{s.URL()}, Password: natsbus.ControlCredential(secret)}
	r := &rig{T: t, server: s, nc: connect(t, login)}
	r.open(natsbus.Options{})
	w := newWorld("h1")
	w.put("h1", "r1", "r2")
	r.publish(w)
	seen := watch(t, r.source("h1"))
	seen.until("both are there", func() bool { return seen.synced == 1 && len(seen.have) == 2 })
	s.Shutdown()
	w.put("h1", "r1")
	start(t, c)
	seen.until("what was asked meanwhile", func() bool { return seen.have["r1"].Revision == 2 })
	require.Equal(t, 3, seen.number())
	require.Empty(t, seen.gone)
	require.False(t, seen.closed)
}

// freePort returns an address that nobody listens at. Its port is below those that the kernel gives
// to outgoing connections, such as the attempts of servers to reach each other.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	for {
		address := netip.AddrPortFrom(loopback.Addr(), uint16(10_000+rand.IntN(20_000)))
		l, err := net.Listen("tcp", address.String())
		if errors.Is(err, unix.EADDRINUSE) {
			continue
		}
		require.NoError(t, err)
		require.NoError(t, l.Close())
		return address
	}
}

// TestWatchNeedsAFilledBus: what the control plane never wrote is not gone.
func TestWatchNeedsAFilledBus(t *testing.T) {
	r := newRig(t)
	soon, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := r.source("h1").Watch(soon, agent.Session{})
	require.ErrorContains(t, err, "no control plane opens sessions")
}

func TestReportsAndHeartbeatsArrive(t *testing.T) {
	r := newRig(t)
	h := &hosting{fail: 2}
	background(t, natsbus.NewConsumer(h, r.bus).Run)
	r.publish(newWorld("h1", "h.2"))
	one, two := r.source("h1"), r.source("h.2")
	seen := watch(t, one)
	want := agent.Report{Host: "h.2", RouterID: "r1", Epoch: 3, Revision: 9, Error: "no", Gone: true, Instance: "i", Seq: 4}
	require.NoError(t, two.Report(t.Context(), want))
	started := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for i, s := range []*natsbus.Source{one, two} {
		can := agent.Capabilities{TunnelAddress: netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i)})}
		beat := agent.Heartbeat{Binary: "b", AvailabilityZone: "z", StartedAt: started, Capabilities: can}
		require.NoError(t, s.Heartbeat(t.Context(), beat))
	}
	require.Eventually(t, func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.reports) == 1 && h.beats["h1"].Binary == "b" && h.beats["h.2"].StartedAt.Equal(started)
	}, patience, 5*time.Millisecond, "a report that could not be stored comes again")
	require.WithinDuration(t, time.Now(), h.reports[0].At, patience)
	want.At = h.reports[0].At
	require.Equal(t, want, h.reports[0])
	seen.until("peers", func() bool { return len(seen.peers) == 2 })
	require.Equal(t, []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}, seen.peers)
	require.NoError(t, two.Heartbeat(t.Context(), agent.Heartbeat{Capabilities: agent.Capabilities{TunnelAddress: netip.MustParseAddr("192.0.2.9")}}))
	seen.until("a changed peer", func() bool { return len(seen.peers) == 2 && seen.peers[1] == netip.MustParseAddr("192.0.2.9") })
}

// TestNonsenseIsDropped: it neither stops nor delays what makes sense.
func TestNonsenseIsDropped(t *testing.T) {
	r := newRig(t)
	h := &hosting{}
	background(t, natsbus.NewConsumer(h, r.bus).Run)
	nc := r.agent("h1")
	for _, text := range []string{"", "{", `{"host":"h2","router_id":"r","epoch":1}`, `{"stream":"reports","seq":1}`} {
		for _, subject := range []string{"report", "heartbeat"} {
			_, err := nc.Request(subject, []byte(text), patience)
			require.NoError(t, err)
		}
	}
	require.NoError(t, r.source("h1").Report(t.Context(), agent.Report{RouterID: "r", Epoch: 1}))
	control, err := jetstream.New(r.nc)
	require.NoError(t, err)
	stream, err := control.Stream(t.Context(), "reports")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		info, err := stream.Info(t.Context())
		return err == nil && info.State.Msgs == 0
	}, patience, 10*time.Millisecond)
	h.mu.Lock()
	defer h.mu.Unlock()
	require.Len(t, h.reports, 1)
	require.Equal(t, agent.Report{Host: "h1", RouterID: "r", Epoch: 1, At: h.reports[0].At}, h.reports[0])
	require.Empty(t, h.beats)
}

// TestWatchEndsWithItsConnection: one that was closed never comes back.
func TestWatchEndsWithItsConnection(t *testing.T) {
	r := newRig(t)
	r.publish(newWorld("h1"))
	nc := r.agent("h1")
	s, err := natsbus.NewSource(nc, "h1", nil)
	require.NoError(t, err)
	seen := watch(t, s)
	seen.until("the listing is complete", func() bool { return seen.synced == 1 })
	nc.Close()
	seen.until("the channel is closed", func() bool { return seen.closed })
}
