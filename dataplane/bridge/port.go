package bridge

import (
	"errors"
	"fmt"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/wiring"
)

// port is what is to be plugged, and where.
type port struct {
	dataplane.Port
	ns  namespace.NS
	dev string
}

func (p port) mark() mark { return mark{router: p.ns.Router, port: p.ID, network: p.Network.ID} }

// portChanges says what is wrong with a port: the veth, its host end, and its end in the namespace,
// which has the ID nsid here.
func (d *Driver) portChanges(n *network, p port, tap *link, nsid int) ([]change, error) {
	if tap == nil {
		return []change{d.newPort(n, p)}, nil
	}
	want := p.mark()
	identity := tap.mark
	identity.network = want.network
	if identity != want && tap.mark != (mark{}) {
		return nil, foreign(tap, want)
	}
	end, err := d.farEnd(p, tap, nsid)
	if err != nil {
		return nil, err
	}
	// A device that lost its mark is still ours if it leads to where only we would have led it.
	if tap.kind != "veth" || tap.mark == (mark{}) && end == nil {
		return nil, foreign(tap, want)
	}
	if end == nil || tap.mark != (mark{}) && tap.mark.network != want.network {
		// Two steps, so that whoever plans with them sees that the device is made anew.
		was := "attached elsewhere"
		if end != nil {
			was = "on network " + tap.mark.network
		}
		gone := change{wiring.Step(dataplane.Remove, p.dev, was), func() error { return d.remove(tap) }}
		gone.step.Disturbs = true
		return []change{gone, d.newPort(n, p)}, nil
	}
	return append(d.tapChanges(n, p, tap), d.endChanges(p, end)...), nil
}

// newPort makes a veth with one end in the bridge and the other in the namespace.
func (d *Driver) newPort(n *network, p port) change {
	detail := fmt.Sprintf("veth %s in bridge %s (network %s)", wiring.TapName(p.ID), n.homeName(), p.Network.ID)
	return change{wiring.Step(dataplane.Add, p.dev, detail), func() error {
		masters, err := d.indexes(n.homeName())
		if err != nil {
			return err
		}
		err = d.createPort(p, masters[0])
		if !errors.Is(err, unix.EEXIST) {
			return err
		}
		// The name is taken at one of the ends.
		if err := d.evict(p); err != nil {
			return err
		}
		return d.createPort(p, masters[0])
	}}
}

func (d *Driver) createPort(p port, master int) error {
	index := d.newIndex()
	b := batch{newVeth(index, wiring.TapName(p.ID), p.MTU, master, peer{ns: p.ns.FD, name: p.dev, mac: p.MAC})}
	b = append(b, d.introduce(index, p.mark(), p.MTU)...)
	return kindMissing("veth", d.host.write(append(b, setUp(index))...))
}

// evict removes a device of the port's name from its namespace. In a router's everything is ours;
// in a workload's, only what we made.
func (d *Driver) evict(p port) error {
	return d.inside(p.ns, func(c *netlink.Conn) error {
		l, err := findLink(c, p.dev)
		if errors.Is(err, unix.ENODEV) {
			return nil
		}
		if err != nil {
			return err
		}
		if p.ns.Router == "" {
			tap, err := d.nearEnd(p.ns, l)
			if err != nil {
				return err
			}
			if tap == nil {
				return fmt.Errorf("device %s of the workload %w", p.dev, dataplane.ErrForeign)
			}
		}
		return remove(c, l)
	})
}

// tapChanges mends the host end.
func (d *Driver) tapChanges(n *network, p port, tap *link) []change {
	r := repair{link: tap}
	if want := p.mark(); tap.mark != want {
		r.add("mark lost", setMark(tap.index, want))
	}
	if tap.mtu != p.MTU {
		r.add(fmt.Sprintf("host end's mtu %d, was %d", p.MTU, tap.mtu), setMTU(tap.index, p.MTU))
	}
	r.silence(p.MTU)
	if !tap.up {
		r.add("host end down", setUp(tap.index))
	}
	changes := d.mend(p.dev, r)
	if n.home == nil || tap.master != n.home.index {
		c := d.enslave(tap, n.homeName())
		c.step.Object = p.dev
		changes = append(changes, c)
	}
	return changes
}

// endChanges mends the end in the namespace.
func (d *Driver) endChanges(p port, end *link) []change {
	var faults []string
	var b batch
	if end.mtu != p.MTU {
		faults = append(faults, fmt.Sprintf("mtu %d, was %d", p.MTU, end.mtu))
		b = append(b, setMTU(end.index, p.MTU))
	}
	moved := end.mac != p.MAC
	if moved {
		faults = append(faults, fmt.Sprintf("MAC %s, was %s", p.MAC, end.mac))
		b = append(b, setMAC(end.index, p.MAC))
	}
	if len(b) == 0 {
		return nil
	}
	s := wiring.Step(dataplane.Change, p.dev, strings.Join(faults, ", "))
	s.Disturbs = moved
	return []change{{s, func() error {
		return d.inside(p.ns, func(c *netlink.Conn) error { return write(c, b...) })
	}}}
}

// inside calls fn with a socket in a namespace.
func (d *Driver) inside(ns namespace.NS, fn func(*netlink.Conn) error) error {
	c, err := dial(ns.FD)
	if err != nil {
		return fmt.Errorf("open rtnetlink socket in the namespace: %w", err)
	}
	return errors.Join(fn(c), c.Close())
}

func remove(c *netlink.Conn, l *link) error {
	if err := write(c, delLink(l.index)); !errors.Is(err, unix.ENODEV) {
		return err
	}
	return nil
}

func findLink(c *netlink.Conn, name string) (*link, error) {
	answer, err := c.Execute(getLink(0, func(ae *netlink.AttributeEncoder) { ae.String(unix.IFLA_IFNAME, name) }))
	return onlyLink(answer, cause(err))
}

// farEnd returns the end of a veth in the port's namespace, which has the ID nsid here, if it is
// there and has the port's name; else nil.
func (d *Driver) farEnd(p port, tap *link, nsid int) (*link, error) {
	if tap.kind != "veth" || tap.lowerNS != nsid {
		return nil, nil
	}
	end, err := d.host.link(nsid, tap.lower)
	switch {
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.EINVAL):
		return nil, nil // moved away
	case err != nil:
		return nil, fmt.Errorf("read device %s: %w", p.dev, err)
	case end.name != p.dev:
		return nil, nil
	}
	return end, nil
}

// nearEnd returns the host end of ours that leads to a device in a namespace, or nil.
func (d *Driver) nearEnd(ns namespace.NS, dev *link) (tap *link, err error) {
	ident, err := identify(ns)
	if err != nil {
		return nil, err
	}
	var id int
	if err = d.view.read(func() { id = d.view.nsid(ident) }); err == nil && id == unknownNS {
		id, err = d.learnNSID(ns, ident)
	}
	if err != nil {
		return nil, err
	}
	err = d.view.read(func() {
		for _, l := range d.view.taps[ns.Router] {
			if l.lowerNS == id && l.lower == dev.index {
				tap = l
			}
		}
	})
	return tap, err
}
