package agent_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/l3kit/l3kit/dataplane/agent"
)

// TestAnyScheduleEndsRight sends a history of routers that come, change, move and go, with messages
// doubled, delayed and out of order, connections cut and Applies failing. Whatever happens, the
// host ends as the control plane has it.
func TestAnyScheduleEndsRight(t *testing.T) {
	seeds := uint64(500)
	if testing.Short() {
		seeds = 50
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { anySchedule(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

func anySchedule(t *testing.T, random *rand.Rand) {
	s := newSite(t)
	s.config.Parallel = 1 + random.IntN(3)
	s.dataplane.slow = time.Duration(random.IntN(300)) * time.Millisecond
	s.start()
	defer s.end()

	epochs, revisions := map[string]uint64{}, map[string]uint64{}
	for range 40 {
		id := fmt.Sprint("r", random.IntN(4))
		switch random.IntN(9) {
		case 0, 1, 2, 3:
			if _, ok := s.plane.routers[id]; !ok && (epochs[id] == 0 || random.IntN(2) == 0) {
				epochs[id]++ // it may come back in the epoch that it left in
			}
			revisions[id]++
			s.plane.put(router(id, epochs[id], revisions[id]))
		case 4:
			if _, ok := s.plane.routers[id]; ok {
				s.plane.take(id)
			}
		case 5:
			s.again(random)
		case 6:
			s.plane.cut()
			after(time.Duration(random.IntN(60)) * time.Second)
			s.plane.mend()
		case 7:
			s.dataplane.fail(id, []error{nil, errors.New("not now")}[random.IntN(2)])
		case 8:
			s.plane.hold(random.IntN(2) == 0, random.Shuffle)
		}
		after(time.Duration(random.IntN(500)) * time.Millisecond)
	}
	s.plane.hold(false, random.Shuffle)
	for i := range 4 {
		s.dataplane.fail(fmt.Sprint("r", i), nil)
	}
	after(5 * time.Minute)
	var want []agent.Assignment
	for _, a := range s.plane.routers {
		want = append(want, a)
	}
	s.has(want...)
}

// again sends something that the agent has had.
func (s *site) again(random *rand.Rand) {
	s.plane.mu.Lock()
	defer s.plane.mu.Unlock()
	if n := len(s.plane.had); n > 0 {
		switch e := s.plane.had[random.IntN(n)].(type) {
		case agent.Put, agent.Gone:
			s.plane.sendLocked(e)
		}
	}
}
