package service_test

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

const clients = 16

// atOnce runs do in many goroutines, and counts what came of it: "" for success, or the refusal's
// name. Any other error fails the test: none of the store's conflicts reaches a client.
func (r *rig) atOnce(do func(client int) error) map[string]int {
	r.Helper()
	results := make([]error, clients)
	var start, done sync.WaitGroup
	start.Add(1)
	for i := range clients {
		done.Go(func() {
			start.Wait()
			results[i] = do(i)
		})
	}
	start.Done()
	done.Wait()
	count := map[string]int{}
	for _, err := range results {
		var refusal *l3.Error
		if err != nil {
			require.Truef(r, errors.As(err, &refusal), "%v is no refusal", err)
			count[refusal.Name]++
		} else {
			count[""]++
		}
	}
	return count
}

func TestRaceTheSameSubnetAttachedByMany(t *testing.T) {
	onRigs(t, func(r *rig) {
		router, s := r.router(), r.inside("10.0.1.0/24")
		spec := l3.InterfaceSpec{SubnetID: s.ID}
		got := r.atOnce(func(int) error { _, err := r.add(router.ID, spec); return err })
		require.Equal(r, map[string]int{"": 1, "BadRequest": clients - 1}, got)
		require.Len(r, r.routerPorts(router.ID), 1)
		got = r.atOnce(func(int) error { _, err := r.remove(router.ID, spec); return err })
		require.Equal(r, map[string]int{"": 1, "RouterInterfaceNotFoundForSubnet": clients - 1}, got)
	})
}

func TestRaceOverlappingSubnetsAttached(t *testing.T) {
	onRigs(t, func(r *rig) {
		router := r.router()
		subnets := make([]l3.Subnet, clients)
		for i := range subnets {
			subnets[i] = r.inside("10.0.1.0/24")
		}
		got := r.atOnce(func(i int) error { _, err := r.add(router.ID, l3.InterfaceSpec{SubnetID: subnets[i].ID}); return err })
		require.Equal(r, map[string]int{"": 1, "BadRequest": clients - 1}, got)
	})
}

func TestRaceASubnetsGatewayWantedByManyRouters(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := r.inside("10.0.1.0/24")
		ok(r.SetQuota(r.Context(), r.admin, "p1", map[string]int{"router": -1}))(r)
		routers := ok(r.CreateRouters(r.Context(), r.member, make([]l3.RouterSpec, clients)...))(r)
		got := r.atOnce(func(i int) error { _, err := r.add(routers[i].ID, l3.InterfaceSpec{SubnetID: s.ID}); return err })
		require.Equal(r, map[string]int{"": 1, "IpAddressInUse": clients - 1}, got)
	})
}

func TestRaceAPortWantedByManyFloatingIPs(t *testing.T) {
	onRigs(t, func(r *rig) {
		ext, s := r.external("public", "203.0.113.0/24"), r.inside("10.0.1.0/24")
		r.routerTo(ext, s)
		p := r.port(r.member, s)
		fips := make([]l3.FloatingIP, clients)
		for i := range fips {
			fips[i] = r.fip(ext, "")
		}
		got := r.atOnce(func(i int) error { return r.tryBind(r.member, fips[i], l3.FloatingIPSpec{PortID: &p.ID}) })
		require.Equal(r, map[string]int{"": 1, "FloatingIPPortAlreadyAssociated": clients - 1}, got)
	})
}

func TestRaceAFloatingIPWantedByManyPorts(t *testing.T) {
	onRigs(t, func(r *rig) {
		r.agent("h1")
		ext, s := r.external("public", "203.0.113.0/24"), r.inside("10.0.1.0/24")
		router := r.routerTo(ext, s)
		ports := make([]l3.Port, clients)
		for i := range ports {
			ports[i] = r.port(r.member, s)
		}
		f := r.fip(ext, "")
		got := r.atOnce(func(i int) error { return r.tryBind(r.member, f, l3.FloatingIPSpec{PortID: &ports[i].ID}) })
		require.Equal(r, map[string]int{"": clients}, got, "one after another")
		last := ok(r.GetFloatingIP(r.Context(), r.member, f.ID))(r)
		got1 := r.report(router.ID)
		require.Equal(r, last.FixedIP, got1.Router.FloatingIPs[0].Fixed)
		require.Equal(r, last.StateRevision, got1.Revision)
	})
}

func TestRaceAddressesFromANearlyFullPool(t *testing.T) {
	onRigs(t, func(r *rig) {
		ext := r.external("public", "203.0.113.0/28")
		got := r.atOnce(func(int) error { return r.tryFIP(r.member, l3.FloatingIPSpec{NetworkID: &ext.ID}) })
		require.Equal(r, map[string]int{"": 13, "IpAddressGenerationFailure": clients - 13}, got)
		seen := map[netip.Addr]bool{}
		for _, f := range ok(r.ListFloatingIPs(r.Context(), r.member, l3.Query{}))(r) {
			seen[f.Address] = true
		}
		require.Len(r, seen, 13)
	})
}

func TestRaceDeletesAgainstBinds(t *testing.T) {
	onRigs(t, func(r *rig) {
		ext, s := r.external("public", "203.0.113.0/24"), r.inside("10.0.1.0/24")
		router := r.routerTo(ext, s)
		p, f := r.port(r.member, s), r.fip(ext, "")
		ctx := r.Context()
		acts := []func() error{
			func() error { return r.tryBind(r.member, f, l3.FloatingIPSpec{PortID: &p.ID}) },
			func() error { return r.DeletePort(ctx, r.member, p.ID, l3.If{}) },
			func() error { _, err := r.remove(router.ID, l3.InterfaceSpec{SubnetID: s.ID}); return err },
			func() error { _, err := r.setGateway(r.member, router.ID, l3.GatewaySpec{}); return err },
			func() error { return r.DeleteRouter(ctx, r.member, router.ID, l3.If{}) },
			func() error { return r.tryBind(r.member, f, l3.FloatingIPSpec{}) },
			func() error { return r.DeleteFloatingIP(ctx, r.member, f.ID, l3.If{}) },
			func() error { _, err := r.add(router.ID, l3.InterfaceSpec{SubnetID: s.ID}); return err },
		}
		got := r.atOnce(func(i int) error { return acts[i%len(acts)]() })
		require.Positive(r, got[""])
	})
}

// TestRaceFailover: several processes reschedule, agents come and go, and routers change, and yet
// each router has one host, and moves once.
func TestRaceFailover(t *testing.T) {
	onRigs(t, func(r *rig) {
		ext := r.external("public", "203.0.113.0/24")
		a := r.agent("h1")
		var routers []l3.Router
		for range 4 {
			routers = append(routers, r.routerTo(ext))
		}
		r.clock.sleep(time.Minute)
		r.agent("h2")
		r.agent("h3")
		r.clock.sleep(time.Minute)
		r.agent("h2")
		r.atOnce(func(i int) error {
			var err error
			ctx := context.Background()
			switch i % 4 {
			case 0:
				_, err = r.Reschedule(ctx, 100)
			case 1:
				_, err = r.Heartbeat(ctx, agent.Heartbeat{Host: "h2"})
			case 2:
				router := routers[i/4]
				_, err = r.setGateway(r.admin, router.ID, l3.GatewaySpec{NetworkID: ext.ID, EnableSNAT: new(false)})
			default:
				err = r.Report(ctx, agent.Report{Host: a.Host, RouterID: routers[i/4].ID, Epoch: 1, Revision: 1})
			}
			return err
		})
		ok(r.Reschedule(r.Context(), 100))(r)
		require.Empty(r, ok(r.DesiredOn(r.Context(), "h1"))(r))
		hosted := append(ok(r.DesiredOn(r.Context(), "h2"))(r), ok(r.DesiredOn(r.Context(), "h3"))(r)...)
		require.Len(r, hosted, len(routers))
		for _, n := range r.notices(nil) {
			require.NotRegexp(r, " [3-9]( gone)?$", n, "nobody moved a router twice")
		}
		require.Zero(r, ok(r.Reschedule(r.Context(), 100))(r))
	})
}
