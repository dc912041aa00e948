package lab_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/test/lab"
)

// TestUnderlayCarriesTunnels asks from one machine to another, by each kind of tunnel, and looks at
// the frames between them.
func TestUnderlayCarriesTunnels(t *testing.T) {
	const segment = 0xabcde
	for _, kind := range []string{"vxlan", "geneve", "gre"} {
		t.Run(kind, func(t *testing.T) {
			var labs [2]*lab.Lab
			var switches [2]*lab.Switch
			var devices [2]string
			var hosts [2]*lab.Host
			for i := range labs {
				labs[i], switches[i] = newSwitch(t)
			}
			under, err := labs[0].NewUnderlay()
			require.NoError(t, err)
			for i, s := range switches {
				addr := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i)}), 24)
				devices[i], err = under.Join(soon(t), labs[i], s, "netdev", addr)
				require.NoError(t, err)
				vsctl(t, s, addBridge)
				vsctl(t, s, fmt.Sprintf("add-port br0 tun -- set interface tun type=%s options:remote_ip=192.0.2.%d options:key=%d", kind, 2-i, segment))
				p := port("n", fmt.Sprintf("10.0.0.%d/24", 1+i))
				p.MTU = 1400
				hosts[i], err = labs[i].Attach(soon(t), switched{host: labs[i].HostNS, s: s}, lab.Spec{Name: fmt.Sprintf("w%d", i), Ports: []dataplane.Port{p}})
				require.NoError(t, err)
			}
			capture, err := under.CaptureAll(devices[0])
			require.NoError(t, err)
			defer capture.Close()

			require.NoError(t, hosts[0].Ping(t.Context(), "10.0.0.2"))

			packets, err := capture.Packets()
			require.NoError(t, err)
			requests := 0
			for _, p := range packets {
				if p.Tunnel == nil || p.Tunnel.Inner == nil || p.Tunnel.Inner.Dst.Addr() != netip.MustParseAddr("10.0.0.2") {
					continue
				}
				requests++
				require.Equal(t, kind, p.Tunnel.Type)
				require.EqualValues(t, segment, p.Tunnel.ID)
				require.Equal(t, "192.0.2.1", p.Src.Addr().String())
				require.Equal(t, "192.0.2.2", p.Dst.Addr().String())
				require.EqualValues(t, 8, p.Tunnel.Inner.ICMP.Type)
			}
			require.Positive(t, requests, "of %v", packets)
		})
	}
}
