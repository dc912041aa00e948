package differential

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/frame"
)

// The model knows of SCTP what it knows of TCP and UDP; random packets are of the latter, because
// this kernel has no SCTP of its own. So an association is begun by hand.
func TestSCTPIsForwarded(t *testing.T) {
	r := dataplane.Router{
		ID: routerID,
		Ports: []dataplane.Port{
			{ID: portID(0), Network: dataplane.Network{ID: networkID(0)}, MAC: portMAC(0), MTU: mtu, Addrs: []netip.Prefix{prefix("10.0.0.1/24")}},
		},
		Gateway: &dataplane.Gateway{
			Port:     dataplane.Port{ID: gatewayID, Network: dataplane.Network{ID: externalNet}, MAC: portMAC(maxPorts), MTU: mtu, Addrs: []netip.Prefix{prefix("203.0.113.2/24")}},
			NextHops: addrs("203.0.113.1"), SNAT: true,
		},
		PortForwardings: []dataplane.PortForwarding{{
			ID: "pf", Addr: addr("203.0.113.7"), Proto: dataplane.SCTP, Ports: dataplane.PortRange{First: 2905, Last: 2909},
			Fixed: addr("10.0.0.5"), FixedPorts: dataplane.PortRange{First: 12905, Last: 12909},
		}},
	}
	const client, asked, to = 40000, 2907, 12907
	eachBackend(t, func(t *testing.T, s *site) {
		require.NoError(t, s.apply(r))
		send := func(in, src, dst string, data []byte) []sighting {
			w, err := s.watch(func() error {
				return s.inject(s.ports[in], frame.Packet{Src: addr(src), Dst: addr(dst), Proto: unix.IPPROTO_SCTP, Data: data})
			})
			require.NoError(t, err)
			return w.seen
		}
		seen := send(gatewayID, "198.51.100.9", "203.0.113.7", sctp(client, asked, 0, initiation))
		require.Len(t, seen, 1)
		require.Equal(t, portID(0), seen[0].Port)
		require.Equal(t, addr("10.0.0.5"), seen[0].Dst)
		require.Equal(t, addr("198.51.100.9"), seen[0].Src)
		require.Equal(t, sctp(client, to, 0, initiation), seen[0].Data, "the port is another one, and the checksum is right")

		seen = send(portID(0), "10.0.0.5", "198.51.100.9", sctp(to, client, tag, initiationAck))
		require.Len(t, seen, 1)
		require.Equal(t, gatewayID, seen[0].Port)
		require.Equal(t, addr("203.0.113.7"), seen[0].Src)
		require.Equal(t, sctp(asked, client, tag, initiationAck), seen[0].Data)

		seen = send(gatewayID, "198.51.100.9", "203.0.113.7", sctp(client, asked+3, 0, initiation))
		for _, s := range seen {
			require.Equal(t, gatewayID, s.Port, "a port that is not forwarded")
		}
	})
}

// Chunks of SCTP (RFC 9260).
const (
	initiation    = 1
	initiationAck = 2
	tag           = 7
)

// sctp makes a packet with one chunk.
func sctp(srcPort, dstPort uint16, verification uint32, chunk byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, srcPort)
	b = binary.BigEndian.AppendUint16(b, dstPort)
	b = binary.BigEndian.AppendUint32(b, verification)
	b = append(b, 0, 0, 0, 0) // checksum
	b = append(b, chunk, 0, 0, 20)
	for _, v := range []uint32{tag, 1500, 1<<16 | 1, 1} { // initiate tag, window, streams, TSN
		b = binary.BigEndian.AppendUint32(b, v)
	}
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return b
}
