package service_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

// TestWalkWhateverIsAllowedCompiles: after any sequence of requests, granted or refused, every
// router compiles to something valid, and what a request changed of it reached the outbox.
func TestWalkWhateverIsAllowedCompiles(t *testing.T) {
	const walks, steps = 6, 50
	onRigs(t, func(r *rig) {
		r.agent("h1")
		ok(r.SetQuota(r.Context(), r.admin, "p1", map[string]int{"network": -1, "subnet": -1, "router": -1}))(r)
		granted := map[string]int{}
		for seed := range uint64(walks) {
			w := newWalk(r, rand.New(rand.NewPCG(seed, 0)), granted)
			w.qosRand = rand.New(rand.NewPCG(seed, 2))
			for range steps {
				w.step()
				w.qosStep()
				w.look()
			}
			w.clean()
		}
		last := newWalk(r, rand.New(rand.NewPCG(0, 0)), granted)
		for _, s := range append(last.steps(), last.qosSteps()...) {
			require.Positive(r, granted[s.name], "%s was never granted: the walk shows nothing about it", s.name)
		}
	})
}

// walk makes random requests about two routers in a small world, in which requests often meet.
type walk struct {
	*rig
	rand     *rand.Rand
	granted  map[string]int
	log      []string
	external []l3.Network
	subnets  []l3.Subnet
	ports    []l3.Port
	routers  []l3.Router
	fips     []l3.FloatingIP
	policies []l3.QoSPolicy
	qosRand  *rand.Rand
	before   map[string]agent.Assignment
}

func newWalk(r *rig, rng *rand.Rand, granted map[string]int) *walk {
	r.Helper()
	w := &walk{rig: r, rand: rng, granted: granted, qosRand: rand.New(rand.NewPCG(0, 2)), before: map[string]agent.Assignment{}}
	w.external = []l3.Network{r.external("", "203.0.113.0/24", "2001:db8:e::/64"), r.external("", "198.51.100.0/24", "10.0.0.0/22")}
	shared := r.network(r.member)
	for _, cidr := range []string{"10.0.1.0/24", "2001:db8:1::/64", "2001:db8:2::/64"} {
		w.subnets = append(w.subnets, r.subnet(r.member, shared, cidr))
	}
	for _, cidr := range []string{"10.0.1.128/25", "10.0.64.0/24", "203.0.113.128/25"} {
		w.subnets = append(w.subnets, r.inside(cidr))
	}
	for _, s := range w.subnets {
		w.ports = append(w.ports, r.port(r.member, s), r.port(r.member, s))
	}
	w.routers = []l3.Router{r.routerTo(w.external[0], w.subnets[0], w.subnets[4]), r.router()}
	for _, n := range w.external {
		w.fips = append(w.fips, r.fip(n, ""), r.fip(n, ""))
	}
	for range 2 {
		w.policies = append(w.policies, r.policy(l3.QoSPolicySpec{Shared: new(true)}, bandwidth("egress", 1000, 0)))
	}
	return w
}

func pick[V any](w *walk, of []V) V { return of[w.rand.IntN(len(of))] }

func (w *walk) steps() []step {
	ctx, router := w.Context(), pick(w, w.routers)
	subnet, port, fip, external := pick(w, w.subnets), pick(w, w.ports), pick(w, w.fips), pick(w, w.external)
	hops := []string{"10.0.1.9", "10.0.1.1", "10.0.64.9", "203.0.113.200", "198.51.100.9", "2001:db8:1::9", fip.Address.String(), "203.0.113.1"}
	dest := "10.9.0.0/16"
	hop := pick(w, hops)
	if netip.MustParseAddr(hop).Is6() {
		dest = "2001:db8:9::/48"
	}
	up := w.rand.IntN(2) == 0
	bind := step{"bind", func() error {
		return w.tryBind(w.member, fip, l3.FloatingIPSpec{PortID: &port.ID, Distributed: new(pick(w, []bool{false, true, true}))})
	}}
	forward := step{"forward", func() error {
		first, proto := uint16(1+w.rand.IntN(9)), pick(w, []string{"tcp", "udp"})
		ports := fmt.Sprintf("%s %d:%d %d", proto, first, first+uint16(w.rand.IntN(3)), 1+w.rand.IntN(9))
		return w.tryForward(fip, pf(port, ports))
	}}
	forwarded := func(do func(l3.PortForwarding) error) error {
		all := ok(w.ListPortForwardings(ctx, w.member, fip.ID, l3.Query{}))(w.rig)
		if len(all) == 0 {
			return notFoundHere
		}
		return do(pick(w, all))
	}
	return []step{
		forward, forward, forward,
		{"forward elsewhere", func() error {
			return forwarded(func(f l3.PortForwarding) error {
				_, err := w.UpdatePortForwarding(ctx, w.member, fip.ID, f.ID, l3.PortForwardingSpec{PortID: &port.ID, ExternalPort: new(1 + w.rand.IntN(9))}, l3.If{})
				return err
			})
		}},
		{"end forwarding", func() error {
			return forwarded(func(f l3.PortForwarding) error { return w.DeletePortForwarding(ctx, w.member, fip.ID, f.ID, l3.If{}) })
		}},
		{"another address", func() error {
			_, err := w.UpdatePort(ctx, w.member, port.ID, l3.PortSpec{FixedIPs: &[]l3.FixedIPSpec{{SubnetID: port.FixedIPs[0].SubnetID}}}, l3.If{})
			return err
		}},
		bind, bind, bind, bind, // seldom possible
		{"attach subnet", func() error { _, err := w.add(router.ID, l3.InterfaceSpec{SubnetID: subnet.ID}); return err }},
		{"attach port", func() error { _, err := w.add(router.ID, l3.InterfaceSpec{PortID: port.ID}); return err }},
		{"detach", func() error { _, err := w.remove(router.ID, l3.InterfaceSpec{SubnetID: subnet.ID}); return err }},
		{"gateway", func() error {
			_, err := w.setGateway(w.admin, router.ID, l3.GatewaySpec{NetworkID: external.ID, EnableSNAT: &up})
			return err
		}},
		{"no gateway", func() error { _, err := w.setGateway(w.member, router.ID, l3.GatewaySpec{}); return err }},
		{"routes", func() error { _, err := w.putRoutes(router.ID, route(dest, hop)); return err }},
		{"add route", func() error {
			_, err := w.AddExtraRoutes(ctx, w.member, router.ID, []l3.Route{route(dest, hop)})
			return err
		}},
		{"no routes", func() error { _, err := w.putRoutes(router.ID); return err }},
		{"unbind", func() error { return w.tryBind(w.member, fip, l3.FloatingIPSpec{}) }},
		{"router up or down", func() error {
			_, err := w.UpdateRouter(ctx, w.member, router.ID, l3.RouterSpec{AdminStateUp: &up}, l3.If{})
			return err
		}},
		{"ports up or down", func() error {
			for _, p := range w.routerPorts(router.ID) {
				if _, err := w.UpdatePort(ctx, w.admin, p.ID, l3.PortSpec{AdminStateUp: &up}, l3.If{}); err != nil {
					return err
				}
			}
			return nil
		}},
		{"gateway of a subnet", func() error {
			_, err := w.UpdateSubnet(ctx, w.admin, subnet.ID, l3.SubnetSpec{GatewayIP: &port.FixedIPs[0].IPAddress}, l3.If{})
			return err
		}},
		{"gateway of an external subnet", func() error {
			n := ok(w.GetNetwork(ctx, w.admin, external.ID))(w.rig)
			gateway := pick(w, []netip.Addr{{}, fip.Address, netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("10.0.64.7")})
			_, err := w.UpdateSubnet(ctx, w.admin, pick(w, n.Subnets), l3.SubnetSpec{GatewayIP: &gateway, AllocationPools: &[]l3.AddressRange{}}, l3.If{})
			return err
		}},
		{"MTU", func() error {
			mtu := pick(w, []int{68, 1280, 1400})
			_, err := w.UpdateNetwork(ctx, w.admin, pick(w, []string{external.ID, subnet.NetworkID}), l3.NetworkSpec{MTU: &mtu}, l3.If{})
			return err
		}},
	}
}

var notFoundHere = l3.Refuse(l3.ErrNotFound, "Nothing", "there is none")

// step is a request.
type step struct {
	name string
	do   func() error
}

func (w *walk) step() { w.run(pick(w, w.steps())) }

func (w *walk) run(s step) {
	err := s.do()
	w.log = append(w.log, fmt.Sprint(s.name, ": ", err))
	if err == nil {
		w.granted[s.name]++
		return
	}
	var refusal *l3.Error
	require.ErrorAs(w, err, &refusal, w.history())
}

func (w *walk) history() string { return strings.Join(w.log, "\n") }

// look compares what hosts must realise with what they had to before.
func (w *walk) look() {
	told := map[string]bool{}
	for _, n := range w.notices(nil) {
		var host, router string
		var epoch uint64
		_, err := fmt.Sscan(n, &host, &router, &epoch)
		require.NoError(w, err)
		told[router] = true
	}
	now := map[string]agent.Assignment{}
	all, err := w.DesiredOn(w.Context(), "h1")
	require.NoError(w, err, "whatever the service allows compiles\n%s", w.history())
	for _, a := range all {
		now[a.Router.ID] = a
	}
	for _, router := range w.routers {
		before, after := w.before[router.ID], now[router.ID]
		if before.Router.Equal(after.Router) {
			continue
		}
		require.True(w, told[router.ID], "router %s changed, and nobody was told\n%s", router.ID, w.history())
		if before.Revision > 0 && after.Revision > 0 {
			require.Greater(w, after.Revision, before.Revision, w.history())
		}
	}
	w.before = now
}

// clean takes everything away again.
func (w *walk) clean() {
	ctx := w.Context()
	for _, f := range w.fips {
		for _, pf := range ok(w.ListPortForwardings(ctx, w.member, f.ID, l3.Query{}))(w.rig) {
			require.NoError(w, w.DeletePortForwarding(ctx, w.member, f.ID, pf.ID, l3.If{}))
		}
		require.NoError(w, w.DeleteFloatingIP(ctx, w.member, f.ID, l3.If{}))
	}
	for _, router := range w.routers {
		_, err := w.putRoutes(router.ID)
		require.NoError(w, err)
		for _, p := range w.routerPorts(router.ID) {
			if p.DeviceOwner == l3.OwnerRouterInterface {
				_, err := w.remove(router.ID, l3.InterfaceSpec{PortID: p.ID})
				require.NoError(w, err)
			}
		}
		require.NoError(w, w.DeleteRouter(ctx, w.member, router.ID, l3.If{}))
	}
	networks := map[string]bool{w.external[0].ID: true, w.external[1].ID: true}
	for _, s := range w.subnets {
		networks[s.NetworkID] = true
	}
	for _, p := range w.ports {
		if err := w.DeletePort(ctx, w.member, p.ID, l3.If{}); err != nil {
			require.ErrorIs(w, err, l3.ErrNotFound) // it went with an interface
		}
	}
	for id := range networks {
		require.NoError(w, w.DeleteNetwork(ctx, w.admin, id, l3.If{}))
	}
	for _, p := range w.policies {
		require.NoError(w, w.DeleteQoSPolicy(ctx, w.admin, p.ID, l3.If{}))
	}
	w.notices(nil)
}
