package trial_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/internal/test/deployment"
	"github.com/l3kit/l3kit/internal/test/lab"
)

// TestNothingIsTornDown has four agents with forty routers, two servers on PostgreSQL and three
// nodes of the bus, two of them in the servers. One after the other is restarted, killed and
// stopped, and no packet is lost: what forwards needs none of them. What is asked meanwhile is
// realised.
func TestNothingIsTornDown(t *testing.T) {
	db := newDatabase(t)
	s := start(t, deployment.Config{Servers: 2, Database: db.URL, Hosts: 4, AgentDownTime: 2 * time.Minute, Heartbeat: 2 * time.Second})
	one, two := s.Servers[0], s.Servers[1]

	began := time.Now()
	tenants := s.tenants("t", 40, one.API, two.API)
	asked := time.Since(began)
	s.active(one.API, tenants...)
	t.Logf("40 tenants: asked for in %s, ACTIVE after %s", asked, time.Since(began))
	homes, namespaces := s.homes(one.API, tenants), s.namespaces()
	for _, h := range s.Hosts {
		require.Len(t, namespaces[h.Name], 10, "routers on %s", h.Name)
	}

	// Two of each host's routers, with their workloads on the next host and the one after that.
	var sample []*deployment.Tenant
	have := map[string]int{}
	for _, tenant := range tenants {
		home := homes[tenant.Router]
		if have[home]++; have[home] <= 2 {
			at := slices.IndexFunc(s.Hosts, func(h *deployment.Host) bool { return h.Name == home })
			s.serve(s.Hosts[(at+have[home])%len(s.Hosts)], tenant)
			sample = append(sample, tenant)
		}
	}
	// same is that every router is where it was, and was never made anew.
	same := func(what string) {
		t.Helper()
		require.Equal(t, homes, s.homes(two.API, tenants), what)
		now := s.namespaces()
		for host, routers := range namespaces {
			for id, ns := range routers {
				require.Equal(t, ns, now[host][id], "%s: router %s on %s", what, id, host)
			}
		}
	}
	// extra are asked for amid a failure, and realised then or later.
	var extra []*deployment.Tenant

	for _, h := range s.Hosts {
		s.lossless("restart "+h.Name, sample, func() {
			asked := time.Now()
			require.NoError(t, h.Agent.Terminate(within(t, 10*time.Second)))
			t.Logf("%s ended in %s", h.Name, time.Since(asked))
			require.NoError(t, h.Agent.Start())
			require.NoError(t, h.Ready(within(t, 30*time.Second)))
		})
		s.lossless("kill "+h.Name, sample, func() {
			require.NoError(t, h.Agent.Kill())
			extra = append(extra, s.tenants("while-"+h.Name+"-is-away-", 1, one.API)...)
			require.NoError(t, h.Agent.Start())
			require.NoError(t, h.Ready(within(t, 30*time.Second)))
		})
	}
	s.active(two.API, extra...)
	same("agents were restarted and killed")

	s.lossless("the database stands still for 10 s, and is away for 10 s", sample, func() {
		thaw := db.freeze()
		time.Sleep(10 * time.Second)
		thaw()
		crashed := time.Now()
		restart := db.crash()
		_, err := deployment.HostOf(within(t, 30*time.Second), one.API, tenants[0].Router)
		require.Error(t, err, "the API says that it cannot")
		t.Logf("the API said that it cannot after %s: %v", time.Since(crashed).Round(time.Millisecond), err)
		time.Sleep(time.Until(crashed.Add(10 * time.Second)))
		restart()
		s.ready(one, two)
	})
	extra = append(extra, s.tenants("after-database-", 2, one.API, two.API)...)
	s.active(two.API, extra...)
	same("the database was away")

	// A node in a server, alone, and another one: each time the others are enough.
	s.lossless("stop the node of the bus", sample, func() {
		require.NoError(t, s.Node.Terminate(within(t, 20*time.Second)))
		made := s.tenants("without-node-", 2, one.API, two.API)
		s.active(one.API, made...)
		extra = append(extra, made...)
		require.NoError(t, s.Node.Start())
	})
	for i, server := range s.Servers {
		other := s.Servers[1-i]
		s.lossless("stop "+server.Name, sample, func() {
			s.ready(server, other)
			require.NoError(t, server.Process.Terminate(within(t, 20*time.Second)))
			made := s.tenants("without-"+server.Name+"-", 2, other.API)
			s.active(other.API, made...)
			extra = append(extra, made...)
			require.NoError(t, server.Process.Start())
			s.ready(server, other)
		})
	}
	same("each node of the bus was stopped")

	s.lossless("kill a server, and the node with it: the bus stands still", sample, func() {
		require.NoError(t, one.Process.Kill())
		require.NoError(t, s.Node.Kill())
		made := s.tenants("without-bus-", 2, two.API)
		time.Sleep(2 * time.Second)
		require.NoError(t, s.Node.Start())
		s.ready(two)
		s.active(two.API, made...)
		extra = append(extra, made...)
		require.NoError(t, one.Process.Start())
		s.ready(one, two)
	})
	s.active(one.API, append(tenants, extra...)...)
	same("a server was killed")

	// What was asked for amid failures passes packets as well.
	for i, tenant := range extra {
		s.serve(s.Hosts[i%len(s.Hosts)], tenant)
	}
	s.lossless("all of it, while one is removed", append(sample, extra[1:]...), func() {
		require.NoError(t, extra[0].Remove(within(t, 20*time.Second), one.API))
		require.Eventually(t, func() bool {
			for _, routers := range s.namespaces() {
				if _, there := routers[extra[0].Router]; there {
					return false
				}
			}
			return true
		}, lab.Patience(20*time.Second), 20*time.Millisecond)
	})
}

func (s *site) ready(servers ...*deployment.Server) {
	s.Helper()
	for _, server := range servers {
		require.NoError(s, server.Ready(within(s.T, 60*time.Second)))
	}
}
