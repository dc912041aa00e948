package ovs_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/test/wiringtest"
	"github.com/l3kit/l3kit/nftables"
	"github.com/l3kit/l3kit/ovs"
)

// tally counts what a driver asks of Open vSwitch.
type tally struct {
	mu     sync.Mutex
	counts map[string]int
}

func (c *tally) add(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[what]++
}

// take returns the counts since the last call.
func (c *tally) take() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts := c.counts
	c.counts = map[string]int{}
	return counts
}

// relay listens on a socket and hands connections on to another one. forward copies what the client
// says.
func relay(t *testing.T, socket, target string, forward func(server io.Writer, client io.Reader) error) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("unix", target)
			if err != nil {
				_ = client.Close()
				continue
			}
			end := func() { _, _ = client.Close(), server.Close() }
			go func() { _, _ = io.Copy(client, server); end() }()
			go func() { _ = forward(server, client); end() }()
		}
	}()
}

// ovsdb counts requests by method (RFC 7047).
func (c *tally) ovsdb(server io.Writer, client io.Reader) error {
	for requests := json.NewDecoder(client); ; {
		var text json.RawMessage
		if err := requests.Decode(&text); err != nil {
			return err
		}
		var request struct {
			Method string `json:"method"`
		}
		if err := json.Unmarshal(text, &request); err != nil {
			return err
		}
		if request.Method == "echo" || request.Method == "transact" {
			c.add(request.Method)
		}
		if _, err := server.Write(text); err != nil {
			return err
		}
	}
}

// openflow counts requests that are answered, other than those that begin a connection.
func (c *tally) openflow(server io.Writer, client io.Reader) error {
	const multipart, barrier = 18, 20
	for header := make([]byte, 8); ; {
		if _, err := io.ReadFull(client, header); err != nil {
			return err
		}
		if kind := header[1]; kind == multipart || kind == barrier {
			c.add("openflow")
		}
		if _, err := server.Write(header); err != nil {
			return err
		}
		if _, err := io.CopyN(server, client, int64(binary.BigEndian.Uint16(header[2:]))-int64(len(header))); err != nil {
			return err
		}
	}
}

// counted is a driver whose requests are counted.
func (h *host) counted(t *testing.T) (*ovs.Driver, *tally) {
	t.Helper()
	dir, err := os.MkdirTemp("", "relay") // a socket's path must be short
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	c := &tally{counts: map[string]int{}}
	relay(t, filepath.Join(dir, "db.sock"), strings.TrimPrefix(h.Endpoint, "unix:"), c.ovsdb)
	relay(t, filepath.Join(dir, "br-int.mgmt"), filepath.Join(h.RunDir, "br-int.mgmt"), c.openflow)
	control, err := filepath.Glob(filepath.Join(h.RunDir, "ovs-vswitchd.*"))
	require.NoError(t, err)
	for _, path := range control {
		require.NoError(t, os.Symlink(path, filepath.Join(dir, filepath.Base(path))))
	}
	d, err := ovs.New(t.Context(), ovs.Config{
		HostNS: h.HostNS, Endpoints: []string{"unix:" + filepath.Join(dir, "db.sock")}, RunDir: dir, Datapath: ovs.Netdev,
	})
	require.NoError(t, err)
	return d, c
}

// What one Apply asks of Open vSwitch: its planning asks ovsdb-server once for all ports and once
// for what a killed process may have left, and the transaction of Plug asks for itself whether
// anybody has written since. Then Plug asks once more, when no other process can write flows.
func TestRoundTrips(t *testing.T) {
	h := newHost(t)
	open := func() (*namespace.Dataplane, *tally) {
		wiring, c := h.counted(t)
		dp, err := nftables.New(namespace.Config{Wiring: wiring, HostNS: h.HostNS, Dir: h.Dir})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, dp.Close()) })
		// In the background it asks once whether an earlier process has left flows unmended.
		require.Eventually(t, func() bool { return c.take()["echo"] == 1 }, time.Minute, time.Millisecond)
		return dp, c
	}
	router := func(ports, fips int) dataplane.Router {
		port := func(id string, n int, a string) dataplane.Port {
			p := wiringtest.LocalPort(id+"-net", id, n)
			p.Addrs = []netip.Prefix{netip.MustParsePrefix(a)}
			return p
		}
		r := dataplane.Router{ID: "r", Gateway: &dataplane.Gateway{Port: port("ext", 99, "203.0.113.2/24"), SNAT: true}}
		for n := range ports {
			r.Ports = append(r.Ports, port(fmt.Sprintf("p%d", n), n, fmt.Sprintf("10.0.%d.1/24", n)))
		}
		for n := range fips {
			r.FloatingIPs = append(r.FloatingIPs, dataplane.FloatingIP{
				ID: fmt.Sprintf("f%d", n), Addr: netip.AddrFrom4([4]byte{203, 0, 113, byte(100 + n)}), Fixed: netip.AddrFrom4([4]byte{10, 0, 0, byte(100 + n)}),
			})
		}
		return r
	}
	thin := router(3, 1)
	thin.Ports[1].MTU = 1400
	dp, c := open()
	t.Cleanup(func() { require.NoError(t, dp.Delete(context.Background(), "r")) })
	for _, step := range []struct {
		name           string
		want           dataplane.Router
		echos, commits int
	}{
		{"a new router", router(2, 1), 3, 1},
		{"once more", router(2, 1), 1, 0},
		{"again", router(2, 1), 1, 0},
		{"a floating IP more", router(2, 2), 1, 0},
		{"a port more", router(3, 1), 3, 1},
		{"another MTU", thin, 3, 1},
		{"a port less", router(2, 1), 5, 2}, // one to mend the MTU, one to unplug
	} {
		_, err := dp.Apply(t.Context(), step.want)
		require.NoError(t, err, step.name)
		asked := c.take()
		t.Log(step.name, asked)
		require.Equal(t, []int{step.echos, step.commits}, []int{asked["echo"], asked["transact"]}, step.name)
		if step.commits == 0 {
			require.Zero(t, asked["openflow"], step.name)
		}
	}
	fresh, c := open()
	_, err := fresh.Apply(t.Context(), router(2, 1))
	require.NoError(t, err)
	asked := c.take()
	require.Equal(t, []int{2, 0}, []int{asked["echo"], asked["transact"]}, "a fresh process")
	require.NotZero(t, asked["openflow"], "a fresh process knows no flows")
}
