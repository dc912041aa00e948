package l3test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/membus"
)

// TestEveryBusClauseCanFail runs each clause against buses that break its promise on purpose. A
// clause that none of them fails proves nothing.
func TestEveryBusClauseCanFail(t *testing.T) {
	for _, c := range busClauses() {
		defects := slices.DeleteFunc(busDefects(), func(d busDefect) bool { return !strings.HasPrefix(c.name, d.clause) })
		require.NotEmpty(t, defects, "no broken bus for the clause %s", c.name)
		for _, d := range defects {
			t.Run(c.name+"/"+d.name, func(t *testing.T) {
				t.Parallel()
				var err error
				// In memory nothing takes time, but on a busy machine something else may fail
				// first.
				for patience := 500 * time.Millisecond; patience < busPatience; patience *= 4 {
					err = c.run(t.Context(), d.open, patience)
					require.Error(t, err, "the clause did not notice")
					if strings.Contains(err.Error(), d.says) {
						return
					}
				}
				require.ErrorContains(t, err, d.says)
			})
		}
	}
}

// busDefect is a way to break a promise, and a part of what the clause must say about it.
type busDefect struct {
	clause string // its beginning
	name   string
	says   string

	poll    time.Duration
	control func(l3.ControlPlane) l3.ControlPlane
	source  func(*brokenSource)
	bus     func(*brokenBus)
}

func (d busDefect) open(control l3.ControlPlane) (l3.Bus, error) {
	if d.control != nil {
		control = d.control(control)
	}
	inner, err := membus.Open(context.Background(), control, membus.Options{Poll: max(d.poll, 20*time.Millisecond)})
	if err != nil {
		return nil, err
	}
	b := &brokenBus{Bus: inner, source: d.source}
	if d.bus != nil {
		d.bus(b)
	}
	return b, nil
}

// brokenBus is a bus of which parts are replaced.
type brokenBus struct {
	l3.Bus
	source   func(*brokenSource)
	ready    func() error
	caughtUp func() error
	idle     bool // Close does nothing
	anyHost  bool // every host name is taken
	one      sync.Mutex
}

func (b *brokenBus) Ready(ctx context.Context) error {
	if b.ready != nil {
		return b.ready()
	}
	return b.Bus.Ready(ctx)
}

func (b *brokenBus) CaughtUp(ctx context.Context) error {
	if b.caughtUp != nil {
		return b.caughtUp()
	}
	return b.Bus.CaughtUp(ctx)
}

func (b *brokenBus) Close() error {
	if b.idle {
		return nil
	}
	return b.Bus.Close()
}

func (b *brokenBus) Source(host string) (agent.Source, error) {
	if b.anyHost {
		host = "h"
	}
	inner, err := b.Bus.Source(host)
	if err != nil || b.source == nil {
		return inner, err
	}
	s := &brokenSource{Source: inner, bus: b}
	b.source(s)
	return s, nil
}

// brokenSource is a source of which parts are replaced.
type brokenSource struct {
	agent.Source
	bus       *brokenBus
	impatient int // so many calls of Watch fail at once
	calls     int
	deathless bool                            // the channel is closed only when the context ends
	oneByOne  bool                            // all hosts of the bus wait for each other
	first     []agent.Event                   // come before everything
	pass      func(agent.Event) bool          // whether an event is passed on
	beat      func(*agent.Heartbeat)          // changes what is sent
	report    func(*agent.Report)             // likewise
	answer    func(agent.Report, error) error // of Report
	sight     func(*agent.Sightings)          // changes what is sent
	sighted   func(error) error               // the answer of Sight
}

func (s *brokenSource) Watch(ctx context.Context, session agent.Session) (<-chan agent.Event, error) {
	if s.calls++; s.calls <= s.impatient {
		return nil, errDown
	}
	events, err := s.Source.Watch(ctx, session)
	if err != nil {
		return nil, err
	}
	broken := make(chan agent.Event)
	go func() {
		defer close(broken)
		emit := func(e agent.Event) {
			if s.oneByOne {
				s.bus.one.Lock()
				defer s.bus.one.Unlock()
			}
			select {
			case broken <- e:
			case <-ctx.Done():
			}
		}
		for _, e := range s.first {
			emit(e)
		}
		for e := range events {
			if s.pass == nil || s.pass(e) {
				emit(e)
			}
		}
		if s.deathless {
			<-ctx.Done()
		}
	}()
	return broken, nil
}

func (s *brokenSource) Heartbeat(ctx context.Context, h agent.Heartbeat) error {
	if s.beat != nil {
		s.beat(&h)
	}
	return s.Source.Heartbeat(ctx, h)
}

func (s *brokenSource) Report(ctx context.Context, r agent.Report) error {
	if s.report != nil {
		s.report(&r)
	}
	err := s.Source.Report(ctx, r)
	if s.answer != nil {
		err = s.answer(r, err)
	}
	return err
}

func (s *brokenSource) Sight(ctx context.Context, seen agent.Sightings) error {
	if s.sight != nil {
		s.sight(&seen)
	}
	err := s.Source.Sight(ctx, seen)
	if s.sighted != nil {
		err = s.sighted(err)
	}
	return err
}

// brokenPlane is what a broken bus makes of its control plane.
type brokenPlane struct {
	l3.ControlPlane
	placementOf func(ctx context.Context, host, id string) (l3.Placement, error)
	listing     func([]l3.Placement) []l3.Placement
	published   func(ctx context.Context) error
	attach      func() error
	claim       func() error
	report      func(error) error
}

func (p *brokenPlane) PlacementOf(ctx context.Context, host, id string) (l3.Placement, error) {
	if p.placementOf != nil {
		return p.placementOf(ctx, host, id)
	}
	return p.ControlPlane.PlacementOf(ctx, host, id)
}

func (p *brokenPlane) PlacementsOn(ctx context.Context, host string) ([]l3.Placement, error) {
	all, err := p.ControlPlane.PlacementsOn(ctx, host)
	if p.listing != nil {
		all = p.listing(all)
	}
	return all, err
}

func (p *brokenPlane) Published(ctx context.Context, notices []l3.Notice) error {
	if p.published != nil {
		return p.published(ctx)
	}
	return p.ControlPlane.Published(ctx, notices)
}

func (p *brokenPlane) Attach(ctx context.Context, s agent.Session) error {
	if p.attach != nil {
		return p.attach()
	}
	return p.ControlPlane.Attach(ctx, s)
}

func (p *brokenPlane) ClaimBus(ctx context.Context, bus, server string) error {
	if p.claim != nil {
		return p.claim()
	}
	return p.ControlPlane.ClaimBus(ctx, bus, server)
}

func (p *brokenPlane) Report(ctx context.Context, r agent.Report) error {
	err := p.ControlPlane.Report(ctx, r)
	if p.report != nil {
		err = p.report(err)
	}
	return err
}

// withPlane returns a defect of what a bus does with its control plane.
func withPlane(change func(*brokenPlane)) func(l3.ControlPlane) l3.ControlPlane {
	return func(control l3.ControlPlane) l3.ControlPlane {
		p := &brokenPlane{ControlPlane: control}
		change(p)
		return p
	}
}

func fine() error { return nil }

func busDefects() []busDefect {
	noGone := func(s *brokenSource) {
		s.pass = func(e agent.Event) bool { _, gone := e.(agent.Gone); return !gone }
	}
	return []busDefect{
		{clause: "a listing names", name: "departures are missing", says: "have left the host", source: noGone},
		{clause: "a listing names", name: "it is complete at once", says: "come before Synced", source: func(s *brokenSource) {
			s.first = []agent.Event{agent.Synced{Deployment: planeDeployment}}
		}},
		{clause: "a listing names", name: "revisions are missing", says: "as it was compiled", control: withPlane(func(p *brokenPlane) {
			p.listing = func(all []l3.Placement) []l3.Placement {
				for i := range all {
					if a := all[i].Assignment; a != nil {
						a.Revision = 0
					}
				}
				return all
			}
			// What was put before the watch began is published too, and would make the listing good.
			p.placementOf = func(ctx context.Context, host, id string) (l3.Placement, error) {
				at, err := p.ControlPlane.PlacementOf(ctx, host, id)
				if at.Assignment != nil {
					at.Assignment.Revision = 0
				}
				return at, err
			}
		})},
		{clause: "a host without routers", name: "it is never complete", says: "listing is complete", source: func(s *brokenSource) {
			s.pass = func(e agent.Event) bool { _, synced := e.(agent.Synced); return !synced }
		}},
		{clause: "changes follow", name: "departures are lost", says: "leaves the first host", source: noGone},
		{clause: "what another process", name: "nobody looks", says: "the change arrives", poll: time.Hour},
		{clause: "many changes", name: "what does not fit a batch is dropped", says: "all that moved", control: withPlane(func(p *brokenPlane) {
			p.published = func(ctx context.Context) error {
				all, err := p.Unpublished(ctx, 1<<30)
				return errors.Join(err, p.ControlPlane.Published(ctx, all))
			}
		})},
		{clause: "what is not recorded", name: "it is taken for gone", says: "was not told", control: withPlane(func(p *brokenPlane) {
			p.placementOf = func(ctx context.Context, host, id string) (l3.Placement, error) {
				found, err := p.ControlPlane.PlacementOf(ctx, host, id)
				if errors.Is(err, l3.ErrNotFound) {
					return l3.Placement{Host: host, RouterID: id, Deployment: planeDeployment, Epoch: 99}, nil
				}
				return found, err
			}
		})},
		{clause: "an answer that comes late", name: "answers are kept", says: "is not on the host", control: withPlane(func(p *brokenPlane) {
			var mu sync.Mutex
			kept := map[string]l3.Placement{}
			p.placementOf = func(ctx context.Context, host, id string) (l3.Placement, error) {
				mu.Lock()
				defer mu.Unlock()
				if found, ok := kept[host+id]; ok {
					return found, nil
				}
				found, err := p.ControlPlane.PlacementOf(ctx, host, id)
				if err == nil {
					kept[host+id] = found
				}
				return found, err
			}
		})},
		{clause: "a database that does not answer", name: "a failure is taken for nothing", says: "the changes arrive", control: withPlane(func(p *brokenPlane) {
			p.placementOf = func(ctx context.Context, host, id string) (l3.Placement, error) {
				return l3.Placement{}, errUnknown
			}
		})},
		{clause: "a database that does not answer", name: "it is always ready", says: "Ready says so", bus: func(b *brokenBus) { b.ready = fine }},
		{clause: "an agent that does not read", name: "hosts wait for each other", says: "served meanwhile", source: func(s *brokenSource) { s.oneByOne = true }},
		{clause: "another machine", name: "everybody is served", says: "ErrRefused", control: withPlane(func(p *brokenPlane) { p.attach = fine })},
		{clause: "a new session", name: "both go on", says: "watch before ends", source: func(s *brokenSource) { s.deathless = true }},
		{clause: "a watch waits", name: "it does not", says: "does not begin", source: func(s *brokenSource) { s.impatient = 2 }},
		{clause: "a heartbeat arrives", name: "without its inventory", says: "has the inventory", source: func(s *brokenSource) {
			s.beat = func(h *agent.Heartbeat) { h.Inventory = nil }
		}},
		{clause: "a report arrives", name: "without its number", says: "what the agent says", source: func(s *brokenSource) {
			s.report = func(r *agent.Report) { r.Seq = 0 }
		}},
		{clause: "sightings arrive", name: "without their age", says: "what the agent says", source: func(s *brokenSource) {
			s.sight = func(seen *agent.Sightings) {
				seen.Addrs = slices.Clone(seen.Addrs)
				seen.Addrs[0].Age = 0
			}
		}},
		{clause: "what was accepted", name: "failures of sightings are hidden", says: "the sighting arrives", source: func(s *brokenSource) {
			s.sighted = func(error) error { return nil }
		}},
		{clause: "what was accepted", name: "failures are hidden", says: "the report arrives", source: func(s *brokenSource) {
			s.answer = func(agent.Report, error) error { return nil }
		}},
		{clause: "what is refused", name: "it is tried for ever", says: "Report of what is refused", control: withPlane(func(p *brokenPlane) {
			p.report = func(err error) error {
				if err != nil {
					return errDown
				}
				return nil
			}
		})},
		{clause: "after CaughtUp", name: "it always is", says: "before Run", bus: func(b *brokenBus) { b.caughtUp = fine }},
		{clause: "tunnel peers", name: "they are told once", says: "both hosts are peers", source: func(s *brokenSource) {
			told := false
			s.pass = func(e agent.Event) bool {
				_, peers := e.(agent.Peers)
				again := peers && told
				told = told || peers
				return !again
			}
		}},
		{clause: "Ready says", name: "it always is", says: "before Run", bus: func(b *brokenBus) { b.ready = fine }},
		{clause: "a database has one bus", name: "nothing is claimed", says: "ErrOtherBus", control: withPlane(func(p *brokenPlane) { p.claim = fine })},
		{clause: "a restart", name: "only changes are told", says: "changed meanwhile", control: withPlane(func(p *brokenPlane) {
			p.listing = func([]l3.Placement) []l3.Placement { return nil }
		})},
		{clause: "Close ends", name: "it does not", says: "Watch fails at once", bus: func(b *brokenBus) { b.idle = true }},
		{clause: "a host name", name: "any will do", says: `Source("")`, bus: func(b *brokenBus) { b.anyHost = true }},
	}
}
