package explain

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/netns"
)

// Question is what people ask about a packet, as flags for kong.
type Question struct {
	From  netip.Addr `required:"" own:"" placeholder:"ADDR" help:"Source address of the packet."`
	To    netip.Addr `required:"" own:"" placeholder:"ADDR" help:"Destination address."`
	Proto string     `default:"tcp" own:"" enum:"tcp,udp,icmp" help:"tcp, udp or icmp (an echo request)."`
	Sport uint16     `own:"" placeholder:"PORT" help:"Source port, or identifier of the echo request."`
	Dport uint16     `own:"" placeholder:"PORT" help:"Destination port."`
	In    string     `own:"" placeholder:"ID" help:"Port that the packet arrives by. Without it: the one by which the router reaches the source."`

	JSON bool `own:"" help:"Print JSON."`
}

// HostQuestion is a [Question] about a router on a host, which has it or not.
type HostQuestion struct {
	Question
	Check bool `own:"" help:"Send such a packet through the router on this host, as far as the next host, and say whether the kernel agrees. Needs root."`
}

// Host is the machine that a router is looked for on. The zero Host is this one, without Open
// vSwitch.
type Host struct {
	NS     string // path of the network namespace that the other ends of the router's devices are in; empty: the caller's
	Dir    string // where routers' namespaces have their names; empty: /run/netns
	Switch string // directory of the sockets of ovs-vswitchd, for devices that are its internal ports; empty: there are none
}

func (h Host) dir() string { return cmp.Or(h.Dir, netns.Dir) }

// ErrDisagrees is that a packet was sent, and the kernel did something else with it than the model.
// The answer was printed all the same.
var ErrDisagrees = errors.New("the kernel does not do what the model says")

// explanation is what is printed.
type explanation struct {
	Paths []dataplane.Trace `json:"paths,omitempty"` // by the model; several when routes through several ports share the traffic
	Ways  [][]hop           `json:"ways,omitempty"`  // the same, of a distributed router: from host to host
	Check *finding          `json:"check,omitempty"`
	Sent  *outcome          `json:"sent,omitempty"` // by a check across hosts
}

// Answer prints what a router does with the packet. The router must not be distributed; see
// [Question.AnswerAcross].
func (q *HostQuestion) Answer(ctx context.Context, out io.Writer, router dataplane.Router, on Host) error {
	model := dataplane.NewModel(router)
	p, err := q.packet(model, router)
	if err != nil {
		return err
	}
	x := explanation{Paths: model.Paths(p)}
	if q.Check {
		if x.Check, err = on.check(ctx, router, p, x.Paths); err != nil {
			return err
		}
	}
	if err := x.print(out, q.JSON); err != nil {
		return err
	}
	if x.Check != nil && !x.Check.Agrees {
		return ErrDisagrees
	}
	return nil
}

// packet is the one that was asked about.
func (q *Question) packet(m *dataplane.Model, r dataplane.Router) (dataplane.Packet, error) {
	p := dataplane.Packet{In: q.In, Src: q.From, Dst: q.To, Proto: dataplane.Proto(q.Proto), SrcPort: q.Sport, DstPort: q.Dport}
	if q.From.Is4() != q.To.Is4() {
		return p, fmt.Errorf("%s and %s are of different families", q.From, q.To)
	}
	if p.Proto == dataplane.ICMP && q.Dport != 0 {
		return p, errors.New("an echo request has no destination port: --dport is for tcp and udp")
	}
	if q.In != "" {
		return p, known(r, q.In)
	}
	in, ok := m.PortTo(q.From)
	if !ok {
		return p, fmt.Errorf("the router has no way to %s: say with --in by which port the packet arrives", q.From)
	}
	p.In = in
	return p, nil
}

// known says whether a router has a port.
func known(r dataplane.Router, id string) error {
	var ids []string
	for _, p := range ports(r) {
		if p.ID == id {
			return nil
		}
		ids = append(ids, p.ID)
	}
	return fmt.Errorf("the router has no port %s; it has %s", id, strings.Join(ids, ", "))
}

// ports lists a router's ports: after the internal ones the gateway's, and that of the transit.
func ports(r dataplane.Router) []dataplane.Port {
	all := r.Ports[:len(r.Ports):len(r.Ports)]
	if r.Gateway != nil {
		all = append(all, r.Gateway.Port)
	}
	if r.Transit != nil {
		all = append(all, r.Transit.Port)
	}
	return all
}

func (x explanation) print(out io.Writer, asJSON bool) error {
	if asJSON {
		to := json.NewEncoder(out)
		to.SetIndent("", "  ")
		return to.Encode(x)
	}
	_, err := fmt.Fprintln(out, x)
	return err
}

// String prints the path, or each of those that share the traffic, and what the kernel did.
func (x explanation) String() string {
	var b strings.Builder
	begin := func(i, of int) {
		if i > 0 {
			b.WriteString("\n\n")
		}
		if of > 1 {
			fmt.Fprintf(&b, "way %d of %d, by a hash of addresses and ports:\n", i+1, of)
		}
	}
	for i, way := range x.Ways {
		begin(i, len(x.Ways))
		if x.Sent != nil && len(x.Ways) > 1 && way[0].Seen != nil {
			b.WriteString("(the packet took this one)\n")
		}
		write(&b, way)
	}
	for i, t := range x.Paths {
		begin(i, len(x.Paths))
		b.WriteString(t.String())
		if t.Verdict == dataplane.Forwarded {
			fmt.Fprintf(&b, "\n  %-11s  %s", "back", back(t))
		}
	}
	if x.Check != nil {
		fmt.Fprintf(&b, "\n\n%s", x.Check)
	}
	if x.Sent != nil {
		fmt.Fprintf(&b, "\n\n%s", x.Sent)
	}
	return b.String()
}

// back says how the sender sees the answer.
func back(t dataplane.Trace) string {
	if t.Src == t.Packet.Src && t.Dst == t.Packet.Dst {
		return "the answer comes back unchanged"
	}
	return fmt.Sprintf("the answer is translated back: its sender sees %s", t.Reply())
}
