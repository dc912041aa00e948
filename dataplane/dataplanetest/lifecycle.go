package dataplanetest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/l3kit/l3kit/dataplane"
)

func lifecycleClauses() []clause {
	return []clause{
		{
			name: "delete-leaves-nothing",
			why: "Delete leaves nothing behind, inside or on the host's side, and a router that is not there is fine. What is left meets the next router of that " +
				"name, or fills the host.",
			test: deletion,
		}, {
			name: "list-is-exact",
			why: "List names every router of ours, whoever made it, half-made ones too, and nothing else. By it an agent finds what is to be deleted: what it lacks " +
				"stays for ever, and what is too much in it, somebody else loses.",
			test: listing,
		}, {
			name: "foreign-names-are-left-alone",
			why: "What has a router's name and is not ours is somebody else's: Apply refuses with ErrForeign, List is silent about it, Delete does not touch it. " +
				"Two agents may use the same names on one host.",
			test: foreign,
		}, {
			name: "invalid-routers-are-refused",
			why:  "A router that does not pass Validate is refused with ErrInvalid before anything is touched. Half of a faulty router is worse than none.",
			test: refusals,
		}, {
			name: "ready-tells",
			why: "Ready is nil while the host can realise routers, with and without some, leaves nothing behind, and fails once the dataplane is closed. Health " +
				"checks restart, or take out of service, an agent that is not ready.",
			test: readyOrNot,
		}, {
			name: "routers-run-concurrently",
			why: "Calls for different routers, and calls for the same one, may come at the same time from everywhere. A host has hundreds of routers, and they " +
				"change at once.",
			test: concurrency,
		},
	}
}

func deletion(s *scene) {
	s.cast("web1", "app1", "db1", "outside")
	empty := s.steady(s.snapshot)
	for _, st := range states() {
		s.during("%s", st.name)
		s.apply(st.router)
		s.remove("r1")
		s.settled("the host, after Delete,", empty, s.snapshot)
	}
	s.during("a router that is not there")
	s.fail(s.dp.Delete(s.ctx, "r1"))
	s.fail(s.dp.Delete(s.ctx, "never-was"))
	s.during("a router that another process made")
	s.apply(busy())
	fresh, err := s.h.Reopen()
	s.must(err)
	s.closeLater(fresh)
	s.fail(fresh.Delete(s.ctx, "r1"))
	s.settled("the host, after Delete,", empty, s.snapshot)
	s.during("the router applied again")
	s.apply(busy())
	s.check(probe{from: "outside", to: fip1, at: "web1", sees: outsideAddr, as: web1Addr})
}

// lists wants List of every dataplane on the host to be exactly so.
func (s *scene) lists(want ...string) {
	fresh, err := s.h.Reopen()
	s.must(err)
	defer fresh.Close()
	for who, dp := range map[string]dataplane.Dataplane{"the process that made them": s.dp, "a fresh process": fresh} {
		got, err := dp.List(s.ctx)
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("it is %q, not %q", got, want)
		}
		if err != nil {
			s.failf("List by %s: %w", who, err)
		}
	}
}

func listing(s *scene) {
	s.lists()
	second := small("r0", 2)
	s.apply(busy())
	s.lists("r1")
	s.apply(second)
	s.lists("r0", "r1")
	s.apply(dataplane.Router{ID: "r2"})
	s.lists("r0", "r1", "r2")
	s.remove("r1")
	s.remove("r2")
	s.lists("r0")
	s.remove("r0")
	s.lists()
	if h, ok := s.h.(HalfMaker); ok {
		s.during("a router that is half there")
		s.host("web1")
		empty := s.steady(s.snapshot)
		s.must(h.HalfMake(s.ctx, busy()))
		s.lists("r1")
		s.remove("r1")
		s.lists()
		s.settled("the host, after Delete,", empty, s.snapshot)

		s.during("a router that is half there, and is to be another one")
		other := dataplane.Router{ID: "r1"}
		s.apply(other)
		want := s.steady(s.snapshot)
		s.remove("r1")
		s.must(h.HalfMake(s.ctx, busy()))
		plan, err := s.dp.Plan(s.ctx, other)
		s.must(err)
		if done := s.apply(other); !slices.Equal(done.Steps, plan.Steps) {
			s.fail(differ("what Apply did", plan.String()+"\n", done.String()+"\n"))
		}
		s.settled("the host, after Apply,", want, s.snapshot)
	}
}

func foreign(s *scene) {
	h, ok := s.h.(Trespasser)
	if !ok {
		panic(abort{notApplicable("nobody else can take a name on this host")})
	}
	s.apply(small("r0", 2))
	intact, err := h.Trespass(s.ctx, "r1")
	s.must(err)
	s.lists("r0")
	for who, call := range map[string]func() error{
		"Apply": func() error { _, err := s.dp.Apply(s.ctx, busy()); return err },
		"Plan":  func() error { _, err := s.dp.Plan(s.ctx, busy()); return err },
	} {
		if err := call(); !errors.Is(err, dataplane.ErrForeign) {
			s.failf("%s: %v, not ErrForeign", who, err)
		}
	}
	if err := s.dp.Delete(s.ctx, "r1"); err != nil && !errors.Is(err, dataplane.ErrForeign) {
		s.failf("Delete: %w", err)
	}
	s.fail(intact())
	s.lists("r0")
}

func readyOrNot(s *scene) {
	s.fail(s.dp.Ready(s.ctx))
	s.apply(busy())
	before := s.steady(s.snapshot)
	writes, err := s.h.Writes(s.ctx, func() error { return s.dp.Ready(s.ctx) })
	s.fail(err)
	for _, w := range writes {
		s.failf("Ready writes: %s", w)
	}
	after, err := s.snapshot()
	s.must(err)
	s.fail(differ("the host, after Ready,", before, after))
	s.lists("r1")
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	if err := s.dp.Ready(ctx); !errors.Is(err, context.Canceled) {
		s.failf("Ready, when its context has ended: %v", err)
	}
	other, err := s.h.Reopen()
	s.must(err)
	s.must(other.Close())
	if err := other.Ready(s.ctx); !errors.Is(err, dataplane.ErrClosed) {
		s.failf("Ready after Close: %v, not ErrClosed", err)
	}
}

// invalid are routers with one fault each.
func invalid() map[string]dataplane.Router {
	return map[string]dataplane.Router{
		"no ID":                             with(busy(), func(r *dataplane.Router) { r.ID = "" }),
		"control characters in the ID":      with(busy(), func(r *dataplane.Router) { r.ID = "r1\n" }),
		"an ID that is a path":              with(busy(), func(r *dataplane.Router) { r.ID = "../r1" }),
		"overlapping subnets":               with(busy(), func(r *dataplane.Router) { r.Ports[1].Addrs = prefixes("10.0.1.129/25") }),
		"an address in two places":          with(busy(), floating(fip1, db1Addr)),
		"a floating IP of nobody":           with(busy(), floating(fip3, addr("10.0.77.7"))),
		"a floating IP without a gateway":   with(busy(), func(r *dataplane.Router) { r.Gateway = nil }),
		"MTU 0":                             with(busy(), func(r *dataplane.Router) { r.Ports[0].MTU = 0 }),
		"no MAC":                            with(busy(), func(r *dataplane.Router) { r.Ports[0].MAC = dataplane.MAC{} }),
		"two ports of one ID":               with(busy(), func(r *dataplane.Router) { r.Ports[1].ID = "web" }),
		"a next hop that is nowhere":        with(busy(), route("10.77.0.0/24", "10.0.99.1")),
		"the same route twice":              with(busy(), behind),
		"a destination with host bits":      with(busy(), func(r *dataplane.Router) { r.Routes[0].Dest = netip.MustParsePrefix("10.9.0.1/24") }),
		"10,001 routes":                     with(busy(), tooManyRoutes),
		"a floating IP that is an IPv6 one": with(busy(), floating(addr("2001:db8:1::77"), addr("fd00:1::77"))),
	}
}

func tooManyRoutes(r *dataplane.Router) {
	for i := range 10_001 {
		dest := netip.AddrFrom4([4]byte{172, byte(16 + i>>16), byte(i >> 8), byte(i)})
		r.Routes = append(r.Routes, dataplane.Route{Dest: netip.PrefixFrom(dest, 32), NextHop: addr("10.0.2.250")})
	}
}

func refusals(s *scene) {
	s.apply(busy())
	before := s.steady(s.snapshot)
	writes, err := s.h.Writes(s.ctx, func() error {
		for name, r := range invalid() {
			if _, err := s.dp.Apply(s.ctx, r); !errors.Is(err, dataplane.ErrInvalid) {
				s.failf("Apply of a router with %s: %v, not ErrInvalid", name, err)
			}
			if _, err := s.dp.Plan(s.ctx, r); !errors.Is(err, dataplane.ErrInvalid) {
				s.failf("Plan of a router with %s: %v, not ErrInvalid", name, err)
			}
		}
		return nil
	})
	s.fail(err)
	for _, w := range writes {
		s.failf("a write for a router that is refused: %s", w)
	}
	after, err := s.snapshot()
	s.must(err)
	s.fail(differ("the host, after refusals,", before, after))
	s.lists("r1")
}

// small is a router with networks of its own, by number.
func small(id string, n byte) dataplane.Router {
	r := with(plain(), without("db"), func(r *dataplane.Router) {
		r.ID = id
		for i := range r.Ports {
			r.Ports[i].ID = fmt.Sprintf("%s-%s", id, r.Ports[i].ID)
			r.Ports[i].Network.ID = fmt.Sprintf("%s-%s", id, r.Ports[i].Network.ID)
		}
		g := r.Gateway
		g.ID, g.MAC[4], g.Addrs = id+"-ext", n, prefixes(fmt.Sprintf("203.0.113.%d/24", 10+n))
		g.NextHops = addrs("203.0.113.1")
	})
	return with(r, floating(addr(fmt.Sprintf("203.0.113.%d", 110+n)), web1Addr))
}

// concurrency changes routers from all sides, then compares each with a quiet host.
func concurrency(s *scene) {
	const routers, rounds = 6, 5
	var want []string
	id := func(i int) string { return fmt.Sprintf("c%d", i) }
	for i := range routers {
		s.apply(small(id(i), byte(i)))
	}
	for i := range routers {
		text, err := s.h.State(s.ctx, id(i))
		s.must(err)
		if text == "" {
			s.failf("router %s is not there", id(i))
		}
		want = append(want, text)
	}
	outside := s.steady(func() (string, error) { return s.h.HostState(s.ctx) })

	var wg sync.WaitGroup
	for i := range routers {
		full := small(id(i), byte(i))
		for worker := range 2 { // two for each router: they take turns
			wg.Go(func() {
				for round := range rounds {
					r := full
					switch (round + worker) % 3 {
					case 0:
						r = with(r, snat(false), func(r *dataplane.Router) { r.FloatingIPs = nil })
					case 1:
						r = with(r, func(r *dataplane.Router) { r.Ports = r.Ports[:1] })
					}
					if _, err := s.dp.Apply(s.ctx, r); err != nil {
						s.failf("Apply of %s: %w", r.ID, err)
					}
					if _, err := s.dp.Plan(s.ctx, full); err != nil {
						s.failf("Plan of %s: %w", r.ID, err)
					}
					if round == 2 && worker == 0 {
						s.fail(s.dp.Delete(s.ctx, r.ID))
					}
				}
			})
		}
	}
	wg.Go(func() {
		for range rounds {
			if _, err := s.dp.List(s.ctx); err != nil {
				s.failf("List: %w", err)
			}
		}
	})
	wg.Wait()
	for i := range routers {
		s.apply(small(id(i), byte(i)))
		s.settled("router "+id(i), want[i], func() (string, error) { return s.h.State(s.ctx, id(i)) })
	}
	s.settled("the host's side", outside, func() (string, error) { return s.h.HostState(s.ctx) })
	var names []string
	for i := range routers {
		names = append(names, id(i))
	}
	s.lists(names...)
	for i := range routers {
		s.remove(id(i))
	}
	s.lists()
	if text, err := s.h.HostState(s.ctx); err != nil || strings.Contains(text, "c0-") {
		s.failf("the host, after all are deleted, has %s (%v)", text, err)
	}
}
