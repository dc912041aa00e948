package host

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"text/tabwriter"

	"github.com/l3kit/l3kit/dataplane"
)

// sightings print as people read them.
type sightings []sighting

func (all sightings) String() string {
	if len(all) == 0 {
		return "no routers on this host\n"
	}
	var b strings.Builder
	for i, s := range all {
		if i > 0 {
			b.WriteString("\n")
		}
		s.print(&b)
	}
	return b.String()
}

func (s sighting) print(b *strings.Builder) {
	fmt.Fprintf(b, "router %s\n  %s\n", s.ID, s.verdict())
	fmt.Fprintf(b, "  namespace %s", s.Namespace)
	if s.Applied != nil {
		fmt.Fprintf(b, ", epoch %d, revision %d", s.Epoch, s.Revision)
	}
	if s.Of != "" {
		fmt.Fprintf(b, ", deployment %s", s.Of)
	}
	b.WriteString("\n")
	if s.Applied == nil {
		return
	}
	table := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, p := range s.Applied.Ports {
		line(table, "port", dataplane.PortDevice(p.ID), addresses(p.Addrs), network(p.Network), fmt.Sprintf("%s, MTU %d", p.MAC, p.MTU))
	}
	if g := s.Applied.Gateway; g != nil {
		line(table, "gateway", dataplane.GatewayDevice(g.ID), addresses(g.Addrs), network(g.Network), fmt.Sprintf("%s, MTU %d%s", g.MAC, g.MTU, way(g)))
	}
	for _, f := range s.Applied.FloatingIPs {
		c := s.Counters[f.Addr.String()]
		line(table, "floating IP", f.Addr.String(), "is "+f.Fixed.String(),
			fmt.Sprintf("in %d packets, %d bytes", c.In.Packets, c.In.Bytes), fmt.Sprintf("out %d packets, %d bytes", c.Out.Packets, c.Out.Bytes))
	}
	for _, r := range s.Applied.Routes {
		line(table, "route", r.Dest.String(), "via "+r.NextHop.String())
	}
	_ = table.Flush() // into memory, where nothing fails
}

func line(w io.Writer, cells ...string) { fmt.Fprintf(w, "  %s\n", strings.Join(cells, "\t")) }

func addresses(prefixes []netip.Prefix) string {
	var all []string
	for _, p := range prefixes {
		all = append(all, p.String())
	}
	return strings.Join(all, " ")
}

func network(n dataplane.Network) string {
	text := "network " + n.ID
	switch {
	case n.Segment != 0 && n.Physical != "":
		return fmt.Sprintf("%s (%s %d on %s)", text, n.Type, n.Segment, n.Physical)
	case n.Segment != 0:
		return fmt.Sprintf("%s (%s %d)", text, n.Type, n.Segment)
	case n.Physical != "":
		return fmt.Sprintf("%s (%s on %s)", text, n.Type, n.Physical)
	}
	return text
}

// way is what a gateway does with what is for outside.
func way(g *dataplane.Gateway) string {
	var b strings.Builder
	for _, hop := range g.NextHops {
		fmt.Fprintf(&b, ", via %s", hop)
	}
	if g.SNAT {
		b.WriteString(", SNAT")
	}
	return b.String()
}
