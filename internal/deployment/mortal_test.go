package deployment_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/natsbus"
)

// fuse ends somebody's life at a step of the work.
type fuse struct {
	mu   sync.Mutex
	left int // steps; negative: it never ends
	end  func()
}

func (f *fuse) burn() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left == 0 {
		f.end()
	}
	f.left--
}

// mortal is a store and a service, for a publisher that ends before or after one of its accesses:
// so between a commit and its publication, between that and the note that it was done, or between
// two routers of one batch.
type mortal struct {
	l3.Store
	natsbus.Service
	*fuse
}

func (m mortal) View(ctx context.Context, fn func(l3.Tx) error) error {
	m.burn()
	defer m.burn()
	return m.Store.View(ctx, fn)
}

func (m mortal) Update(ctx context.Context, fn func(l3.Tx) error) error {
	m.burn()
	defer m.burn()
	return m.Store.Update(ctx, fn)
}

func (m mortal) PlacementOf(ctx context.Context, host, id string) (l3.Placement, error) {
	m.burn()
	defer m.burn()
	return m.Service.PlacementOf(ctx, host, id)
}

func (m mortal) PlacementsOn(ctx context.Context, host string) ([]l3.Placement, error) {
	m.burn()
	defer m.burn()
	return m.Service.PlacementsOn(ctx, host)
}

// press is two servers' publishers, which are killed and started again.
type press struct {
	store   l3.Store
	service natsbus.Service
	bus     *natsbus.Bus

	mu      sync.Mutex
	random  *rand.Rand
	honest  bool
	current [2]*natsbus.Publisher
	ends    [2]func()
	kills   int
}

// set has publishers live for a random number of steps, or for ever. Those that there are end.
func (p *press) set(random *rand.Rand, honest bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.random, p.honest = random, honest
	for _, end := range p.ends {
		end()
	}
}

// wake is what the service calls after a commit.
func (p *press) wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range p.current {
		if one != nil {
			one.Wake()
		}
	}
}

// run has publisher i live and die until ctx ends.
func (p *press) run(ctx context.Context, i int) {
	for ctx.Err() == nil {
		life, end := context.WithCancel(ctx)
		f := &fuse{left: -1, end: end}
		m := mortal{p.store, p.service, f}
		publisher := natsbus.NewPublisher(m, m, p.bus)
		publisher.Poll = 50 * time.Millisecond
		p.mu.Lock()
		pause := time.Duration(p.random.IntN(20)) * time.Millisecond
		if !p.honest {
			f.left = p.random.IntN(16)
		}
		p.current[i], p.ends[i] = publisher, end
		p.mu.Unlock()
		_ = publisher.Run(life)
		end()
		p.mu.Lock()
		p.current[i], p.ends[i] = nil, func() {}
		p.kills++
		p.mu.Unlock()
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}
