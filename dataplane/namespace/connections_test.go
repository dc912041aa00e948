package namespace

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/conntrack"
)

func flow(src, dst, replySrc, replyDst string) conntrack.Connection {
	tuple := func(a, b string) conntrack.Tuple {
		return conntrack.Tuple{Src: netip.MustParseAddr(a), Dst: netip.MustParseAddr(b)}
	}
	return conntrack.Connection{Orig: tuple(src, dst), Reply: tuple(replySrc, replyDst)}
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
		conntrack.Connection
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
			require.Equal(t, ended, j.stale(&c.Connection), "%s: %s", change, name)
		}
	}
}

func TestSNATSwitchedOnEndsWhatWasRouted(t *testing.T) {
	r := threeLegs()
	inbound := flow("8.8.8.8", "10.0.2.5", "10.0.2.5", "8.8.8.8")
	outbound := flow("10.0.2.5", "8.8.8.8", "8.8.8.8", "10.0.2.5")
	require.True(t, newJudge(r).stale(&inbound), "P9")
	require.True(t, newJudge(r).stale(&outbound), "P2")
	r.Gateway.SNAT = false
	require.False(t, newJudge(r).stale(&inbound))
	require.False(t, newJudge(r).stale(&outbound))
}

func fip(id, addr, fixed string) dataplane.FloatingIP {
	return dataplane.FloatingIP{ID: id, Addr: netip.MustParseAddr(addr), Fixed: netip.MustParseAddr(fixed)}
}

// Whatever floating IPs a router had and has: the patterns find the connections that the model says
// are stale, among all that the old router can have carried, and none that the new one has begun.
func TestPatternsFindExactlyWhatTheModelCallsStale(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := threeLegs()
		base.Gateway.SNAT = rapid.Bool().Draw(t, "SNAT")
		fips := func(label string) (list []dataplane.FloatingIP) {
			fixed := rapid.Permutation([]string{"10.0.1.5", "10.0.1.6", "10.0.2.5", "10.9.1.1"}).Draw(t, label+" fixed")
			for i, addr := range []string{"203.0.113.20", "203.0.113.21"} {
				if rapid.Bool().Draw(t, label+" "+addr) {
					list = append(list, fip(label+addr, addr, fixed[i]))
				}
			}
			return list
		}
		old, wanted := base, base
		old.FloatingIPs, wanted.FloatingIPs = fips("old"), fips("new")
		if rapid.Bool().Draw(t, "one stays") && len(old.FloatingIPs) > 0 {
			wanted.FloatingIPs = slices.Clone(old.FloatingIPs[:1])
		}
		d := Delta{Removed: without(old.FloatingIPs, wanted.FloatingIPs), Added: without(wanted.FloatingIPs, old.FloatingIPs)}
		where := touchedBy(wanted, d)
		require.NotNil(t, where.touched)
		j := newJudge(wanted)
		for _, c := range carriedBy(old) {
			found := slices.ContainsFunc(where.touched, func(p touch) bool { return p.Matches(&c) && (p.all || j.stale(&c)) })
			require.Equal(t, j.stale(&c), found, "%v, %v → %v", c, old.FloatingIPs, wanted.FloatingIPs)
		}
		for _, c := range carriedBy(wanted) {
			require.False(t, slices.ContainsFunc(where.touched, func(p touch) bool { return p.Matches(&c) && p.all }),
				"%v has just begun, %v → %v", c, old.FloatingIPs, wanted.FloatingIPs)
		}
	})
}

// carriedBy lists the connections that a router carries between all kinds of addresses.
func carriedBy(r dataplane.Router) (list []conntrack.Connection) {
	m := dataplane.NewModel(r)
	hosts := []string{
		"10.0.1.5", "10.0.1.6", "10.0.2.5", "10.9.1.1", "8.8.8.8", "203.0.113.77", // inside, behind a route, outside
		"203.0.113.20", "203.0.113.21", "203.0.113.10", "10.0.1.1", // floating IPs or nobody's, the router's
	}
	for _, src := range hosts {
		for _, dst := range hosts {
			p := dataplane.Packet{Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst), Proto: dataplane.UDP}
			in, ok := m.PortTo(p.Src)
			if !ok || in == "" {
				continue // what the router itself sends from a floating IP ends with the address
			}
			p.In = in
			for _, way := range m.Paths(p) {
				if way.Verdict == dataplane.Forwarded || way.Verdict == dataplane.Local {
					list = append(list, flow(src, dst, way.Dst.String(), way.Src.String()))
				}
			}
		}
	}
	return list
}

func TestManyFloatingIPsAreLookedForInOneListing(t *testing.T) {
	r := threeLegs()
	var d Delta
	for i := range maxTouches {
		d.Added = append(d.Added, fip("x", "203.0.113.30", netip.AddrFrom4([4]byte{10, 0, 1, byte(100 + i)}).String()))
	}
	require.Nil(t, touchedBy(r, d).touched)
}

func TestAFloatingIPOfAnotherIDTouchesNothing(t *testing.T) {
	r := threeLegs()
	was, is := fip("a", "203.0.113.20", "10.0.1.5"), fip("b", "203.0.113.20", "10.0.1.5")
	where := touchedBy(r, Delta{Removed: []dataplane.FloatingIP{was}, Added: []dataplane.FloatingIP{is}})
	require.NotNil(t, where.touched)
	require.Empty(t, where.touched)
}
