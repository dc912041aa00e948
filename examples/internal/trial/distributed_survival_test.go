package trial_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/internal/backoff"
	"github.com/l3kit/l3kit/internal/test/deployment"
	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/internal/test/needs"
)

// pair is a distributed router on two networks, with a workload of each on different hosts.
type pair struct {
	*deployment.Tiers
	hosts [2]*deployment.Host
	from  *lab.Host // the first workload; nil: it is not attached
}

// pairs makes so many at once, through all APIs in turn, and binds their workloads to hosts. The
// first thirty pairs are on all thirty ordered pairs of six hosts.
func (s *site) pairs(prefix string, n int, apis ...*gophercloud.ServiceClient) []*pair {
	s.Helper()
	made := make([]*pair, n)
	var g errgroup.Group
	g.SetLimit(8)
	ctx := within(s.T, 2*time.Minute)
	for i := range made {
		g.Go(func() (err error) {
			api, hosts := apis[i%len(apis)], len(s.Hosts)
			p := &pair{hosts: [2]*deployment.Host{s.Hosts[i%hosts], s.Hosts[(i+1+i/hosts%(hosts-1))%hosts]}}
			if p.Tiers, err = deployment.NewTiers(ctx, api, s.external, fmt.Sprint(prefix, i), 2); err != nil {
				return fmt.Errorf("%s%d: %w", prefix, i, err)
			}
			for k, h := range p.hosts {
				if err := p.Tiers.Tiers[k].Place(ctx, api, h.Name); err != nil {
					return fmt.Errorf("bind %s: %w", p.Tiers.Tiers[k].Name, err)
				}
			}
			made[i] = p
			return nil
		})
	}
	require.NoError(s, g.Wait())
	return made
}

// paired waits until the API says of the pairs' routers that all is as they asked.
func (s *site) paired(api *gophercloud.ServiceClient, pairs ...*pair) {
	s.Helper()
	ctx := within(s.T, time.Minute)
	for _, p := range pairs {
		for {
			status, reason, err := deployment.StatusOf(ctx, api, p.Router)
			if err == nil && status == "ACTIVE" {
				break
			}
			if backoff.Sleep(ctx, 20*time.Millisecond) != nil {
				require.NoError(s, err)
				require.Failf(s, "not ACTIVE", "router %s of %s is %s (%s)", p.Router, p.Name, status, reason)
			}
		}
	}
}

// attach puts the pair's workloads on their hosts, with an echo service on the second.
func (s *site) attach(p *pair) {
	s.Helper()
	var err error
	p.from, err = p.hosts[0].Attach(within(s.T, 20*time.Second), p.Tiers.Tiers[0])
	require.NoError(s, err)
	s.serve(p.hosts[1], p.Tiers.Tiers[1])
}

// between requires that nothing is lost between the workloads of pairs while something is done.
func (s *site) between(what string, pairs []*pair, do func()) {
	s.Helper()
	streams := map[string]*lab.Stream{}
	for _, p := range pairs {
		to := p.Tiers.Tiers[1].Fixed
		stream, err := p.from.Stream(within(s.T, 20*time.Second), netip.AddrPort{}, netip.AddrPortFrom(to, echoPort), interval)
		require.NoError(s, err, "%s, from %s to %s", p.Name, p.hosts[0].Name, p.hosts[1].Name)
		streams[fmt.Sprintf("%s, router %s, from %s to %s", p.Name, p.Router, p.hosts[0].Name, p.hosts[1].Name)] = stream
	}
	s.unbroken(what, streams, do)
}

// TestDistributedRoutersAreNotTornDown has six agents with distributed routers, two servers on
// PostgreSQL and three nodes of the bus, two of them in the servers. Agents are restarted and
// killed, the database and the bus are away, and no packet between networks is lost. What is asked
// meanwhile is realised. Forty routers, and hosts with Open vSwitch, are for make trial.
func TestDistributedRoutersAreNotTornDown(t *testing.T) {
	if !everything() {
		testDistributedSurvival(t, deployment.WiringBridge, 12)
		return
	}
	needs.Program(t, "ovs-vswitchd", "openvswitch-switch")
	for _, wiring := range []string{deployment.WiringBridge, deployment.WiringOVS} {
		t.Run(wiring, func(t *testing.T) { testDistributedSurvival(t, wiring, 40) })
	}
}

func testDistributedSurvival(t *testing.T, wiring string, routers int) {
	const hosts = 6
	db := newDatabase(t)
	s := start(t, deployment.Config{
		Servers: 2, Database: db.URL, Hosts: hosts, Wiring: wiring, AgentDownTime: 2 * time.Minute, Heartbeat: 2 * time.Second,
		AgentFlags: func(h *deployment.Host) []string {
			if h.Number < hosts-2 {
				return []string{"--mode=" + agent.ModeDVR}
			}
			return []string{"--mode=" + agent.ModeDVRSNAT}
		},
	})
	one, two := s.Servers[0], s.Servers[1]

	began := time.Now()
	pairs := s.pairs("p", routers, one.API, two.API)
	asked := time.Since(began)
	s.paired(one.API, pairs...)
	t.Logf("%d distributed routers: asked for in %s, ACTIVE after %s", routers, asked, time.Since(began))
	namespaces := s.namespaces()
	parts := map[bool]int{}
	for host, all := range namespaces {
		for id := range all {
			centre := strings.HasPrefix(id, dataplane.CentreID(""))
			parts[centre]++
			if centre {
				require.Contains(t, []string{s.Hosts[hosts-2].Name, s.Hosts[hosts-1].Name}, host)
			}
		}
	}
	require.Equal(t, map[bool]int{true: routers, false: 2 * routers}, parts, "a centre each, and an edge for each workload")

	sample := pairs[:12]
	for _, p := range sample {
		s.attach(p)
	}
	// same is that no part of any router was made anew.
	same := func(what string) {
		t.Helper()
		now := s.namespaces()
		for host, all := range namespaces {
			for id, ns := range all {
				require.Equal(t, ns, now[host][id], "%s: router %s on %s", what, id, host)
			}
		}
	}
	// extra are asked for amid a failure, and realised then or later.
	var extra []*pair

	for _, h := range []*deployment.Host{s.Hosts[0], s.Hosts[hosts-1]} {
		s.between("restart "+h.Name, sample, func() {
			require.NoError(t, h.Agent.Terminate(within(t, 10*time.Second)))
			require.NoError(t, h.Agent.Start())
			require.NoError(t, h.Ready(within(t, 30*time.Second)))
		})
		s.between("kill "+h.Name, sample, func() {
			require.NoError(t, h.Agent.Kill())
			extra = append(extra, s.pairs("while-"+h.Name+"-is-away-", 1, one.API)...)
			require.NoError(t, h.Agent.Start())
			require.NoError(t, h.Ready(within(t, 30*time.Second)))
		})
	}
	s.paired(two.API, extra...)
	same("agents were restarted and killed")

	s.between("the database is away for 5 s", sample, func() {
		crashed := time.Now()
		restart := db.crash()
		time.Sleep(time.Until(crashed.Add(5 * time.Second)))
		restart()
		s.ready(one, two)
	})
	extra = append(extra, s.pairs("after-database-", 1, two.API)...)
	s.paired(two.API, extra...)
	same("the database was away")

	s.between("kill a server, and the node with it: the bus stands still", sample, func() {
		require.NoError(t, one.Process.Kill())
		require.NoError(t, s.Node.Kill())
		made := s.pairs("without-bus-", 2, two.API)
		time.Sleep(2 * time.Second)
		require.NoError(t, s.Node.Start())
		s.ready(two)
		s.paired(two.API, made...)
		extra = append(extra, made...)
		require.NoError(t, one.Process.Start())
		s.ready(one, two)
	})
	s.paired(one.API, slices.Concat(pairs, extra)...)
	same("a server was killed")

	// What was asked for amid failures passes packets as well.
	for _, p := range extra {
		s.attach(p)
	}
	s.between("all of it", slices.Concat(sample, extra), func() {})
}
