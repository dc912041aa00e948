package natsbus_test

import (
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3/natsbus"
)

// cluster is three servers of one bus.
type cluster struct {
	configs [nodes]natsbus.ServerConfig
	servers [nodes]*natsbus.Server
	urls    []string
}

const nodes = 3

func newCluster(t *testing.T) *cluster {
	t.Helper()
	var routes []netip.AddrPort
	var peers []string
	for range nodes {
		routes = append(routes, freePort(t))
		peers = append(peers, routes[len(routes)-1].String())
	}
	c := &cluster{}
	t.Cleanup(func() {
		for _, s := range c.servers {
			if s != nil {
				s.Shutdown()
			}
		}
	})
	for i := range nodes {
		c.configs[i] = natsbus.ServerConfig{
			Secret: secret, Dir: t.TempDir(), Listen: freePort(t),
			Cluster: &natsbus.ClusterConfig{Name: fmt.Sprintf("n%d", i), Listen: routes[i], Peers: peers},
		}
		c.start(t, i)
		c.urls = append(c.urls, c.servers[i].URL())
	}
	return c
}

func (c *cluster) start(t *testing.T, i int) {
	t.Helper()
	var err error
	c.servers[i], err = natsbus.StartServer(c.configs[i])
	require.NoError(t, err)
}

// open makes a rig whose control plane is connected to the servers that are named.
func (c *cluster) open(t *testing.T, urls []string) *rig {
	t.Helper()
	r := &rig{T: t, nc: connect(t, natsbus.Login{URLs: urls, Password: natsbus.ControlCredential(secret)})}
	r.open(natsbus.Options{Replicas: nodes})
	return r
}

// TestClusterNodesStoppedInTurn: with two of three servers everything goes on, and nobody is told
// that something is gone.
func TestClusterNodesStoppedInTurn(t *testing.T) {
	c := newCluster(t)
	r := c.open(t, c.urls)
	w, h := newWorld("h1"), &hosting{}
	r.publish(w)
	background(t, natsbus.NewConsumer(h, r.bus).Run)
	w.put("h1", "r1", "r2")
	source, err := natsbus.NewSource(connect(t, natsbus.Login{URLs: c.urls, Host: "h1", Password: natsbus.Credential(secret, "h1")}), "h1", nil)
	require.NoError(t, err)
	seen := watch(t, source)
	seen.until("both are there", func() bool { return seen.synced == 1 && len(seen.have) == 2 })
	for i := range nodes {
		c.servers[i].Shutdown()
		w.put("h1", "r1")
		seen.until(fmt.Sprintf("a change without server %d", i), func() bool { return seen.have["r1"].Revision == w.revision("r1") })
		report := agent.Report{RouterID: "r1", Epoch: 1, Revision: w.revision("r1")}
		require.Eventually(t, func() bool { return source.Report(t.Context(), report) == nil }, patience, 50*time.Millisecond)
		require.Eventually(t, func() bool {
			h.mu.Lock()
			defer h.mu.Unlock()
			return len(h.reports) > 0 && h.reports[len(h.reports)-1].Revision == report.Revision
		}, patience, 10*time.Millisecond)
		c.start(t, i)
		w.put("h1", "r2")
		seen.until("a change with it", func() bool { return seen.have["r2"].Revision == w.revision("r2") })
		require.Eventually(t, func() bool { return r.healthy() }, 2*patience, 50*time.Millisecond, "the server catches up")
	}
	require.Empty(t, seen.gone)
	require.False(t, seen.closed)
}

// TestServersOpenANewBusTogether: each finds the bus without streams and without an identity, and
// one of them is first. One has other options, as during an upgrade.
func TestServersOpenANewBusTogether(t *testing.T) {
	const rounds = 20
	c := newCluster(t)
	var buses [nodes]*natsbus.Bus
	together := func(what func(i int) error) {
		t.Helper()
		var g errgroup.Group
		for i := range nodes {
			g.Go(func() error { return what(i) })
		}
		require.NoError(t, g.Wait())
		for _, b := range buses {
			require.Equal(t, buses[0].ID(), b.ID())
		}
	}
	together(func(i int) (err error) {
		nc := connect(t, natsbus.Login{URLs: c.urls[i : i+1], Password: natsbus.ControlCredential(secret)})
		buses[i], err = natsbus.Open(t.Context(), nc, newWorld(), natsbus.Options{Replicas: nodes, Lifetime: time.Duration(1+i/2) * time.Hour})
		return err
	})
	js, err := jetstream.New(connect(t, natsbus.Login{URLs: c.urls, Password: natsbus.ControlCredential(secret)}))
	require.NoError(t, err)
	routers, err := js.Stream(t.Context(), "KV_routers")
	require.NoError(t, err)
	for range rounds {
		require.NoError(t, routers.Purge(t.Context(), jetstream.WithPurgeSubject("$KV.routers.identity")))
		together(func(i int) error { return buses[i].Identify(t.Context()) })
	}
}

// healthy says whether all copies of the routers are up to date.
func (r *rig) healthy() bool {
	js, err := jetstream.New(r.nc)
	require.NoError(r, err)
	for _, name := range []string{"KV_routers", "KV_agents", "KV_peers", "reports"} {
		s, err := js.Stream(r.Context(), name)
		if err != nil || s.CachedInfo().Cluster == nil || s.CachedInfo().Cluster.Leader == "" || len(s.CachedInfo().Cluster.Replicas) != nodes-1 {
			return false
		}
		for _, p := range s.CachedInfo().Cluster.Replicas {
			if !p.Current || p.Offline {
				return false
			}
		}
	}
	return true
}

// TestListingFromAServerThatLags: one that is just back, and behind the others, answers readers
// with what it has. Nobody may take that for everything.
func TestListingFromAServerThatLags(t *testing.T) {
	const routers, behind = 50, 800
	c := newCluster(t)
	r := c.open(t, c.urls[:nodes-1])
	w := newWorld("h1")
	w.put("h1", "old")
	r.publish(w)
	require.Eventually(t, func() bool { return w.pending() == 0 && r.healthy() }, patience, 10*time.Millisecond)
	c.servers[nodes-1].Shutdown()
	js, err := jetstream.New(r.nc)
	require.NoError(t, err)
	ballast := make([]byte, 64<<10)
	for i := range behind {
		_, err := js.PublishAsync(fmt.Sprintf("$KV.routers.other.r%d", i), ballast)
		require.NoError(t, err)
		if i%50 == 0 {
			<-js.PublishAsyncComplete()
		}
	}
	<-js.PublishAsyncComplete()
	ids := make([]string, routers)
	for i := range ids {
		ids[i] = fmt.Sprintf("r%d", i)
	}
	w.put("", "old")
	w.put("h1", ids...)
	require.Eventually(t, func() bool { return w.pending() == 0 }, patience, time.Millisecond)

	c.start(t, nodes-1)
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	source, err := natsbus.NewSource(connect(t, natsbus.Login{URLs: c.urls[:nodes-1], Host: "h1", Password: natsbus.Credential(secret, "h1")}), "h1", log)
	require.NoError(t, err)
	lagged, again := 0, 0
	for last := false; !last; {
		last = r.healthy()
		seen := watch(t, source)
		first := -1 // routers when it was looked at first
		require.Eventually(t, func() bool {
			seen.mu.Lock()
			closed, synced, have := seen.closed, seen.synced == 1, len(seen.have)
			seen.mu.Unlock()
			if first < 0 {
				first = have
			}
			if closed && !synced { // the server that lags does not have what the watch had read from another: an agent reads from the beginning
				again++
				seen = watch(t, source)
			}
			return synced
		}, patience, 10*time.Millisecond, "the listing is complete")
		if first < routers {
			lagged++
		}
		seen.stop()
		require.Len(t, seen.have, routers)
		require.NotContains(t, seen.have, "old")
	}
	t.Logf("%d listings were not there at once, and %d were begun again", lagged, again)
}
