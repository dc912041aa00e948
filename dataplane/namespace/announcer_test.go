package namespace

import (
	"net/netip"
	"testing"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ndp"
	"github.com/stretchr/testify/require"
)

func TestFramesOfIPv4AreGratuitousARPInBothForms(t *testing.T) {
	n := &notice{index: 2, mac: mac(7), addr: netip.MustParseAddr("203.0.113.20")}
	frames, err := n.frames()
	require.NoError(t, err)
	require.Len(t, frames, 2)
	for i, op := range []arp.Operation{arp.OperationRequest, arp.OperationReply} {
		require.Equal(t, []byte(broadcast), frames[i][:6])
		var p arp.Packet
		require.NoError(t, p.UnmarshalBinary(frames[i][14:]))
		require.Equal(t, op, p.Operation)
		require.Equal(t, n.addr, p.SenderIP)
		require.Equal(t, n.addr, p.TargetIP)
		require.Equal(t, mac(7).String(), p.SenderHardwareAddr.String())
	}
}

func TestFrameOfIPv6IsAnUnsolicitedAdvertisement(t *testing.T) {
	n := &notice{index: 2, mac: mac(7), addr: netip.MustParseAddr("2001:db8::10")}
	frames, err := n.frames()
	require.NoError(t, err)
	require.Len(t, frames, 1)
	const headers = 14 + 40
	require.Equal(t, byte(255), frames[0][14+7], "other hop limits are ignored")
	m, err := ndp.ParseMessage(frames[0][headers:])
	require.NoError(t, err)
	na, ok := m.(*ndp.NeighborAdvertisement)
	require.True(t, ok)
	require.False(t, na.Solicited)
	require.True(t, na.Override)
	require.Equal(t, n.addr, na.TargetAddress)
}
