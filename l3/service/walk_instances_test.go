package service_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/service"
)

// TestWalkOfDistributedRouters: after any sequence of requests and of messages from hosts, wrong
// ones among them, every instance of a distributed router compiles, and its host was told of what
// has changed. In the end nothing is left.
func TestWalkOfDistributedRouters(t *testing.T) {
	const walks, steps = 6, 60
	onRigs(t, func(r *rig) {
		ok(r.SetQuota(r.Context(), r.admin, "p1", map[string]int{"network": -1, "subnet": -1, "router": -1}))(r)
		granted := map[string]int{}
		for seed := range uint64(walks) {
			w := newInstanceWalk(r, rand.New(rand.NewPCG(seed, 1)), granted)
			for range steps {
				w.run(pick(w.walk, append(w.steps(), w.ofInstances()...)))
				w.look()
			}
			w.clean()
		}
		for _, s := range newInstanceWalk(r, rand.New(rand.NewPCG(0, 1)), granted).ofInstances() {
			require.Positive(r, granted[s.name], "%s was never granted: the walk shows nothing about it", s.name)
		}
	})
}

// instanceWalk makes random requests about distributed routers, and sends what hosts may send.
type instanceWalk struct {
	*walk
	hosts []string
	told  map[string]agent.Assignment // by host and instance
}

func newInstanceWalk(r *rig, rng *rand.Rand, granted map[string]int) *instanceWalk {
	r.Helper()
	w := &instanceWalk{walk: newWalk(r, rng, granted), hosts: []string{"h1", "h2", "h3", "h4"}, told: map[string]agent.Assignment{}}
	w.subnets = append(w.subnets, r.inside("169.254.64.0/24"), r.inside("169.254.100.0/30"))
	for _, s := range w.subnets[len(w.subnets)-2:] {
		w.ports = append(w.ports, r.port(r.member, s))
	}
	for i, mode := range []string{agent.ModeDVRSNAT, agent.ModeDVR, agent.ModeDVRNoExternal, agent.ModeLegacy} {
		r.dvr(w.hosts[i], mode, "public")
	}
	w.routers = append(w.routers, one(r.CreateRouters(r.Context(), r.admin, l3.RouterSpec{ProjectID: &r.member.Project, Distributed: new(true)}))(r))
	for i, p := range w.ports {
		ok(r.UpdatePort(r.Context(), r.admin, p.ID, l3.PortSpec{HostID: &w.hosts[i%len(w.hosts)]}, l3.If{}))(r)
	}
	require.NoError(r, w.convert(w.routers[0]))
	return w
}

// convert makes a distributed router of a central one, or the other way round.
func (w *instanceWalk) convert(r l3.Router) error {
	w.Helper()
	distributed := w.see(r.ID).Distributed
	ok(w.UpdateRouter(w.Context(), w.admin, r.ID, l3.RouterSpec{AdminStateUp: new(false)}, l3.If{}))(w.rig)
	_, err := w.UpdateRouter(w.Context(), w.admin, r.ID, l3.RouterSpec{Distributed: new(!distributed)}, l3.If{})
	ok(w.UpdateRouter(w.Context(), w.admin, r.ID, l3.RouterSpec{AdminStateUp: new(true)}, l3.If{}))(w.rig)
	return err
}

func (w *instanceWalk) run(s step) {
	err := s.do()
	w.log = append(w.log, fmt.Sprint(s.name, ": ", err))
	if err == nil {
		w.granted[s.name]++
		return
	}
	var refusal *l3.Error
	require.ErrorAs(w, err, &refusal, w.history())
}

func (w *instanceWalk) ofInstances() []step {
	ctx, router, port, subnet := w.Context(), pick(w.walk, w.routers), pick(w.walk, w.ports), pick(w.walk, w.subnets)
	host, other := pick(w.walk, w.hosts), pick(w.walk, append(w.hosts, "", "unknown"))
	binding := func(name string, spec l3.PortSpec) step {
		return step{name, func() error {
			_, err := w.UpdatePort(ctx, w.admin, port.ID, spec, l3.If{})
			return err
		}}
	}
	profile := json.RawMessage(fmt.Sprintf(`{"migrating_to": %q}`, other))
	bind := binding("bind to a host", l3.PortSpec{HostID: &other})
	sight := step{"sighting", func() error { return w.Sight(ctx, w.sightings(host, router)) }}
	return []step{
		bind, bind, bind, bind, sight, sight, sight, sight,
		binding("migrate", l3.PortSpec{Profile: new(profile)}),
		{"add interface", func() error { _, err := w.add(router.ID, l3.InterfaceSpec{SubnetID: subnet.ID}); return err }},
		{"mode", func() error {
			mode := pick(w.walk, []string{agent.ModeDVRSNAT, agent.ModeDVRSNAT, agent.ModeDVR, agent.ModeDVRNoExternal, agent.ModeLegacy, ""})
			w.dvr(host, mode, pick(w.walk, []string{"public", "other"}))
			return nil
		}},
		{"agent deleted", func() error {
			for _, a := range ok(w.ListAgents(ctx, w.admin, l3.Query{}))(w.rig) {
				if a.Host == host {
					return w.DeleteAgent(ctx, w.admin, a.ID)
				}
			}
			return nil
		}},
		{"convert", func() error { return w.convert(router) }},
		{"hosts apply", func() error {
			for _, host := range w.hosts {
				for _, a := range ok(w.DesiredOn(ctx, host))(w.rig) {
					if err := w.Report(ctx, agent.Report{Host: host, RouterID: a.Router.ID, Epoch: a.Epoch, Revision: a.Revision}); err != nil {
						return err
					}
				}
			}
			return nil
		}},
		{"hosts remove", func() error {
			for _, host := range w.hosts {
				for _, p := range ok(w.PlacementsOn(ctx, host))(w.rig) {
					if p.Assignment != nil {
						continue
					}
					if err := w.Report(ctx, agent.Report{Host: host, RouterID: p.RouterID, Epoch: p.Epoch, Revision: p.Revision, Gone: true}); err != nil {
						return err
					}
				}
			}
			return nil
		}},
		{"time passes", func() error {
			w.clock.sleep(time.Minute)
			for _, host := range w.hosts {
				if host != other { // which is not heard
					a, known := w.agentOn(host)
					if known {
						w.dvr(host, a.Capabilities.Mode, a.Capabilities.PhysicalNetworks...)
					}
				}
			}
			if _, err := w.Reschedule(ctx, 100); !errors.Is(err, service.ErrSilence) {
				return err
			}
			return nil
		}},
	}
}

func (w *instanceWalk) agentOn(host string) (l3.Agent, bool) {
	w.Helper()
	for _, a := range ok(w.ListAgents(w.Context(), w.admin, l3.Query{}))(w.rig) {
		if a.Host == host {
			return a, true
		}
	}
	return l3.Agent{}, false
}

// sightings are what a host may say of a router's ports, whether or not it has any.
func (w *instanceWalk) sightings(host string, router l3.Router) agent.Sightings {
	seen := agent.Sightings{Host: host, At: w.clock.Now()}
	for _, p := range w.routerPorts(router.ID) {
		addrs := []netip.Addr{
			{}, netip.MustParseAddr("203.0.113.2"), netip.MustParseAddr("::ffff:10.0.1.7"), netip.MustParseAddr("2001:db8:1::7%eth0"),
			pick(w.walk, w.ports).FixedIPs[0].IPAddress,
		}
		for _, ip := range p.FixedIPs {
			cidr := ok(w.GetSubnet(w.Context(), w.admin, ip.SubnetID))(w.rig).CIDR
			end := cidr.Addr().AsSlice()
			for i := cidr.Bits(); i < 8*len(end); i++ {
				end[i/8] |= 0x80 >> (i % 8)
			}
			last, _ := netip.AddrFromSlice(end)
			addrs = append(addrs, cidr.Addr(), last, last.Prev(), ip.IPAddress)
		}
		for _, a := range addrs {
			age := time.Duration(w.rand.IntN(3)-1) * time.Minute
			seen.Addrs = append(seen.Addrs, agent.Sighting{RouterID: router.ID, PortID: p.ID, Addr: a, Age: age})
		}
	}
	return seen
}

// look compares what hosts must realise with what they had to before.
func (w *instanceWalk) look() {
	told := map[string]bool{}
	for _, n := range w.notices(nil) {
		fields := strings.Fields(n)
		told[fields[0]+" "+fields[1]] = true
	}
	now := map[string]agent.Assignment{}
	on := map[netip.Addr]string{}
	for _, host := range w.hosts {
		all, err := w.DesiredOn(w.Context(), host)
		require.NoError(w, err, "whatever the service allows compiles\n%s", w.history())
		for _, a := range all {
			now[host+" "+a.Router.ID] = a
			for _, f := range a.Router.FloatingIPs {
				require.Empty(w, on[f.Addr], "%s is on %s, too\n%s", f.Addr, host, w.history())
				on[f.Addr] = host
			}
		}
	}
	for at := range union(w.told, now) {
		before, after := w.told[at], now[at]
		if before.Router.Equal(after.Router) {
			continue
		}
		require.True(w, told[at], "%s changed, and nobody was told\n%s", at, w.history())
		if before.Revision > 0 && after.Revision > 0 && before.Epoch == after.Epoch {
			require.Greater(w, after.Revision, before.Revision, w.history())
		}
	}
	w.told = now
}

func union[V any](a, b map[string]V) map[string]bool {
	all := map[string]bool{}
	for k := range a {
		all[k] = true
	}
	for k := range b {
		all[k] = true
	}
	return all
}

// clean takes everything away again, and looks at what is left.
func (w *instanceWalk) clean() {
	for _, router := range w.routers {
		_, err := w.putRoutes(router.ID)
		require.NoError(w, err)
	}
	for _, f := range w.fips {
		for _, pf := range ok(w.ListPortForwardings(w.Context(), w.member, f.ID, l3.Query{}))(w.rig) {
			require.NoError(w, w.DeletePortForwarding(w.Context(), w.member, f.ID, pf.ID, l3.If{}))
		}
		require.NoError(w, w.DeleteFloatingIP(w.Context(), w.member, f.ID, l3.If{}))
	}
	w.fips = nil
	for _, router := range w.routers {
		for _, p := range w.routerPorts(router.ID) {
			if p.IsRouterInterface() {
				_, err := w.remove(router.ID, l3.InterfaceSpec{PortID: p.ID})
				require.NoError(w, err)
			}
		}
	}
	w.walk.clean()
	require.NoError(w, w.store.View(w.Context(), func(tx l3.Tx) error {
		states, err := tx.RouterStates().List(w.Context(), l3.Query{})
		require.NoError(w, err)
		require.Empty(w, states, "nothing is recorded of routers that are deleted\n%s", w.history())
		seen, err := tx.Sightings().List(w.Context(), l3.Query{})
		require.NoError(w, err)
		require.Empty(w, seen, "nor of addresses on their networks\n%s", w.history())
		for _, r := range w.routers {
			_, err := tx.Departures().Get(w.Context(), "none/"+dataplane.CentreID(r.ID))
			require.ErrorIs(w, err, l3.ErrAbsent)
		}
		return nil
	}))
}
