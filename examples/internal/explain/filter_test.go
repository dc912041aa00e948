package explain

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/frame"
)

func TestFilter(t *testing.T) {
	own := mark([]byte("0123456789abcdef"))
	vm, err := bpf.NewVM(passing(own))
	require.NoError(t, err)
	passes := func(f []byte) bool {
		n, err := vm.Run(f)
		require.NoError(t, err)
		return n > 0
	}
	for _, addrs := range [][2]netip.Addr{
		{netip.MustParseAddr("10.0.1.5"), netip.MustParseAddr("10.0.2.5")}, {netip.MustParseAddr("2001:db8:1::5"), netip.MustParseAddr("2001:db8:2::5")},
	} {
		src, dst := addrs[0], addrs[1]
		carried := func(p frame.Packet) []byte { return frame.Carry(p, dataplane.MAC{2}, dataplane.MAC{2, 1}).Marshal() }
		var last frame.Packet
		for _, proto := range []dataplane.Proto{dataplane.TCP, dataplane.UDP, dataplane.ICMP} {
			p := dataplane.Packet{Src: src, Dst: dst, Proto: proto, SrcPort: 4711}
			last = frame.First(p, own)
			require.True(t, passes(carried(last)), "%s", last)
			require.False(t, passes(carried(frame.First(p, mark([]byte("0123456789abcdeX"))))), "%s of another check", last)
			require.False(t, passes(carried(frame.First(p, nil))), "%s without data", last)
		}
		reply := last
		fault := frame.Packet{Src: dst, Dst: src, Proto: last.Proto, Type: frame.Unreachable4, Code: 1, Data: last.Marshal()}
		if reply.Type = frame.EchoReply4; src.Is6() {
			reply.Type, fault.Type = frame.EchoReply6, frame.Unreachable6
		}
		require.True(t, passes(carried(reply)))
		require.True(t, passes(carried(fault)))
		question, err := frame.Neighbour{Target: dst, Asker: src}.Marshal(dataplane.MAC{2}, dataplane.MAC{})
		require.NoError(t, err)
		require.True(t, passes(question))
	}
	require.False(t, passes(frame.Frame{Type: unix.ETH_P_8021Q, Body: make([]byte, 100)}.Marshal()))
}
