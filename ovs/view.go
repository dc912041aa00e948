package ovs

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/ovn-org/libovsdb/cache"
	"github.com/ovn-org/libovsdb/model"
	"github.com/ovn-org/libovsdb/ovsdb"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/wiring"
)

// view is a copy of Open vSwitch's tables with the indexes that are needed here, so that looking
// costs the same with one port and with ten thousand. The library's cache, which it is made from,
// keeps rows under their UUID; its changes are handed out through a queue.
type view struct {
	cache       *cache.TableCache
	integration string          // name of the bridge
	gone        <-chan struct{} // closed when there will be no more changes

	settling sync.Mutex
	asked    int // last mark that was put into the queue

	mu         sync.Mutex
	changed    chan struct{} // closed at the next change
	marked     int           // last mark that came out of the queue
	version    int           // grows when anything changes that flows follow from
	renumbered func()        // called when a port that flows name gets a number or loses it; must not block
	touched    func(string)  // see Driver.Watch; must not block
	sw         *switchRow
	settled    switchRow                   // as of the last mark: no row of the view is older
	bridges    map[string]*bridgeRow       // by name
	ports      map[string]*port            // by name
	interfaces map[string]*interfaceRow    // by name, which for those of ours is the port's
	routers    map[string]set              // ports of a router, by its ID; workloads' under ""
	networks   map[string]*networkUse      // those with a port on the integration bridge, by ID
	roles      map[role]set                // patch ports and tunnel ports
	contained  map[string]set              // those of networks whose mark has a containment, by the network's ID
	dead       set                         // ports with the dead VLAN as their tag
	tags       map[uint16]int              // how many ports have a VLAN as their tag, or in their mark
	segments   map[dataplane.Network]users // who uses a segment; the key is a network without its ID
}

// port is a row of table Port, with what its mark says.
type port struct {
	*portRow
	mark mark
}

type set map[string]*port // by name

// users are the networks that have ports, by their ID, with the number of those.
type users map[string]int

// networkUse is a network with ports on the integration bridge.
type networkUse struct {
	network dataplane.Network
	vlan    uint16
	ports   int
}

func newView(c *cache.TableCache, integration string, gone <-chan struct{}) *view {
	v := &view{
		cache: c, integration: integration, gone: gone, changed: make(chan struct{}), sw: &switchRow{},
		bridges: map[string]*bridgeRow{}, ports: map[string]*port{}, interfaces: map[string]*interfaceRow{},
		routers: map[string]set{}, networks: map[string]*networkUse{}, roles: map[role]set{}, dead: set{}, tags: map[uint16]int{},
		renumbered: func() {}, touched: func(string) {},
		segments: map[dataplane.Network]users{}, contained: map[string]set{},
	}
	c.AddEventHandler(v)
	return v
}

// read calls fn with the view locked. What fn takes out is immutable.
func (v *view) read(fn func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	fn()
}

// settle waits until the view has all that is in the library's cache. The queue between them can
// only be followed by its end: a row of a table that nobody else writes to is put there as a mark,
// and waited for.
func (v *view) settle(ctx context.Context) error {
	const uuid = "00000000-0000-0000-0000-000000000001"
	v.settling.Lock()
	v.asked++
	asked := v.asked
	row := ovsdb.Row{"system_name": strconv.Itoa(asked)}
	update := &ovsdb.RowUpdate{New: &row}
	if asked > 1 {
		update.Old = &ovsdb.Row{}
	}
	err := v.cache.Populate(ovsdb.TableUpdates{markTable: {uuid: update}})
	v.settling.Unlock()
	if err != nil {
		return err
	}
	return v.wait(ctx, func() bool { return v.marked >= asked })
}

// wait waits until a condition holds, which is looked at with the view locked, now and after each
// change.
func (v *view) wait(ctx context.Context, holds func() bool) error {
	for {
		v.mu.Lock()
		ok, changed := holds(), v.changed
		v.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-v.gone:
			return errOver
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// OnAdd, OnUpdate and OnDelete take in a change; see [cache.EventHandler].
func (v *view) OnAdd(_ string, m model.Model)       { v.change(nil, m) }
func (v *view) OnUpdate(_ string, o, m model.Model) { v.change(o, m) }
func (v *view) OnDelete(_ string, o model.Model)    { v.change(o, nil) }

func (v *view) change(before, after model.Model) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.note(before, after)
	// A row may come with the name of one that goes in the same transaction, and before that.
	switch row := before.(type) {
	case *bridgeRow:
		if b := v.bridges[row.Name]; b != nil && b.UUID == row.UUID {
			delete(v.bridges, row.Name)
		}
	case *portRow:
		if p := v.ports[row.Name]; p != nil && p.UUID == row.UUID {
			v.drop(p)
		}
	case *interfaceRow:
		if i := v.interfaces[row.Name]; i != nil && i.UUID == row.UUID {
			delete(v.interfaces, row.Name)
		}
	}
	switch row := after.(type) {
	case *switchRow:
		v.sw = row
	case *bridgeRow:
		v.bridges[row.Name] = row
	case *portRow:
		if p := v.ports[row.Name]; p != nil {
			v.drop(p)
		}
		v.put(&port{row, parseMark(row.ExternalIDs)})
	case *interfaceRow:
		v.interfaces[row.Name] = row
	case *markRow:
		v.marked, _ = strconv.Atoi(row.Name)
		v.settled = *v.sw
	}
	v.notice(before, after)
	close(v.changed)
	v.changed = make(chan struct{})
}

// notice tells changes, besides those of networks, that flows follow from: which bridges there are,
// and which numbers ports have that flows name.
func (v *view) notice(before, after model.Model) {
	switch row := cmp.Or(after, before).(type) {
	case *bridgeRow:
		if before == nil || after == nil {
			v.version++
		}
	case *interfaceRow:
		switch role(row.ExternalIDs[keyRole]) {
		case patchRole, tunnelRole:
		default:
			if p := v.ports[row.Name]; v.dead[row.Name] == nil && (p == nil || p.mark.contain == "") {
				return
			}
		}
		v.version++
		if old, ok := before.(*interfaceRow); ok && after != nil && value(old.OFPort) != value(row.OFPort) {
			v.renumbered()
		}
	}
}

func (v *view) put(p *port) {
	v.ports[p.Name] = p
	v.count(p, 1)
	if value(p.Tag) == deadVLAN {
		v.dead[p.Name] = p
		v.version++
	}
	switch m := p.mark; m.role {
	case patchRole, tunnelRole:
		wiring.Add(v.roles, m.role, p.Name, p)
	case plugRole:
		wiring.Add(v.routers, m.router, p.Name, p)
		v.use(m.network, 1)
		if m.vlan == 0 || m.bridge != v.integration {
			return
		}
		if m.contain != "" {
			wiring.Add(v.contained, m.network.ID, p.Name, p)
			v.version++
		}
		n := v.networks[m.network.ID]
		if n == nil {
			n = &networkUse{}
			v.networks[m.network.ID] = n
		}
		if n.ports++; n.network != m.network || n.vlan != m.vlan {
			n.network, n.vlan = m.network, m.vlan
			v.version++
		}
	}
}

func (v *view) drop(p *port) {
	delete(v.ports, p.Name)
	v.count(p, -1)
	if v.dead[p.Name] != nil {
		delete(v.dead, p.Name)
		v.version++
	}
	m := p.mark
	wiring.Drop(v.roles, m.role, p.Name)
	wiring.Drop(v.routers, m.router, p.Name)
	if m.role == plugRole {
		v.use(m.network, -1)
	}
	if v.contained[m.network.ID][p.Name] != nil {
		wiring.Drop(v.contained, m.network.ID, p.Name)
		v.version++
	}
	if n := v.networks[m.network.ID]; n != nil && m.role == plugRole && m.vlan != 0 && m.bridge == v.integration {
		if n.ports--; n.ports == 0 {
			delete(v.networks, m.network.ID)
			v.version++
		}
	}
}

// count keeps account of the VLANs that are in use: also those of ports which lost their tag or
// their mark.
func (v *view) count(p *port, by int) {
	vlans := []uint16{p.mark.vlan, uint16(value(p.Tag))}
	if vlans[0] == vlans[1] {
		vlans = vlans[1:]
	}
	for _, vlan := range vlans {
		if vlan == 0 {
			continue
		}
		if v.tags[vlan] += by; v.tags[vlan] == 0 {
			delete(v.tags, vlan)
		}
	}
}

// use keeps account of who uses which segment.
func (v *view) use(n dataplane.Network, by int) {
	s := wire(n)
	if s == (dataplane.Network{}) {
		return
	}
	if v.segments[s] == nil {
		v.segments[s] = users{}
	}
	if v.segments[s][n.ID] += by; v.segments[s][n.ID] == 0 {
		delete(v.segments[s], n.ID)
	}
	if len(v.segments[s]) == 0 {
		delete(v.segments, s)
	}
}

// sorted returns the ports of a set by name, so that steps and errors come in the same order every
// time.
func (s set) sorted() []*port {
	return slices.SortedFunc(maps.Values(s), func(a, b *port) int { return strings.Compare(a.Name, b.Name) })
}
