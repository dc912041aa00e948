package dataplanetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/l3kit/l3kit/internal/test/lab"
)

// Run holds a dataplane to the contract: every clause with a harness of its own. Clauses run in
// parallel, as far as -parallel allows.
func Run(t *testing.T, newHarness func(testing.TB) Harness) {
	for _, c := range clauses() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := c.run(t.Context(), newHarness(t), lab.Patience(patience))
			var missing notApplicable
			if errors.As(err, &missing) {
				t.Log(missing) // no fault of the dataplane
			} else if err != nil {
				t.Errorf("%v\n\nThe clause: %s", err, c.why)
			}
		})
	}
}

// clause is one promise.
type clause struct {
	name string
	why  string // what is promised, and why it matters
	test func(*scene)
}

// clauseTime is far more than any clause needs, also beside others on a busy machine.
const clauseTime = 10 * time.Minute

// run tells in what way a host does not keep the promise, when what ought to happen has so much
// time. It has no need of a testing.T, so that the suite itself can be tested.
func (c clause) run(ctx context.Context, h Harness, patience time.Duration) (err error) {
	ctx, cancel := context.WithTimeout(ctx, lab.Patience(clauseTime))
	defer cancel()
	s := newScene(ctx, h, patience)
	defer func() {
		s.close()
		switch stop := recover().(type) {
		case nil:
		case abort:
			s.fail(stop.error)
		default:
			panic(stop)
		}
		err = s.verdict()
	}()
	c.test(s)
	return nil
}

// abort ends a clause, whose further steps make no sense.
type abort struct{ error }

// notApplicable says that a harness lacks an optional ability.
type notApplicable string

func (n notApplicable) Error() string { return "does not apply: " + string(n) }

// verdict is everything that failed, or nil.
func (s *scene) verdict() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	const most = 12 // the rest would only hide them
	if n := len(s.failures); n > most {
		s.failures = append(s.failures[:most], fmt.Errorf("and %d more", n-most))
	}
	return errors.Join(s.failures...)
}

// fail notes a failure; the clause goes on. A nil error is none.
func (s *scene) fail(err error) {
	if err == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != "" {
		err = fmt.Errorf("%s: %w", s.state, err)
	}
	s.failures = append(s.failures, err)
}

func (s *scene) failf(format string, args ...any) { s.fail(fmt.Errorf(format, args...)) }

// must ends the clause if err is not nil. Only the clause's own goroutine may call it.
func (s *scene) must(err error) {
	if err != nil {
		panic(abort{err})
	}
}

// during names what the clause is at, for failures that follow.
func (s *scene) during(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = fmt.Sprintf(format, args...)
}

// differ says in which lines two texts differ.
func differ(what, want, got string) error {
	if want == got {
		return nil
	}
	count := map[string]int{}
	for l := range strings.Lines(want) {
		count[l]--
	}
	for l := range strings.Lines(got) {
		count[l]++
	}
	var lines []string
	for l := range strings.Lines(want) {
		if count[l] < 0 {
			count[l]++
			lines = append(lines, "missing: "+strings.TrimSpace(l))
		}
	}
	for l := range strings.Lines(got) {
		if count[l] > 0 {
			count[l]--
			lines = append(lines, "too much: "+strings.TrimSpace(l))
		}
	}
	const most = 16
	if n := len(lines); n > most {
		lines = append(lines[:most], fmt.Sprintf("and %d more lines", n-most))
	} else if n == 0 {
		lines = []string{"only the order of lines"}
	}
	return fmt.Errorf("%s differs:\n    %s", what, strings.Join(lines, "\n    "))
}
