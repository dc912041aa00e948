package namespace

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/conntrack"
)

// forward makes a forwarding of some ports of an address; toPort is the first that they lead to.
func forward(a string, proto dataplane.Proto, ports, fixed string, toPort uint16) dataplane.PortForwarding {
	r, err := dataplane.ParsePortRange(ports)
	if err != nil {
		panic(err)
	}
	return dataplane.PortForwarding{
		ID: fmt.Sprint("pf-", a, proto, ports), Addr: netip.MustParseAddr(a), Proto: proto, Ports: r,
		Fixed: netip.MustParseAddr(fixed), FixedPorts: dataplane.PortRange{First: toPort, Last: toPort + r.Last - r.First},
	}
}

// Whatever floating IPs and forwardings a router had and has, the patterns find exactly the
// connections that end, and what is remembered is what was applied.
func TestPatternsFindExactlyWhatForwardingsMakeStale(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := threeLegs()
		base.FloatingIPs = nil
		base.Gateway.SNAT = rapid.Bool().Draw(t, "SNAT")
		draw := func(label string) dataplane.Router {
			r := base
			for _, a := range []string{"203.0.113.20", "203.0.113.10"} {
				kinds := []string{"nothing", "forwardings", "floats"}
				if a == "203.0.113.10" { // the gateway's
					kinds = kinds[:2]
				}
				switch rapid.SampledFrom(kinds).Draw(t, label+" "+a) {
				case "floats":
					r.FloatingIPs = []dataplane.FloatingIP{fip(a, a, "10.0.1.5")}
				case "forwardings":
					for _, slot := range []string{"80", "81-90"} {
						for _, proto := range []dataplane.Proto{dataplane.TCP, dataplane.UDP} {
							to := rapid.SampledFrom([]string{"", "10.0.1.5", "10.0.1.6"}).Draw(t, fmt.Sprint(label, a, proto, slot))
							if to != "" {
								r.PortForwardings = append(r.PortForwardings, forward(a, proto, slot, to, rapid.SampledFrom([]uint16{80, 81}).Draw(t, "port")))
							}
						}
					}
				}
			}
			return r
		}
		old, wanted := draw("old"), draw("new")
		require.NoError(t, old.Validate())
		m := remember(old, want(old).links)
		d, ok := m.delta(wanted)
		require.True(t, ok)
		where := touchedBy(wanted, d.Delta)
		j := newJudge(wanted)
		stay := map[[2]conntrack.Tuple]bool{}
		for _, c := range portsCarriedBy(wanted) {
			stay[[2]conntrack.Tuple{c.Orig, c.Reply}] = true
		}
		for _, c := range portsCarriedBy(old) {
			require.Equal(t, stay[[2]conntrack.Tuple{c.Orig, c.Reply}], !j.stale(&c), "%+v", c)
			found := slices.ContainsFunc(where.touched, func(p touch) bool { return p.Matches(&c) && (p.all || j.stale(&c)) })
			require.Equal(t, j.stale(&c), found || where.touched == nil && j.stale(&c), "%+v, %v", c, where.touched)
		}
		for _, c := range portsCarriedBy(wanted) {
			require.False(t, j.stale(&c), "%+v has just begun", c)
			require.False(t, slices.ContainsFunc(where.touched, func(p touch) bool { return p.Matches(&c) && p.all }), "%+v has just begun", c)
		}
		m.learn(d)
		known := remember(wanted, want(wanted).links)
		require.True(t, m.router.Equal(wanted))
		require.Equal(t, known.links, m.links)
		require.Equal(t, known.index, m.index)
	})
}

// portsCarriedBy lists connections by addresses, protocols and ports.
func portsCarriedBy(r dataplane.Router) (list []conntrack.Connection) {
	m := dataplane.NewModel(r)
	for _, src := range addrs("10.0.1.5", "10.0.1.6", "8.8.8.8") {
		for _, dst := range addrs("203.0.113.20", "203.0.113.10", "8.8.8.8", "203.0.113.77") {
			for _, proto := range []dataplane.Proto{dataplane.TCP, dataplane.UDP, dataplane.ICMP} {
				for _, port := range []uint16{79, 80, 81, 90} {
					if proto == dataplane.ICMP {
						port = 0
					}
					in, _ := m.PortTo(src)
					way := m.Trace(dataplane.Packet{In: in, Src: src, Dst: dst, Proto: proto, SrcPort: 4711, DstPort: port})
					if way.Verdict != dataplane.Forwarded && way.Verdict != dataplane.Local {
						continue
					}
					number := numberOf(proto)
					if proto == dataplane.ICMP {
						number = 1
					}
					c := flow(src.String(), dst.String(), way.Dst.String(), way.Src.String())
					c.Orig.Proto, c.Orig.DstPort, c.Reply.Proto, c.Reply.SrcPort = number, port, number, way.DstPort
					list = append(list, c)
				}
			}
		}
	}
	return list
}

func TestOneForwardingIsLookedForByItsPort(t *testing.T) {
	r := threeLegs()
	r.PortForwardings = []dataplane.PortForwarding{
		forward("203.0.113.30", dataplane.TCP, "80", "10.0.1.6", 8080), forward("203.0.113.30", dataplane.TCP, "81", "10.0.1.6", 8081),
	}
	m := remember(r, want(r).links)
	r.PortForwardings = r.PortForwardings[:1]
	d, ok := m.delta(r)
	require.True(t, ok)
	require.Empty(t, d.ForwardingAddrs)
	require.Equal(t, []touch{{Filter: conntrack.Filter{OrigDst: addrs("203.0.113.30")[0], Proto: 6, OrigDstPort: 81}}}, touchedBy(r, d.Delta).touched)
}

func TestForwardingsThatClashAreNotTakenForADifference(t *testing.T) {
	r := threeLegs() // 203.0.113.20 floats
	r.PortForwardings = []dataplane.PortForwarding{forward("203.0.113.30", dataplane.TCP, "80-90", "10.0.1.6", 80)}
	m := remember(r, want(r).links)
	add := func(f dataplane.PortForwarding) dataplane.Router {
		o := r.Clone()
		o.PortForwardings = append(o.PortForwardings, f)
		return o
	}
	float := func(f dataplane.FloatingIP) dataplane.Router {
		o := r.Clone()
		o.FloatingIPs = append(o.FloatingIPs, f)
		return o
	}
	renamed := forward("203.0.113.31", dataplane.TCP, "80", "10.0.1.6", 80)
	renamed.ID = r.PortForwardings[0].ID
	for name, o := range map[string]dataplane.Router{
		"ports that are forwarded":       add(forward("203.0.113.30", dataplane.TCP, "85", "10.0.1.5", 80)),
		"a floating IP":                  add(forward("203.0.113.20", dataplane.TCP, "80", "10.0.1.5", 80)),
		"an ID that is there":            add(renamed),
		"nobody's address":               add(forward("203.0.113.30", dataplane.TCP, "95", "10.0.77.5", 80)),
		"an address that has forwarding": float(fip("x", "203.0.113.30", "10.0.1.6")),
	} {
		require.Error(t, o.Validate(), name)
		_, ok := m.delta(o)
		require.False(t, ok, name)
	}
	_, ok := m.delta(add(forward("203.0.113.30", dataplane.UDP, "85", "10.0.1.5", 80)))
	require.True(t, ok)
}
