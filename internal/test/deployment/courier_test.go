package deployment_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/l3kit/l3kit/dataplane/agent"
)

// courier is a source of routers that doubles, delays and reorders what another one sends, as far
// as a [agent.Source] may.
type courier struct {
	agent.Source

	mu     sync.Mutex
	random *rand.Rand
	honest bool
	tour   *tour // the last one
	old    []agent.Report
}

// tour is one Watch. The courier's lock is for it too.
type tour struct {
	*courier
	end    func()
	synced bool
	held   []agent.Event // that were not delivered yet
	had    []agent.Event // that were
	busy   int           // events between the other source and the agent
}

func (c *courier) set(random *rand.Rand, honest bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.random, c.honest = random, honest
}

// cut ends a Watch, as a source may that cannot go on.
func (c *courier) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tour != nil {
		c.tour.end()
	}
}

// idle says that everything was delivered.
func (c *courier) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tour != nil && c.tour.busy == 0 && len(c.tour.held) == 0
}

// Watch hands on what the other source sends. What is held when a Watch ends is lost: the next one
// names it again.
func (c *courier) Watch(ctx context.Context, session agent.Session) (<-chan agent.Event, error) {
	ctx, stop := context.WithCancel(ctx)
	in, err := c.Source.Watch(ctx, session)
	if err != nil {
		stop()
		return nil, err
	}
	t := &tour{courier: c, end: stop}
	c.mu.Lock()
	c.tour = t
	c.mu.Unlock()
	out := make(chan agent.Event)
	go func() {
		defer close(out)
		defer stop()
		t.run(ctx, in, out)
		for range in { // until it has ended too
		}
	}()
	return out, nil
}

func (t *tour) run(ctx context.Context, in <-chan agent.Event, out chan<- agent.Event) {
	tick := time.NewTicker(3 * time.Millisecond)
	defer tick.Stop()
	for {
		var now []agent.Event
		select {
		case <-ctx.Done():
			return
		case e, ok := <-in:
			if !ok {
				return
			}
			now = t.take(e)
		case <-tick.C:
			now = t.release()
		}
		for _, e := range now {
			select {
			case out <- e:
			case <-ctx.Done():
				return
			}
		}
		t.delivered(now)
	}
}

// take decides what is delivered when an event comes. Before the listing is complete all that it
// named must be.
func (t *tour) take(e agent.Event) (now []agent.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, complete := e.(agent.Synced)
	t.synced = t.synced || complete
	if !complete && (!t.synced || !t.honest && t.random.IntN(2) == 0) {
		t.held = append(t.held, e)
		return nil
	}
	now = append(t.shuffled(), e)
	t.busy += len(now)
	return now
}

// release delivers, now and then, what is held, or something that the agent has had.
func (t *tour) release() (now []agent.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.synced {
		return nil
	}
	if t.honest || t.random.IntN(4) == 0 {
		now = t.shuffled()
	}
	if !t.honest && len(t.had) > 0 && t.random.IntN(8) == 0 {
		now = append(now, t.had[t.random.IntN(len(t.had))])
	}
	t.busy += len(now)
	return now
}

// shuffled takes out what is held.
func (t *tour) shuffled() []agent.Event {
	now := t.held
	t.held = nil
	t.random.Shuffle(len(now), func(i, j int) { now[i], now[j] = now[j], now[i] })
	return now
}

func (t *tour) delivered(events []agent.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.busy -= len(events)
	for _, e := range events {
		switch e.(type) {
		case agent.Put, agent.Gone:
			t.had = append(t.had, e)
		}
	}
}

// Report sends a report once or twice, and now and then after it one of an earlier version.
func (c *courier) Report(ctx context.Context, r agent.Report) error {
	c.mu.Lock()
	send := []agent.Report{r}
	if !c.honest {
		switch c.random.IntN(3) {
		case 0:
			send = append(send, r)
		case 1:
			for _, old := range c.old {
				if old.RouterID == r.RouterID && old.Epoch <= r.Epoch && old.Revision < r.Revision {
					send = append(send, old)
					break
				}
			}
		}
	}
	c.old = append(c.old, r)
	c.mu.Unlock()
	for _, r := range send {
		if err := c.Source.Report(ctx, r); err != nil {
			return err
		}
	}
	return nil
}
