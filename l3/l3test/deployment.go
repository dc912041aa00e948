package l3test

import (
	"cmp"
	"context"
	"log/slog"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/rest"
	"github.com/l3kit/l3kit/l3/server"
)

// Deployment is a control plane with its API and the agents of some hosts, in memory and in this
// process. Routers are realised in [dataplane.FakeHost], so it needs no root.
type Deployment struct {
	Server *server.Server
	// URL is that of the API's root: the Networking API is at URL/v2.0. Requests without
	// X-Project-Id, X-User-Id and X-Roles are an administrator's, in project "admin".
	URL   string
	Hosts []*Host // in the order in which Start was told their names
}

// Host is a host with its agent.
type Host struct {
	Name   string
	Kernel *dataplane.FakeHost // what is realised on the host
	// Stop ends the agent and returns when it has ended. Routers stay on the host, as they do when
	// an agent is killed.
	Stop func()
}

// Start starts a deployment with agents on the named hosts, or on one host "host1" if none is
// named, and returns when all agents are alive. It ends with the test.
func Start(t testing.TB, hosts ...string) *Deployment {
	t.Helper()
	return StartConfig(t, server.Config{}, hosts...)
}

// StartConfig is Start with a configuration of the server. Its Auth and Logger have defaults of
// their own.
func StartConfig(t testing.TB, c server.Config, hosts ...string) *Deployment {
	t.Helper()
	if c.Auth == nil {
		c.Auth = rest.None{Default: l3.Caller{Project: "admin", Admin: true, Roles: []string{l3.RoleAdmin}}}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	if len(hosts) == 0 {
		hosts = []string{"host1"}
	}
	s, err := server.Open(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	background(t, "server", s.Run)
	d := &Deployment{Server: s}
	// An agent that comes before its bus is heard with its second heartbeat only.
	wait(t, "the server is not ready", func() bool { return s.Ready(t.Context()) == nil })
	for _, name := range hosts {
		d.Hosts = append(d.Hosts, d.join(t, name, c))
	}
	api := httptest.NewServer(s.Handler())
	t.Cleanup(api.Close)
	d.URL = api.URL
	wait(t, "not all agents are alive", func() bool { return d.alive(t) >= len(hosts) })
	return d
}

// startTime is far more than servers and agents need to be heard.
const startTime = time.Minute

func wait(t testing.TB, otherwise string, until func() bool) {
	t.Helper()
	for end := time.Now().Add(startTime); !until(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %s, %s", startTime, otherwise)
		}
	}
}

// join starts the agent of a host.
func (d *Deployment) join(t testing.TB, name string, c server.Config) *Host {
	t.Helper()
	h := &Host{Name: name, Kernel: &dataplane.FakeHost{}}
	source, err := d.Server.Login(name)
	if err != nil {
		t.Fatal(err)
	}
	a, err := agent.New(agent.Config{
		// All of them run on this machine.
		Host: name, Machine: "machine of " + name, Source: source, Dataplane: dataplane.NewFake(h.Kernel), Logger: c.Logger,
		HeartbeatEvery: min(time.Second, cmp.Or(c.AgentDownTime, time.Minute)/4),
	})
	if err != nil {
		t.Fatal(err)
	}
	h.Stop = background(t, "agent of "+name, a.Run)
	return h
}

// alive counts the agents that are alive.
func (d *Deployment) alive(t testing.TB) (n int) {
	t.Helper()
	agents, err := d.Server.Service().ListAgents(t.Context(), l3.System(), l3.Query{})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range agents {
		if a.Alive {
			n++
		}
	}
	return n
}

// background runs something until the test ends, or stop is called.
func background(t testing.TB, what string, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", what, err)
		}
	})
	t.Cleanup(stop)
	return stop
}
