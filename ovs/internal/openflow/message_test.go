package openflow

import (
	"context"
	"encoding/hex"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
)

// The first bytes on the wire: HELLO, and OFPST_VENDOR with one nx_flow_monitor_request for all
// tables, as ovs-ofctl monitor sends them.
func TestGreeting(t *testing.T) {
	require.Equal(t, "0100000800000000"+
		"01100028"+"00000001"+"ffff0000"+"00002320"+"00000002"+"00000000"+
		"00000000"+"000f"+"ffff"+"0000"+"ff"+"0000000000", hex.EncodeToString(greeting()))
}

// news is a statistics reply about one flow of table 5.
func news(transaction uint32, event uint16, c cookie, match string) message {
	pad := (8 - len(match)%8) % 8
	u := make([]byte, updateHeaderLen, updateHeaderLen+len(match)+pad)
	order.PutUint16(u, uint16(cap(u)))
	order.PutUint16(u[2:], event)
	order.PutUint16(u[6:], 77)
	order.PutUint16(u[12:], uint16(len(match)))
	u[14] = 5
	order.PutUint64(u[16:], uint64(c))
	u = append(append(u, match...), make([]byte, pad)...)
	header := make([]byte, 16)
	order.PutUint16(header, statsVendor)
	order.PutUint32(header[4:], niciraVendor)
	order.PutUint32(header[8:], subtypeFlowMonitor)
	return newMessage(typeStatsReply, transaction, append(header, u...)...)
}

func vendor(subtype byte) message {
	return newMessage(typeVendor, 0, 0, 0, 0x23, 0x20, 0, 0, 0, subtype)
}

func TestUpdates(t *testing.T) {
	var got []update
	require.NoError(t, news(0, eventDeleted, ownMark|3, "match").updates(func(u update) { got = append(got, u) }))
	require.Equal(t, []update{{deleted: true, table: 5, cookie: ownMark | 3, place: "\x05\x00\x4dmatch"}}, got)
	require.Equal(t, uint16(77), got[0].priority())

	m := news(0, 0, ownMark, "a match of some length")
	for n := statsHeaderLen + 1; n < len(m); n++ {
		require.ErrorIs(t, m[:n].updates(func(update) {}), errTruncated, n)
	}
}

func FuzzUpdates(f *testing.F) {
	f.Add([]byte(news(0, 0, ownMark, "match")))
	f.Add(greeting())
	f.Fuzz(func(_ *testing.T, b []byte) {
		for {
			m, rest, err := next(b)
			if err != nil || m == nil {
				return
			}
			m.nicira()
			_ = m.refusal()
			_ = m.updates(func(u update) { u.priority() })
			b = rest
		}
	})
}

// server plays ovs-vswitchd at the other end of a watch, one message at a time.
type server struct {
	t *testing.T
	net.Conn
}

// watching returns a watch whose list is what flows send, and the server that it has connected to.
func watching(t *testing.T, flows ...message) (*watch, *server, chan struct{}) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	s := &server{t: t}
	listed := make(chan struct{})
	go func() {
		defer close(listed)
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		s.Conn = c
		s.expect(typeHello)
		s.expect(typeStatsRequest)
		s.send(flows...)
		s.send(newMessage(typeBarrierReply, s.expect(typeBarrierRequest).transaction()))
	}()
	told := make(chan struct{}, 100)
	w, err := dial(limited(t), l.Addr().String(), ownMark, func() { told <- struct{}{} })
	<-listed
	require.NoError(t, err)
	t.Cleanup(func() { w.close(); s.Close() })
	return w, s, told
}

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func (s *server) send(messages ...message) {
	for _, m := range messages {
		if _, err := s.Write(m); err != nil {
			s.t.Error(err)
		}
	}
}

func (s *server) expect(kind byte) message {
	m := make(message, headerLen)
	_, err := s.Read(m)
	if err == nil && int(order.Uint16(m[2:])) > headerLen {
		body := make([]byte, order.Uint16(m[2:])-headerLen)
		_, err = s.Read(body)
		m = append(m, body...)
	}
	if err != nil || m.kind() != kind {
		s.t.Errorf("message %x (%v), want type %d", []byte(m), err, kind)
	}
	return m
}

// count looks, while the server answers what it is asked.
func count(t *testing.T, w *watch, s *server, answers ...message) (flows int) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		question := s.expect(typeBarrierRequest)
		for _, m := range answers {
			if m.kind() == typeBarrierReply {
				m = newMessage(typeBarrierReply, question.transaction())
			}
			s.send(m)
		}
	}()
	require.NoError(t, w.look(limited(t), func(tb *table) { flows = len(tb.places) }))
	<-done
	return flows
}

var reply = newMessage(typeBarrierReply, 0)

// The answer comes behind what found no room before. A look that returned earlier would miss it.
func TestLookWaitsForWhatIsOnItsWay(t *testing.T) {
	w, s, told := watching(t, news(listing, 0, ownMark|1, "a"))
	s.send(news(0, 0, ownMark|2, "b"))
	require.Equal(t, 3, count(t, w, s, news(0, 0, ownMark|3, "c"), reply))
	require.NotEmpty(t, told)
	require.NoError(t, w.look(limited(t), func(tb *table) { require.Len(t, tb.places, 3) }), "without a question")
}

func TestLookWaitsForTheEndOfAPause(t *testing.T) {
	w, s, _ := watching(t)
	s.send(news(0, 0, ownMark|1, "a"), vendor(subtypeMonitorPaused))
	require.Equal(t, 2, count(t, w, s, reply, news(0, 0, ownMark|2, "b"), vendor(subtypeMonitorResumed)))
}

func TestEchoIsAnswered(t *testing.T) {
	_, s, told := watching(t)
	s.send(newMessage(typeEchoRequest, 42, []byte("hello")...))
	m := s.expect(typeEchoReply)
	require.Equal(t, "hello", string(m[headerLen:]))
	require.Equal(t, uint32(42), m.transaction())
	require.Empty(t, told)
}

// A message may come in pieces.
func TestPieces(t *testing.T) {
	w, s, told := watching(t)
	for _, b := range news(0, 0, ownMark|1, "a") {
		s.send(message{b})
	}
	<-told
	require.Equal(t, 1, count(t, w, s, reply))
}

func TestFlowsOfOthersAreNoNews(t *testing.T) {
	w, s, told := watching(t, news(listing, 0, 0, "other"), news(listing, 0, learnedMark|1, "learned"))
	s.send(news(0, 0, 7, "new"), news(0, eventDeleted, 0, "other"), news(0, 0, learnedMark|2, "more"))
	require.Zero(t, count(t, w, s, reply))
	require.Empty(t, told)
}

// Whatever goes wrong ends the watch, and is told.
func TestEnd(t *testing.T) {
	for name, m := range map[string]message{
		"refused":   newMessage(typeError, 1, 0, 1, 0, 5),
		"version":   newMessage(typeError, 1, append([]byte{0, 0, 0, 0}, "we are too new"...)...),
		"truncated": news(0, 0, ownMark, "a match that is too long")[:statsHeaderLen+20],
		"nonsense":  {1, 2, 0, 3, 0, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w, s, told := watching(t)
			if name == "truncated" {
				order.PutUint16(m[2:], uint16(len(m)))
			}
			s.send(m)
			<-told
			err := w.look(limited(t), func(*table) { t.Error("a dead watch knows nothing") })
			require.Error(t, err)
			require.Equal(t, name == "refused" || name == "version", errors.Is(err, dataplane.ErrUnsupported), err)
		})
	}
	w, s, told := watching(t)
	require.NoError(t, s.Close())
	<-told
	require.ErrorIs(t, w.look(limited(t), func(*table) {}), ErrAway)
}

func TestCollidingCookiesComeAndGoTogether(t *testing.T) {
	tb := newTable(ownMark)
	k := id{5, ownMark | 1}
	w := &wanted{flows: []Flow{{Table: 5, Match: "a"}, {Table: 5, Match: "b"}}, ids: []id{k, k}, count: map[id]int{k: 2}}
	tb.apply(update{table: 5, cookie: k.cookie, place: "\x05\x00\x00a"}, false)
	d := tb.diff(w)
	require.Len(t, d.remove, 1)
	require.Len(t, d.add, 2)
	tb.apply(update{table: 5, cookie: k.cookie, place: "\x05\x00\x00b"}, false)
	d = tb.diff(w)
	require.True(t, d.empty())
}

func TestComplaints(t *testing.T) {
	err := complain("2026-01-01T00:00:00Z|00001|ofp_match|INFO|normalization changed\novs-ofctl: -:2: unknown keyword x\n", "one\ntwo\n", errors.New("exit status 1"))
	require.EqualError(t, err, `ovs-ofctl: unknown keyword x in "two" (exit status 1)`)
	err = complain("2026-01-01T00:00:00Z|00001|vconn|WARN|version negotiation failed\n", "", errors.New("exit status 1"))
	require.ErrorIs(t, err, dataplane.ErrUnsupported)
	require.False(t, strings.Contains(err.Error(), "|"))
	require.EqualError(t, complain("", "", errors.New("signal: killed")), "ovs-ofctl: signal: killed")
}
