package deployment_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

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

// mortal is a service, for a bus that ends before or after one of its accesses: so between a commit
// and its publication, between that and the note that it was done, or between two routers of one
// batch.
type mortal struct {
	l3.ControlPlane
	*fuse
}

func (m mortal) Unpublished(ctx context.Context, limit int) ([]l3.Notice, error) {
	m.burn()
	defer m.burn()
	return m.ControlPlane.Unpublished(ctx, limit)
}

func (m mortal) Published(ctx context.Context, notices []l3.Notice) error {
	m.burn()
	defer m.burn()
	return m.ControlPlane.Published(ctx, notices)
}

func (m mortal) PlacementOf(ctx context.Context, host, id string) (l3.Placement, error) {
	m.burn()
	defer m.burn()
	return m.ControlPlane.PlacementOf(ctx, host, id)
}

func (m mortal) PlacementsOn(ctx context.Context, host string) ([]l3.Placement, error) {
	m.burn()
	defer m.burn()
	return m.ControlPlane.PlacementsOn(ctx, host)
}

// press is the buses of two servers, which are killed and started again.
type press struct {
	service l3.ControlPlane
	conn    *nats.Conn

	mu     sync.Mutex
	random *rand.Rand
	honest bool
	ends   [2]func()
	kills  int
}

// set has buses live for a random number of steps, or for ever. Those that there are end.
func (p *press) set(random *rand.Rand, honest bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.random, p.honest = random, honest
	for _, end := range p.ends {
		end()
	}
}

// run has bus i live and die until ctx ends.
func (p *press) run(ctx context.Context, i int) {
	for ctx.Err() == nil {
		life, end := context.WithCancel(ctx)
		f := &fuse{left: -1, end: end}
		p.mu.Lock()
		pause := time.Duration(p.random.IntN(20)) * time.Millisecond
		if !p.honest {
			f.left = p.random.IntN(16)
		}
		p.ends[i] = end
		p.mu.Unlock()
		if bus, err := natsbus.Open(life, p.conn, mortal{p.service, f}, natsbus.Options{Poll: 50 * time.Millisecond}); err == nil {
			_ = bus.Run(life)
		}
		end()
		p.mu.Lock()
		p.ends[i] = func() {}
		p.kills++
		p.mu.Unlock()
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}
