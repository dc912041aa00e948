package ovs

import (
	"fmt"
	"maps"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
)

// vlans is the range of local VLANs that networks get, on one host each its own. 4095, which no
// network gets, is for dead ports.
type vlans struct{ first, last uint16 }

// vlan chooses the local VLAN of a port that is on the bridge as p, or is not yet: that which the
// network has, else the lowest one which no port of the switch uses.
func (d *Driver) vlan(w *work, p *port) (vlan uint16, err error) {
	if w.segment.direct {
		return 0, nil
	}
	if p != nil && p.mark.network.ID == w.segment.ID && p.mark.vlan != 0 {
		return p.mark.vlan, nil
	}
	if vlan, ok := w.vlans[w.segment.ID]; ok { // it got one a moment ago, for another port of the same call
		return vlan, nil
	}
	taken := slices.Collect(maps.Values(w.vlans))
	v := w.s.view
	v.read(func() {
		if use := v.networks[w.segment.ID]; use != nil {
			vlan = use.vlan
			return
		}
		if p != nil && p.mark.role == "" { // the mark was lost; the tag may be right
			if tag := uint16(value(p.Tag)); tag >= d.vlans.first && tag <= d.vlans.last && v.tags[tag] == 1 {
				vlan, w.vlans[w.segment.ID] = tag, tag
				return
			}
		}
		for next := d.vlans.first; next <= d.vlans.last; next++ {
			if v.tags[next] == 0 && !slices.Contains(taken, next) {
				vlan, w.vlans[w.segment.ID] = next, next
				return
			}
		}
		err = fmt.Errorf("%w: no local VLAN is left for network %s: ports use all of %d to %d", dataplane.ErrExhausted, w.segment.ID, d.vlans.first, d.vlans.last)
	})
	return vlan, err
}
