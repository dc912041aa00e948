package explain

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	nft "github.com/google/nftables"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/frame"
)

// checkBench asks a bench's own watcher.
type checkBench struct {
	*bench
	watcher *Watcher
}

func newCheckBench(t *testing.T) *checkBench {
	t.Helper()
	return newCheckBenchOn(newBench(t))
}

func newCheckBenchOn(b *bench) *checkBench {
	w := NewWatcher(b.on, slog.New(slog.NewTextHandler(b.t.Output(), nil)))
	b.t.Cleanup(w.Close)
	return &checkBench{b, w}
}

func (j *checkBench) ask(ctx context.Context, _ string, question []byte) ([]byte, error) {
	return j.watcher.Answer(ctx, question), nil
}

// outcome returns the last paragraph of what is printed for a central router on host h1.
func (j *checkBench) outcome(from, to, proto string) (string, error) {
	q := Question{From: netip.MustParseAddr(from), To: netip.MustParseAddr(to), Proto: proto}
	if proto != "icmp" {
		q.Dport = 80
	}
	var out bytes.Buffer
	err := q.CheckAcross(j.t.Context(), &out, []Instance{{"h1", j.router}}, "", j.ask)
	paragraphs := strings.Split(strings.TrimSpace(out.String()), "\n\n")
	return paragraphs[len(paragraphs)-1], err
}

// TestCheckAcrossOfCentralRouter: the checks are made all at once, and each sees its own packet
// only.
func TestCheckAcrossOfCentralRouter(t *testing.T) {
	j := newCheckBench(t)
	checks := []struct{ from, to, proto, says string }{
		{"10.0.1.7", "198.51.100.7", "tcp", "; it left h1 by ext as 203.0.113.2 → 198.51.100.7"},
		{"10.0.1.5", "198.51.100.7", "udp", "; it left h1 by ext as 203.0.113.5 → 198.51.100.7"},
		{"198.51.100.7", "203.0.113.5", "icmp", "; it left h1 by web as 198.51.100.7 → 10.0.1.5"},
		{"10.0.2.7", "203.0.113.5", "tcp", "; it left h1 by web as 203.0.113.2 → 10.0.1.5"},
		{"10.0.1.7", "10.9.0.1", "udp", "; it left h1 by "},
		{"198.51.100.7", "10.0.1.5", "tcp", "; it was dropped on h1"},
		{"10.0.1.5", "10.0.1.1", "icmp", "; the router on h1 answered"},
		{"10.0.1.5", "203.0.113.2", "tcp", "; it was for the router itself on h1"},
		{"2001:db8:1::7", "2001:db8:e::7", "tcp", "; it left h1 by ext as 2001:db8:1::7 → 2001:db8:e::7"},
		{"2001:db8:e::7", "2001:db8:1::7", "udp", "; it left h1 by web as 2001:db8:e::7 → 2001:db8:1::7"},
		{"10.0.1.7", "10.0.2.8", "tcp", "; h1 has it for 10.0.2.8, who was asked for its MAC and does not answer"},
		{"2001:db8:e::7", "2001:db8:1::8", "udp", "; h1 has it for 2001:db8:1::8, who was asked for its MAC and does not answer"},
	}
	for round := range 2 {
		var all sync.WaitGroup
		for _, c := range checks {
			if round > 0 && strings.Contains(c.says, " MAC ") {
				continue // it takes seconds
			}
			all.Go(func() {
				said, err := j.outcome(c.from, c.to, c.proto)
				if err != nil || !strings.HasPrefix(said, "The hosts agree: ") || !strings.Contains(said, c.says) {
					t.Errorf("%s, %v, want %s", said, err, c.says)
				}
			})
		}
		all.Wait()
	}
	require.Empty(t, j.watcher.checks)
	require.Empty(t, j.flows(), "the router remembers connections")
}

func TestCheckAcrossWithoutRules(t *testing.T) {
	j := newCheckBench(t)
	c, err := nft.New(nft.WithNetNSFd(j.inside.FD()))
	require.NoError(t, err)
	c.FlushRuleset()
	require.NoError(t, c.Flush())
	said, err := j.outcome("10.0.1.7", "198.51.100.7", "tcp")
	require.ErrorIs(t, err, ErrLost)
	require.Contains(t, said, "The hosts DO NOT agree: ")
	require.Contains(t, said, "; it left h1 by ext as 10.0.1.7 → 198.51.100.7, not by ext as 203.0.113.2 → 198.51.100.7")
}

// TestWatcherIsBounded: whatever is asked, a host sends at most one packet for a check, which has
// the check's ID, and watches for a while only.
func TestWatcherIsBounded(t *testing.T) {
	j := newCheckBench(t)
	request := func(text string) (r reply) {
		require.NoError(t, json.Unmarshal(j.watcher.Answer(t.Context(), []byte(text)), &r))
		return r
	}
	const id, other = `"check": "000102030405060708090a0b0c0d0e0f"`, `"check": "f00102030405060708090a0b0c0d0e0f"`
	send := func(device, ttl string) string {
		return `{` + id + `, "send": {"instance": "r", "device": "` + device + `", "ttl": ` + ttl +
			`, "packet": {"src": "10.0.1.7", "dst": "10.0.2.7", "proto": "udp", "dst_port": 80}}}`
	}
	device := dataplane.PortDevice("web")
	for _, c := range []struct{ request, fault string }{
		{`nonsense`, "invalid character"},
		{`{"check": "00", "watch": ["r"]}`, "is not the ID of a check"},
		{send(device, "2"), "does not take part"},
		{`{` + other + `, "watch": ["../r"]}`, ""},
		{`{` + other + `}`, "does not take part"},
		{`{` + id + `, "watch": ["r"]}`, ""},
		{`{` + id + `, "watch": ["r"]}`, "has begun already"},
		{send(device, "64"), "the TTL 64 is not between"},
		{send("lo", "2"), "is not one end of a veth"},
		{send("eth0", "2"), "the router has no device eth0"},
		{strings.Replace(send(device, "2"), `"r"`, `"s"`, 1), "the router is not watched here"},
		{send(device, "2"), ""},
		{send(device, "2"), "was sent already"},
	} {
		r := request(c.request)
		if c.fault == "" {
			require.Empty(t, r.Error, c.request)
		} else {
			require.Contains(t, r.Error, c.fault, c.request)
		}
	}
	require.Empty(t, request(`{`+id+`, "end": true}`).Error)
	require.Contains(t, request(`{`+id+`}`).Error, "does not take part")
	for i := range maxWatched {
		require.Empty(t, request(`{"check": "`+strings.Repeat("ab", idLen-1)+string("0123456789abcdef"[i])+`0", "watch": ["r"]}`).Error)
	}
	require.Contains(t, request(`{`+id+`, "watch": ["r"]}`).Error, "takes part in 16 checks already")
}

// TestQuestionBeforeThePacket: a router that asks for a neighbour already asks on behalf of the
// packet too.
func TestQuestionBeforeThePacket(t *testing.T) {
	c := capture{data: mark(make([]byte, idLen))}
	client, server := netip.MustParseAddr("10.0.1.5"), netip.MustParseAddr("10.0.2.5")
	question, err := frame.Neighbour{Target: server, Asker: netip.MustParseAddr("10.0.2.1")}.Marshal(dataplane.MAC{2}, dataplane.MAC{})
	require.NoError(t, err)
	asks, ok := frame.Parse(question)
	require.True(t, ok)
	packet := frame.Carry(frame.First(dataplane.Packet{Src: client, Dst: server, Proto: dataplane.UDP}, c.data), dataplane.MAC{2}, dataplane.MAC{2, 1})
	c.see(asks, "qr-app", unix.PACKET_OUTGOING)
	c.see(packet, "qr-web", unix.PACKET_OTHERHOST)
	require.Empty(t, c.seen)
	c.see(packet, "qr-web", unix.PACKET_HOST)
	c.see(asks, "qr-app", unix.PACKET_OUTGOING)
	c.see(asks, "qr-app", unix.PACKET_OUTGOING)
	require.Equal(t, []event{{Kind: arrived, Device: "qr-web", Src: client, Dst: server}, {Kind: asked, Device: "qr-app", Dst: server}}, c.seen)
}

// TestWayThatThePacketTook: of ways that share the load, the listing is about the one that the
// packet took, however late it arrives there.
func TestWayThatThePacketTook(t *testing.T) {
	all := hosts(t, edges)
	q := Question{From: netip.MustParseAddr("10.0.1.5"), To: netip.MustParseAddr("10.8.0.1"), Proto: "udp"}
	for to, says := range map[string]string{
		"fa:16:3e:00:00:12": "; it left h2 by app as 10.0.1.5 → 10.8.0.1",
		"fa:16:3e:00:00:13": "; it left h1 by t1 as 10.0.1.5 → 10.8.0.1",
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			var out bytes.Buffer
			require.NoError(t, q.CheckAcross(t.Context(), &out, all, "", func(_ context.Context, host string, _ []byte) ([]byte, error) {
				switch {
				case host == "h1":
					return []byte(`{"seen": {"r": [
						{"kind": "arrived", "device": "qr-web", "src": "10.0.1.5", "dst": "10.8.0.1"},
						{"kind": "left", "device": "qt-t1", "src": "10.0.1.5", "dst": "10.8.0.1", "to": "` + to + `"}]}}`), nil
				case to == "fa:16:3e:00:00:12" && time.Since(began) > time.Second:
					return []byte(`{"seen": {"r": [
						{"kind": "arrived", "device": "qt-t2", "src": "10.0.1.5", "dst": "10.8.0.1"},
						{"kind": "left", "device": "qr-app", "src": "10.0.1.5", "dst": "10.8.0.1"}]}}`), nil
				}
				return []byte(`{}`), nil
			}))
			require.Contains(t, out.String(), says)
			require.Equal(t, 1, strings.Count(out.String(), "(the packet took this one)\n"))
		})
	}
}

// TestSilentHost: a host that never answers is named, and the check ends. What its part of the
// router does is not known.
func TestSilentHost(t *testing.T) {
	all := hosts(t, edges)
	q := Question{From: netip.MustParseAddr("10.0.1.5"), To: netip.MustParseAddr("10.0.2.5"), Proto: "tcp"}
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		began := time.Now()
		err := q.CheckAcross(t.Context(), &out, all, "", func(ctx context.Context, host string, _ []byte) ([]byte, error) {
			if host != "h1" {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return []byte(`{"seen": {"r": [
				{"kind": "arrived", "device": "qr-web", "src": "10.0.1.5", "dst": "10.0.2.5"},
				{"kind": "left", "device": "qt-t1", "src": "10.0.1.5", "dst": "10.0.2.5", "to": "fa:16:3e:00:00:12"}]}}`), nil
		})
		require.ErrorIs(t, err, ErrUnwatched)
		require.Regexp(t, `(?s)\nh1, edge\n.*  seen out     by t1 as .*\nh2, edge\n.*  NOT WATCHED  it has not answered for 3s\n`, out.String())
		require.Contains(t, out.String(), "; h2 was not watched: ")
		require.Less(t, time.Since(began), 2*answerTime+followTime)
	})
	err := q.CheckAcross(t.Context(), io.Discard, all, "", func(context.Context, string, []byte) ([]byte, error) { return nil, errors.New("away") })
	require.EqualError(t, err, "nothing was sent: host h1: away")
}
