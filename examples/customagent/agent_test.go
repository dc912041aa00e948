package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/l3kit/l3kit/dataplane"
)

// patience bounds the wait for what must happen. It is never waited for what must not.
const patience = 20 * time.Second

// rig is an agent over a host in memory.
type rig struct {
	*agent
	dir  string
	host *dataplane.FakeHost
	logs *logs
}

func newRig(t *testing.T) *rig {
	host, logs := &dataplane.FakeHost{}, &logs{}
	dir := filepath.Join(t.TempDir(), "routers")
	require.NoError(t, os.Mkdir(dir, 0o755))
	return &rig{dir: dir, host: host, logs: logs, agent: &agent{
		folder:    dir,
		dataplane: dataplane.NewFake(host),
		log:       slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		pace:      pace{settle: time.Millisecond, settleMax: 10 * time.Millisecond, resync: time.Hour, retry: time.Millisecond, retryMax: time.Millisecond},
	}}
}

// logs is what an agent has said.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logs) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), s)
}

// start runs the agent until the test ends, or stop is called.
func (r *rig) start(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
	})
	t.Cleanup(stop)
	return stop
}

func (r *rig) has(id string) bool { return r.host.State(id) != "" }

func (r *rig) hasMTU(id string, mtu int) func() bool {
	return func() bool {
		router, ok := r.host.Router(id)
		return ok && router.Ports[0].MTU == mtu
	}
}

func eventually(t *testing.T, cond func() bool, what string) {
	t.Helper()
	require.Eventually(t, cond, patience, time.Millisecond, what)
}

func withMTU(id string, mtu string) string {
	return strings.Replace(officeAs(id), "mtu: 1500", "mtu: "+mtu, 1)
}

// put makes routers on the host that some earlier process wanted.
func (r *rig) put(t *testing.T, ids ...string) {
	for _, id := range ids {
		_, err := r.dataplane.Apply(t.Context(), dataplane.Router{ID: id})
		require.NoError(t, err)
	}
}

func TestRunFollowsTheFolder(t *testing.T) {
	defer goleak.VerifyNone(t)
	r := newRig(t)
	r.put(t, "stray")
	write(t, r.dir, "a.yaml", officeAs("a"))
	write(t, r.dir, "b.yaml", officeAs("b"))
	stop := r.start(t)
	eventually(t, func() bool { return r.has("a") && r.has("b") }, "files become routers")
	eventually(t, func() bool { return !r.has("stray") }, "a router that no file names goes")

	write(t, r.dir, "a.yaml", withMTU("a", "1400"))
	eventually(t, r.hasMTU("a", 1400), "an edit is followed")

	write(t, r.dir, "a.yaml", "id: a\nports: {")
	eventually(t, func() bool { return r.logs.count("file=a.yaml") == 1 }, "a broken file is reported")
	require.NoError(t, os.Remove(filepath.Join(r.dir, "b.yaml")))
	write(t, r.dir, "c.yaml", officeAs("c"))
	eventually(t, func() bool { return r.has("c") }, "a broken file does not hold up others")
	require.True(t, r.hasMTU("a", 1400)(), "the router of a broken file stays as it is")
	require.True(t, r.has("b"), "nothing is deleted while a file is broken")
	require.Equal(t, 1, r.logs.count("file=a.yaml"), "a fault is reported once")

	write(t, r.dir, "a.yaml", withMTU("a", "1300"))
	eventually(t, r.hasMTU("a", 1300), "the file is mended")
	eventually(t, func() bool { return !r.has("b") }, "and the deletion is made up for")

	require.NoError(t, os.Remove(filepath.Join(r.dir, "a.yaml")))
	eventually(t, func() bool { return !r.has("a") }, "a file that is deleted takes its router with it")
	write(t, r.dir, "a.yaml", officeAs("a"))
	eventually(t, func() bool { return r.has("a") }, "and may come again")

	stop()
	require.True(t, r.has("a") && r.has("c"), "routers outlive the agent")
}

func TestOnceDeletesOnlyWhatItKnows(t *testing.T) {
	for name, c := range map[string]struct {
		files      map[string]string
		allowEmpty bool
		stays      bool   // a router that no file names
		err        string // empty: none
	}{
		"complete":              {files: map[string]string{"a.yaml": officeAs("a")}},
		"a broken file":         {files: map[string]string{"a.yaml": officeAs("a"), "x.yaml": "{"}, stays: true, err: "faults"},
		"empty":                 {stays: true},
		"empty, and meant so":   {allowEmpty: true},
		"only other files":      {files: map[string]string{"README": "hello"}, stays: true},
		"the same router twice": {files: map[string]string{"a.yaml": officeAs("a"), "b.yaml": officeAs("a")}, stays: true, err: "faults"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.put(t, "stray")
			r.allowEmpty = c.allowEmpty
			for file, text := range c.files {
				write(t, r.dir, file, text)
			}
			err := r.once(t.Context())
			if c.err == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.err)
			}
			require.Equal(t, c.stays, r.has("stray"))
		})
	}
}

// TestAnotherFolderInItsPlace: an empty mount point looks like a folder whose files were all
// deleted.
func TestAnotherFolderInItsPlace(t *testing.T) {
	r := newRig(t)
	write(t, r.dir, "a.yaml", officeAs("a"))
	require.NoError(t, r.once(t.Context()))

	away := r.dir + ".away"
	require.NoError(t, os.Rename(r.dir, away))
	require.ErrorIs(t, r.once(t.Context()), os.ErrNotExist)
	require.True(t, r.has("a"), "a folder that is gone says nothing")
	require.NoError(t, os.Mkdir(r.dir, 0o755))
	require.NoError(t, r.once(t.Context()))
	require.True(t, r.has("a"), "nor does an empty one in its place")

	require.NoError(t, os.Remove(r.dir))
	require.NoError(t, os.Rename(away, r.dir))
	require.NoError(t, os.Remove(filepath.Join(r.dir, "a.yaml")))
	require.NoError(t, r.once(t.Context()))
	require.False(t, r.has("a"), "the folder itself, empty, does")
}

func TestPlanTouchesNothing(t *testing.T) {
	r := newRig(t)
	r.put(t, "stray")
	write(t, r.dir, "a.yaml", officeAs("a"))
	before := r.host.Writes()

	plans, err := r.plan(t.Context())
	require.NoError(t, err)
	require.Equal(t, before, r.host.Writes())
	require.Len(t, plans, 2)
	require.Equal(t, "a", plans[0].Router)
	require.False(t, plans[0].Empty())
	require.Equal(t, "router stray\n  - router stray: no file names it  !", plans[1].String())

	require.NoError(t, r.once(t.Context()))
	plans, err = r.plan(t.Context())
	require.NoError(t, err)
	require.Len(t, plans, 1)
	require.True(t, plans[0].Empty(), "what was done is what was planned")

	write(t, r.dir, "x.yaml", "{")
	_, err = r.plan(t.Context())
	require.ErrorContains(t, err, "1 of the files")
}

func TestOnceReportsFailure(t *testing.T) {
	r := newRig(t)
	write(t, r.dir, "a.yaml", officeAs("a"))
	boom := errors.New("boom")
	r.host.Fail(1, boom)
	require.ErrorIs(t, r.once(t.Context()), boom)
}

func TestRunTriesAgain(t *testing.T) {
	r := newRig(t)
	r.host.Fail(1, errors.New("boom"))
	write(t, r.dir, "a.yaml", officeAs("a"))
	r.start(t)
	eventually(t, func() bool { return r.has("a") }, "the second attempt")
	require.Equal(t, 1, r.logs.count("boom"))
}

// TestNewWishIsTriedAtOnce: whoever mends a file need not wait for what the old one earned.
func TestNewWishIsTriedAtOnce(t *testing.T) {
	r := newRig(t)
	r.pace.retry, r.pace.retryMax = time.Hour, time.Hour
	r.host.Fail(1, errors.New("boom"))
	write(t, r.dir, "a.yaml", officeAs("a"))
	r.start(t)
	eventually(t, func() bool { return r.logs.count("boom") == 1 }, "the first attempt fails")
	write(t, r.dir, "a.yaml", withMTU("a", "1400"))
	eventually(t, r.hasMTU("a", 1400), "the new file is tried")
}

// TestSlowRouterDelaysNoOther also has the slow router's file deleted before it was ever made.
func TestSlowRouterDelaysNoOther(t *testing.T) {
	r := newRig(t)
	slow := &slowDataplane{Dataplane: r.dataplane, id: "slow", began: make(chan struct{}), free: make(chan struct{})}
	r.dataplane = slow
	write(t, r.dir, "slow.yaml", officeAs("slow"))
	write(t, r.dir, "a.yaml", officeAs("a"))
	r.start(t)
	<-slow.began
	eventually(t, func() bool { return r.has("a") }, "the others go on")
	write(t, r.dir, "a.yaml", withMTU("a", "1400"))
	eventually(t, r.hasMTU("a", 1400), "updates too")

	require.NoError(t, os.Remove(filepath.Join(r.dir, "slow.yaml")))
	write(t, r.dir, "a.yaml", withMTU("a", "1300"))
	eventually(t, r.hasMTU("a", 1300), "the folder without the slow router was read")
	close(slow.free)
	eventually(t, func() bool { return r.logs.count("msg=deleted router=slow") == 1 }, "it is deleted after it was made")
	require.False(t, r.has("slow"))
}

// slowDataplane holds up Apply of one router.
type slowDataplane struct {
	dataplane.Dataplane
	id          string
	began, free chan struct{}
}

func (d *slowDataplane) Apply(ctx context.Context, want dataplane.Router) (dataplane.Plan, error) {
	if want.ID == d.id {
		close(d.began)
		<-d.free
	}
	return d.Dataplane.Apply(ctx, want)
}

func TestResyncMendsTheHost(t *testing.T) {
	r := newRig(t)
	r.pace.resync = time.Millisecond
	write(t, r.dir, "a.yaml", officeAs("a"))
	r.start(t)
	eventually(t, func() bool { return r.has("a") }, "applied")
	r.host.Tamper("a", func(router *dataplane.Router) { router.Ports[0].MTU = 1280 })
	eventually(t, r.hasMTU("a", 1500), "mended")
}

func TestRunFailsWhereItCannotWork(t *testing.T) {
	r := newRig(t)
	require.NoError(t, r.dataplane.Close())
	require.ErrorIs(t, r.run(t.Context()), dataplane.ErrClosed)

	r = newRig(t)
	r.folder += "/nothing"
	require.ErrorIs(t, r.run(t.Context()), os.ErrNotExist)
}
