package dataplane_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
)

func TestClamping(t *testing.T) {
	port := func(id string, last byte, mtu int, addrs ...string) dataplane.Port {
		p := dataplane.Port{ID: id, Network: dataplane.Network{ID: id}, MAC: dataplane.MAC{2, 0, 0, 0, 0, last}, MTU: mtu}
		for _, a := range addrs {
			p.Addrs = append(p.Addrs, netip.MustParsePrefix(a))
		}
		return p
	}
	r := dataplane.Router{
		ID: "r", ClampMSS: true,
		Ports: []dataplane.Port{port("a", 1, 1500, "10.0.1.1/24", "fd00:1::1/64"), port("b", 2, 1400, "10.0.2.1/24", "fd00:2::1/64")},
	}
	require.NoError(t, r.Validate())
	trace := func(in, src, dst string, proto dataplane.Proto) dataplane.Trace {
		p := dataplane.Packet{In: in, Dst: netip.MustParseAddr(dst), Proto: proto}
		if src != "" {
			p.Src = netip.MustParseAddr(src)
		}
		return r.Trace(p)
	}
	there := trace("a", "10.0.1.5", "10.0.2.5", dataplane.TCP)
	require.EqualValues(t, 1360, there.MaxMSS)
	require.Contains(t, there.String(), "TCP announces segments of 1360 bytes at most: the MTU of port b is 1400")
	require.EqualValues(t, 1360, trace("b", "10.0.2.5", "10.0.1.5", dataplane.TCP).MaxMSS)
	require.EqualValues(t, 1460, trace("a", "10.0.1.5", "10.0.1.6", dataplane.TCP).MaxMSS)
	require.EqualValues(t, 1340, trace("a", "fd00:1::5", "fd00:2::5", dataplane.TCP).MaxMSS)
	require.Zero(t, trace("a", "10.0.1.5", "10.0.2.5", dataplane.UDP).MaxMSS)
	require.Zero(t, trace("", "", "10.0.2.5", dataplane.TCP).MaxMSS, "the kernel knows the MTU")
	require.Zero(t, trace("a", "10.0.1.5", "10.0.2.1", dataplane.TCP).MaxMSS, "it is not forwarded")
	r.ClampMSS = false
	require.Zero(t, trace("a", "10.0.1.5", "10.0.2.5", dataplane.TCP).MaxMSS)
}
