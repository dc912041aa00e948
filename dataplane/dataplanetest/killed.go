package dataplanetest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/test/lab"
)

// killedEnv tells a copy of the test's process that it is the one to be killed, and where it works.
const killedEnv = "L3KIT_TEST_KILLED"

// RunKilled kills a process with SIGKILL in the middle of its work, as often as times says, each
// time at another moment. After each, a fresh process must find the router, finish what was begun
// or take it away, and leave nothing. The process killed is this test's own program, started with
// the name of this test: so a test calls RunKilled and nothing else.
func RunKilled(t *testing.T, open Opener, times int) {
	if site := os.Getenv(killedEnv); site != "" {
		workUntilKilled(t, open, site)
		return
	}
	k := Kernel(open)(t).(*kernel)
	ctx := t.Context()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	empty, err := k.HostState(ctx)
	if err != nil {
		t.Fatal(err)
	}
	all := states()
	fresh := make([]string, len(all)) // the state that each router has when it is applied to an empty host
	for i, s := range all {
		if fresh[i], err = k.freshState(ctx, s.router); err != nil {
			t.Fatal(err)
		}
	}
	for i := range times {
		if err := k.kill(ctx, t.Name(), rng); err != nil {
			t.Fatal(err)
		}
		pick := rng.IntN(len(all))
		if rng.IntN(4) > 0 {
			err = k.finish(ctx, all[pick], fresh[pick])
		}
		if err = errors.Join(err, k.leavesNothing(ctx, empty)); err != nil {
			t.Fatalf("seed %d, after kill %d: %v", seed, i+1, err)
		}
	}
}

func (k *kernel) freshState(ctx context.Context, r dataplane.Router) (string, error) {
	if _, err := k.dp.Apply(ctx, r); err != nil {
		return "", err
	}
	s, err := k.bothSides(ctx, r.ID)
	return s, errors.Join(err, k.dp.Delete(ctx, r.ID))
}

// bothSides is a router's state, and the host's.
func (k *kernel) bothSides(ctx context.Context, id string) (string, error) {
	inside, err := k.State(ctx, id)
	if err != nil {
		return "", err
	}
	outside, err := k.HostState(ctx)
	return inside + outside, err
}

// kill starts a copy of this program, lets it work for a moment, and kills it.
func (k *kernel) kill(ctx context.Context, test string, rng *rand.Rand) error {
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+test+"$", "-test.v=false")
	site := []string{k.lab.HostNS, k.lab.Dir, strconv.FormatUint(rng.Uint64(), 10), "", ""}
	if k.ovs != nil {
		site[3], site[4] = k.ovs.Endpoint, k.ovs.RunDir
	}
	cmd.Env = append(os.Environ(), killedEnv+"="+strings.Join(site, ","))
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewReader(out)
	first, err := lines.ReadString('\n')
	if err != nil || strings.TrimSpace(first) != "ready" {
		rest, _ := io.ReadAll(lines)
		return fmt.Errorf("the process to kill did not start: %s%s (%w)", first, rest, errors.Join(err, cmd.Wait()))
	}
	time.Sleep(time.Duration(rng.Int64N(int64(40 * time.Millisecond))))
	if err := cmd.Process.Kill(); err != nil {
		return err
	}
	rest, _ := io.ReadAll(lines)
	if err := cmd.Wait(); err == nil || len(rest) > 0 {
		return fmt.Errorf("the process ended before it was killed: %s", rest)
	}
	return nil
}

// workUntilKilled applies one state after the other.
func workUntilKilled(t *testing.T, open Opener, site string) {
	part := strings.Split(site, ",")
	seed, err := strconv.ParseUint(part[2], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	there := Site{HostNS: part[0], Dir: part[1], Switch: siteSwitch(part[3], part[4]), Metadata: Metadata()}
	dp, _, err := open(there, func(d namespace.InterfaceDriver) namespace.InterfaceDriver { return d })
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	all := states()
	fmt.Println("ready")
	for {
		r := all[rng.IntN(len(all))].router
		if rng.IntN(6) == 0 {
			err = dp.Delete(context.Background(), r.ID)
		} else {
			_, err = dp.Apply(context.Background(), r)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// finish applies a router in a fresh process, after another one was killed.
func (k *kernel) finish(ctx context.Context, s state, want string) (err error) {
	dp, err := k.Reopen()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dp.Close()) }()
	if _, err := dp.Apply(ctx, s.router); err != nil {
		return fmt.Errorf("apply %q: %w", s.name, err)
	}
	return k.becomes(ctx, s, want)
}

// becomes waits for what the kernel completes by itself, after a link has come up: its link-local
// IPv6 address.
func (k *kernel) becomes(ctx context.Context, s state, want string) error {
	ctx, cancel := context.WithTimeout(ctx, lab.Patience(patience))
	defer cancel()
	for {
		got, err := k.bothSides(ctx, s.router.ID)
		if err != nil || got == want {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%q is not what it is on an empty host:\n%s", s.name, lines(want, got))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// leavesNothing deletes in a fresh process whatever it lists.
func (k *kernel) leavesNothing(ctx context.Context, empty string) (err error) {
	dp, err := k.Reopen()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dp.Close()) }()
	routers, err := dp.List(ctx)
	if err != nil {
		return err
	}
	for _, id := range append(routers, "r1") { // also when the process came no further than to a bridge, which no router is listed for
		if err := dp.Delete(ctx, id); err != nil {
			return fmt.Errorf("delete %s: %w", id, err)
		}
	}
	if routers, err = dp.List(ctx); err != nil || len(routers) > 0 {
		return fmt.Errorf("still listed: %v (%w)", routers, err)
	}
	left, err := k.HostState(ctx)
	if err == nil && left != empty {
		err = fmt.Errorf("left behind:\n%s", lines(empty, left))
	}
	return err
}

// lines is what two states differ in: - the first, + the second.
func lines(first, second string) string {
	return cmp.Diff(strings.Split(first, "\n"), strings.Split(second, "\n"))
}
