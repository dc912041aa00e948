package ovs

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/ovn-org/libovsdb/model"

	"github.com/l3kit/l3kit/dataplane/namespace"
)

var _ namespace.WatchedWiring = (*Driver)(nil)

// watch tells somebody which routers' ports have changed in the database.
type watch struct {
	mu      sync.Mutex
	changed func(router string) // nil: nobody watches
}

// Watch calls changed with routers whose ports somebody may have changed in the database; see
// [namespace.WatchedWiring]. Only one Watch may be under way. Flows are not its business: missing
// ones are installed again in the background.
func (d *Driver) Watch(ctx context.Context, changed func(router string)) error {
	w := &d.watch
	w.mu.Lock()
	busy := w.changed != nil
	if !busy {
		w.changed = changed
	}
	w.mu.Unlock()
	if busy {
		return opError("watch wiring", "", errors.New("somebody watches it already"))
	}
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.changed = nil
	}()
	changed("")
	<-ctx.Done()
	return ctx.Err()
}

// follow takes notice of a session. What happened since the one before is not known.
func (w *watch) follow(s *session) {
	s.view.read(func() { s.view.touched = w.tell })
	w.tell("")
}

func (w *watch) tell(router string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changed != nil {
		w.changed(router)
	}
}

// note tells of the routers that a row which has changed matters to. A row that is new was in
// nobody's way. The view is locked, and does not know of the change yet.
func (v *view) note(before, after model.Model) {
	switch row := before.(type) {
	case *portRow:
		v.notePort(&port{row, parseMark(row.ExternalIDs)})
	case *interfaceRow:
		if p := v.ports[row.Name]; p != nil {
			v.notePort(p)
		}
	case *bridgeRow:
		now, _ := after.(*bridgeRow)
		if now == nil || !sameBridge(row, now) {
			v.touched("")
			return
		}
		v.noteRemoved(row.Ports, now.Ports)
	}
}

// noteRemoved tells of ports that a bridge has no more.
func (v *view) noteRemoved(before, after []string) {
	stay := make(map[string]bool, len(after))
	for _, uuid := range after {
		stay[uuid] = true
	}
	gone := slices.DeleteFunc(slices.Clone(before), func(uuid string) bool { return stay[uuid] })
	if len(gone) == 0 {
		return
	}
	for _, p := range v.ports {
		if slices.Contains(gone, p.UUID) {
			v.notePort(p)
		}
	}
}

// sameBridge says that two rows are of one bridge, ports apart.
func sameBridge(a, b *bridgeRow) bool {
	return a.Name == b.Name && a.DatapathType == b.DatapathType && maps.Equal(a.ExternalIDs, b.ExternalIDs) &&
		(a.FailMode == nil) == (b.FailMode == nil) && value(a.FailMode) == value(b.FailMode)
}

func (v *view) notePort(p *port) {
	switch p.mark.role {
	case plugRole:
		if p.mark.router != "" {
			v.touched(p.mark.router)
		}
	case patchRole, tunnelRole:
		v.touched("")
	}
}
