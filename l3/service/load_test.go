package service_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/l3test"
	"github.com/l3kit/l3kit/l3/service"
	"github.com/l3kit/l3kit/l3/sqlstore"
)

// TestLoadLeavesNothingThatBreaksARule has sixteen clients ask for whatever comes to their minds,
// of pools that are nearly full.
func TestLoadLeavesNothingThatBreaksARule(t *testing.T) {
	onRigs(t, func(r *rig) {
		l := newLoad(r.Context(), r.Service, func(string) {})
		require.NoError(r, l.prepare())
		var never []string
		for range 100 { // the load shows nothing about what was never granted
			require.NoError(r, l.run(r.Context(), 150))
			if never = l.neverGranted(); len(never) == 0 {
				break
			}
		}
		require.Empty(r, never)
	})
}

// killed names the database of a process that is to be killed amid its load.
const killed = "L3KIT_TEST_KILLED"

// TestKilledUnderLoad kills a process amid the same load, again and again. Each time everything
// that was answered is there, and nothing that breaks a rule.
func TestKilledUnderLoad(t *testing.T) {
	if address := os.Getenv(killed); address != "" {
		serveUntilKilled(t, address)
		return
	}
	const times = 25 // on each store
	t.Parallel()
	for name, fresh := range l3test.Databases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := fresh(t)
			answered := map[string]bool{}
			for range times {
				killOnce(t, address, answered)
				audited(t, address, answered)
			}
		})
	}
}

func serveUntilKilled(t *testing.T, address string) {
	store, err := sqlstore.Open(t.Context(), address)
	require.NoError(t, err)
	svc, err := service.New(service.Config{Store: store})
	require.NoError(t, err)
	l := newLoad(t.Context(), svc, func(line string) { fmt.Fprintln(os.Stdout, "journal", line) })
	require.NoError(t, l.prepare())
	for {
		require.NoError(t, l.run(t.Context(), 1000))
	}
}

// killOnce lets a process answer some requests, and notes in answered what it was told: true for
// what is there, and nothing for what may have gone.
func killOnce(t *testing.T, address string, answered map[string]bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledUnderLoad$")
	cmd.Env = append(os.Environ(), killed+"="+address)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var said []string
	left := 1 + rand.IntN(60)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		switch kind, what, _ := strings.Cut(rest, " "); {
		case word != "journal":
			said = append(said, lines.Text())
		case kind == "made":
			answered[what] = true
			if left--; left == 0 {
				require.NoError(t, cmd.Process.Kill()) // what is in the pipe by now was answered too
			}
		case kind == "ending":
			delete(answered, what)
		}
	}
	err = cmd.Wait()
	require.EqualError(t, err, "signal: killed", "it ended by itself: %s", strings.Join(said, "\n"))
}

// audited opens the database as a new process would.
func audited(t *testing.T, address string, answered map[string]bool) {
	t.Helper()
	store, err := sqlstore.Open(t.Context(), address)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	require.NoError(t, l3test.Audit(t.Context(), store))
	require.NoError(t, store.View(t.Context(), func(tx l3.Tx) error {
		for what := range answered {
			kind, id, _ := strings.Cut(what, " ")
			var err error
			switch kind {
			case "router":
				_, err = tx.Routers().Get(t.Context(), id)
			case "port":
				_, err = tx.Ports().Get(t.Context(), id)
			case "floatingip":
				_, err = tx.FloatingIPs().Get(t.Context(), id)
			}
			if err != nil {
				return fmt.Errorf("%s was answered and is not there: %w", what, err)
			}
		}
		return nil
	}))
}

// load is sixteen clients that share what they know of a small world.
type load struct {
	*service.Service
	member, admin l3.Caller
	journal       func(line string)

	external l3.Network
	subnets  []l3.Subnet // with room for a few ports each; two of them overlap

	mu                        sync.Mutex
	routers, ports, addresses []string // IDs; the last are floating IPs
	granted                   map[string]int
}

func newLoad(_ context.Context, s *service.Service, journal func(string)) *load {
	return &load{Service: s, member: member("p1"), admin: l3.Caller{Project: "admins", Admin: true}, journal: journal, granted: map[string]int{}}
}

// prepare makes the world, or finds what an earlier process has made of it.
func (l *load) prepare() error {
	ctx := context.Background()
	networks, err := l.ListNetworks(ctx, l.admin, l3.Query{Filters: []l3.Filter{{Field: "name", Values: []any{"outside"}}}})
	if err != nil {
		return err
	}
	if len(networks) == 0 {
		return l.create(ctx)
	}
	l.external = networks[0]
	if l.subnets, err = l.ListSubnets(ctx, l.admin, l3.Query{Filters: []l3.Filter{{Field: "name", Values: []any{"inside"}}}}); err != nil {
		return err
	}
	routers, err := l.ListRouters(ctx, l.member, l3.Query{})
	for _, r := range routers {
		l.routers = append(l.routers, r.ID)
	}
	ports, err2 := l.ListPorts(ctx, l.member, l3.Query{Filters: []l3.Filter{{Field: "device_owner", Values: []any{""}}}})
	for _, p := range ports {
		l.ports = append(l.ports, p.ID)
	}
	addresses, err3 := l.ListFloatingIPs(ctx, l.member, l3.Query{})
	for _, f := range addresses {
		l.addresses = append(l.addresses, f.ID)
	}
	return errors.Join(err, err2, err3)
}

func (l *load) create(ctx context.Context) error {
	if _, err := l.Heartbeat(ctx, agent.Heartbeat{Host: "h1"}); err != nil {
		return err
	}
	for i, cidr := range []string{"10.0.1.0/28", "10.0.1.0/28", "10.0.2.0/28"} {
		networks, err := l.CreateNetworks(ctx, l.member, l3.NetworkSpec{Name: new(fmt.Sprint("n", i))})
		if err != nil {
			return err
		}
		subnets, err := l.CreateSubnets(ctx, l.member, l3.SubnetSpec{
			NetworkID: &networks[0].ID, Name: new("inside"), CIDR: new(netip.MustParsePrefix(cidr)),
		})
		if err != nil {
			return err
		}
		l.subnets = append(l.subnets, subnets...)
	}
	// The external network comes last: it says that the world is whole.
	networks, err := l.CreateNetworks(ctx, l.admin, l3.NetworkSpec{
		Name: new("outside"), External: new(true), Segments: &[]l3.Segment{{Type: dataplane.NetworkFlat, Physical: "public"}},
	})
	if err != nil {
		return err
	}
	l.external = networks[0]
	_, err = l.CreateSubnets(ctx, l.admin, l3.SubnetSpec{NetworkID: &l.external.ID, CIDR: new(netip.MustParsePrefix("203.0.113.0/28"))})
	return err
}

// run has each client make so many requests. An error that is no refusal ends it.
func (l *load) run(ctx context.Context, requests int) error {
	var all sync.WaitGroup
	errs := make([]error, clients)
	for i := range clients {
		all.Go(func() {
			for range requests {
				if errs[i] = l.request(ctx); errs[i] != nil {
					return
				}
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func (l *load) request(ctx context.Context) error {
	requests := []struct {
		name string
		make func(context.Context) error
	}{
		{"create router", l.createRouter}, {"delete router", l.deleteRouter}, {"set gateway", l.setGateway},
		{"attach", l.attach}, {"attach", l.attach}, {"detach", l.detach},
		{"create port", l.createPort}, {"create port", l.createPort}, {"delete port", l.deletePort},
		{"create floating IP", l.createFloatingIP}, {"bind", l.bind}, {"bind", l.bind}, {"unbind", l.unbind}, {"delete floating IP", l.deleteFloatingIP},
	}
	chosen := requests[rand.IntN(len(requests))]
	err := chosen.make(ctx)
	if refusal := (*l3.Error)(nil); err != nil && (!errors.As(err, &refusal) || errors.Is(err, l3.ErrExhausted)) {
		return fmt.Errorf("%s: %w", chosen.name, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.granted[chosen.name]++
	} else {
		l.granted[chosen.name] += 0
	}
	return nil
}

func (l *load) neverGranted() (requests []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, n := range l.granted {
		if n == 0 {
			requests = append(requests, name)
		}
	}
	return requests
}

// any draws from a list; what nobody has is a refusal too.
func (l *load) any(list *[]string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(*list) == 0 {
		return "nobody"
	}
	return (*list)[rand.IntN(len(*list))]
}

func (l *load) made(kind, id string, list *[]string) {
	l.journal("made " + kind + " " + id)
	l.mu.Lock()
	defer l.mu.Unlock()
	*list = append(*list, id)
}

// end deletes something, and forgets it as soon as it may be gone.
func (l *load) end(kind string, list *[]string, remove func(id string) error) error {
	id := l.any(list)
	l.journal("ending " + kind + " " + id)
	return remove(id)
}

func (l *load) createRouter(ctx context.Context) error {
	routers, err := l.CreateRouters(ctx, l.member, l3.RouterSpec{})
	if err == nil {
		l.made("router", routers[0].ID, &l.routers)
	}
	return err
}

func (l *load) deleteRouter(ctx context.Context) error {
	return l.end("router", &l.routers, func(id string) error { return l.DeleteRouter(ctx, l.member, id, l3.If{}) })
}

func (l *load) setGateway(ctx context.Context) error {
	gateway := l3.GatewaySpec{NetworkID: l.external.ID}
	if rand.IntN(3) == 0 {
		gateway.NetworkID = ""
	}
	_, err := l.UpdateRouter(ctx, l.member, l.any(&l.routers), l3.RouterSpec{Gateway: &gateway}, l3.If{})
	return err
}

func (l *load) attach(ctx context.Context) error {
	_, err := l.AddRouterInterface(ctx, l.member, l.any(&l.routers), l3.InterfaceSpec{SubnetID: l.subnets[rand.IntN(len(l.subnets))].ID})
	return err
}

func (l *load) detach(ctx context.Context) error {
	_, err := l.RemoveRouterInterface(ctx, l.member, l.any(&l.routers), l3.InterfaceSpec{SubnetID: l.subnets[rand.IntN(len(l.subnets))].ID})
	return err
}

func (l *load) createPort(ctx context.Context) error {
	ports, err := l.CreatePorts(ctx, l.member, l3.PortSpec{NetworkID: &l.subnets[rand.IntN(len(l.subnets))].NetworkID})
	if err == nil {
		l.made("port", ports[0].ID, &l.ports)
	}
	return err
}

func (l *load) deletePort(ctx context.Context) error {
	return l.end("port", &l.ports, func(id string) error { return l.DeletePort(ctx, l.member, id, l3.If{}) })
}

func (l *load) createFloatingIP(ctx context.Context) error {
	made, err := l.CreateFloatingIPs(ctx, l.member, l3.FloatingIPSpec{NetworkID: &l.external.ID})
	if err == nil {
		l.made("floatingip", made[0].ID, &l.addresses)
	}
	return err
}

func (l *load) bind(ctx context.Context) error {
	_, err := l.UpdateFloatingIP(ctx, l.member, l.any(&l.addresses), l3.FloatingIPSpec{PortID: new(l.any(&l.ports))}, l3.If{})
	return err
}

func (l *load) unbind(ctx context.Context) error {
	_, err := l.UpdateFloatingIP(ctx, l.member, l.any(&l.addresses), l3.FloatingIPSpec{PortID: new("")}, l3.If{})
	return err
}

func (l *load) deleteFloatingIP(ctx context.Context) error {
	return l.end("floatingip", &l.addresses, func(id string) error { return l.DeleteFloatingIP(ctx, l.member, id, l3.If{}) })
}
