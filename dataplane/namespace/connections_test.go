package namespace

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/ti-mo/conntrack"

	"github.com/l3kit/l3kit/dataplane"
)

func flow(src, dst, replySrc, replyDst string) conntrack.Flow {
	tuple := func(a, b string) conntrack.Tuple {
		return conntrack.Tuple{IP: conntrack.IPTuple{SourceAddress: netip.MustParseAddr(a), DestinationAddress: netip.MustParseAddr(b)}}
	}
	return conntrack.Flow{TupleOrig: tuple(src, dst), TupleReply: tuple(replySrc, replyDst)}
}

// Each connection is one that threeLegs carries, with the changes to that router that end it.
func TestWhatAChangeEnds(t *testing.T) {
	changes := map[string]func(*dataplane.Router){
		"nothing": func(*dataplane.Router) {},
		"unbind":  func(r *dataplane.Router) { r.FloatingIPs = nil },
		"move":    func(r *dataplane.Router) { r.FloatingIPs[0].Fixed = netip.MustParseAddr("10.0.1.6") },
		"bind another": func(r *dataplane.Router) {
			r.FloatingIPs = append(r.FloatingIPs, fip("f2", "203.0.113.21", "10.0.2.5"))
		},
		"SNAT off":        func(r *dataplane.Router) { r.Gateway.SNAT = false },
		"gateway cleared": func(r *dataplane.Router) { r.Gateway, r.FloatingIPs = nil, nil },
		"gateway address": func(r *dataplane.Router) { r.Gateway.Addrs = prefixes("203.0.113.11/24") },
		"routes removed":  func(r *dataplane.Router) { r.Routes = nil },
	}
	connections := map[string]struct {
		conntrack.Flow
		endedBy []string
	}{
		"between subnets":            {flow("10.0.1.5", "10.0.2.5", "10.0.2.5", "10.0.1.5"), nil},
		"shared SNAT":                {flow("10.0.2.5", "8.8.8.8", "8.8.8.8", "203.0.113.10"), []string{"bind another", "SNAT off", "gateway cleared", "gateway address"}},
		"shared SNAT, other host":    {flow("10.0.2.6", "8.8.8.8", "8.8.8.8", "203.0.113.10"), []string{"SNAT off", "gateway cleared", "gateway address"}},
		"SNAT behind an extra route": {flow("10.9.1.1", "8.8.8.8", "8.8.8.8", "203.0.113.10"), []string{"SNAT off", "gateway cleared", "gateway address"}},
		"out by floating IP":         {flow("10.0.1.5", "8.8.8.8", "8.8.8.8", "203.0.113.20"), []string{"unbind", "move", "gateway cleared"}},
		"in by floating IP":          {flow("8.8.8.8", "203.0.113.20", "10.0.1.5", "8.8.8.8"), []string{"unbind", "move", "gateway cleared"}},
		"hairpin":                    {flow("10.0.2.5", "203.0.113.20", "10.0.1.5", "203.0.113.10"), []string{"unbind", "move", "bind another", "gateway cleared", "gateway address"}},
		"hairpin on itself":          {flow("10.0.1.5", "203.0.113.20", "10.0.1.5", "203.0.113.20"), []string{"unbind", "move", "gateway cleared"}},
		"ping of the gateway":        {flow("8.8.8.8", "203.0.113.10", "203.0.113.10", "8.8.8.8"), []string{"gateway cleared", "gateway address"}},
		"multicast of the kernel":    {flow("203.0.113.10", "224.0.0.22", "224.0.0.22", "203.0.113.10"), nil},
		"broadcast from a host":      {flow("10.0.1.5", "10.0.1.255", "10.0.1.255", "10.0.1.5"), nil},
		"by an extra route":          {flow("10.0.1.5", "10.9.1.1", "10.9.1.1", "10.0.1.5"), []string{"routes removed"}},
	}
	for change, edit := range changes {
		r := threeLegs()
		edit(&r)
		j := newJudge(r)
		for name, c := range connections {
			ended := false
			for _, e := range c.endedBy {
				ended = ended || e == change
			}
			require.Equal(t, ended, j.stale(c.Flow), "%s: %s", change, name)
		}
	}
}

func TestSNATSwitchedOnEndsWhatWasRouted(t *testing.T) {
	r := threeLegs()
	inbound := flow("8.8.8.8", "10.0.2.5", "10.0.2.5", "8.8.8.8")
	outbound := flow("10.0.2.5", "8.8.8.8", "8.8.8.8", "10.0.2.5")
	require.True(t, newJudge(r).stale(inbound), "P9")
	require.True(t, newJudge(r).stale(outbound), "P2")
	r.Gateway.SNAT = false
	require.False(t, newJudge(r).stale(inbound))
	require.False(t, newJudge(r).stale(outbound))
}

func fip(id, addr, fixed string) dataplane.FloatingIP {
	return dataplane.FloatingIP{ID: id, Addr: netip.MustParseAddr(addr), Fixed: netip.MustParseAddr(fixed)}
}
