package natsbus_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/natsbus"
)

// TestClusterNodesStoppedInTurn: with two of three servers everything goes on, and nobody is told that something is gone.
func TestClusterNodesStoppedInTurn(t *testing.T) {
	const nodes = 3
	var routes []netip.AddrPort
	var peers []string
	for range nodes {
		routes = append(routes, freePort(t))
		peers = append(peers, routes[len(routes)-1].String())
	}
	configs, urls := make([]natsbus.ServerConfig, nodes), make([]string, nodes)
	servers := make([]*natsbus.Server, nodes)
	for i := range configs {
		configs[i] = natsbus.ServerConfig{
			Secret: secret, Dir: t.TempDir(), Listen: freePort(t),
			Cluster: &natsbus.ClusterConfig{Name: fmt.Sprintf("n%d", i), Listen: routes[i], Peers: peers},
		}
		var err error
		servers[i], err = natsbus.StartServer(configs[i])
		require.NoError(t, err)
		urls[i] = servers[i].URL()
	}
	t.Cleanup(func() {
		for _, s := range servers {
			s.Shutdown()
		}
	})
	r := &rig{T: t, nc: connect(t, natsbus.Login{URLs: urls, Password: natsbus.ControlCredential(secret)})}
	var err error
	r.bus, err = natsbus.Open(t.Context(), r.nc, natsbus.Options{Replicas: nodes})
	require.NoError(t, err)
	w, h := newWorld("h1"), &hosting{}
	r.publish(w)
	background(t, natsbus.NewConsumer(h, r.bus).Run)
	w.put("h1", "r1", "r2")
	source, err := natsbus.NewSource(connect(t, natsbus.Login{URLs: urls, Host: "h1", Password: natsbus.Credential(secret, "h1")}), "h1", nil)
	require.NoError(t, err)
	seen := watch(t, source)
	seen.until("both are there", func() bool { return seen.synced == 1 && len(seen.have) == 2 })
	for i := range nodes {
		servers[i].Shutdown()
		w.put("h1", "r1")
		seen.until(fmt.Sprintf("a change without server %d", i), func() bool { return seen.have["r1"].Revision == w.revision("r1") })
		report := l3.Report{RouterID: "r1", Epoch: 1, Generation: w.revision("r1")}
		require.Eventually(t, func() bool { return source.Report(t.Context(), report) == nil }, patience, 50*time.Millisecond)
		require.Eventually(t, func() bool {
			h.mu.Lock()
			defer h.mu.Unlock()
			return len(h.reports) > 0 && h.reports[len(h.reports)-1].Generation == report.Generation
		}, patience, 10*time.Millisecond)
		servers[i], err = natsbus.StartServer(configs[i])
		require.NoError(t, err)
		w.put("h1", "r2")
		seen.until("a change with it", func() bool { return seen.have["r2"].Revision == w.revision("r2") })
		require.Eventually(t, func() bool { return r.healthy(nodes) }, 2*patience, 50*time.Millisecond, "the server catches up")
	}
	require.Empty(t, seen.gone)
	require.False(t, seen.closed)
}

// healthy says whether all copies of the routers are up to date.
func (r *rig) healthy(nodes int) bool {
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
