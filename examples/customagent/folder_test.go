package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/internal/test/transcript"
)

// patience bounds the wait for what must happen. It is never waited for what must not.
const patience = 20 * time.Second

// officeJSON is a router that tests change in places.
const officeJSON = `{"id": "office",
"ports": [{"id": "lan", "network": {"id": "lan"}, "mac": "fa:16:3e:00:00:01", "addrs": ["10.0.0.1/24"], "mtu": 1500}],
"gateway": {"id": "wan", "network": {"id": "wan"}, "mac": "fa:16:3e:00:00:02", "addrs": ["203.0.113.2/24"], "mtu": 1500, "snat": true}}`

// officeAs is the office router under another ID.
func officeAs(id string) string { return strings.Replace(officeJSON, "office", id, 1) }

func withMTU(id string, mtu string) string {
	return strings.Replace(officeAs(id), `"mtu": 1500`, `"mtu": `+mtu, 1)
}

// rig is an agent of a folder, over a host in memory.
type rig struct {
	*agent.Poller
	t    *testing.T
	dir  string
	host *dataplane.FakeHost
	logs *transcript.Buffer
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, dir: filepath.Join(t.TempDir(), "routers"), host: &dataplane.FakeHost{}, logs: &transcript.Buffer{}}
	require.NoError(t, os.Mkdir(r.dir, 0o755))
	r.Poller = &agent.Poller{
		Lister: &folder{dir: r.dir}, Deployment: "folder", Every: 2 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(r.logs, nil)),
	}
	return r
}

func (r *rig) agent() *agent.Agent {
	a, err := agent.New(agent.Config{Host: "localhost", Source: r.Poller, Dataplane: dataplane.NewFake(r.host), Logger: r.Logger})
	require.NoError(r.t, err)
	return a
}

// start runs the agent until the test ends, or stop is called.
func (r *rig) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	a := r.agent()
	go func() { done <- a.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(r.t, <-done)
	})
	r.t.Cleanup(stop)
	return stop
}

// put makes a router on the host that an earlier process wanted.
func (r *rig) put(id string) {
	_, err := dataplane.NewFake(r.host).Apply(r.t.Context(), dataplane.Router{ID: id})
	require.NoError(r.t, err)
}

// write replaces a file as careful programs do: it appears whole or not at all.
func (r *rig) write(name, text string) {
	hidden := filepath.Join(r.dir, "."+name)
	require.NoError(r.t, os.WriteFile(hidden, []byte(text), 0o644))
	require.NoError(r.t, os.Rename(hidden, filepath.Join(r.dir, name)))
}

func (r *rig) remove(name string) { require.NoError(r.t, os.Remove(filepath.Join(r.dir, name))) }

func (r *rig) has(id string) func() bool { return func() bool { return r.host.State(id) != "" } }

func (r *rig) hasNot(id string) func() bool { return func() bool { return r.host.State(id) == "" } }

func (r *rig) hasMTU(id string, mtu int) func() bool {
	return func() bool {
		router, ok := r.host.Router(id)
		return ok && router.Ports[0].MTU == mtu
	}
}

func (r *rig) eventually(holds func() bool, what string) {
	r.t.Helper()
	require.Eventually(r.t, holds, patience, time.Millisecond, what)
}

// turn waits until the folder was read some more times: each change of a router that the agent
// follows took a reading.
func (r *rig) turn() {
	r.t.Helper()
	for mtu := 1401; mtu <= 1404; mtu++ {
		r.write("clock.json", withMTU("clock", strconv.Itoa(mtu)))
		r.eventually(r.hasMTU("clock", mtu), "the agent follows")
	}
}

// logged counts what the agent has said.
func (r *rig) logged(text string) int { return strings.Count(r.logs.String(), text) }

func TestRunFollowsTheFolder(t *testing.T) {
	defer goleak.VerifyNone(t)
	r := newRig(t)
	r.put("orphan")
	r.write("a.json", officeAs("a"))
	r.write("b.json", officeAs("b"))
	stop := r.start()
	r.eventually(r.has("a"), "a file becomes a router")
	r.eventually(r.has("b"), "each does")

	r.write("a.json", withMTU("a", "1400"))
	r.eventually(r.hasMTU("a", 1400), "an edit is followed")

	r.write("a.json", `{"id": "a", "ports": {`)
	r.eventually(func() bool { return r.logged("a.json") == 1 }, "a broken file is reported")
	r.remove("b.json")
	r.turn()
	require.True(t, r.hasMTU("a", 1400)(), "the router of a broken file stays as it is")
	require.True(t, r.has("b")(), "nothing is removed while a file is broken")
	require.Equal(t, 1, r.logged("a.json"), "a fault is reported once")

	r.write("a.json", withMTU("a", "1300"))
	r.eventually(r.hasMTU("a", 1300), "the file is mended")
	r.eventually(r.hasNot("b"), "and the removal is made up for")

	r.remove("a.json")
	r.eventually(r.hasNot("a"), "a file that is removed takes its router with it")
	r.eventually(func() bool { return len(r.records()) == 0 }, "the record ends")
	r.write("a.json", officeAs("a"))
	r.eventually(r.has("a"), "and may come again")
	r.turn()
	require.True(t, r.has("orphan")(), "a router that no file ever named stays")
	stop()
	require.True(t, r.has("a")(), "routers outlive the agent")
}

// records lists the folder's records.
func (r *rig) records() []string {
	all, err := filepath.Glob(filepath.Join(r.dir, "*.gone"))
	require.NoError(r.t, err)
	return all
}

// TestRecords: a file can be renamed while no agent runs.
func TestRecords(t *testing.T) {
	r := newRig(t)
	for _, id := range []string{"a", "b", "orphan"} {
		r.put(id)
	}
	r.write("a.gone", officeAs("a"))
	r.write("b.gone", officeAs("b"))
	r.write("b.json", officeAs("b"))
	require.NoError(t, r.agent().Once(t.Context()))
	require.True(t, r.hasNot("a")(), "it was recorded that it has left")
	require.True(t, r.has("b")(), "a file is newer than a record")
	require.True(t, r.has("orphan")(), "no file is no record")
	require.NoFileExists(t, r.dir+"/a.gone", "the record ends with the router")

	r.write("orphan.gone", `{"id": "orphan"}`)
	plans, err := r.agent().Plan(t.Context())
	require.NoError(t, err)
	require.Len(t, plans, 2)
	require.True(t, plans[0].Empty())
	require.Equal(t, "orphan", plans[1].Router)
	require.False(t, plans[1].Empty())
	r.write("broken.json", "{")
	require.ErrorContains(t, r.agent().Once(t.Context()), "broken.json")
	require.True(t, r.has("orphan")(), "the broken file may be its own, on its way back")
	require.NoError(t, os.Remove(r.dir+"/broken.json"))
	require.NoError(t, r.agent().Once(t.Context()))
	require.True(t, r.hasNot("orphan")())
}

// TestSameRouterTwice: whichever of the files is meant, taking the other would change the router.
func TestSameRouterTwice(t *testing.T) {
	r := newRig(t)
	r.put("office")
	for _, name := range []string{"a.json", "b.json", "c.json"} {
		r.write(name, officeJSON)
	}
	require.ErrorContains(t, r.agent().Once(t.Context()), "router office is in ")
	router, _ := r.host.Router("office")
	require.Empty(t, router.Ports, "it stays as it is")
}

// TestNotRegularFiles: what would block the agent or fill its memory is not read.
func TestNotRegularFiles(t *testing.T) {
	for name, make := range map[string]func(file string) error{
		"pipe":      func(file string) error { return unix.Mkfifo(file, 0o644) },
		"device":    func(file string) error { return os.Symlink("/dev/zero", file) },
		"directory": func(file string) error { return os.Mkdir(file, 0o755) },
		"large": func(file string) error {
			return os.WriteFile(file, []byte(officeAs("a")+strings.Repeat(" ", 1<<20)), 0o644)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.put("a")
			r.write("b.json", officeAs("b"))
			require.NoError(t, make(filepath.Join(r.dir, "a.json")))
			require.NoError(t, make(filepath.Join(r.dir, "a.gone")))
			err := r.agent().Once(t.Context())
			require.ErrorContains(t, err, "a.json: not a regular file")
			require.ErrorContains(t, err, "a.gone: not a regular file")
			require.True(t, r.has("a")())
			require.True(t, r.has("b")())
		})
	}
}

// TestRecordOutlivesACrash: the file is removed, and the agent dies before the router is.
func TestRecordOutlivesACrash(t *testing.T) {
	r := newRig(t)
	r.write("a.json", officeAs("a"))
	stop := r.start()
	r.eventually(r.has("a"), "it runs")
	stop()
	ctx, cancel := context.WithCancel(t.Context())
	events, err := r.Watch(ctx, agent.Session{}) // of an agent that does nothing with it
	require.NoError(t, err)
	require.IsType(t, agent.Put{}, <-events)
	require.IsType(t, agent.Synced{}, <-events)
	r.remove("a.json")
	require.IsType(t, agent.Gone{}, <-events)
	cancel()
	for range events {
	}
	require.True(t, r.has("a")())
	require.NoError(t, r.agent().Once(t.Context()))
	require.True(t, r.hasNot("a")())
}

// TestOtherFolders: what an empty, a missing and another folder lack, they do not remove.
func TestOtherFolders(t *testing.T) {
	r := newRig(t)
	r.write("a.json", officeAs("a"))
	r.start()
	r.eventually(r.has("a"), "it runs")

	away := r.dir + ".away"
	require.NoError(t, os.Mkdir(away, 0o755))
	exchange := func() {
		require.NoError(t, unix.Renameat2(unix.AT_FDCWD, r.dir, unix.AT_FDCWD, away, unix.RENAME_EXCHANGE))
	}
	exchange() // as umount(2) does
	r.turn()
	require.True(t, r.has("a")(), "an empty one in its place says nothing")
	require.Empty(t, r.records())
	r.remove("clock.json")
	r.eventually(r.hasNot("clock"), "but what is removed from it is gone")

	exchange()
	r.turn()
	require.NoError(t, os.Rename(r.dir, away+".too"))
	r.eventually(func() bool { return r.logged("cannot read the routers of this host") > 0 }, "a missing folder is reported")
	require.True(t, r.has("a")())
	require.NoError(t, os.Rename(away+".too", r.dir))
	r.turn()
	r.remove("a.json")
	r.eventually(r.hasNot("a"), "the folder itself does")
}

func TestFaults(t *testing.T) {
	for name, c := range map[string]struct{ text, fault string }{
		"empty file":    {"", "EOF"},
		"two routers":   {officeJSON + officeAs("other"), "text after the router"},
		"not JSON":      {"id: office", "invalid character"},
		"a list":        {"[1]", "cannot unmarshal"},
		"unknown field": {`{"id": "x", "floatingips": []}`, `unknown field "floatingips"`},
		"wrong address": {strings.Replace(officeJSON, "10.0.0.1/24", "10.0.0.300/24", 1), "10.0.0.300"},
		"not a router":  {`{"id": "office", "ports": [{"id": "lan"}]}`, "Ports[0]."},
		"slash in ID":   {officeAs("../office"), "ID"},
		"same router":   {officeAs("good"), "router good is in "},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.put("good")
			r.write("bad.json", c.text)
			r.write("good.json", officeAs("good"))
			r.write("other.json", officeAs("fine"))
			r.write("README", "not a router")
			require.ErrorContains(t, r.agent().Once(t.Context()), c.fault)
			require.True(t, r.has("good")())
			require.True(t, r.has("fine")(), "one file's fault is no other file's")
		})
	}
}

func TestSamples(t *testing.T) {
	l, err := (&folder{dir: "routers"}).List(t.Context())
	require.NoError(t, err)
	require.NoError(t, l.Incomplete)
	require.Len(t, l.Routers, 2)
	networks := map[string]dataplane.Network{}
	for _, r := range l.Routers {
		for _, p := range append(r.Ports, r.Gateway.Port) {
			if known, ok := networks[p.Network.ID]; ok {
				require.Equal(t, known, p.Network, "a network is the same in every file")
			}
			networks[p.Network.ID] = p.Network
		}
	}
}
