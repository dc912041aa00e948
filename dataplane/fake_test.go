package dataplane_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/l3kit/l3kit/dataplane"
)

func TestFakeApplyTwiceWritesNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := genRouter().Draw(rt, "router")
		host := new(dataplane.FakeHost)
		fake := dataplane.NewFake(host)
		first, err := fake.Apply(t.Context(), r)
		require.NoError(rt, err)
		require.False(rt, first.Empty())
		require.Equal(rt, uint64(len(first.Steps)), host.Writes())

		again, err := dataplane.NewFake(host).Apply(t.Context(), r)
		require.NoError(rt, err)
		require.True(rt, again.Empty(), "%s", again)
		require.Equal(rt, uint64(len(first.Steps)), host.Writes())
	})
}

// From any router to any other: the plan is what is done, and the host is as if the other had been
// applied at once.
func TestFakeAnyStateLeadsToAnyOther(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		from, to := genRouter().Draw(rt, "from"), genRouter().Draw(rt, "to")
		host, fresh := new(dataplane.FakeHost), new(dataplane.FakeHost)
		fake := dataplane.NewFake(host)
		mustApply(rt, fake, from)
		before := host.State("r")
		host.Open("r", genPacket(from).Draw(rt, "packet"))

		plan, err := fake.Plan(t.Context(), to)
		require.NoError(rt, err)
		require.Equal(rt, before, host.State("r"), "Plan touches nothing")
		done := mustApply(rt, fake, to)
		require.Equal(rt, plan, done)

		mustApply(rt, dataplane.NewFake(fresh), to)
		require.Equal(rt, fresh.State("r"), host.State("r"))
	})
}

func mustApply(t require.TestingT, d dataplane.Dataplane, r dataplane.Router) dataplane.Plan {
	plan, err := d.Apply(context.Background(), r)
	require.NoError(t, err)
	return plan
}

func TestFakePlanReads(t *testing.T) {
	host := new(dataplane.FakeHost)
	fake := dataplane.NewFake(host)
	old := threeTier()
	mustApply(t, fake, old)
	download, _ := host.Open("r1", dataplane.Packet{In: "ext", Src: addr(outside), Dst: addr("203.0.113.5"), Proto: dataplane.TCP, SrcPort: 40000, DstPort: 80})

	next := old.Clone()
	next.Ports[1].MTU = 1400
	next.FloatingIPs[0].Addr = addr("203.0.113.7")
	next.FloatingIPs[1].Fixed = addr("10.0.1.7")
	next.Routes = nil
	plan, err := fake.Plan(t.Context(), next)
	require.NoError(t, err)
	require.Equal(t, strings.TrimSpace(`
router r1
  ~ link qr-app: mac fa:16:3e:00:00:02 mtu 1400, network net-app, local, was mac fa:16:3e:00:00:02 mtu 1500, network net-app, local  !
  ~ floating-ip 203.0.113.6: → 10.0.1.7, was → 10.0.1.6  !
  + floating-ip 203.0.113.7: → 10.0.0.5
  + address qg-ext 203.0.113.7/32
  - route 10.9.0.0/16 via 10.0.1.9  !
  - address qg-ext 203.0.113.5/32  !
  - floating-ip 203.0.113.5: → 10.0.0.5  !
  - connections tcp 198.51.100.9:40000 → 203.0.113.5:80  !
`), plan.String())
	require.True(t, plan.Disturbs())
	require.True(t, download.Alive(), "a plan ends nothing")
}

// P15 in memory: exactly the connections that a change touches end.
func TestFakeEndsExactlyWhatAChangeTouches(t *testing.T) {
	open := map[string]dataplane.Packet{
		"to fip-5":       {In: "ext", Src: addr(outside), Dst: addr("203.0.113.5"), Proto: dataplane.TCP},
		"to fip-6":       {In: "ext", Src: addr(outside), Dst: addr("203.0.113.6"), Proto: dataplane.TCP},
		"from fixed-5":   {In: "web", Src: addr("10.0.0.5"), Dst: addr(outside), Proto: dataplane.TCP},
		"by SNAT":        {In: "web", Src: addr("10.0.0.7"), Dst: addr(outside), Proto: dataplane.TCP},
		"east-west":      {In: "web", Src: addr("10.0.0.5"), Dst: addr("10.0.1.6"), Proto: dataplane.TCP},
		"IPv6 out":       {In: "web", Src: addr("2001:db8:0:1::7"), Dst: addr(outside6), Proto: dataplane.TCP},
		"hairpin":        {In: "app", Src: addr("10.0.1.7"), Dst: addr("203.0.113.5"), Proto: dataplane.TCP},
		"extra route":    {In: "web", Src: addr("10.0.0.7"), Dst: addr("10.9.0.7"), Proto: dataplane.TCP},
		"by router":      {Dst: addr("203.0.113.5"), Proto: dataplane.TCP},
		"ping gateway":   {In: "ext", Src: addr(outside), Dst: addr("203.0.113.2"), Proto: dataplane.ICMP},
		"to app, by web": {In: "web", Src: addr("10.0.0.7"), Dst: addr("10.0.1.1"), Proto: dataplane.ICMP},
	}
	tests := []struct {
		name   string
		change func(*dataplane.Router)
		ends   []string
	}{
		{"nothing", func(*dataplane.Router) {}, nil},
		{"unbind", func(r *dataplane.Router) { r.FloatingIPs = r.FloatingIPs[1:] }, []string{"to fip-5", "from fixed-5", "hairpin", "by router"}},
		{"move", func(r *dataplane.Router) { r.FloatingIPs[0].Fixed = addr("10.0.0.8") }, []string{"to fip-5", "from fixed-5", "hairpin", "by router"}},
		{"bind", func(r *dataplane.Router) {
			r.FloatingIPs = append(r.FloatingIPs, dataplane.FloatingIP{ID: "x", Addr: addr("203.0.113.7"), Fixed: addr("10.0.0.7")})
		}, []string{"by SNAT"}},
		{"SNAT off", func(r *dataplane.Router) { r.Gateway.SNAT = false }, []string{"by SNAT"}},
		{"gateway address", func(r *dataplane.Router) { r.Gateway.Addrs[0] = prefix("203.0.113.3/24") }, []string{"by SNAT", "hairpin", "ping gateway"}},
		{"gateway cleared", func(r *dataplane.Router) { r.Gateway, r.FloatingIPs = nil, nil },
			[]string{"to fip-5", "to fip-6", "from fixed-5", "by SNAT", "IPv6 out", "hairpin", "by router", "ping gateway"}},
		{"gateway replaced, with the same addresses", func(r *dataplane.Router) { r.Gateway.ID, r.Gateway.MAC = "ext2", mac(33) }, nil},
		{"a client's address becomes the router's", func(r *dataplane.Router) {
			r.Ports[0].ID, r.Ports[0].Addrs[0] = "web2", prefix("10.0.0.7/24")
		}, []string{"by SNAT", "extra route", "to app, by web"}},
		{"route removed", func(r *dataplane.Router) { r.Routes = nil }, []string{"extra route"}},
		{"route to another neighbour", func(r *dataplane.Router) { r.Routes[0].NextHop = addr("10.0.1.10") }, nil},
		{"port removed", func(r *dataplane.Router) { r.Ports, r.FloatingIPs, r.Routes = r.Ports[:1], r.FloatingIPs[:1], nil },
			[]string{"to fip-6", "east-west", "hairpin", "extra route", "to app, by web"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			host := new(dataplane.FakeHost)
			fake := dataplane.NewFake(host)
			mustApply(t, fake, threeTier())
			flows := make(map[string]*dataplane.Flow)
			for name, p := range open {
				f, trace := host.Open("r1", p)
				require.True(t, f.Alive(), "%s: %s", name, trace)
				flows[name] = f
			}
			next := threeTier()
			tt.change(&next)
			mustApply(t, fake, next)
			var ended []string
			for name, f := range flows {
				if !f.Alive() {
					ended = append(ended, name)
				}
			}
			require.ElementsMatch(t, tt.ends, ended)
		})
	}
}

func TestFakeFailureLeavesTheOldRouter(t *testing.T) {
	host := new(dataplane.FakeHost)
	fake := dataplane.NewFake(host)
	mustApply(t, fake, threeTier())
	flow, _ := host.Open("r1", dataplane.Packet{In: "ext", Src: addr(outside), Dst: addr("203.0.113.5"), Proto: dataplane.TCP})
	before, writes := host.State("r1"), host.Writes()

	boom := errors.New("boom")
	host.Fail(1, boom)
	next := threeTier()
	next.FloatingIPs, next.Gateway.SNAT = nil, false
	tried, err := fake.Apply(t.Context(), next)
	require.ErrorIs(t, err, boom)
	var op *dataplane.OpError
	require.ErrorAs(t, err, &op)
	require.EqualError(t, err, "apply router r1: boom")
	require.Len(t, tried.Steps, 1)
	require.Equal(t, writes+2, host.Writes(), "one done and taken back")
	require.Equal(t, before, host.State("r1"))
	require.True(t, flow.Alive())

	mustApply(t, fake, next)
	require.False(t, flow.Alive())
}

func TestFakeRefusesInvalidRouters(t *testing.T) {
	host := new(dataplane.FakeHost)
	fake := dataplane.NewFake(host)
	bad := threeTier()
	bad.FloatingIPs[0].Fixed = netip.Addr{}
	_, err := fake.Apply(t.Context(), bad)
	require.ErrorIs(t, err, dataplane.ErrInvalid)
	var faults dataplane.Faults
	require.ErrorAs(t, err, &faults)
	_, err = fake.Plan(t.Context(), bad)
	require.ErrorIs(t, err, dataplane.ErrInvalid)
	require.Zero(t, host.Writes())
}

func TestFakeDeleteAndList(t *testing.T) {
	host := new(dataplane.FakeHost)
	fake := dataplane.NewFake(host)
	require.NoError(t, fake.Delete(t.Context(), "r1"), "absent is fine")
	one, two := threeTier(), threeTier()
	two.ID = "r0"
	mustApply(t, fake, one)
	mustApply(t, fake, two)
	flow, _ := host.Open("r1", dataplane.Packet{In: "web", Src: addr("10.0.0.7"), Dst: addr("10.0.1.7")})
	other, _ := host.Open("r0", dataplane.Packet{In: "web", Src: addr("10.0.0.7"), Dst: addr("10.0.1.7")})

	ids, err := fake.List(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"r0", "r1"}, ids)

	require.NoError(t, fake.Delete(t.Context(), "r1"))
	require.False(t, flow.Alive())
	require.True(t, other.Alive())
	require.Empty(t, host.State("r1"))
	_, there := host.Router("r1")
	require.False(t, there)

	late, trace := host.Open("r1", dataplane.Packet{})
	require.False(t, late.Alive())
	require.Equal(t, dataplane.Dropped, trace.Verdict)
}

func TestFakeLeavesForeignRoutersAlone(t *testing.T) {
	host := new(dataplane.FakeHost)
	fake := dataplane.NewFake(host)
	host.Occupy("r1")
	_, err := fake.Apply(t.Context(), threeTier())
	require.ErrorIs(t, err, dataplane.ErrForeign)
	_, err = fake.Plan(t.Context(), threeTier())
	require.ErrorIs(t, err, dataplane.ErrForeign)
	require.NoError(t, fake.Delete(t.Context(), "r1"))
	ids, err := fake.List(t.Context())
	require.NoError(t, err)
	require.Empty(t, ids)
}

func TestFakeMendsWhatOthersChanged(t *testing.T) {
	host := new(dataplane.FakeHost)
	fake := dataplane.NewFake(host)
	mustApply(t, fake, threeTier())
	before := host.State("r1")
	require.True(t, host.Tamper("r1", func(r *dataplane.Router) { r.Routes = nil }))
	require.False(t, host.Tamper("r2", nil))
	plan := mustApply(t, fake, threeTier())
	require.Equal(t, []dataplane.Step{{Op: dataplane.Add, Kind: dataplane.KindRoute, Object: "10.9.0.0/16 via 10.0.1.9"}}, plan.Steps)
	require.Equal(t, before, host.State("r1"))
}

func TestFakeHonoursContextAndClose(t *testing.T) {
	fake := dataplane.NewFake(nil)
	calls := map[string]func(context.Context) error{
		"plan":   func(ctx context.Context) error { _, err := fake.Plan(ctx, threeTier()); return err },
		"apply":  func(ctx context.Context) error { _, err := fake.Apply(ctx, threeTier()); return err },
		"delete": func(ctx context.Context) error { return fake.Delete(ctx, "r1") },
		"list":   func(ctx context.Context) error { _, err := fake.List(ctx); return err },
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range calls {
		require.ErrorIs(t, call(cancelled), context.Canceled, name)
	}
	mustApply(t, fake, threeTier())
	require.NoError(t, fake.Close())
	require.NoError(t, fake.Close())
	for name, call := range calls {
		require.ErrorIs(t, call(t.Context()), dataplane.ErrClosed, name)
	}
	require.NotEmpty(t, fake.Host().State("r1"), "routers stay")
}

func TestFakeConcurrently(t *testing.T) {
	host := new(dataplane.FakeHost)
	var wg sync.WaitGroup
	for _, id := range []string{"a", "b", "c"} {
		for range 2 {
			wg.Go(func() {
				fake := dataplane.NewFake(host)
				r := threeTier()
				r.ID = id
				for range 20 {
					if _, err := fake.Apply(context.Background(), r); err != nil {
						t.Error(err)
					}
					host.Open(id, dataplane.Packet{In: "web", Src: addr("10.0.0.7"), Dst: addr("10.0.1.7")})
					if err := fake.Delete(context.Background(), id); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	ids, err := dataplane.NewFake(host).List(t.Context())
	require.NoError(t, err)
	require.Empty(t, ids)
}

func TestFakeCountsWhatItIsTold(t *testing.T) {
	host := new(dataplane.FakeHost)
	fake := dataplane.NewFake(host)
	mustApply(t, fake, threeTier())
	passed := dataplane.Counters{In: dataplane.Traffic{Packets: 2, Bytes: 120}, Out: dataplane.Traffic{Packets: 1, Bytes: 1500}}
	require.True(t, host.Count("r1", addr("203.0.113.5"), passed))
	require.True(t, host.Count("r1", addr("203.0.113.5"), passed))
	require.False(t, host.Count("r1", addr("203.0.113.99"), passed))
	require.False(t, host.Count("r2", addr("203.0.113.5"), passed))
	counters, err := dataplane.NewFake(host).Counters(t.Context(), "r1")
	require.NoError(t, err)
	require.Equal(t, map[netip.Addr]dataplane.Counters{
		addr("203.0.113.5"): {In: dataplane.Traffic{Packets: 4, Bytes: 240}, Out: dataplane.Traffic{Packets: 2, Bytes: 3000}},
		addr("203.0.113.6"): {},
	}, counters)
}

func TestFakeOnADisabledHost(t *testing.T) {
	host := new(dataplane.FakeHost)
	fake := dataplane.NewFake(host)
	require.NoError(t, fake.Ready(t.Context()))
	mustApply(t, fake, threeTier())
	before := host.State("r1")
	host.Disable(dataplane.ErrDaemon)
	require.ErrorIs(t, fake.Ready(t.Context()), dataplane.ErrDaemon)
	_, err := fake.Apply(t.Context(), dataplane.Router{ID: "r1"})
	require.ErrorIs(t, err, dataplane.ErrDaemon)
	require.ErrorIs(t, err, dataplane.ErrOldInForce)
	require.Equal(t, before, host.State("r1"))
	host.Disable(nil)
	require.NoError(t, fake.Ready(t.Context()))
}

func TestFakeTellsWhatHasDrifted(t *testing.T) {
	host := new(dataplane.FakeHost)
	fake := dataplane.NewFake(host)
	mustApply(t, fake, threeTier())
	drifts, err := fake.Watch(t.Context())
	require.NoError(t, err)
	for kind, change := range map[dataplane.Kind]func(*dataplane.Router){
		dataplane.KindRoute:      func(r *dataplane.Router) { r.Routes = nil },
		dataplane.KindLink:       func(r *dataplane.Router) { r.Ports[0].MTU = 1400 },
		dataplane.KindFloatingIP: func(r *dataplane.Router) { r.FloatingIPs[0].Fixed = addr("10.0.0.9") },
	} {
		require.True(t, host.Tamper("r1", change))
		require.Equal(t, dataplane.Drift{Router: "r1", Kind: kind}, <-drifts)
		mustApply(t, fake, threeTier())
	}
	require.NoError(t, dataplane.NewFake(host).Delete(t.Context(), "r1"))
	require.Equal(t, dataplane.Drift{Router: "r1", Kind: dataplane.KindNamespace}, <-drifts)
}
