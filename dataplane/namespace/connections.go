package namespace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/netns"
)

// A connection is stale when the router, as it is wanted now, would not forward its first packet, or would translate it in another way.
// This needs no knowledge of what the router was before, so it also finds what a process killed half-way has left to do.

// stale lists the connections to end. Without any connection it costs one read.
func (s *site) stale(want dataplane.Router) ([]conntrack.Flow, error) {
	n, err := s.connectionCount()
	if err != nil || n == 0 {
		return nil, err
	}
	var list []conntrack.Flow
	err = s.withConntrack(func(c *conntrack.Conn) error {
		flows, err := c.DumpFilter(conntrack.NewFilter().Family(unix.AF_INET), nil)
		if err != nil {
			return err
		}
		j := newJudge(want)
		for _, f := range flows {
			if j.stale(f) {
				list = append(list, f)
			}
		}
		return nil
	})
	return list, opError("list connections of router", want.ID, err)
}

// end removes connections, which ends them: their next packet begins a new one, by the rules that are in force now.
func (s *site) end(flows []conntrack.Flow) error {
	if len(flows) == 0 {
		return nil
	}
	return s.withConntrack(func(c *conntrack.Conn) error {
		for _, f := range flows {
			// Only the keys: the kernel compares nothing else, and refuses some of what it dumps.
			key := conntrack.Flow{TupleOrig: f.TupleOrig, TupleReply: f.TupleReply, Zone: f.Zone, ID: f.ID}
			if err := c.Delete(key); err != nil && !errors.Is(err, os.ErrNotExist) { // it may have ended by itself
				return opError("end connection", f.TupleOrig.String(), err)
			}
		}
		return nil
	})
}

func (s *site) withConntrack(fn func(*conntrack.Conn) error) error {
	c, err := conntrack.Dial(&netlink.Config{NetNS: s.FD})
	if err != nil {
		return opError("open conntrack socket", "", err)
	}
	return errors.Join(fn(c), c.Close())
}

// connectionCount reads how many connections the namespace has; none if the kernel tracks none.
func (s *site) connectionCount() (n int, err error) {
	err = netns.Do(s.FD, func() error {
		b, err := readShort("/proc/sys/net/netfilter/nf_conntrack_count", make([]byte, 16))
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		n, err = strconv.Atoi(string(b))
		return err
	})
	return n, opError("count connections of router", s.Router, err)
}

// endConnections ends the connections that are stale when its turn comes. Listing all connections is what takes longest in a small change, so
// it is done once: planned is what a Plan has listed, and nothing in an Apply, which finds out as it goes.
func (s *site) endConnections(want dataplane.Router, planned []conntrack.Flow) action {
	steps := connectionSteps(planned)
	return action{
		found: &steps,
		do: func(context.Context) error {
			flows, err := s.stale(want)
			if err != nil {
				return err
			}
			steps = connectionSteps(flows)
			return s.end(flows)
		},
	}
}

func connectionSteps(flows []conntrack.Flow) []dataplane.Step {
	if len(flows) == 0 {
		return nil
	}
	return []dataplane.Step{{
		Op: dataplane.Remove, Kind: "connections", Object: strconv.Itoa(len(flows)), Detail: example(flows), Disturbs: true,
	}}
}

func example(flows []conntrack.Flow) string {
	t := flows[0].TupleOrig
	s := fmt.Sprintf("%s → %s", t.IP.SourceAddress, t.IP.DestinationAddress)
	if len(flows) > 1 {
		s += ", …"
	}
	return s
}

// judge tells which connections are stale.
type judge struct {
	model   *dataplane.Model
	ports   []string // internal ones
	gateway string
}

func newJudge(r dataplane.Router) *judge {
	j := &judge{model: dataplane.NewModel(r)}
	for _, p := range r.Ports {
		j.ports = append(j.ports, p.ID)
	}
	if r.Gateway != nil {
		j.gateway = r.Gateway.ID
	}
	return j
}

// stale compares the connection's translation with what the model says of its first packet. What no router forwards, such as multicast that
// the kernel itself sends, is tracked all the same, and is nobody's business.
func (j *judge) stale(f conntrack.Flow) bool {
	orig, reply := f.TupleOrig, f.TupleReply
	anyone := j.model.Trace(dataplane.Packet{Dst: orig.IP.DestinationAddress}) // sent by the router itself, which nothing filters
	if anyone.Verdict == dataplane.Dropped {
		return false
	}
	p := dataplane.Packet{
		Src: orig.IP.SourceAddress, Dst: orig.IP.DestinationAddress,
		Proto: dataplane.UDP, SrcPort: orig.Proto.SourcePort, DstPort: orig.Proto.DestinationPort,
	}
	return !slices.ContainsFunc(j.entries(f), func(in string) bool {
		p.In = in
		return slices.ContainsFunc(j.model.Paths(p), func(t dataplane.Trace) bool {
			goes := t.Verdict == dataplane.Forwarded || t.Verdict == dataplane.Local
			return goes && t.Dst == reply.IP.SourceAddress && t.Src == reply.IP.DestinationAddress
		})
	})
}

// entries lists the ports by which the connection's first packet may have come; conntrack does not record it. The source's own port is
// the one that its subnet or an extra route is behind; a source behind the default route has come from outside, unless it was translated as
// only those from inside are. The empty port stands for the router itself.
func (j *judge) entries(f conntrack.Flow) []string {
	src := f.TupleOrig.IP.SourceAddress
	in, ok := j.model.PortTo(src)
	switch {
	case ok && in != j.gateway:
		return []string{in}
	case f.TupleReply.IP.DestinationAddress != src || j.gateway == "":
		return j.ports
	}
	return []string{j.gateway}
}
