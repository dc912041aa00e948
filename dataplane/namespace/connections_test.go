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

// The same of an edge, whose hosts come and go.
func TestPatternsFindExactlyWhatTheModelCallsStaleAtAnEdge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := anEdge()
		base.Routes = nil
		if rapid.Bool().Draw(t, "no gateway") {
			base.Gateway = nil
		}
		draw := func(label string) dataplane.Router {
			r := base.Clone()
			some := func(what string) bool { return rapid.Bool().Draw(t, label+" "+what) }
			r.FloatingIPs, r.Transit.Elsewhere, r.Transit.External = nil, nil, nil
			r.Ports[0].Anycast.Neighbours, r.Transit.Routes = addrs("fd00:1::8"), r.Transit.Routes[2:]
			for i, a := range addrs("10.0.1.5", "10.0.1.6") {
				floating := addrs("203.0.113.20", "203.0.113.21")[i]
				switch {
				case some(a.String() + " is here"):
					r.Ports[0].Anycast.Neighbours = append(r.Ports[0].Anycast.Neighbours, a)
					switch {
					case r.Gateway != nil && some(a.String()+" floats"):
						r.FloatingIPs = append(r.FloatingIPs, dataplane.FloatingIP{ID: a.String(), Addr: floating, Fixed: a})
						continue
					case some(a.String() + " is translated elsewhere"):
						r.Transit.Elsewhere = append(r.Transit.Elsewhere, a)
					}
				case some(a.String() + " is elsewhere"):
					r.Transit.Routes = append(r.Transit.Routes, dataplane.Route{Dest: host(a), NextHop: addrs("169.254.64.2")[0]})
				}
				if some(floating.String() + " is elsewhere") {
					r.Transit.External = append(r.Transit.External, dataplane.Route{Dest: host(floating), NextHop: addrs("169.254.64.2")[0]})
				}
			}
			return r
		}
		requireExact(t, draw("old"), draw("new"))
	})
}

// The same of a centre, whose hosts come to edges and leave them.
func TestPatternsFindExactlyWhatTheModelCallsStaleAtACentre(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := theCentre()
		base.Gateway.SNAT = rapid.Bool().Draw(t, "SNAT")
		draw := func(label string) dataplane.Router {
			r := base.Clone()
			some := func(what string) bool { return rapid.Bool().Draw(t, label+" "+what) }
			r.FloatingIPs, r.Transit.Elsewhere, r.Transit.Routes, r.Transit.External = nil, nil, nil, nil
			if some("203.0.113.77 is elsewhere") {
				r.Transit.External = []dataplane.Route{via("203.0.113.77/32", "169.254.64.2")}
			}
			for i, a := range addrs("10.0.1.5", "10.0.1.6") {
				if some(a.String() + " is at an edge") {
					r.Transit.Routes = append(r.Transit.Routes, dataplane.Route{Dest: host(a), NextHop: addrs("169.254.64.2")[0]})
				}
				switch {
				case some(a.String() + " floats"):
					floating := addrs("203.0.113.20", "203.0.113.21")[i]
					r.FloatingIPs = append(r.FloatingIPs, dataplane.FloatingIP{ID: a.String(), Addr: floating, Fixed: a})
				case some(a.String() + " is translated elsewhere"):
					r.Transit.Elsewhere = append(r.Transit.Elsewhere, a)
				}
			}
			return r
		}
		requireExact(t, draw("old"), draw("new"))
	})
}

// requireExact holds what a change looks for to what the model says of each connection.
func requireExact(t *rapid.T, old, wanted dataplane.Router) {
	require.NoError(t, old.Validate())
	require.NoError(t, wanted.Validate())
	d := differenceOf(old, wanted)
	where := touchedBy(wanted, d)
	require.NotNil(t, where.touched)
	j := newJudge(wanted)
	for _, c := range carriedBy(old) {
		found := slices.ContainsFunc(where.touched, func(p touch) bool { return p.Matches(&c) && (p.all || j.stale(&c)) })
		require.Equal(t, j.stale(&c), found, "%v, %+v", c, d)
	}
	for _, c := range carriedBy(wanted) {
		require.False(t, j.stale(&c), "%v has just begun", c)
		require.False(t, slices.ContainsFunc(where.touched, func(p touch) bool { return p.Matches(&c) && p.all }), "%v has just begun, %+v", c, d)
	}
}

func differenceOf(old, wanted dataplane.Router) Delta {
	d := Delta{
		Removed: without(old.FloatingIPs, wanted.FloatingIPs), Added: without(wanted.FloatingIPs, old.FloatingIPs),
		Routes:    between(old.Transit.Routes, wanted.Transit.Routes),
		Remote:    between(old.Transit.External, wanted.Transit.External),
		Elsewhere: between(old.Transit.Elsewhere, wanted.Transit.Elsewhere),
	}
	for i, p := range old.Ports {
		if p.Anycast == nil {
			continue
		}
		change := between(neighboursOf(p.ID, p.Anycast.Neighbours), neighboursOf(p.ID, wanted.Ports[i].Anycast.Neighbours))
		d.Neighbours.Removed = append(d.Neighbours.Removed, change.Removed...)
		d.Neighbours.Added = append(d.Neighbours.Added, change.Added...)
	}
	return d
}

func between[T comparable](old, wanted []T) Difference[T] {
	return Difference[T]{Removed: without(old, wanted), Added: without(wanted, old)}
}

// carriedBy lists the connections that a router carries between all kinds of addresses, by whatever
// ports they may come.
func carriedBy(r dataplane.Router) (list []conntrack.Connection) {
	m := dataplane.NewModel(r)
	hosts := []string{
		"10.0.1.5", "10.0.1.6", "10.0.1.77", "10.0.2.5", "10.9.1.1", "8.8.8.8", "203.0.113.77", // inside, behind a route, outside
		"203.0.113.20", "203.0.113.21", "203.0.113.10", "10.0.1.1", // floating IPs or nobody's, the router's
	}
	for _, src := range addrs(hosts...) {
		for _, dst := range addrs(hosts...) {
			for _, in := range cameBy(r, m, src) {
				for _, way := range m.Paths(dataplane.Packet{In: in, Src: src, Dst: dst, Proto: dataplane.UDP}) {
					if way.Verdict == dataplane.Forwarded || way.Verdict == dataplane.Local {
						list = append(list, flow(src.String(), dst.String(), way.Dst.String(), way.Src.String()))
					}
				}
			}
		}
	}
	return list
}

// cameBy lists the ports by which a host may send. What the router itself sends from a floating IP
// ends with the address.
func cameBy(r dataplane.Router, m *dataplane.Model, src netip.Addr) []string {
	in, ok := m.PortTo(src)
	switch {
	case !ok || in == "":
		return nil
	case r.Transit == nil || r.Gateway != nil && in == r.Gateway.ID:
		return []string{in}
	}
	ports := []string{in}
	inside := slices.ContainsFunc(r.Transit.Routes, func(x dataplane.Route) bool { return x.Dest.Contains(src) })
	for _, p := range r.Ports {
		switch {
		case !onSubnet(p, src):
		case in == r.Transit.ID: // it is on the link, and nobody has said so
			ports = append(ports, p.ID)
		case !isEdge(r): // it is at an edge, and nobody has said so
			ports = append(ports, r.Transit.ID)
		}
	}
	if in == r.Transit.ID && !inside && r.Gateway != nil {
		ports = append(ports, r.Gateway.ID)
	}
	return ports
}

func TestManyFloatingIPsAreLookedForInOneListing(t *testing.T) {
	r := threeLegs()
	var d Delta
	for i := range maxTouches {
		d.Added = append(d.Added, fip("x", "203.0.113.30", netip.AddrFrom4([4]byte{10, 0, 1, byte(100 + i)}).String()))
	}
	require.Nil(t, touchedBy(r, d).touched)
}

func TestManyHostsThatMoveAreLookedForInOneListing(t *testing.T) {
	r := anEdge()
	var d Delta
	for i := range maxTouches/2 + 1 {
		require.NotNil(t, touchedBy(r, d).touched)
		d.Neighbours.Added = append(d.Neighbours.Added, Neighbour{"web", netip.AddrFrom4([4]byte{10, 0, 1, byte(100 + i)})})
	}
	require.Nil(t, touchedBy(r, d).touched)
	for _, dest := range []string{"10.4.0.0/24", "10.4.0.1/32", "10.0.2.0/23"} { // by which more is inside
		added := []dataplane.Route{via(dest, "169.254.64.2")}
		wanted := r.Clone()
		wanted.Transit.Routes = append(wanted.Transit.Routes, added...)
		require.Nil(t, touchedBy(wanted, Delta{Routes: Difference[dataplane.Route]{Added: added}}).touched, dest)
	}
	d = Delta{Routes: Difference[dataplane.Route]{Added: []dataplane.Route{via("10.0.3.1/32", "169.254.64.2"), via("fd00:4::/64", "fe80::2")}}}
	require.Equal(t, []touch{}, touchedBy(r, d).touched)
}

// A floating IP that comes to an edge was somebody's beyond the transit.
func TestConnectionsOfAFloatingIPsFormerHolderAreLookedFor(t *testing.T) {
	d := Delta{Added: []dataplane.FloatingIP{fip("f3", "203.0.113.23", "10.0.1.8")}}
	former := touch{Filter: conntrack.Filter{OrigSrc: netip.MustParseAddr("203.0.113.23")}}
	require.Contains(t, touchedBy(anEdge(), d).touched, former)
	require.NotContains(t, touchedBy(threeLegs(), d).touched, former)
}

func TestAFloatingIPOfAnotherIDTouchesNothing(t *testing.T) {
	r := threeLegs()
	was, is := fip("a", "203.0.113.20", "10.0.1.5"), fip("b", "203.0.113.20", "10.0.1.5")
	where := touchedBy(r, Delta{Removed: []dataplane.FloatingIP{was}, Added: []dataplane.FloatingIP{is}})
	require.NotNil(t, where.touched)
	require.Empty(t, where.touched)
}
