package bridge

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/monitor"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/nlmsg"
	"github.com/l3kit/l3kit/internal/wiring"
)

// view is a copy of the host's links. It is read from the kernel once and kept by notifications, so
// that looking costs the same with one port and with ten thousand. Whoever looks calls read, and
// sees every change that was complete by then, whoever made it.
type view struct {
	sockets *sockets
	monitor *monitor.Monitor
	host    netns.ID

	mu       sync.Mutex
	complete bool
	links    map[int]*link
	names    map[string]*link
	ports    map[int]set    // of a bridge, by its index
	taps     map[string]set // of a router, by its ID
	plumbing map[string]set // of a network, by its ID
	nsids    map[netns.ID]int

	changed func(router string) // see Watch; nil: nobody watches
}

type set = map[int]*link

// read calls fn with the view up to date and locked. fn must not block; what it takes out is
// immutable.
func (v *view) read(fn func()) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.sync(); err != nil {
		v.complete = false
		return err
	}
	fn()
	return nil
}

// refresh reads some links from the kernel, whatever the view says, and then calls fn as read does.
func (v *view) refresh(links []*link, fn func()) error {
	fresh := make([]*link, len(links))
	for i, l := range links {
		var err error
		if fresh[i], err = v.sockets.link(sameNS, l.index); err != nil && !errors.Is(err, unix.ENODEV) {
			return err
		}
	}
	return v.read(func() {
		for i, l := range links {
			// One that the notifications know of by now is newer than what was read.
			if fresh[i] != nil && v.links[l.index] == l {
				v.remove(l.index)
				v.put(fresh[i])
			}
		}
		fn()
	})
}

func (v *view) sync() error {
	for {
		var bad error
		err := v.monitor.Drain(func(h unix.NlMsghdr, payload []byte) {
			if err := v.apply(h.Type, payload); err != nil && bad == nil {
				bad = err
			}
		})
		switch {
		case errors.Is(err, monitor.ErrOverrun): // whatever was applied, list again
		case err != nil || bad != nil:
			return errors.Join(err, bad)
		case v.complete:
			return nil
		}
		// What happens from here on is queued, and applied on top of the list in the next round.
		if err := v.list(); err != nil {
			return err
		}
	}
}

func (v *view) list() error {
	links, err := v.sockets.links()
	if err != nil {
		return err
	}
	v.links, v.names = make(map[int]*link, len(links)), make(map[string]*link, len(links))
	v.ports, v.taps, v.plumbing = map[int]set{}, map[string]set{}, map[string]set{}
	v.nsids = map[netns.ID]int{}
	for _, l := range links {
		v.put(l)
	}
	v.complete = true
	if v.changed != nil {
		v.changed("") // what has changed since the last list is not known
	}
	return nil
}

// apply takes in a notification.
func (v *view) apply(kind uint16, payload []byte) error {
	switch {
	case kind == unix.RTM_DELNSID:
		// The ID will be given to another namespace.
		id := decodeNSID(payload)
		for ns, known := range v.nsids {
			if known == id {
				delete(v.nsids, ns)
			}
		}
		return nil
	case kind != unix.RTM_NEWLINK && kind != unix.RTM_DELLINK, len(payload) < unix.SizeofIfInfomsg:
		return nil
	case payload[0] != unix.AF_UNSPEC:
		return nil // the bridge's own messages about its ports; a port that leaves a bridge is a DELLINK there
	case !v.complete:
		return nil
	case kind == unix.RTM_DELLINK:
		index := nlmsg.Int(payload[4:8])
		v.note(v.links[index], nil)
		v.remove(index)
		return nil
	}
	l, err := decode(payload)
	if err != nil {
		return err
	}
	v.note(v.links[l.index], l)
	v.remove(l.index)
	v.put(l)
	return nil
}

func (v *view) put(l *link) {
	v.links[l.index] = l
	v.names[l.name] = l
	if l.master != 0 {
		wiring.Add(v.ports, l.master, l.index, l)
	}
	switch {
	case l.mark.plumbing():
		wiring.Add(v.plumbing, l.mark.network, l.index, l)
	case l.mark.port != "":
		wiring.Add(v.taps, l.mark.router, l.index, l)
	}
}

func (v *view) remove(index int) {
	l := v.links[index]
	if l == nil {
		return
	}
	delete(v.links, index)
	if v.names[l.name] == l {
		delete(v.names, l.name)
	}
	wiring.Drop(v.ports, l.master, index)
	wiring.Drop(v.plumbing, l.mark.network, index)
	wiring.Drop(v.taps, l.mark.router, index)
}

// sorted returns the links of a set by name, so that steps and errors come in the same order every
// time.
func sorted(s set) []*link {
	return slices.SortedFunc(maps.Values(s), func(a, b *link) int { return cmp.Compare(a.name, b.name) })
}
