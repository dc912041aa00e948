package explain

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
)

// Instance is a router as a host has it; of a distributed one it is an edge, or the centre.
type Instance struct {
	Host   string
	Router dataplane.Router
}

func (i Instance) String() string {
	switch t := i.Router.Transit; {
	case t == nil:
		return i.Host
	case len(t.Centre) == 0:
		return i.Host + ", centre"
	}
	return i.Host + ", edge"
}

// centre says that packets without a way of their own go there: to the centre of a distributed
// router, or to a router that is whole.
func (i Instance) centre() bool { return i.Router.Transit == nil || len(i.Router.Transit.Centre) == 0 }

// hop is what one instance does with a packet.
type hop struct {
	Host     string          `json:"host"`
	Instance string          `json:"instance"` // as the host knows it
	Trace    dataplane.Trace `json:"trace"`
	Seen     *observation    `json:"seen,omitempty"` // there by a check
	at       Instance
	lost     bool // the way goes on, and is not followed
}

// lose ends the way at the hop, and says why.
func (h *hop) lose(format string, args ...any) {
	h.Trace.Steps = append(slices.Clip(h.Trace.Steps), dataplane.TraceStep{Stage: "onward", Reason: fmt.Sprintf(format, args...)})
	h.lost = true
}

// maxHops is more than a packet takes that gets anywhere: client, centre, server, and back to an
// address that has moved.
const maxHops = 8

// AnswerAcross prints what the instances of a router, each on its host, do with the packet. It
// begins on the given host; empty: where the packet comes from, as far as that is known.
func (q *Question) AnswerAcross(out io.Writer, instances []Instance, host string) error {
	ways, err := q.ways(instances, host)
	if err != nil {
		return err
	}
	return explanation{Ways: ways}.print(out, q.JSON)
}

// ways are those that the packet may take. There is one at least, with a hop.
func (q *Question) ways(instances []Instance, host string) ([][]hop, error) {
	start, in, err := q.start(instances, host)
	if err != nil {
		return nil, err
	}
	asked := *q
	asked.In = in
	p, err := asked.packet(dataplane.NewModel(start.Router), start.Router)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", start, err)
	}
	f := follower{instances: instances}
	f.follow(start, p, nil)
	return f.ways, nil
}

// start finds the instance that the packet comes to first, and its port there: that with the source
// on a leg, then that with the destination on the external network, then the centre. An empty port
// is for [Question.packet] to choose.
func (q *Question) start(all []Instance, host string) (start Instance, in string, err error) {
	here := slices.DeleteFunc(slices.Clone(all), func(i Instance) bool { return host != "" && i.Host != host })
	if len(here) == 0 {
		return start, "", fmt.Errorf("the router has no part on host %s", host)
	}
	if q.In != "" {
		here = slices.DeleteFunc(here, func(i Instance) bool { return known(i.Router, q.In) != nil })
		if len(here) == 0 {
			return start, "", fmt.Errorf("no part of the router has a port %s", q.In)
		}
	}
	isNeighbour := func(p dataplane.Port) bool { return p.Anycast != nil && slices.Contains(p.Anycast.Neighbours, q.From) }
	covers := func(p dataplane.Port) bool {
		return slices.ContainsFunc(p.Addrs, func(s netip.Prefix) bool { return s.Contains(q.From) })
	}
	inside := slices.ContainsFunc(all, func(i Instance) bool { return slices.ContainsFunc(i.Router.Ports, covers) })
	for _, by := range []func(Instance) (in string, fits bool){
		func(i Instance) (string, bool) { return legOf(i.Router, isNeighbour) },
		func(i Instance) (string, bool) {
			if inside || !hasOutside(i.Router, q.To) {
				return "", false
			}
			return i.Router.Gateway.ID, true
		},
		func(i Instance) (string, bool) {
			return "", i.centre()
		},
		func(i Instance) (string, bool) { return legOf(i.Router, covers) },
		func(Instance) (string, bool) { return "", host != "" || q.In != "" },
	} {
		for _, i := range here {
			if in, fits := by(i); fits {
				return i, cmp.Or(q.In, in), nil
			}
		}
	}
	return start, "", fmt.Errorf("no part of the router that is known here gets packets from %s", q.From)
}

// legOf returns the ID of the first internal port that fits.
func legOf(r dataplane.Router, fits func(dataplane.Port) bool) (id string, found bool) {
	i := slices.IndexFunc(r.Ports, fits)
	if i < 0 {
		return "", false
	}
	return r.Ports[i].ID, true
}

// hasOutside says that an instance answers for an address on the external network.
func hasOutside(r dataplane.Router, a netip.Addr) bool {
	return r.Gateway != nil && (slices.ContainsFunc(r.FloatingIPs, func(f dataplane.FloatingIP) bool { return f.Addr == a }) ||
		slices.Contains(r.ForwardingAddrs(), a) || hasAddr(r.Gateway.Port, a))
}

func hasAddr(p dataplane.Port, a netip.Addr) bool {
	return slices.ContainsFunc(p.Addrs, func(own netip.Prefix) bool { return own.Addr() == a })
}

// follower collects the ways of a packet.
type follower struct {
	instances []Instance
	ways      [][]hop
}

// follow takes the packet from an instance that it arrives at to the last.
func (f *follower) follow(at Instance, p dataplane.Packet, before []hop) {
	for _, t := range dataplane.NewModel(at.Router).Paths(p) {
		way := append(before[:len(before):len(before)], hop{Host: at.Host, Instance: at.Router.ID, Trace: t, at: at})
		on := t.Verdict == dataplane.Forwarded && at.Router.Transit != nil
		if on && len(way) == maxHops {
			way[len(way)-1].lose("it goes round, until its TTL ends it")
			on = false
		}
		if !on {
			f.ways = append(f.ways, way)
			continue
		}
		// The next hops of a port share the load. Those that end here are one way.
		ended := false
		for _, nextHop := range t.NextHops {
			next, in, found := f.next(at, t.Out, nextHop)
			switch {
			case found:
				f.follow(next, dataplane.Packet{In: in, Src: t.Src, Dst: t.Dst, Proto: p.Proto, SrcPort: p.SrcPort, DstPort: t.DstPort}, way)
			case t.Out == at.Router.Transit.ID:
				lost := slices.Clone(way)
				lost[len(lost)-1].lose("the part of the router at %s is on another host, and not known here", nextHop)
				f.ways = append(f.ways, lost)
			case !ended:
				ended = true
				f.ways = append(f.ways, way)
			}
		}
	}
}

// next finds the instance that has an address on the link of a port, and its port there.
func (f *follower) next(at Instance, port string, a netip.Addr) (next Instance, in string, found bool) {
	for _, i := range f.instances {
		if i.Host == at.Host && i.Router.ID == at.Router.ID || i.Router.Transit == nil {
			continue
		}
		switch t := i.Router.Transit; {
		case port == at.Router.Transit.ID && (hasAddr(t.Port, a) || a == linkLocal(t.MAC)):
			return i, t.ID, true
		case at.Router.Gateway != nil && port == at.Router.Gateway.ID && hasOutside(i.Router, a):
			return i, i.Router.Gateway.ID, true
		}
	}
	return Instance{}, "", false
}

// linkLocal is made from a MAC (RFC 4291 appendix A).
func linkLocal(m dataplane.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
}

// across is the way of a packet as one trace, without steps.
func across(way []hop) dataplane.Trace {
	t := way[len(way)-1].Trace
	t.Packet, t.Steps = way[0].Trace.Packet, nil
	t.OneWay = slices.ContainsFunc(way, func(h hop) bool { return h.Trace.OneWay })
	return t
}

// write prints what became of the packet, and below that each host with what it does.
func write(b *strings.Builder, way []hop) {
	t := across(way)
	b.WriteString(t.String())
	for _, h := range way {
		fmt.Fprintf(b, "\n%s", h.at)
		for _, s := range append(slices.Clip(h.Trace.Steps), h.Seen.steps(h.Trace)...) {
			fmt.Fprintf(b, "\n  %-11s  %s", s.Stage, s.Reason)
		}
	}
	if t.Verdict == dataplane.Forwarded && !way[len(way)-1].lost {
		fmt.Fprintf(b, "\n  %-11s  %s", "back", back(t))
	}
}
