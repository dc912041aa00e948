package differential

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/test/needs"
)

// scenario is a router, and packets that it is tried with, one after the other.
type scenario struct {
	router dataplane.Router
	trials []trial
}

func drawScenario(t *rapid.T) scenario {
	r := drawClamping(t, drawRouter(t))
	return scenario{r, rapid.SliceOfN(drawTrials(r), 16, 24).Draw(t, "trials")} // applying a router takes as long as a hundred trials
}

// spreads says that a trial is the first one to a destination that routes share, which is worth a
// closer look.
func (c scenario) spreads(i int) bool {
	shared := func(p trial) bool { return len(expect(c.router, p).hops()) > 1 }
	return shared(c.trials[i]) && !slices.ContainsFunc(c.trials[:i], shared)
}

// TestBackendsDoAsTheModelSays is the proof, in a size for every day.
func TestBackendsDoAsTheModelSays(t *testing.T) {
	setChecks(t, 25)
	stayOnOneCPU(t)
	sites := openSites(t)
	rapid.Check(t, func(rt *rapid.T) {
		draw := rapid.SampledFrom([]func(*rapid.T) scenario{drawScenario, drawScopedScenario}).Draw(rt, "kind of router")
		compare(rt, sites, draw(rt))
	})
}

// TestNightly is the same for as long as L3KIT_FUZZTIME says, such as 10m. make fuzz runs it.
func TestNightly(t *testing.T) {
	text, ok := os.LookupEnv("L3KIT_FUZZTIME")
	if !ok {
		t.Skip("L3KIT_FUZZTIME is not set")
	}
	duration, err := time.ParseDuration(text)
	require.NoError(t, err)
	sites := openSites(t)
	end := time.Now().Add(duration)
	routers, packets := 0, 0
	for round := 1; time.Now().Before(end) && !t.Failed(); round++ {
		t.Run(fmt.Sprint("round ", round), func(t *testing.T) {
			stayOnOneCPU(t)
			draw := drawScenario
			switch round % 3 {
			case 0:
				draw = drawInstanceScenario
			case 1:
				draw = drawScopedScenario
			}
			rapid.Check(t, func(rt *rapid.T) {
				c := draw(rt)
				if !time.Now().Before(end) {
					return
				}
				routers, packets = routers+1, packets+len(c.trials)
				compare(rt, sites, c)
			})
		})
	}
	t.Logf("%d routers, %d packets, on %d backends", routers, packets, len(sites))
}

// setChecks sets how many routers rapid draws, unless somebody has said so.
func setChecks(t *testing.T, n int) {
	const name = "rapid.checks"
	said := false
	flag.Visit(func(f *flag.Flag) { said = said || f.Name == name })
	if said {
		return
	}
	before := flag.Lookup(name).Value.String()
	require.NoError(t, flag.Set(name, fmt.Sprint(n)))
	t.Cleanup(func() { require.NoError(t, flag.Set(name, before)) })
}

func openSites(t *testing.T) []*site {
	needs.Root(t)
	var sites []*site
	for _, b := range backends {
		if b.installed(t) {
			sites = append(sites, openSite(t, b))
		}
	}
	return sites
}

// stayOnOneCPU keeps the frames of the calling goroutine in one queue, in their order.
func stayOnOneCPU(t *testing.T) {
	runtime.LockOSThread()
	var before, one unix.CPUSet
	require.NoError(t, unix.SchedGetaffinity(0, &before))
	for cpu := range len(before) * 64 {
		if before.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	require.NoError(t, unix.SchedSetaffinity(0, &one))
	t.Cleanup(func() {
		require.NoError(t, unix.SchedSetaffinity(0, &before))
		runtime.UnlockOSThread()
	})
}

// compare realises the router on every site, and fails with all that is needed to understand a
// difference.
func compare(t *rapid.T, sites []*site, c scenario) {
	if err := c.router.Validate(); err != nil {
		t.Fatalf("a router was drawn that is not valid: %v\n%s", err, routerFile(c.router))
	}
	for _, s := range sites {
		if err := s.apply(c.router); err != nil {
			t.Fatalf("%v\n%s", err, routerFile(c.router))
		}
	}
	for i, p := range c.trials {
		e := expect(c.router, p)
		differ := false
		var report strings.Builder
		for _, s := range sites {
			a := s.try(p)
			verdict := e.judge(a)
			if verdict == "" && c.spreads(i) {
				verdict = s.spread(e)
			}
			differ = differ || verdict != ""
			if verdict == "" {
				verdict = "as the model says"
			}
			fmt.Fprintf(&report, "%s: %s\n%s\n", s.backend, verdict, indent(a.String()))
		}
		if differ {
			t.Fatalf("%s\n%s\n%s\n%s", routerFile(c.router), p, e.text(), &report)
		}
	}
}

// text is the model's answer.
func (e expectation) text() string {
	var b strings.Builder
	for _, t := range e.paths {
		fmt.Fprintf(&b, "model: %s\n", t)
	}
	return b.String()
}

func routerFile(r dataplane.Router) string {
	b, err := yaml.Marshal(r)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func indent(s string) string { return "    " + strings.ReplaceAll(s, "\n", "\n    ") }
