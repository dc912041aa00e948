package conntrack

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mdlayher/netlink"
	"github.com/stretchr/testify/require"
	theirs "github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/nlmsg"
	"github.com/l3kit/l3kit/internal/test/needs"
)

// space is a namespace with connections in it that no packet belongs to.
type space struct {
	*Conn
	t    *testing.T
	ns   *os.File
	fill *theirs.Conn
}

func newSpace(t *testing.T, k *Kernel) *space {
	t.Helper()
	needs.Root(t)
	ns, err := netns.New(nil)
	require.NoError(t, err)
	s := &space{t: t, ns: ns}
	s.Conn, err = k.Open(int(ns.Fd()))
	require.NoError(t, err)
	s.fill, err = theirs.Dial(&netlink.Config{NetNS: int(ns.Fd())})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		require.NoError(t, s.fill.Close())
		require.NoError(t, ns.Close())
	})
	return s
}

// add makes a connection; port keeps it apart from others of the same addresses.
func (s *space) add(port uint16, src, dst, replySrc, replyDst string) {
	s.t.Helper()
	a := netip.MustParseAddr
	f := theirs.NewFlow(unix.IPPROTO_UDP, 0, a(src), a(dst), port, 53, 3600, 0)
	f.TupleReply.IP = theirs.IPTuple{SourceAddress: a(replySrc), DestinationAddress: a(replyDst)}
	require.NoError(s.t, s.fill.Create(f))
}

func (s *space) count() (n int) {
	s.t.Helper()
	require.NoError(s.t, netns.Do(int(s.ns.Fd()), func() error {
		b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_count")
		require.NoError(s.t, err)
		n, err = strconv.Atoi(strings.TrimSpace(string(b)))
		return err
	}))
	return n
}

func (s *space) list(f Filter) []string {
	s.t.Helper()
	list, err := s.List(s.t.Context(), f, func(*Connection) bool { return true })
	require.NoError(s.t, err)
	texts := make([]string, len(list))
	for i, c := range list {
		texts[i] = c.Orig.Src.String() + ">" + c.Orig.Dst.String() + " " + c.Reply.Src.String() + ">" + c.Reply.Dst.String()
	}
	slices.Sort(texts)
	return texts
}

func filter(origSrc, origDst, replySrc, replyDst string) Filter {
	a := func(s string) netip.Addr {
		if s == "" {
			return netip.Addr{}
		}
		return netip.MustParseAddr(s)
	}
	return Filter{OrigSrc: a(origSrc), OrigDst: a(origDst), ReplySrc: a(replySrc), ReplyDst: a(replyDst)}
}

// toPort narrows a filter down to a port.
func toPort(f Filter, proto uint8, port uint16) Filter {
	f.Proto, f.OrigDstPort = proto, port
	return f
}

// kernels are what the code may find: the running kernel, and one that cannot delete by filter.
func kernels() map[string]*Kernel {
	old := new(Kernel)
	old.cannotEnd.Store(true)
	return map[string]*Kernel{"running kernel": new(Kernel), "deletes by key only": old}
}

func (s *space) populate() {
	s.add(1, "10.0.0.5", "8.8.8.8", "8.8.8.8", "203.0.113.1")
	s.add(2, "10.0.0.5", "8.8.8.8", "8.8.8.8", "203.0.113.1")
	s.add(3, "10.0.0.5", "10.0.1.5", "10.0.1.5", "10.0.0.5")
	s.add(4, "10.0.0.6", "8.8.8.8", "8.8.8.8", "203.0.113.1")
	s.add(5, "8.8.8.8", "203.0.113.9", "10.0.0.6", "8.8.8.8")
}

func TestTheKernelPicksByAddress(t *testing.T) {
	s := newSpace(t, new(Kernel))
	s.populate()
	require.Len(t, s.list(Filter{}), 5)
	require.Equal(t, []string{
		"10.0.0.5>8.8.8.8 8.8.8.8>203.0.113.1", "10.0.0.5>8.8.8.8 8.8.8.8>203.0.113.1",
	}, s.list(filter("10.0.0.5", "", "", "203.0.113.1")))
	require.Equal(t, []string{"8.8.8.8>203.0.113.9 10.0.0.6>8.8.8.8"}, s.list(filter("", "203.0.113.9", "10.0.0.6", "")))
	require.Empty(t, s.list(filter("10.0.0.7", "", "", "")))

	// Without this the kernel would hand over the whole table, and only the check behind it would
	// make the result right.
	seen := 0
	f := filter("10.0.0.5", "", "", "203.0.113.1")
	require.NoError(t, s.request(t.Context(), msgGet, unix.NLM_F_DUMP, f.attributes(), func([]byte) { seen++ }))
	require.Equal(t, 2, seen)
}

func TestTheKernelPicksByPort(t *testing.T) {
	for name, k := range kernels() {
		t.Run(name, func(t *testing.T) {
			s := newSpace(t, k)
			s.populate() // all to port 53 of UDP
			to := filter("", "8.8.8.8", "", "")
			for want, f := range map[int]Filter{3: toPort(to, unix.IPPROTO_UDP, 53), 0: toPort(to, unix.IPPROTO_UDP, 54)} {
				require.Len(t, s.list(f), want)
				seen := 0
				require.NoError(t, s.request(t.Context(), msgGet, unix.NLM_F_DUMP, f.attributes(), func([]byte) { seen++ }))
				require.Equal(t, want, seen, "the kernel picks")
			}
			require.Empty(t, s.list(toPort(to, unix.IPPROTO_TCP, 0)))
			require.Len(t, s.list(toPort(to, unix.IPPROTO_UDP, 0)), 3)
			require.NoError(t, s.EndMatching(t.Context(), toPort(to, unix.IPPROTO_UDP, 54)))
			require.NoError(t, s.EndMatching(t.Context(), toPort(to, unix.IPPROTO_TCP, 53)))
			require.Equal(t, 5, s.count())
			require.NoError(t, s.EndMatching(t.Context(), toPort(to, unix.IPPROTO_UDP, 53)))
			require.Equal(t, 2, s.count())
		})
	}
}

func TestEndMatchingEndsWhatMatchesAndNothingElse(t *testing.T) {
	for name, k := range kernels() {
		t.Run(name, func(t *testing.T) {
			s := newSpace(t, k)
			s.populate()
			require.NoError(t, s.EndMatching(t.Context(), filter("10.0.0.5", "", "", "203.0.113.1")))
			require.Equal(t, []string{
				"10.0.0.5>10.0.1.5 10.0.1.5>10.0.0.5", "10.0.0.6>8.8.8.8 8.8.8.8>203.0.113.1", "8.8.8.8>203.0.113.9 10.0.0.6>8.8.8.8",
			}, s.list(Filter{}))
			require.NoError(t, s.EndMatching(t.Context(), filter("", "203.0.113.9", "10.0.0.6", "")))
			require.Len(t, s.list(Filter{}), 2)
			require.NoError(t, s.EndMatching(t.Context(), filter("10.9.9.9", "", "", "")), "none matches")
			require.Error(t, s.EndMatching(t.Context(), Filter{}), "that would be all")
			require.Len(t, s.list(Filter{}), 2)
		})
	}
}

// The kernel refuses a request to delete that names half a connection. So does one that does not
// know CTA_FILTER there.
func TestAKernelThatCannotDeleteByFilterIsFoundOut(t *testing.T) {
	s := newSpace(t, new(Kernel))
	s.populate()
	f := filter("10.0.0.5", "", "", "203.0.113.1")
	var half []byte
	for kind, v := range nlmsg.Attributes(f.attributes()) {
		if kind != ctaFilter { // what such a kernel makes of the request
			half = nlmsg.Append(half, kind|unix.NLA_F_NESTED, v)
		}
	}
	err := s.request(t.Context(), msgDelete, unix.NLM_F_ACK, half, nil)
	require.ErrorIs(t, err, unix.EINVAL)
	require.Len(t, s.list(Filter{}), 5)
}

func TestEndEndsWhatWasListed(t *testing.T) {
	s := newSpace(t, new(Kernel))
	for i := range 3 * batch {
		s.add(uint16(1000+i), "10.0.0.5", "8.8.8.8", "8.8.8.8", "203.0.113.1")
	}
	s.add(1, "10.0.0.6", "8.8.8.8", "8.8.8.8", "203.0.113.1")
	list, err := s.List(t.Context(), Filter{}, func(c *Connection) bool { return c.Orig.Src.String() == "10.0.0.5" })
	require.NoError(t, err)
	require.Len(t, list, 3*batch)
	require.NoError(t, s.End(t.Context(), list[:batch+1]))
	require.NoError(t, s.End(t.Context(), list), "those that are gone are fine")
	require.Len(t, s.list(Filter{}), 1)
}

// A connection that has the addresses and ports of one that was listed, and came after that had
// ended, is another one.
func TestAnotherConnectionOfTheSameAddressesLives(t *testing.T) {
	s := newSpace(t, new(Kernel))
	s.add(1, "10.0.0.5", "8.8.8.8", "8.8.8.8", "203.0.113.1")
	list, err := s.List(t.Context(), Filter{}, func(*Connection) bool { return true })
	require.NoError(t, err)
	require.NoError(t, s.fill.Flush())
	s.add(9, "10.0.0.5", "8.8.8.8", "8.8.8.8", "203.0.113.1") // takes the memory of the other, and so might its ID
	s.add(1, "10.0.0.5", "8.8.8.8", "8.8.8.8", "203.0.113.1")
	require.NoError(t, s.End(t.Context(), list))
	require.Equal(t, 2, s.count())
}

func TestAFullTableIsNoObstacle(t *testing.T) {
	s := newSpace(t, new(Kernel))
	s.add(1, "10.0.0.5", "8.8.8.8", "8.8.8.8", "203.0.113.1")
	full := s.crowd()
	require.NoError(t, s.EndMatching(t.Context(), filter("10.0.0.5", "", "", "")))
	require.Equal(t, full-1, s.count())
	one := filter("10.1.0.0", "", "", "")
	list, err := s.List(t.Context(), one, func(*Connection) bool { return true })
	require.NoError(t, err)
	require.NotEmpty(t, list)
	require.NoError(t, s.End(t.Context(), list))
	require.Empty(t, s.list(one))
}

// crowd fills the table, and returns how many connections there are then.
func (s *space) crowd() int {
	s.t.Helper()
	for i := 0; ; {
		var b []byte
		for range batch {
			src, dst := [4]byte{10, 1, byte(i >> 14), byte(i >> 22)}, [4]byte{8, 8, 4, 4}
			port := [2]byte{byte(i >> 8 & 0x3f), byte(i)}
			i++
			tuple := func(a, b [4]byte, c, d [2]byte) func([]byte) []byte {
				return func(t []byte) []byte {
					t = nlmsg.AppendNested(t, ctaTupleIP, func(t []byte) []byte {
						return nlmsg.Append(nlmsg.Append(t, ctaIPv4Src, a[:]), ctaIPv4Dst, b[:])
					})
					return nlmsg.AppendNested(t, ctaTupleProto, func(t []byte) []byte {
						t = nlmsg.Append(t, 1, []byte{unix.IPPROTO_UDP}) // CTA_PROTO_NUM
						return nlmsg.Append(nlmsg.Append(t, ctaProtoSrcPort, c[:]), ctaProtoDstPort, d[:])
					})
				}
			}
			attrs := nlmsg.AppendNested(nil, ctaTupleOrig, tuple(src, dst, port, [2]byte{0, 53}))
			attrs = nlmsg.AppendNested(attrs, ctaTupleReply, tuple(dst, src, [2]byte{0, 53}, port))
			attrs = nlmsg.Append(attrs, 7, []byte{0, 0, 14, 16}) // CTA_TIMEOUT, seconds
			s.seq++
			b = s.message(b, 0, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK, attrs) // IPCTNL_MSG_CT_NEW
		}
		require.NoError(s.t, s.send(b))
		var failed error
		for range batch {
			if _, err := s.receive(nil); err != nil {
				failed = err
			}
		}
		if errors.Is(failed, unix.ENOMEM) {
			return s.count()
		}
		require.NoError(s.t, failed)
	}
}

func TestWhatPassesIsTriedAgain(t *testing.T) {
	for _, passing := range []error{unix.EAGAIN, unix.EBUSY, unix.ENOBUFS, unix.ENOMEM, errInterrupted, refusal{unix.EBUSY}} {
		s := newSpace(t, new(Kernel))
		tries := 0
		err := s.insist(t.Context(), func() error {
			require.GreaterOrEqual(t, s.fd, 0)
			if tries++; tries < 3 {
				return passing
			}
			return nil
		})
		require.NoError(t, err, "%v", passing)
		require.Equal(t, 3, tries)
		require.Empty(t, s.list(Filter{}), "the socket works")
	}
	s := newSpace(t, new(Kernel))
	tries := 0
	err := s.insist(t.Context(), func() error { tries++; return unix.EBUSY })
	require.ErrorIs(t, err, unix.EBUSY)
	require.Equal(t, attempts, tries, "not for ever")
	tries = 0
	require.ErrorIs(t, s.insist(t.Context(), func() error { tries++; return unix.EPERM }), unix.EPERM)
	require.Equal(t, 1, tries)
	ctx, cancel := context.WithCancel(t.Context())
	err = s.insist(ctx, func() error { cancel(); return unix.EBUSY })
	require.ErrorIs(t, err, context.Canceled)
}
