package firewalltest

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
)

// Suite is what is particular to a backend.
type Suite[P Place] struct {
	Open    func(testing.TB) P
	Routers map[string]dataplane.Router

	// What Plan says of rules where there are none, of a router that loses SNAT, and of one whose
	// gateway gets another address.
	First, SNATOff, OtherGateway []string

	// Write writes into the namespace, and takes that back. Any goroutine may call it. Apply is
	// called so many times meanwhile.
	Write  func(P) error
	Rounds int

	// Half writes, where there are no rules, what the backend would write first.
	Half func(P)

	// Disturb lists what makes a delta to the router with floating IP 5 unsafe. That called
	// tampered takes a part of the floating IP away.
	Disturb map[string]func(P)

	// These damage what only instances of distributed routers have.
	EdgeDrift, CentreDrift, CentreWithoutSNATDrift map[string]func(P)
}

// Run runs all tests, in parallel: each has namespaces of its own.
func (s Suite[P]) Run(t *testing.T) {
	for name, test := range map[string]func(*testing.T){
		"unchanged":           s.unchanged,
		"any to any":          s.anyToAny,
		"undo of first":       s.undoOfFirst,
		"plan":                s.plan,
		"delta without proof": s.deltaWithoutProof,
		"trust regained":      s.trustRegained,
		"many floating IPs":   s.manyFloatingIPs,
		"clear":               s.clear,
		"cancelled":           s.cancelled,
		"race":                s.race,
		"between":             s.between,
		"walk":                s.walk,
		"forwarding plan":     s.forwardingPlan,
		"forwarding walk":     s.forwardingWalk,
		"limit plan":          s.limitPlan,
		"limit walk":          s.limitWalk,
		"instance delta":      s.instanceDelta,
		"instance drift":      s.instanceDrift,
		"instance walk":       s.instanceWalk,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t)
		})
	}
}

// unchanged: applying again writes nothing, in the process that applied and in another one, with
// and without a delta.
func (s Suite[P]) unchanged(t *testing.T) {
	for name, r := range s.Routers {
		t.Run(name, func(t *testing.T) {
			p := s.Open(t)
			require.NotNil(t, Apply(t, p.Rules(), r))
			at := p.Stamp()
			for range 2 {
				require.Empty(t, Plan(t, p.Rules(), r, &namespace.Delta{}))
				undo, err := p.Rules().Apply(t.Context(), namespace.Change{Want: r, Since: &namespace.Delta{}})
				require.NoError(t, err)
				require.Nil(t, undo)
				require.Empty(t, Plan(t, p.Rules(), r, nil))
				require.Nil(t, Apply(t, p.Rules(), r))
				require.Equal(t, at, p.Stamp())
				p.Reopen()
			}
		})
	}
}

// anyToAny: any state leads to any other, and back again.
func (s Suite[P]) anyToAny(t *testing.T) {
	fresh := map[string]string{}
	for name, r := range s.Routers {
		p := s.Open(t)
		Apply(t, p.Rules(), r)
		fresh[name] = p.Listing()
	}
	for from, before := range s.Routers {
		t.Run("from "+from, func(t *testing.T) {
			t.Parallel()
			p := s.Open(t)
			for to, after := range s.Routers {
				Apply(t, p.Rules(), before) // which trusts again what an undo has written
				undo := Apply(t, p.Rules(), after)
				require.Equal(t, fresh[to], p.Listing(), "to %s", to)
				require.Empty(t, Plan(t, p.Rules(), after, nil), "to %s", to)
				if fresh[from] == fresh[to] {
					require.Nil(t, undo, "to %s", to)
					continue
				}
				require.NoError(t, undo(t.Context()))
				require.Equal(t, fresh[from], p.Listing(), "back from %s", to)
				require.NotEmpty(t, Plan(t, p.Rules(), after, &namespace.Delta{}), "what the undone Apply of %s wrote is trusted", to)
			}
		})
	}
}

func (s Suite[P]) undoOfFirst(t *testing.T) {
	p := s.Open(t)
	undo := Apply(t, p.Rules(), Example(FIP(5)))
	require.NoError(t, undo(t.Context()))
	require.Empty(t, p.Listing())
}

func (s Suite[P]) plan(t *testing.T) {
	full := Example(FIP(5), FIP(6))
	moved := FIP(5)
	moved.Fixed = Addr("10.0.0.77")
	swapped := []dataplane.FloatingIP{FIP(5), FIP(6)}
	swapped[0].Fixed, swapped[1].Fixed = swapped[1].Fixed, swapped[0].Fixed
	renamed := FIP(5)
	renamed.ID = "another"
	handedOver := dataplane.FloatingIP{ID: "x", Addr: Addr("203.0.0.9"), Fixed: FIP(5).Fixed}
	delta := func(removed, added []dataplane.FloatingIP) *namespace.Delta {
		return &namespace.Delta{Removed: removed, Added: added}
	}
	for name, c := range map[string]struct {
		want  dataplane.Router
		since *namespace.Delta
		steps []string
	}{
		"one more": {
			Example(FIP(5), FIP(6), FIP(7)), delta(nil, FIPs(7, 8)),
			[]string{"+ floating-ip 203.0.0.7: → 10.0.0.7"},
		},
		"one far away": {
			Example(FIP(5), FIP(6), FIP(9999)), delta(nil, FIPs(9999, 10_000)),
			[]string{"+ floating-ip 203.0.39.15: → 10.0.39.15"},
		},
		"one less": {Example(FIP(6)), delta(FIPs(5, 6), nil), []string{"- floating-ip 203.0.0.5: → 10.0.0.5  !"}},
		"all": {Example(), delta(FIPs(5, 7), nil), []string{
			"- floating-ip 203.0.0.5: → 10.0.0.5  !", "- floating-ip 203.0.0.6: → 10.0.0.6  !",
		}},
		"moved": {
			Example(moved, FIP(6)), delta(FIPs(5, 6), []dataplane.FloatingIP{moved}),
			[]string{"~ floating-ip 203.0.0.5: → 10.0.0.77, was 10.0.0.5  !"},
		},
		"swapped": {Example(swapped...), delta(full.FloatingIPs, swapped), []string{
			"~ floating-ip 203.0.0.5: → 10.0.0.6, was 10.0.0.5  !",
			"~ floating-ip 203.0.0.6: → 10.0.0.5, was 10.0.0.6  !",
		}},
		"fixed address handed over": {
			Example(handedOver, FIP(6)), delta(FIPs(5, 6), []dataplane.FloatingIP{handedOver}),
			[]string{"- floating-ip 203.0.0.5: → 10.0.0.5  !", "+ floating-ip 203.0.0.9: → 10.0.0.5"},
		},
		"another id": {Example(renamed, FIP(6)), delta(FIPs(5, 6), []dataplane.FloatingIP{renamed}), []string{}},
		"SNAT off":   {Without(full, func(r *dataplane.Router) { r.Gateway.SNAT = false }), nil, s.SNATOff},
		"another gateway address": {
			Without(full, func(r *dataplane.Router) { r.Gateway.Addrs = Example().Ports[1].Addrs }), nil,
			s.OtherGateway,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := s.Open(t)
			require.Equal(t, slices.Concat(s.First, []string{
				"+ snat qg-out: 203.0.255.2",
				"+ floating-ip 203.0.0.5: → 10.0.0.5", "+ floating-ip 203.0.0.6: → 10.0.0.6",
			}), Plan(t, p.Rules(), full, nil))
			Apply(t, p.Rules(), full)
			require.Equal(t, c.steps, Plan(t, p.Rules(), c.want, nil), "by reading back")
			if c.since == nil {
				return
			}
			require.Equal(t, c.steps, Plan(t, p.Rules(), c.want, c.since), "by the delta")
			before := p.Listing()
			undo, err := p.Rules().Apply(t.Context(), namespace.Change{Want: c.want, Since: c.since})
			require.NoError(t, err)
			requireUnchanged(t, p, true)
			require.Empty(t, Plan(t, p.Rules(), c.want, nil), "the delta led elsewhere")
			if len(c.steps) > 0 {
				require.NoError(t, undo(t.Context()))
			}
			require.Equal(t, before, p.Listing())
		})
	}
}

func requireUnchanged(t *testing.T, p Place, want bool) {
	t.Helper()
	unchanged, err := p.Rules().Unchanged()
	require.NoError(t, err)
	require.Equal(t, want, unchanged)
}

// deltaWithoutProof: a delta must not be acted on when somebody wrote since, or when what it stands
// on was never applied.
func (s Suite[P]) deltaWithoutProof(t *testing.T) {
	disturb := map[string]func(P){
		"nothing applied": func(p P) { require.NoError(t, p.Rules().Clear(t.Context())); p.Reopen() },
		"undone":          func(p P) { require.NoError(t, Apply(t, p.Rules(), Example())(t.Context())) },
		"cleared":         func(p P) { require.NoError(t, p.Rules().Clear(t.Context())) },
	}
	for name, fn := range s.Disturb {
		disturb[name] = fn
	}
	before, after := Example(FIP(5)), Example(FIP(5), FIP(6))
	for name, fn := range disturb {
		t.Run(name, func(t *testing.T) {
			p := s.Open(t)
			Apply(t, p.Rules(), before)
			fn(p)
			change := namespace.Change{Want: after, Since: &namespace.Delta{Added: FIPs(6, 7)}}
			_, err := p.Rules().Apply(t.Context(), change)
			require.NoError(t, err)
			require.Empty(t, Plan(t, p.Rules(), after, nil))
		})
	}
}

// trustRegained: foreign changes cost one full look, not one each time.
func (s Suite[P]) trustRegained(t *testing.T) {
	p := s.Open(t)
	r := Example(FIP(5))
	Apply(t, p.Rules(), r)
	p.Foreign()
	requireUnchanged(t, p, false)
	require.Empty(t, Plan(t, p.Rules(), r, &namespace.Delta{}))
	requireUnchanged(t, p, true)
}

func (s Suite[P]) manyFloatingIPs(t *testing.T) {
	p := s.Open(t)
	many := Example(FIPs(1, 10_001)...)
	Apply(t, p.Rules(), many)
	p.Reopen()
	require.Empty(t, Plan(t, p.Rules(), many, nil), "read while the kernel may still be enlarging its hash tables")
	few := Example(FIPs(9_000, 9_002)...)
	undo := Apply(t, p.Rules(), few)
	require.Empty(t, Plan(t, p.Rules(), few, nil))
	require.NoError(t, undo(t.Context()))
	require.Empty(t, Plan(t, p.Rules(), many, nil))
	require.NoError(t, p.Rules().Clear(t.Context()))
	require.Empty(t, p.Listing())
}

func (s Suite[P]) clear(t *testing.T) {
	p := s.Open(t)
	before := p.Stamp()
	require.NoError(t, p.Rules().Clear(t.Context()))
	require.Equal(t, before, p.Stamp(), "nothing was there to clear")
	RequirePresent(t, p.Rules(), false)
	p.Foreign()
	RequirePresent(t, p.Rules(), false)
	foreign := p.Listing()
	require.NotEmpty(t, foreign)
	Apply(t, p.Rules(), Example(FIP(5)))
	RequirePresent(t, p.Rules(), true)
	require.NoError(t, p.Rules().Clear(t.Context()))
	RequirePresent(t, p.Rules(), false)
	require.Equal(t, foreign, p.Listing())
	counters, err := p.Rules().Counters(t.Context())
	require.NoError(t, err)
	require.Empty(t, counters)
}

func (s Suite[P]) cancelled(t *testing.T) {
	p := s.Open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	change := namespace.Change{Want: Example(FIP(5))}
	_, err := p.Rules().Plan(ctx, change)
	require.ErrorIs(t, err, context.Canceled)
	_, err = p.Rules().Apply(ctx, change)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, p.Rules().Clear(ctx), context.Canceled)
	_, err = p.Rules().Counters(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, p.Listing())
}

// race: somebody writes all the time. Every Apply ends, and what it says is true.
func (s Suite[P]) race(t *testing.T) {
	p := s.Open(t)
	Apply(t, p.Rules(), Example(FIP(5)))
	stop, stopped := make(chan struct{}), make(chan error)
	go func() {
		var err error
		for err == nil {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			err = s.Write(p)
		}
		stopped <- err
	}()
	for n := range s.Rounds {
		after := Example(FIPs(5, 6+n)...)
		Apply(t, p.Rules(), after)
		require.Empty(t, Plan(t, p.Rules(), after, nil))
	}
	close(stop)
	require.NoError(t, <-stopped)
}

// between: what Plan saw is not taken for what Apply finds.
func (s Suite[P]) between(t *testing.T) {
	before := Example(FIP(5))
	for name, after := range map[string]dataplane.Router{"with a change to make": Example(FIP(5), FIP(6)), "with none": before} {
		t.Run(name, func(t *testing.T) {
			p := s.Open(t)
			Plan(t, p.Rules(), before, nil)
			s.Half(p)
			Apply(t, p.Rules(), before)
			require.Empty(t, Plan(t, p.Rules(), before, nil))
			Plan(t, p.Rules(), after, nil)
			s.Disturb["tampered"](p)
			Apply(t, p.Rules(), after)
			require.Empty(t, Plan(t, p.Rules(), after, nil))
		})
	}
}

// walk: from one random set of floating IPs to another by deltas. The rules are those of a fresh
// Apply, so no other floating IP's rules are touched.
func (s Suite[P]) walk(t *testing.T) {
	p, fresh := s.Open(t), s.Open(t)
	random := rand.New(rand.NewPCG(1, 2))
	now := Example()
	Apply(t, p.Rules(), now)
	for range 25 {
		next := now
		next.FloatingIPs = slices.Clone(now.FloatingIPs)
		var d namespace.Delta
		for range 1 + random.IntN(3) {
			if n := len(next.FloatingIPs); n > 0 && random.IntN(3) == 0 {
				i := random.IntN(n)
				d.Removed = append(d.Removed, next.FloatingIPs[i])
				next.FloatingIPs = slices.Delete(next.FloatingIPs, i, i+1)
			}
		}
		for range 1 + random.IntN(3) {
			f := FIP(random.IntN(1 << (4 + random.IntN(11)))) // near others, or far away
			clash := func(o dataplane.FloatingIP) bool { return o.ID == f.ID }
			if !slices.ContainsFunc(next.FloatingIPs, clash) && !slices.ContainsFunc(d.Removed, clash) {
				d.Added = append(d.Added, f)
				next.FloatingIPs = append(next.FloatingIPs, f)
			}
		}
		_, err := p.Rules().Apply(t.Context(), namespace.Change{Want: next, Since: &d})
		require.NoError(t, err)
		require.NoError(t, fresh.Rules().Clear(t.Context()))
		Apply(t, fresh.Rules(), next)
		require.Equal(t, fresh.Listing(), p.Listing())
		now = next
	}
}
