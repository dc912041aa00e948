package dataplane_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
)

// Who asks for metadata, and who gets an answer.
func TestMetadata(t *testing.T) {
	r := threeTier()
	r.Metadata = true
	require.NoError(t, r.Validate())
	four, six := dataplane.MetadataAddrs()
	require.Equal(t, "169.254.169.254", four.String())
	require.Equal(t, "fe80::a9fe:a9fe", six.String())
	for name, c := range map[string]struct {
		in, src  string
		dst      netip.Addr
		proto    dataplane.Proto
		port     uint16
		verdict  dataplane.Verdict
		answered bool
	}{
		"a workload":                          {"web", "10.0.0.5", four, dataplane.TCP, 80, dataplane.Local, true},
		"another port":                        {"web", "10.0.0.5", four, dataplane.TCP, 81, dataplane.Local, false},
		"another protocol":                    {"web", "10.0.0.5", four, dataplane.UDP, 80, dataplane.Local, false},
		"an echo request":                     {"web", "10.0.0.5", four, dataplane.ICMP, 0, dataplane.Local, true},
		"an address outside":                  {"web", "192.0.2.9", four, dataplane.TCP, 80, dataplane.Local, false},
		"a host outside":                      {"ext", "203.0.113.9", four, dataplane.TCP, 80, dataplane.Dropped, false},
		"the metadata address":                {"web", "169.254.169.254", netip.MustParseAddr("10.0.1.5"), dataplane.UDP, 80, dataplane.Dropped, false},
		"over IPv6":                           {"web", "fe80::5", six, dataplane.TCP, 80, dataplane.Local, true},
		"over IPv6, by another port's subnet": {"web", "2001:db8:0:2::5", six, dataplane.TCP, 80, dataplane.Local, false},
		"a host outside over IPv6":            {"ext", "fe80::5", six, dataplane.TCP, 80, dataplane.Dropped, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := dataplane.Packet{In: c.in, Src: netip.MustParseAddr(c.src), Dst: c.dst, Proto: c.proto, SrcPort: 1024, DstPort: c.port}
			got := r.Trace(p)
			require.Equal(t, c.verdict, got.Verdict, got)
			require.Equal(t, c.answered, got.Answered, got)
			other := r
			other.Metadata = false
			require.False(t, other.Trace(p).Answered)
			require.False(t, r.Equal(other))
		})
	}
}
