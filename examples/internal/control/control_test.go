package control_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/examples/internal/setting"
	"github.com/l3kit/l3kit/l3/l3test"
	"github.com/l3kit/l3kit/l3/natsbus"
)

func connect(t *testing.T, l natsbus.Login) *nats.Conn {
	t.Helper()
	nc, err := natsbus.Connect(l)
	require.NoError(t, err)
	t.Cleanup(func() {
		closed := nc.StatusChanged(nats.CLOSED)
		nc.Close()
		<-closed
	})
	return nc
}

func TestRequestBecomesActive(t *testing.T) {
	s := start(t)
	eventually(t, "it is ready", s.ready)
	kernel, _ := join(t, s.control.Login("h1"), "h1", time.Second)
	router := s.router(1)
	eventually(t, "the router is ACTIVE", func() bool { return s.active(router) })
	_, there := kernel.Router(router)
	require.True(t, there)
	eventually(t, "the outbox is empty", func() bool { return strings.Contains(s.metrics(), "l3kit_outbox_notices 0") })
	for _, want := range []string{
		`l3kit_agents{state="alive"} 1`, `l3kit_agents{state="silent"} 0`, "l3kit_bus_heartbeats_total", "l3kit_bus_published_total",
		"l3kit_failover_moves_total 0", `l3kit_http_request_duration_seconds_count{method="POST",status="201"} 3`,
	} {
		require.Contains(t, s.metrics(), want)
	}
	require.NotContains(t, s.metrics(), "l3kit_bus_reports_total 0")
}

// TestFailover: a dead agent's routers are elsewhere a little after --agent-down-time, through all
// of the server's own wiring.
func TestFailover(t *testing.T) {
	const routers = 20
	s := start(t, "--agent-down-time=3s", "--quota=router=-1", "--quota=network=-1", "--quota=subnet=-1")
	_, kill := join(t, s.control.Login("h1"), "h1", time.Second)
	var ids []string
	for i := range routers {
		ids = append(ids, s.router(i))
	}
	all := func() bool {
		for _, id := range ids {
			if !s.active(id) {
				return false
			}
		}
		return true
	}
	eventually(t, "all are ACTIVE", all)
	kernel, _ := join(t, s.control.Login("h2"), "h2", time.Second)
	moved := func() bool {
		for _, id := range ids {
			if _, there := kernel.Router(id); !there {
				return false
			}
		}
		return true
	}
	eventually(t, "the other is there", func() bool { return strings.Contains(s.metrics(), `l3kit_agents{state="alive"} 2`) })
	time.Sleep(4 * time.Second) // the grace after the start
	kill()
	died := time.Now()
	eventually(t, "all are on the other host, and ACTIVE again", func() bool { return moved() && all() })
	t.Logf("%d routers have moved %s after their agent ended", routers, time.Since(died).Round(time.Millisecond))
	require.Contains(t, s.metrics(), fmt.Sprintf("l3kit_failover_moves_total %d", routers))
}

// TestTwoServersAndAClusterOfThree: the API serves before there is a quorum, and when one server is
// gone the other does its work.
func TestTwoServersAndAClusterOfThree(t *testing.T) {
	for name, database := range l3test.Databases() {
		t.Run(name, func(t *testing.T) {
			address := database(t)
			var routes, urls []string
			for range 3 {
				routes = append(routes, freeAddress(t))
				urls = append(urls, freeAddress(t))
			}
			node := func(i int) *server {
				return start(t, "--database="+address, "--bus-listen="+urls[i], "--bus-cluster-name=n"+fmt.Sprint(i), "--bus-cluster-listen="+routes[i],
					"--bus-cluster-peers="+strings.Join(routes, ","))
			}
			one := node(0)
			router := one.router(1)
			require.Contains(t, one.says("/readyz"), "waiting for a quorum of servers")
			two := node(1)
			third, err := natsbus.StartServer(natsbus.ServerConfig{
				Secret: []byte(secret), Dir: t.TempDir(), Listen: netip.MustParseAddrPort(urls[2]),
				Cluster: &natsbus.ClusterConfig{Name: "n2", Listen: netip.MustParseAddrPort(routes[2]), Peers: routes},
			})
			require.NoError(t, err)
			t.Cleanup(third.Shutdown)
			for _, s := range []*server{one, two} {
				eventually(t, "it is ready", s.ready)
			}
			var login natsbus.Login
			for _, u := range urls {
				login.URLs = append(login.URLs, "nats://"+u)
			}
			join(t, login, "h1", time.Second)
			eventually(t, "what was asked of one is ACTIVE by the other", func() bool { return two.active(router) })
			one.stop()
			router = two.router(2)
			eventually(t, "the other goes on alone", func() bool { return two.active(router) })
		})
	}
}

// TestDistributed: routers whose callers do not say are as --distributed has them.
func TestDistributed(t *testing.T) {
	for want, args := range map[bool][]string{true: {"--distributed"}, false: nil} {
		s := start(t, args...)
		require.Equal(t, want, s.call(http.MethodGet, "routers/"+s.router(1), nil, http.StatusOK)["router"]["distributed"])
	}
}

// TestOpenLeavesNothing: what was begun when something turns out to be wrong is ended; TestMain
// looks for what runs.
func TestOpenLeavesNothing(t *testing.T) {
	busy := freeAddress(t)
	s := start(t, "--bus-listen="+busy)
	for _, c := range []struct {
		says string
		args []string
	}{
		{"address already in use", []string{"--bus-listen=" + busy}},
		{"--listen: listen: listen tcp " + s.control.Address(), []string{"--listen=" + s.control.Address()}},
		{"give the password of its user control (--bus-password-file)", []string{"--bus=nats://" + busy, "--bus-password=wrong"}},
		{"no servers available", []string{"--bus=nats://127.0.0.1:1"}},
		{"/dev/null", []string{"--bus-dir=/dev/null/bus"}},
	} {
		f := flags(t, c.args...)
		_, err := f.Open(t.Context(), newProcess(t))
		require.ErrorContains(t, err, c.says)
	}
	s.call(http.MethodGet, "routers", nil, http.StatusOK)
}

// TestOtherDeployment: a bus that belongs to another database is refused, with the flags that help,
// once.
func TestOtherDeployment(t *testing.T) {
	dir := "--bus-dir=" + filepath.Join(t.TempDir(), "bus")
	start(t, dir).stop()
	_, err := flags(t, dir).Open(t.Context(), newProcess(t))
	require.ErrorContains(t, err, "open bus: it belongs to deployment ")
	for _, flag := range []string{"--database", "--bus-dir", "--bus-take-over"} {
		require.Equal(t, 1, strings.Count(err.Error(), flag), err)
	}
	require.NotContains(t, err.Error(), "restore the database")
	var invalid *setting.Error
	require.ErrorAs(t, err, &invalid)
	start(t, dir, "--bus-take-over")
}

// TestHostNames: without authentication, a page of a site whose name leads to this server is
// refused.
func TestHostNames(t *testing.T) {
	s := start(t, "--allowed-hosts=network.example", "--url=http://public.example:9696/")
	own, err := os.Hostname()
	require.NoError(t, err)
	for host, want := range map[string]int{
		"": 200, "localhost:9696": 200, "192.0.2.1": 200, "network.example:9696": 200, "public.example": 200, own: 200,
		"evil.example:9696": 403, "evil.network.example": 403,
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"networks", nil)
		require.NoError(t, err)
		r.Host = host
		got, err := http.DefaultTransport.RoundTrip(r)
		require.NoError(t, err)
		require.NoError(t, got.Body.Close())
		require.Equal(t, want, got.StatusCode, host)
	}
}
