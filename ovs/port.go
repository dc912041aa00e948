package ovs

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/ovn-org/libovsdb/ovsdb"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/netdev"
)

const idLen = 11 // of an ID in a name: Neutron's cut

// vethName is the host's end of a port's veth, and so the port's name on the bridge.
func vethName(port string) string { return "tap" + port[:min(len(port), idLen)] }

// internal says that a port can be an internal port: its device has a name that no other device on
// the switch has, and so can keep it.
func (a attachment) internal() bool {
	return dataplane.IsDevice(a.dev, a.ID)
}

// newName is the name that a port gets on the bridge.
func (d *Driver) newName(a attachment) string {
	if d.config.Device == Internal && a.internal() {
		return a.dev
	}
	return vethName(a.ID)
}

// find looks up the port on the bridge, whichever kind of device it was made with.
func (w *work) find(newName string) (p *port, i *interfaceRow) {
	for _, name := range []string{newName, vethName(w.ID), w.dev} {
		if p, i = w.s.port(name); p != nil && i != nil && p.mark.role == plugRole && p.mark.port == w.ID && p.mark.router == w.ns.Router {
			return p, i
		}
	}
	return w.s.port(newName)
}

// surveyPort says what is wrong with the port itself: its rows, and its devices.
func (d *Driver) surveyPort(w *work) error {
	w.name = d.newName(w.attachment)
	p, i := w.find(w.name)
	if p != nil {
		w.name = p.Name
	}
	if other := w.plugs(w.name); other != nil {
		return fmt.Errorf("%w: ports %s and %s would both be %s on the bridge", dataplane.ErrInvalid, other.ID, w.ID, w.name)
	}
	f, err := d.devices(w.ns, w.dev, w.name)
	if err != nil {
		return err
	}
	home := d.config.home(w.segment)
	switch ours := p != nil && p.mark.port == w.ID && p.mark.router == w.ns.Router; {
	case p == nil && i == nil:
		return d.surveyNew(w, f)
	case p == nil || i == nil || !ours && p.mark.role != "":
		return foreign(w.name, p)
	case !ours && !f.paired && (f.inside == nil || i.Type != "internal" || w.ns.Router == ""):
		return foreign(w.name, p) // a port that lost its mark is still ours if it leads to where only we would have led it
	}
	if why := broken(w, p, i, f, home); why != "" {
		// Two steps, so that whoever plans with them sees that the device is made anew.
		w.steps = append(w.steps, step(dataplane.Remove, w.dev, why))
		w.disturb()
		w.add(w.dev, "%s", d.describe(w, home))
		w.replace = append(w.replace, p)
		w.was = p.mark.network
		return nil
	}
	if err := d.surveyRows(w, p, i, home); err != nil {
		return err
	}
	w.surveyDevices(d, i, f)
	return nil
}

func foreign(name string, p *port) error {
	switch {
	case p == nil || p.mark.role == "":
		return fmt.Errorf("port %s %w: it carries no mark %s", name, dataplane.ErrForeign, keyRole)
	case p.mark.role != plugRole:
		return fmt.Errorf("port %s %w: it is a %s port", name, dataplane.ErrForeign, p.mark.role)
	case p.mark.router != "":
		return fmt.Errorf("port %s %w: it is port %s of router %s", name, dataplane.ErrForeign, p.mark.port, p.mark.router)
	}
	return fmt.Errorf("port %s %w: it is port %s of a workload", name, dataplane.ErrForeign, p.mark.port)
}

// broken says why a port cannot be mended, but must be made anew.
func broken(w *work, p *port, i *interfaceRow, f devices, home string) string {
	b := w.s.bridge(home)
	switch internal := i.Type == "internal"; {
	case b == nil || !slices.Contains(b.Ports, p.UUID):
		return "not on bridge " + home
	case value(i.Error) != "":
		return idle(i)
	case internal && f.inside == nil && f.outside == nil:
		return "its device is gone"
	case internal && f.inside != nil && f.inside.Type() != "tuntap" && f.inside.Type() != "openvswitch":
		return "another device has its name"
	case internal || f.paired:
		return ""
	case f.outside == nil:
		return "its device is gone"
	}
	return "attached elsewhere"
}

// describe says what a new port is.
func (d *Driver) describe(w *work, home string) string {
	kind := "internal port"
	if d.newName(w.attachment) != w.dev {
		kind = "veth " + vethName(w.ID)
	}
	return fmt.Sprintf("%s on bridge %s (network %s)", kind, home, w.segment.ID)
}

// surveyNew makes a port.
func (d *Driver) surveyNew(w *work, f devices) error {
	home := d.config.home(w.segment)
	b := w.s.bridge(home)
	on := end{home, ""}
	if b != nil {
		on.uuid = b.UUID
	} else {
		on.uuid = w.added(home)
	}
	internal := w.name == w.dev
	switch {
	case f.outside != nil && !f.paired:
		return fmt.Errorf("device %s %w, and Open vSwitch has no port of that name", w.name, dataplane.ErrForeign)
	case f.inside != nil && !f.paired && w.ns.Router == "":
		return fmt.Errorf("device %s of the workload %w", w.dev, dataplane.ErrForeign)
	}
	vlan, err := d.vlan(w, nil)
	if err != nil {
		return err
	}
	w.add(w.dev, "%s", d.describe(w, home))
	p := newPort{name: w.name, tag: vlan, mtu: w.MTU, portIDs: w.mark(home, vlan).ids(), interfaceID: w.interfaceIDs()}
	if internal {
		p.kind = "internal"
		w.after = append(w.after, action{w.dev, "plug the internal port", func(context.Context) error { return d.fetch(w.attachment, w.name) }})
	} else {
		w.before = append(w.before, action{w.dev, "make the veth", func(context.Context) error {
			if f.paired { // a process was killed between this and the transaction
				if err := netdev.Remove(d.host, f.outside); err != nil {
					return err
				}
			} else if f.inside != nil {
				if err := evict(w.attachment); err != nil {
					return err
				}
			}
			if err := d.newVeth(w.attachment, w.name); err != nil {
				return err
			}
			w.veths = append(w.veths, w.name)
			return nil
		}})
	}
	w.addPort(on.name, on.uuid, p)
	return nil
}

// added is what the transaction calls a bridge that it adds.
func (t *transaction) added(bridge string) string {
	for _, m := range t.made {
		if m.table == bridgeTable && m.name == bridge {
			return t.ops[m.op].UUIDName
		}
	}
	return ""
}

func (w *work) mark(bridge string, vlan uint16) mark {
	return mark{role: plugRole, bridge: bridge, router: w.ns.Router, port: w.ID, network: w.segment.Network, vlan: vlan}
}

// interfaceIDs are those that other tools look for: ovs-vswitchd.conf.db(5), and the integration
// guide of Open vSwitch.
func (w *work) interfaceIDs() map[string]string {
	return map[string]string{"iface-id": w.ID, "attached-mac": w.MAC.String(), "iface-status": "active"}
}

// nothing is the value of an optional column that is not used.
var nothing = ovsdb.OvsSet{GoSet: []any{}}

// surveyRows mends what the database says of a port.
func (d *Driver) surveyRows(w *work, p *port, i *interfaceRow, home string) error {
	vlan, err := d.vlan(w, p)
	if err != nil {
		return err
	}
	w.was = p.mark.network
	var faults []string
	columns := ovsdb.Row{}
	want := w.mark(home, vlan)
	disturbs := false
	if p.mark != want {
		switch {
		case p.mark.role == "":
			faults = append(faults, "mark lost")
		case p.mark.network.ID != want.network.ID:
			faults = append(faults, fmt.Sprintf("network %s, was %s", want.network.ID, p.mark.network.ID))
			disturbs = true
		default:
			faults = append(faults, "network's segment")
			disturbs = true
		}
		columns["external_ids"] = textMap(with(p.ExternalIDs, want.ids()))
	}
	switch tag := value(p.Tag); {
	case tag == int(vlan):
	case vlan == 0:
		faults = append(faults, fmt.Sprintf("no tag, was %d", tag))
		columns["tag"] = nothing
	default:
		faults = append(faults, fmt.Sprintf("local VLAN %d, was %d", vlan, tag))
		columns["tag"] = int(vlan)
	}
	if mode := value(p.VLANMode); mode != "" || len(p.Trunks) > 0 {
		faults = append(faults, "carries other VLANs")
		columns["vlan_mode"], columns["trunks"] = nothing, nothing
	}
	if len(columns) > 0 {
		w.mend(w.dev, "%s", strings.Join(faults, ", "))
		w.steps[len(w.steps)-1].Disturbs = disturbs
		w.set(portTable, p.UUID, columns)
		faults = nil
	}
	columns = ovsdb.Row{}
	if ids := w.interfaceIDs(); !has(i.ExternalIDs, ids) {
		faults = append(faults, "external_ids")
		columns["external_ids"] = textMap(with(i.ExternalIDs, ids))
	}
	if mtu := value(i.MTURequest); mtu != w.MTU {
		faults = append(faults, fmt.Sprintf("mtu_request %d, was %d", w.MTU, mtu))
		columns["mtu_request"] = w.MTU
	}
	if len(columns) > 0 {
		w.mend(w.dev, "%s", strings.Join(faults, ", "))
		w.set(interfaceTable, i.UUID, columns)
	}
	if value(i.OFPort) <= 0 {
		w.mend(w.dev, "%s", idle(i))
		w.missing = true
	}
	if w.transacts() {
		w.verify = append(w.verify, w.name)
	}
	return nil
}

// surveyDevices mends the devices of a port that has them.
func (w *work) surveyDevices(d *Driver, i *interfaceRow, f devices) {
	if i.Type == "internal" && !f.same && f.outside != nil {
		// To the router it is a new device, even where a dead one is still in its place.
		w.add(w.dev, "internal port, back in the host's namespace")
		w.steps[len(w.steps)-1].Disturbs = f.inside != nil
		w.after = append(w.after, action{w.dev, "plug the internal port", func(context.Context) error { return d.fetch(w.attachment, w.name) }})
		return
	}
	if a := f.inside.Attrs(); a.MTU != w.MTU || string(a.HardwareAddr) != string(w.MAC[:]) {
		var faults []string
		if a.MTU != w.MTU {
			faults = append(faults, fmt.Sprintf("mtu %d, was %d", w.MTU, a.MTU))
		}
		moved := string(a.HardwareAddr) != string(w.MAC[:])
		if moved {
			faults = append(faults, fmt.Sprintf("MAC %s, was %s", w.MAC, a.HardwareAddr))
		}
		w.mend(w.dev, "%s", strings.Join(faults, ", "))
		w.steps[len(w.steps)-1].Disturbs = moved
		w.after = append(w.after, action{w.dev, "mend the device", func(context.Context) error { return settle(w.attachment, w.dev) }})
	}
	if !f.paired {
		return
	}
	if a := f.outside.Attrs(); a.MTU != w.MTU && value(i.MTURequest) == w.MTU { // else ovs-vswitchd sets it
		w.mend(w.dev, "host end's mtu %d, was %d", w.MTU, a.MTU)
		w.after = append(w.after, action{w.dev, "mend the host end", func(context.Context) error { return d.host.LinkSetMTU(f.outside, w.MTU) }})
	}
	if a := f.outside.Attrs(); a.RawFlags&unix.IFF_UP == 0 {
		w.mend(w.dev, "host end down")
		w.after = append(w.after, action{w.dev, "mend the host end", func(context.Context) error { return d.raise(f.outside) }})
	}
}
