package host

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
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
	line(table, "PORT", "DEVICE", "ADDRESSES", "MAC", "MTU", "NETWORK")
	port := func(kind, device string, p dataplane.Port, more string) {
		line(table, kind, device, addresses(p.Addrs), p.MAC.String(), strconv.Itoa(p.MTU), network(p.Network)+more)
	}
	for _, p := range s.Applied.Ports {
		port("internal", dataplane.PortDevice(p.ID), p, "")
	}
	if g := s.Applied.Gateway; g != nil {
		port("gateway", dataplane.GatewayDevice(g.ID), g.Port, way(g))
	}
	if t := s.Applied.Transit; t != nil {
		port("transit", dataplane.TransitDevice(t.ID), t.Port, role(t))
	}
	_ = table.Flush() // into memory, where nothing fails
	if len(s.Applied.FloatingIPs) > 0 {
		line(table, "FLOATING IP", "FIXED IP", "PACKETS IN", "BYTES IN", "PACKETS OUT", "BYTES OUT")
	}
	for _, f := range s.Applied.FloatingIPs {
		c := s.Counters[f.Addr.String()]
		line(table, f.Addr.String(), f.Fixed.String(), fmt.Sprint(c.In.Packets), fmt.Sprint(c.In.Bytes), fmt.Sprint(c.Out.Packets), fmt.Sprint(c.Out.Bytes))
	}
	_ = table.Flush()
	if len(s.Applied.PortForwardings) > 0 {
		line(table, "FORWARDED", "PROTOCOL", "PORTS", "FIXED IP", "PORTS")
	}
	for _, f := range s.Applied.PortForwardings {
		line(table, f.Addr.String(), string(f.Proto), f.Ports.String(), f.Fixed.String(), f.FixedPorts.String())
	}
	_ = table.Flush()
	if len(s.Applied.Routes) > 0 {
		line(table, "ROUTE", "NEXT HOP")
	}
	for _, r := range s.Applied.Routes {
		line(table, r.Dest.String(), r.NextHop.String())
	}
	_ = table.Flush()
	if t := s.Applied.Transit; t != nil && len(t.Routes)+len(t.External) > 0 {
		line(table, "BY TRANSIT", "TO INSTANCE")
		for _, r := range slices.Concat(t.Routes, t.External) {
			line(table, r.Dest.String(), r.NextHop.String())
		}
	}
	_ = table.Flush()
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
	text := n.ID
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

// role is what an instance of a distributed router is.
func role(t *dataplane.Transit) string {
	if len(t.Centre) == 0 {
		return ", this is the centre"
	}
	return fmt.Sprintf(", this is an edge, and the centre is at %s", t.Centre[0])
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
