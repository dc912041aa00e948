package deployment_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/l3test"
	"github.com/l3kit/l3kit/l3/natsbus"
	"github.com/l3kit/l3kit/l3/service"
)

// TestAnyScheduleEndsRight makes random changes through the service, over a real database and a
// real bus, while publishers are killed at any point of their work, agents restart and fail, and
// messages between them are doubled, held back and reordered. Each time, in the end, every host has
// what the database says and nothing else, and every status says so.
func TestAnyScheduleEndsRight(t *testing.T) {
	const lanes = 16
	var all sync.WaitGroup
	defer all.Wait()
	for lane := range lanes {
		all.Go(func() { // they mostly wait, so there are more of them than processors
			t.Run(fmt.Sprint("lane ", lane), func(t *testing.T) {
				p := newPlane(t)
				for seed := lane; seed < seeds; seed += lanes {
					p.schedule(uint64(seed))
				}
				require.NoError(t, l3test.Audit(t.Context(), p.store))
				require.Positive(t, p.press.kills, "no bus was ever killed")
			})
		})
	}
}

const (
	planeHosts = 3
	slots      = 3 // routers that may be there at once, each with a subnet and a port that wait for it
)

// plane is a control plane with three agents, whose hosts are in memory.
type plane struct {
	*testing.T
	*service.Service
	store    l3.Store
	admin    l3.Caller
	external string
	press    *press
	hosts    [planeHosts]*fakeHost
	slots    [slots]slot
}

type slot struct{ router, subnet, port, floatingIP string }

type fakeHost struct {
	name    string
	host    *dataplane.FakeHost
	courier *courier
	cache   string
	agentID string

	agent *agent.Agent
	stop  func()
}

func newPlane(t *testing.T) *plane {
	store := l3test.Open(t, l3test.SQLiteURL(t))
	secret := []byte("the secret of a test's message bus")
	server, err := natsbus.StartServer(natsbus.ServerConfig{Secret: secret, Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(server.Shutdown)
	control, err := natsbus.Connect(natsbus.Login{Server: server})
	require.NoError(t, err)
	t.Cleanup(control.Close)
	p := &plane{T: t, store: store, admin: l3.Caller{Project: "p", Admin: true}}
	p.press = &press{random: rand.New(rand.NewPCG(0, 0)), honest: true}
	p.Service, err = service.New(service.Config{Store: store})
	require.NoError(t, err)
	p.press.service, p.press.conn = p.Service, control
	for i := range p.press.ends {
		p.press.ends[i] = func() {}
		p.background(func(ctx context.Context) { p.press.run(ctx, i) })
	}
	for i := range p.hosts {
		name := fmt.Sprint("h", i)
		nc, err := natsbus.Connect(natsbus.Login{Server: server, Host: name, Password: natsbus.Credential(secret, name)})
		require.NoError(t, err)
		t.Cleanup(nc.Close)
		source, err := natsbus.NewSource(nc, name, nil)
		require.NoError(t, err)
		h := &fakeHost{name: name, host: &dataplane.FakeHost{}, cache: t.TempDir()}
		h.courier = &courier{Source: source, random: rand.New(rand.NewPCG(0, uint64(i))), honest: true}
		p.hosts[i] = h
		p.start(h)
		t.Cleanup(func() { h.stop() })
	}
	require.Eventually(t, p.registered, lab.Patience(20*time.Second), 10*time.Millisecond, "the agents are there")
	p.furnish()
	return p
}

func (p *plane) background(run func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { run(ctx) })
	p.Cleanup(func() {
		cancel()
		wg.Wait()
	})
}

// start starts a host's agent, and stop ends it.
func (p *plane) start(h *fakeHost) {
	a, err := agent.New(agent.Config{
		Host: h.name, Machine: h.name, Source: h.courier, Dataplane: dataplane.NewFake(h.host), Cache: h.cache, HeartbeatEvery: 5 * time.Second, CheckEvery: -1,
		RetryMin: 5 * time.Millisecond, RetryMax: 50 * time.Millisecond,
	})
	require.NoError(p, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	h.agent = a
	h.stop = func() {
		cancel()
		require.NoError(p, <-done)
	}
}

func (p *plane) registered() bool {
	agents, err := p.ListAgents(p.Context(), p.admin, l3.Query{})
	require.NoError(p, err)
	for _, a := range agents {
		for _, h := range p.hosts {
			if h.name == a.Host {
				h.agentID = a.ID
			}
		}
	}
	return len(agents) == planeHosts
}

// furnish makes what routers are joined to.
func (p *plane) furnish() {
	network := func(spec l3.NetworkSpec, cidr string) (string, string) {
		n, err := p.CreateNetworks(p.Context(), p.admin, spec)
		require.NoError(p, err)
		s, err := p.CreateSubnets(p.Context(), p.admin, l3.SubnetSpec{NetworkID: &n[0].ID, CIDR: new(netip.MustParsePrefix(cidr))})
		require.NoError(p, err)
		return n[0].ID, s[0].ID
	}
	p.external, _ = network(l3.NetworkSpec{External: new(true)}, "203.0.113.0/24")
	for i := range p.slots {
		s := &p.slots[i]
		var id string
		id, s.subnet = network(l3.NetworkSpec{}, "10.0.0.0/24")
		ports, err := p.CreatePorts(p.Context(), p.admin, l3.PortSpec{NetworkID: &id})
		require.NoError(p, err)
		s.port = ports[0].ID
	}
}

// schedule is one of them.
func (p *plane) schedule(seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	p.press.set(rand.New(rand.NewPCG(seed, 2)), false)
	for i, h := range p.hosts {
		h.courier.set(rand.New(rand.NewPCG(seed, uint64(3+i))), false)
	}
	for range 10 {
		p.change(random, &p.slots[random.IntN(slots)])
		if random.IntN(3) == 0 {
			time.Sleep(time.Duration(random.IntN(10)) * time.Millisecond)
		}
	}
	for _, h := range p.hosts {
		h.host.Fail(0, nil)
		p.allowed(p.enable(h, true))
		h.courier.set(rand.New(rand.NewPCG(seed, 9)), true)
	}
	_, err := p.Reschedule(p.Context(), 100)
	require.NoError(p, err)
	p.press.set(random, true)
	p.settled(seed)
}

// change does something at random: mostly what a tenant may do, sometimes what an operator does,
// and what happens to machines.
func (p *plane) change(random *rand.Rand, s *slot) {
	ctx, who := p.Context(), p.admin
	h := p.hosts[random.IntN(planeHosts)]
	if s.router == "" {
		made, err := p.CreateRouters(ctx, who, l3.RouterSpec{Gateway: &l3.GatewaySpec{NetworkID: p.external}})
		require.NoError(p, err)
		s.router = made[0].ID
	}
	attach := l3.InterfaceSpec{SubnetID: s.subnet}
	switch random.IntN(14) {
	case 0, 1, 2:
		_, err := p.AddRouterInterface(ctx, who, s.router, attach)
		p.allowed(err)
	case 3, 4:
		if s.floatingIP != "" {
			p.allowed(p.DeleteFloatingIP(ctx, who, s.floatingIP, l3.If{}))
			s.floatingIP = ""
			return
		}
		made, err := p.CreateFloatingIPs(ctx, who, l3.FloatingIPSpec{NetworkID: &p.external, PortID: &s.port})
		if p.allowed(err); err == nil {
			s.floatingIP = made[0].ID
		}
	case 5:
		_, err := p.RemoveRouterInterface(ctx, who, s.router, attach)
		p.allowed(err)
	case 6:
		p.remove(s)
	case 7, 8:
		p.move(s.router, h)
	case 9:
		_, err := p.UpdateRouter(ctx, who, s.router, l3.RouterSpec{Gateway: &l3.GatewaySpec{NetworkID: p.external, EnableSNAT: new(random.IntN(2) == 0)}}, l3.If{})
		p.allowed(err)
	case 10:
		p.allowed(p.enable(h, random.IntN(2) == 0))
		_, err := p.Reschedule(ctx, 100)
		require.NoError(p, err)
	case 11:
		h.stop()
		p.start(h)
	case 12:
		if random.IntN(4) == 0 { // an agent takes a second until it watches again
			h.courier.cut()
		}
	case 13:
		h.host.Fail(random.IntN(3), errors.New("not now"))
	}
}

// remove deletes a slot's router with what depends on it.
func (p *plane) remove(s *slot) {
	ctx, who := p.Context(), p.admin
	if s.floatingIP != "" {
		p.allowed(p.DeleteFloatingIP(ctx, who, s.floatingIP, l3.If{}))
		s.floatingIP = ""
	}
	_, err := p.RemoveRouterInterface(ctx, who, s.router, l3.InterfaceSpec{SubnetID: s.subnet})
	p.allowed(err)
	require.NoError(p, p.DeleteRouter(ctx, who, s.router, l3.If{}))
	s.router = ""
}

// move takes a router off its host, and puts it on another or again on the same.
func (p *plane) move(router string, to *fakeHost) {
	agents, err := p.AgentsOfRouter(p.Context(), p.admin, router)
	require.NoError(p, err)
	for _, a := range agents {
		p.allowed(p.RemoveRouterFromAgent(p.Context(), p.admin, a.ID, router))
	}
	p.allowed(p.AddRouterToAgent(p.Context(), p.admin, to.agentID, router))
}

func (p *plane) enable(h *fakeHost, up bool) error {
	_, err := p.UpdateAgent(p.Context(), p.admin, h.agentID, l3.AgentSpec{AdminStateUp: &up})
	return err
}

// allowed passes over refusals.
func (p *plane) allowed(err error) {
	p.Helper()
	if refusal := (*l3.Error)(nil); err != nil && !errors.As(err, &refusal) {
		require.NoError(p, err)
	}
}

// settled waits until everything has been delivered, and then nothing is wrong.
func (p *plane) settled(seed uint64) {
	p.Helper()
	var wrong error
	for deadline := time.Now().Add(lab.Patience(2 * time.Minute)); time.Now().Before(deadline); time.Sleep(15 * time.Millisecond) {
		if wrong = p.wrong(); wrong == nil {
			return
		}
	}
	require.NoError(p, wrong, "seed %d", seed)
}

// wrong says what is not as the database has it.
func (p *plane) wrong() error {
	ctx := p.Context()
	for _, h := range p.hosts { // which costs little to find out
		if s := h.agent.Status(); !h.courier.idle() || !s.Synced || s.Waiting > 0 {
			return fmt.Errorf("the agent of %s is busy: %+v", h.name, s)
		}
	}
	for _, h := range p.hosts {
		want, err := p.DesiredOn(ctx, h.name)
		require.NoError(p, err)
		here, err := dataplane.NewFake(h.host).List(ctx)
		require.NoError(p, err)
		if len(here) != len(want) {
			return fmt.Errorf("host %s has the routers %v, and is to have %v", h.name, here, want)
		}
		for _, a := range want {
			if r, ok := h.host.Router(a.Router.ID); !ok || !r.Equal(agent.Realised(a)) {
				return fmt.Errorf("host %s has the router %+v, and is to have %+v", h.name, r, agent.Realised(a))
			}
		}
	}
	for _, s := range p.slots {
		if s.router == "" {
			continue
		}
		r, err := p.GetRouter(ctx, p.admin, s.router)
		require.NoError(p, err)
		if r.Status != l3.StatusActive {
			return fmt.Errorf("router %s is %s %s", r.ID, r.Status, r.StatusReason)
		}
		if s.floatingIP == "" {
			continue
		}
		f, err := p.GetFloatingIP(ctx, p.admin, s.floatingIP)
		require.NoError(p, err)
		if f.Status != l3.StatusActive {
			return fmt.Errorf("floating IP %s is %s", f.ID, f.Status)
		}
	}
	return nil
}
