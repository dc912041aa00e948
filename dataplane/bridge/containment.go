package bridge

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/failure"
	"github.com/l3kit/l3kit/internal/wiring"
)

// member is an anycast port, by its host end.
type member struct {
	tap   string
	mac   dataplane.MAC
	addrs []netip.Addr
}

// toBeMade stands for the index of a bridge that a plug is about to make.
const toBeMade = -1

// wanted says what the table should have: nil for no table. Addresses of anycast ports come from
// the table as it is, or from own where that has some. If p is not nil, it is about to be a port of
// n, whatever the view says of it. The view is locked.
func (v *view) wanted(have *content, own map[string][]netip.Addr, p *port, n *network) elements {
	tap, home := "", toBeMade
	if p != nil {
		tap = wiring.TapName(p.ID)
		if n.first != nil {
			home = n.first.index
		}
	}
	addrs := have.addrs()
	members := map[int][]member{} // by the index of the bridge
	for _, l := range v.contained {
		if l.mark.anycast != (dataplane.MAC{}) && l.master != 0 && l.name != tap {
			m := member{l.name, l.mark.anycast, addrs[l.name]}
			if known, ok := own[l.name]; ok {
				m.addrs = known
			}
			members[l.master] = append(members[l.master], m)
		}
	}
	if p != nil && p.Anycast != nil {
		members[home] = append(members[home], member{tap, p.MAC, p.addrs()})
	}
	if len(members) == 0 {
		return nil
	}
	e := elements{}
	for bridge, list := range members {
		out := v.outers(bridge, tap)
		if p != nil && bridge == home {
			if u := n.uplinkName(); u != "" {
				out[u] = false
			}
			if p.mark().outside {
				out[tap] = true
			}
		}
		for device, isHostEnd := range out {
			e.add(outer, deviceKey(device))
			if isHostEnd {
				e.add(outside, deviceKey(device))
			}
		}
		for _, m := range list {
			e.contain(m, out)
		}
	}
	return e
}

// outers lists the ports of a bridge that lead to other hosts, or count as such, and says of each
// whether it is a host end of ours. It leaves out the host end without. An uplink of ours is among
// them before it is in the bridge.
func (v *view) outers(index int, without string) map[string]bool {
	out := map[string]bool{}
	bridge := v.links[index]
	if bridge == nil {
		return out
	}
	existing := bridge.mark == (mark{})
	for _, l := range v.ports[index] {
		switch {
		case l.name == without:
		case l.mark.outside:
			out[l.name] = true
		case existing && l.mark == (mark{}): // its operator's
			out[l.name] = false
		}
	}
	if existing {
		return out
	}
	for _, l := range v.plumbing[bridge.mark.network] {
		if l.kind != "bridge" && l.mark.overflow == 0 {
			out[l.name] = false
		}
	}
	if nic := bridge.mark.uplink; nic != "" {
		out[nic] = false
	}
	return out
}

// containUplink has a new uplink of a network in the table before it comes up. What needs it to be
// there is in the view already, so that no other process takes it out again.
func (d *Driver) containUplink(p dataplane.Port) error {
	anycast := false
	if err := d.view.read(func() { anycast = d.view.hasAnycast() }); err != nil || !anycast {
		return err
	}
	return d.contain(port{Port: p}, true)
}

// uplinkName is the device of the first bridge that leads to other hosts, unless the bridge is an
// existing one; empty if there is none.
func (n *network) uplinkName() string {
	if n.segment.uplink == "" && !n.existing {
		return n.segment.physical
	}
	return n.segment.uplink
}

// contain adds what a member needs towards these devices.
func (e elements) contain(m member, out map[string]bool) {
	e.add(taps, deviceKey(m.tap))
	known := m.addrs
	for _, a := range m.addrs {
		set := addrs4
		if a.Is6() {
			set = addrs6
		}
		e.add(set, addrKey(m.tap, a))
		if a.Is6() && len(known) == len(m.addrs) {
			known = append(known[:len(known):len(known)], linkLocalOf(m.mac))
		}
	}
	for device := range out {
		e.add(legs, macKey(device, m.mac))
		for _, a := range known {
			if a.Is4() {
				e.add(gw4, addrKey(device, a))
				continue
			}
			e.add(gw6, addrKey(device, a))
			if !a.IsLinkLocalUnicast() {
				e.add(src6, addrKey(device, a))
			}
		}
	}
}

// addrs returns the addresses of anycast ports, by host end.
func (c *content) addrs() map[string][]netip.Addr {
	addrs := map[string][]netip.Addr{}
	if c == nil {
		return addrs
	}
	for _, set := range []string{addrs4, addrs6} {
		for key := range c.elements[set] {
			tap := deviceOf(key)
			if a, ok := netip.AddrFromSlice([]byte(key[unix.IFNAMSIZ:])); ok {
				addrs[tap] = append(addrs[tap], a)
			}
		}
	}
	return addrs
}

func deviceOf(key string) string { return strings.TrimRight(key[:unix.IFNAMSIZ], "\x00") }

func (p port) addrs() (addrs []netip.Addr) {
	for _, a := range p.Addrs {
		if a.IsValid() {
			addrs = append(addrs, a.Addr())
		}
	}
	return addrs
}

// linkLocalOf is made from a MAC (RFC 4291 appendix A).
func linkLocalOf(m dataplane.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
}

// hasAnycast says that the host has an anycast port. The view is locked.
func (v *view) hasAnycast() bool {
	for _, l := range v.contained {
		if l.mark.anycast != (dataplane.MAC{}) {
			return true
		}
	}
	return false
}

// concerns says that the table depends on a port. The view is locked.
func (v *view) concerns(p port, n *network, tap *link) bool {
	if p.mark().contained() || tap != nil && tap.mark.contained() {
		return true
	}
	if n.first != nil {
		for _, l := range v.contained {
			if l.master == n.first.index {
				return true
			}
		}
	}
	return false
}

// tableChanges says what is wrong with the table as far as it depends on a port: what is to be
// added before the port is plugged, and removed afterwards.
func (d *Driver) tableChanges(p port, n *network, tap *link) (grow, shrink []change, err error) {
	err = d.table.look(func(have *content) error {
		var want elements
		if err := d.view.read(func() { want = d.view.wanted(have, nil, &p, n) }); err != nil {
			return err
		}
		add := func(list *[]change, op dataplane.Op, detail string, growing bool) {
			*list = append(*list, change{wiring.Step(op, tableText, detail), func() error { return d.contain(p, growing) }})
		}
		if have == nil && want != nil {
			if err := d.table.try(); err != nil {
				return err
			}
		}
		missing, extra := difference(have, want)
		switch {
		case have == nil && want == nil:
		case have == nil && tap == nil:
			add(&grow, dataplane.Add, "table that keeps anycast MACs on this host", true)
		case have == nil:
			add(&grow, dataplane.Change, "table is missing", true)
		case want == nil:
			add(&shrink, dataplane.Remove, "no anycast port is here any more", false)
		case !have.ours:
			add(&grow, dataplane.Change, "table has other rules, sets or elements", true)
		default:
			if len(missing) > 0 {
				add(&grow, dataplane.Change, fmt.Sprintf("%d elements missing", missing.count()), true)
			}
			if len(extra) > 0 {
				add(&shrink, dataplane.Change, fmt.Sprintf("%d elements too many", extra.count()), false)
			}
		}
		return nil
	})
	if errors.Is(err, dataplane.ErrUnsupported) && p.Anycast == nil {
		return nil, nil, nil // then no anycast port is here, either
	}
	return grow, shrink, err
}

// contain brings the table in step with what is plugged, and with a port that is about to be, or is
// now. While growing, nothing is taken away.
func (d *Driver) contain(p port, growing bool) error {
	s, err := d.config.segment(p.Network)
	if err != nil {
		return err
	}
	if p.Anycast != nil {
		d.table.remember(wiring.TapName(p.ID), p.addrs())
	}
	added, err := d.table.change(func(have *content) (want elements, err error) {
		err = d.view.read(func() {
			n := d.view.survey(s, d.view.names[wiring.TapName(p.ID)], p.mark().contained())
			want = d.view.wanted(have, nil, &p, n)
		})
		if growing && have != nil {
			want = union(have.elements, want)
		}
		return want, err
	})
	if err != nil {
		return err
	}
	return d.unlearn(added[legs])
}

// settle brings the table in step with what is plugged, if there is a table.
func (d *Driver) settle() error {
	added, err := d.table.change(func(have *content) (want elements, err error) {
		if have == nil {
			return nil, nil
		}
		err = d.view.read(func() {
			want = d.view.wanted(have, nil, nil, nil)
			d.table.forget(d.view.names)
		})
		return want, err
	})
	switch {
	case errors.Is(err, dataplane.ErrUnsupported):
		return nil // there is none
	case err != nil:
		return err
	}
	return d.unlearn(added[legs])
}

// unlearn makes bridges forget that anycast MACs are at devices where they no longer can be: they
// may have learned it before the table came.
func (d *Driver) unlearn(list keys) error {
	for key := range list {
		index := 0
		err := d.view.read(func() {
			if l := d.view.names[deviceOf(key)]; l != nil {
				index = l.index
			}
		})
		if err != nil {
			return err
		}
		if index == 0 {
			continue
		}
		err = d.host.write(delLearned(index, dataplane.MAC([]byte(key[unix.IFNAMSIZ:unix.IFNAMSIZ+6]))))
		switch {
		case err == nil, errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV):
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL): // it is in no bridge
		default:
			return fmt.Errorf("forget learned MAC at %s: %w", deviceOf(key), err)
		}
	}
	return nil
}

// spareTable says what settle would remove.
func (d *Driver) spareTable() (steps []dataplane.Step, err error) {
	err = d.table.look(func(have *content) error {
		if have == nil || d.table.busy > 0 {
			return nil // what somebody is about to plug is not there yet
		}
		return d.view.read(func() {
			want := d.view.wanted(have, nil, nil, nil)
			switch _, extra := difference(have, want); {
			case want == nil:
				steps = append(steps, wiring.Step(dataplane.Remove, tableText, "no anycast port is here"))
			case len(extra) > 0:
				steps = append(steps, wiring.Step(dataplane.Change, tableText, fmt.Sprintf("%d elements too many", extra.count())))
			}
		})
	})
	if errors.Is(err, dataplane.ErrUnsupported) {
		err = nil
	}
	return steps, err
}

// noteTable tells of all routers that depend on the table if that is not as it should be.
func (d *Driver) noteTable() error {
	return d.table.look(func(have *content) error {
		return d.view.read(func() {
			want := d.view.wanted(have, d.table.own, nil, nil)
			missing, extra := difference(have, want)
			switch {
			case want == nil: // what there is too much is Sweep's
			case have == nil, !have.ours, len(missing) > 0, len(extra) > 0 && d.table.busy == 0:
				if d.view.changed != nil {
					d.view.noteAll(d.view.contained)
				}
			}
		})
	})
}

// noteOuter tells of the routers with ports that the table is about in a bridge in which another
// device has become, or is no longer, one that leads to other hosts. A device of ours is not
// noted: whoever makes it knows.
func (v *view) noteOuter(before, after *link) {
	if v.changed == nil || len(v.contained) == 0 {
		return
	}
	in := func(l *link) int {
		if l == nil || l.mark != (mark{}) {
			return 0
		}
		bridge := v.links[l.master]
		if bridge == nil || bridge.mark != (mark{}) && bridge.mark.uplink != l.name {
			return 0
		}
		return l.master
	}
	was, is := in(before), in(after)
	if was == is && (is == 0 || before.name == after.name) {
		return
	}
	for _, tap := range v.contained {
		if tap.master != 0 && (tap.master == was || tap.master == is) {
			v.noteAll(set{tap.index: tap})
		}
	}
}

// CheckAnycast returns an error if anycast ports cannot be plugged on this host: it is
// [dataplane.ErrUnsupported], and names what the kernel lacks. It writes nothing.
func (d *Driver) CheckAnycast(ctx context.Context) error {
	err := ctx.Err()
	if err == nil {
		err = d.table.look(func(*content) error { return d.table.try() })
	}
	return failure.Of("check", "containment of anycast ports", err)
}

var _ namespace.CheckedWiring = (*Driver)(nil)

// Check returns an error if this host has anycast ports and its kernel cannot keep their MACs on
// the host; see [namespace.CheckedWiring] and [Driver.CheckAnycast].
func (d *Driver) Check(ctx context.Context) error {
	if _, err := d.Routers(ctx); err != nil {
		return err
	}
	anycast := false
	err := d.view.read(func() { anycast = d.view.hasAnycast() })
	if err != nil || !anycast {
		return err
	}
	return d.CheckAnycast(ctx)
}
