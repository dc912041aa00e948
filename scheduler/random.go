package scheduler

import (
	"math/rand/v2"
	"sync"
)

// random is a source that many may draw from at once.
type random struct {
	mu  sync.Mutex
	src *rand.Rand
}

func newRandom(src rand.Source) *random {
	if src == nil {
		src = rand.NewPCG(rand.Uint64(), rand.Uint64())
	}
	return &random{src: rand.New(src)}
}

// below draws from 0 to n-1.
func (r *random) below(n int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.src.IntN(n)
}

// two draws two different numbers from 0 to n-1; n is at least 2.
func (r *random) two(n int) (int, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, b := r.src.IntN(n), r.src.IntN(n-1)
	if b >= a {
		b++
	}
	return a, b
}
