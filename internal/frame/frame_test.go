package frame_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/frame"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// genPacket draws packets of all kinds that are read in full.
func genPacket(t *rapid.T) frame.Packet {
	p := frame.Packet{TTL: rapid.Byte().Filter(func(b byte) bool { return b > 0 }).Draw(t, "ttl"), Data: rapid.SliceOfN(rapid.Byte(), 1, 99).Draw(t, "data")}
	icmpProto, echo := uint8(unix.IPPROTO_ICMP), []uint8{frame.EchoRequest4, frame.EchoReply4}
	if rapid.Bool().Draw(t, "IPv4") {
		p.Src = netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "src")))
		p.Dst = netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "dst")))
	} else {
		p.Src = netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "src")))
		p.Dst = netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "dst")))
		icmpProto, echo = unix.IPPROTO_ICMPV6, []uint8{frame.EchoRequest6, frame.EchoReply6}
	}
	p.Proto = rapid.SampledFrom([]uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP, icmpProto, 253}).Draw(t, "proto")
	switch p.Proto {
	case unix.IPPROTO_TCP:
		p.Flags = rapid.Byte().Draw(t, "flags")
		p.MSS = rapid.Uint16().Draw(t, "MSS")
		fallthrough
	case unix.IPPROTO_UDP:
		p.SrcPort, p.DstPort = rapid.Uint16().Draw(t, "source port"), rapid.Uint16().Draw(t, "destination port")
	case icmpProto:
		p.Type, p.SrcPort = rapid.SampledFrom(echo).Draw(t, "type"), rapid.Uint16().Draw(t, "identifier")
	}
	return p
}

func TestPacketsAreReadAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := genPacket(t)
		got, ok := frame.ParsePacket(append(p.Marshal(), make([]byte, rapid.IntRange(0, 18).Draw(t, "padding"))...))
		require.True(t, ok)
		want := p
		want.Intact = true
		require.Equal(t, want, got)
	})
}

func TestDamageIsSeen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := genPacket(t)
		if p.Proto == 253 {
			t.Skip("its payload has no checksum")
		}
		b := p.Marshal()
		at := len(b) - 1 - rapid.IntRange(0, len(p.Data)-1).Draw(t, "from the end")
		b[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		got, ok := frame.ParsePacket(b)
		require.True(t, ok)
		require.False(t, got.Intact)
	})
}

// TestOthersReadIt compares with a library, so that the same mistake is not made twice.
func TestOthersReadIt(t *testing.T) {
	p := frame.Packet{Src: addr("10.0.0.1"), Dst: addr("10.0.0.2"), Proto: unix.IPPROTO_ICMP, Type: frame.EchoRequest4, SrcPort: 7, Data: []byte("data")}
	b := p.Marshal()
	h, err := ipv4.ParseHeader(b)
	require.NoError(t, err)
	require.Equal(t, 64, h.TTL)
	require.Equal(t, len(b), h.TotalLen)
	m, err := icmp.ParseMessage(unix.IPPROTO_ICMP, b[h.Len:])
	require.NoError(t, err)
	require.Equal(t, ipv4.ICMPTypeEcho, m.Type)
	require.Equal(t, &icmp.Echo{ID: 7, Seq: 1, Data: []byte("data")}, m.Body)
	reference, err := m.Marshal(nil)
	require.NoError(t, err)
	require.Equal(t, reference, b[h.Len:], "checksum included")
}

func TestMSSIsFoundAmongOptions(t *testing.T) {
	segment := func(options ...byte) []byte {
		b := append(make([]byte, 20), options...)
		b[12] = byte(len(b)/4) << 4
		return b
	}
	for _, c := range []struct {
		options []byte
		want    uint16
	}{
		{nil, 0},
		{[]byte{2, 4, 5, 180}, 1460},
		{[]byte{1, 1, 4, 2, 2, 4, 5, 180}, 1460},
		{[]byte{0, 0, 0, 0, 2, 4, 5, 180}, 0}, // behind the end of the list
		{[]byte{3, 0, 2, 4, 5, 180, 0, 0}, 1460},
		{[]byte{1, 2, 4, 5}, 0}, // cut off
	} {
		require.Equal(t, c.want, frame.MSS(segment(c.options...)), "%v", c.options)
	}
}

func TestErrorsQuote(t *testing.T) {
	about := frame.Packet{Src: addr("10.0.0.1"), Dst: addr("192.0.2.1"), Proto: unix.IPPROTO_UDP, SrcPort: 4000, DstPort: 53, Data: make([]byte, 50)}
	p := frame.Packet{Src: addr("203.0.113.1"), Dst: addr("10.0.0.1"), Proto: unix.IPPROTO_ICMP, Type: frame.Unreachable4, Code: 3, Data: about.Marshal()[:28]}
	got, ok := frame.ParsePacket(p.Marshal())
	require.True(t, ok)
	require.True(t, got.IsError())
	quoted, ok := got.About()
	require.True(t, ok)
	require.Equal(t, about.Src, quoted.Src)
	require.Equal(t, uint16(53), quoted.DstPort)
	require.Equal(t, "icmp 203.0.113.1 → 10.0.0.1 type 3 code 3 about (udp 10.0.0.1:4000 → 192.0.2.1:53)", got.String())
	_, ok = about.About()
	require.False(t, ok)
}

func TestReadingNeverPanics(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 0, 120).Draw(t, "bytes")
		if len(b) > 0 {
			b[0] = rapid.SampledFrom([]byte{0x45, 0x4f, 0x60, 0}).Draw(t, "version")
		}
		if p, ok := frame.ParsePacket(b); ok {
			_ = p.String()
		}
		if f, ok := frame.Parse(b); ok {
			f.Neighbour()
		}
	})
}

func TestNeighbours(t *testing.T) {
	me, you := dataplane.MAC{2, 0, 0, 0, 0, 1}, dataplane.MAC{2, 0, 0, 0, 0, 2}
	for _, family := range [][2]string{{"10.0.0.1", "10.0.0.2"}, {"2001:db8::1", "fe80::2"}} {
		target, asker := addr(family[0]), addr(family[1])
		for _, n := range []frame.Neighbour{{Target: target, Asker: asker}, {Answer: true, Target: target, Asker: asker}} {
			b, err := n.Marshal(me, you)
			require.NoError(t, err)
			f, ok := frame.Parse(b)
			require.True(t, ok)
			require.Equal(t, me, f.Src)
			require.Equal(t, you, f.Dst)
			got, ok := f.Neighbour()
			require.True(t, ok)
			require.Equal(t, n, got)
		}
		b, err := frame.Neighbour{Target: target, Asker: asker}.Marshal(me, dataplane.MAC{})
		require.NoError(t, err)
		require.NotZero(t, b[0]&1, "to all of the link")
	}
	gratuitous, err := frame.Neighbour{Target: addr("10.0.0.1"), Asker: addr("10.0.0.1")}.Marshal(me, dataplane.MAC{})
	require.NoError(t, err)
	f, _ := frame.Parse(gratuitous)
	_, ok := f.Neighbour()
	require.False(t, ok, "nobody is asked")
}
