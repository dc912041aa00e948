package trial_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/floatingips"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/l3kit/l3kit/internal/backoff"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/test/deployment"
	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/internal/test/needs"
)

// site is a cluster with an external network.
type site struct {
	*testing.T
	*deployment.Cluster
	external string

	// userspace says that hosts use Open vSwitch's userspace datapath. That loses packets to tunnels
	// whenever a device of the host comes, goes or changes: ovs-vswitchd then forgets its routes, and
	// reads them again (lib/route-table.c).
	userspace bool
}

// start starts a cluster that ends with the test. If the test fails, what its programs said last is
// shown.
func start(t *testing.T, c deployment.Config) *site {
	t.Helper()
	needs.Root(t)
	c.Server, c.Agent = deployment.Self("server"), deployment.Self("agent")
	ctx := within(t, 90*time.Second)
	cl, err := deployment.Start(ctx, c)
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := cl.Complaints(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(cl.LastWords())
		}
		require.NoError(t, cl.Close())
	})
	s := &site{T: t, Cluster: cl, userspace: c.Wiring == deployment.WiringOVS}
	s.external, err = deployment.NewExternal(ctx, s.api(), deployment.Physical, deployment.ExternalNet, deployment.OutsideAddr)
	require.NoError(t, err)
	return s
}

// api is that of the first server.
func (s *site) api() *gophercloud.ServiceClient { return s.Servers[0].API }

// tenants makes so many at once, through all APIs in turn.
func (s *site) tenants(prefix string, n int, apis ...*gophercloud.ServiceClient) []*deployment.Tenant {
	s.Helper()
	if len(apis) == 0 {
		apis = append(apis, s.api())
	}
	made := make([]*deployment.Tenant, n)
	var g errgroup.Group
	g.SetLimit(8)
	ctx := within(s.T, time.Minute)
	for i := range made {
		g.Go(func() (err error) {
			made[i], err = deployment.NewTenant(ctx, apis[i%len(apis)], s.external, fmt.Sprint(prefix, i))
			return err
		})
	}
	require.NoError(s, g.Wait())
	return made
}

// active waits until the API says of the tenants that all is as they asked.
func (s *site) active(api *gophercloud.ServiceClient, tenants ...*deployment.Tenant) {
	s.Helper()
	ctx := within(s.T, 40*time.Second)
	for _, t := range tenants {
		for {
			status, reason, err := deployment.StatusOf(ctx, api, t.Router)
			var f *floatingips.FloatingIP
			if err == nil && status == "ACTIVE" {
				if f, err = floatingips.Get(ctx, api, t.FloatingIP).Extract(); err == nil && f.Status == "ACTIVE" {
					break
				}
			}
			if backoff.Sleep(ctx, 20*time.Millisecond) != nil {
				require.NoError(s, err)
				require.Failf(s, "not ACTIVE", "router %s of %s is %s (%s), its floating IP %+v", t.Router, t.Name, status, reason, f)
			}
		}
	}
}

const echoPort = 7

// serve puts a tenant's workload on a host, with an echo service on it.
func (s *site) serve(on *deployment.Host, t *deployment.Tenant) *lab.Host {
	s.Helper()
	w, err := on.Attach(within(s.T, 20*time.Second), t)
	require.NoError(s, err)
	service, err := w.Serve(echoPort)
	require.NoError(s, err)
	s.Cleanup(func() { require.NoError(s, service.Close()) })
	return w
}

// homes are where the database has the tenants' routers.
func (s *site) homes(api *gophercloud.ServiceClient, tenants []*deployment.Tenant) map[string]string {
	s.Helper()
	homes := map[string]string{}
	for _, t := range tenants {
		var err error
		homes[t.Router], err = deployment.HostOf(s.Context(), api, t.Router)
		require.NoError(s, err)
	}
	return homes
}

// namespaces are those of all routers, by host and router.
func (s *site) namespaces() map[string]map[string]netns.ID {
	s.Helper()
	all := map[string]map[string]netns.ID{}
	for _, h := range s.Hosts {
		var err error
		all[h.Name], err = h.Routers()
		require.NoError(s, err)
	}
	return all
}

const (
	interval   = 20 * time.Millisecond // between a stream's datagrams
	afterwards = 25                    // datagrams that must still return when something was done
)

// streams begins one from outside to each tenant's floating IP.
func (s *site) streams(tenants []*deployment.Tenant) map[*deployment.Tenant]*lab.Stream {
	s.Helper()
	begun := make([]*lab.Stream, len(tenants))
	var g errgroup.Group
	g.SetLimit(8)
	ctx := within(s.T, 20*time.Second)
	for i, t := range tenants {
		g.Go(func() (err error) {
			if begun[i], err = s.Outside.Stream(ctx, netip.AddrPort{}, netip.AddrPortFrom(t.Floating, echoPort), interval); err != nil {
				err = fmt.Errorf("to %s: %w", t.Name, err)
			}
			return err
		})
	}
	require.NoError(s, g.Wait())
	streams := map[*deployment.Tenant]*lab.Stream{}
	for i, t := range tenants {
		streams[t] = begun[i]
	}
	return streams
}

// lossless requires that nothing is lost to the tenants while something is done.
func (s *site) lossless(what string, tenants []*deployment.Tenant, do func()) {
	s.Helper()
	streams := map[string]*lab.Stream{}
	for t, stream := range s.streams(tenants) {
		streams[fmt.Sprintf("to %s on %s, router %s", t.Name, t.Floating, t.Router)] = stream
	}
	s.unbroken(what, streams, do)
}

// complete requires that nothing of a stream is lost. On the userspace datapath datagrams may be, but
// all must come from one source: the connection has not been translated anew.
func (s *site) complete(what string, flow lab.Flow) {
	s.Helper()
	switch {
	case flow.Lost == 0:
	case s.userspace && len(flow.Sources) == 1 && flow.Unsent == nil:
		s.Logf("%s: on the userspace datapath: %s", what, flow)
	default:
		s.Errorf("%s: %s", what, flow)
	}
}

// unbroken requires that nothing is lost of streams, by their descriptions, while something is
// done. It ends the streams.
func (s *site) unbroken(what string, streams map[string]*lab.Stream, do func()) {
	s.Helper()
	began := time.Now()
	do()
	ctx := within(s.T, 5*time.Second)
	var passed errgroup.Group
	for name, stream := range streams {
		passed.Go(func() error {
			if err := stream.Pause(ctx, afterwards); err != nil {
				return fmt.Errorf("%s: %s: %w", what, name, err)
			}
			return nil
		})
	}
	require.NoError(s, passed.Wait())
	sent := 0
	for name, stream := range streams {
		flow := stream.Stop(ctx)
		s.complete(what+": "+name, flow)
		sent += flow.Sent
	}
	s.Logf("%s: %d datagrams in %d streams, %s", what, sent, len(streams), time.Since(began).Round(100*time.Millisecond))
	if s.Failed() {
		s.FailNow()
	}
}
