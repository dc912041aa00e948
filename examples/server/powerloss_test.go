package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/internal/test/needs"
	"github.com/l3kit/l3kit/internal/test/powerloss"
	"github.com/l3kit/l3kit/internal/test/transcript"
	"github.com/l3kit/l3kit/l3/natsbus"
)

// TestPowerLoss cuts the power of the disk that the bus is on while changes are published, again
// and again. Whatever the database has as published is still on the bus afterwards, and reaches the
// host.
func TestPowerLoss(t *testing.T) {
	needs.Root(t)
	const rounds, routers = 4, 4
	p := newPowered(t)
	p.start()
	p.agent()
	var ids []string
	for i := range routers {
		ids = append(ids, p.router(i))
	}
	for round := range rounds {
		filling := p.filling()
		var stop atomic.Bool
		var changes atomic.Int64
		var changing sync.WaitGroup
		for i, id := range ids {
			changing.Go(func() {
				for n := 0; !stop.Load(); n++ {
					route := map[string]any{"destination": fmt.Sprintf("172.%d.%d.%d/32", 16+round, n>>8, n&255), "nexthop": fmt.Sprintf("10.0.%d.9", i)}
					if p.call(http.MethodPut, "routers/"+id, map[string]any{"router": map[string]any{"routes": []any{route}}}, nil) == http.StatusOK {
						changes.Add(1)
					}
				}
			})
		}
		time.Sleep(time.Duration(100+137*round) * time.Millisecond)
		syncs := p.disk.Cut()
		require.NoError(t, p.server.Process.Kill())
		stop.Store(true)
		changing.Wait()
		_ = p.server.Wait() // it was killed
		require.NoError(t, p.disk.Unmount())
		require.NoError(t, p.disk.Restore())
		p.start()
		t.Logf("%d changes, %d syncs", changes.Load(), syncs)
		require.Equal(t, filling, p.filling(), "the bus has lost nothing, and nobody reads from the beginning: %s", p.said)
		require.NotContains(t, p.said.String(), "the bus had lost")
		p.agent()
	}
}

// powered is a server whose bus is on a disk that can lose its power.
type powered struct {
	site
	disk     *powerloss.Disk
	api, bus string // addresses
	server   *exec.Cmd
	said     *transcript.Buffer
}

const powerSecret = "0123456789abcdef0123456789abcdef"

func newPowered(t *testing.T) *powered {
	p := &powered{site: site{t, t.TempDir()}}
	p.file("secret", powerSecret, 0o600)
	bus := filepath.Join(p.dir, "bus")
	require.NoError(t, os.Mkdir(bus, 0o700))
	var err error
	p.disk, err = powerloss.Mount(bus)
	require.NoError(t, err)
	t.Cleanup(func() {
		p.disk.Cut()
		if p.server != nil {
			_ = p.server.Process.Kill() // it may have ended
			_ = p.server.Wait()
		}
		require.NoError(t, p.disk.Unmount())
	})
	for _, address := range []*string{&p.api, &p.bus} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		*address = l.Addr().String()
		require.NoError(t, l.Close())
	}
	return p
}

// start starts the server and waits until agents are served.
func (p *powered) start() {
	p.Helper()
	p.server, p.said = p.command([]string{
		"run", "--listen=" + p.api, "--bus-listen=" + p.bus, "--admin-project=demo", "--bus-secret-file=secret", "--bus-dir=bus",
	})
	require.NoError(p, p.server.Start())
	require.Eventually(p, func() bool {
		nc, err := natsbus.Connect(p.login("h1"))
		if err != nil {
			return false
		}
		defer nc.Close()
		m, err := nc.Request("session", []byte(`{"host":"h1","instance":"i","machine":"m"}`), time.Second)
		return err == nil && bytes.Contains(m.Data, []byte(`"filling"`))
	}, patience, 20*time.Millisecond, "it serves: %s", p.said)
}

func (p *powered) login(host string) natsbus.Login {
	l := natsbus.Login{URLs: []string{"nats://" + p.bus}, Host: host, Password: natsbus.Credential([]byte(powerSecret), host)}
	if host == "" {
		l.Password = natsbus.ControlCredential([]byte(powerSecret))
	}
	return l
}

// filling is the value by which agents recognise that the bus has lost its history.
func (p *powered) filling() string {
	p.Helper()
	nc, err := natsbus.Connect(p.login(""))
	require.NoError(p, err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	require.NoError(p, err)
	s, err := js.Stream(p.Context(), "KV_routers")
	require.NoError(p, err)
	m, err := s.GetLastMsgForSubject(p.Context(), "$KV.routers.complete")
	require.NoError(p, err)
	return string(m.Data)
}

// agent is an agent that registers its host, and reads until it has every router as the API shows
// it.
func (p *powered) agent() {
	p.Helper()
	nc, err := natsbus.Connect(p.login("h1"))
	require.NoError(p, err)
	defer nc.Close()
	source, err := natsbus.NewSource(nc, "h1", nil)
	require.NoError(p, err)
	require.NoError(p, source.Heartbeat(p.Context(), agent.Heartbeat{StartedAt: time.Now(), Instance: "i", Machine: "m"}))
	require.Eventually(p, func() bool {
		var all struct{ Agents []any }
		return p.call(http.MethodGet, "agents", nil, &all) == http.StatusOK && len(all.Agents) == 1
	}, patience, 20*time.Millisecond)
	events, err := source.Watch(p.Context(), agent.Session{Instance: "i", Machine: "m"})
	require.NoError(p, err)
	var all struct {
		Routers []struct {
			ID     string
			Routes []struct{ Destination string }
		}
	}
	require.Equal(p, http.StatusOK, p.call(http.MethodGet, "routers", nil, &all))
	have := map[string]string{}
	for deadline := time.After(patience); ; {
		missing := 0
		for _, r := range all.Routers {
			if len(r.Routes) > 0 && have[r.ID] != r.Routes[0].Destination {
				missing++
			}
		}
		if missing == 0 {
			return
		}
		select {
		case e := <-events:
			if put, is := e.(agent.Put); is && len(put.Router.Routes) > 0 {
				have[put.Router.ID] = put.Router.Routes[0].Dest.String()
			}
		case <-deadline:
			require.Zero(p, missing, "routers are not on the host as the database has them: %s", p.said)
		}
	}
}

// call calls the API, and returns the status; 0: there was no answer.
func (p *powered) call(method, path string, body, answer any) int {
	p.Helper()
	text, err := json.Marshal(body)
	require.NoError(p, err)
	r, err := http.NewRequestWithContext(p.Context(), method, "http://"+p.api+"/v2.0/"+path, bytes.NewReader(text))
	require.NoError(p, err)
	r.Header.Set("Content-Type", "application/json")
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0
	}
	defer got.Body.Close()
	text, err = io.ReadAll(got.Body)
	if err == nil && answer != nil {
		require.NoError(p, json.Unmarshal(text, answer))
	}
	return got.StatusCode
}

// router creates a network with a router on it.
func (p *powered) router(n int) string {
	p.Helper()
	type object = map[string]any
	made := func(kind string, spec object) string {
		p.Helper()
		var answer map[string]struct{ ID string }
		require.Equal(p, http.StatusCreated, p.call(http.MethodPost, kind+"s", object{kind: spec}, &answer))
		return answer[kind].ID
	}
	network := made("network", object{})
	subnet := made("subnet", object{"network_id": network, "ip_version": 4, "cidr": fmt.Sprintf("10.0.%d.0/24", n)})
	router := made("router", object{})
	require.Equal(p, http.StatusOK, p.call(http.MethodPut, "routers/"+router+"/add_router_interface", object{"subnet_id": subnet}, nil))
	return router
}
