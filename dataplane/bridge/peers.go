package bridge

import (
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// peers is the list of hosts that VXLAN devices flood to, and which devices are known to have it.
// The lock is held while devices are written to, so that two lists never mix on one.
type peers struct {
	sync.Mutex
	want   []netip.Addr
	synced map[int]bool // by index of the device
}

// diff reads what a device lacks and what it has too much.
func (p *peers) diff(host *sockets, l *link) (added, removed []netip.Addr, err error) {
	have, err := host.floods(l.index)
	if err != nil {
		return nil, nil, err
	}
	for _, addr := range p.want {
		if !slices.Contains(have, addr) {
			added = append(added, addr)
		}
	}
	for _, addr := range have {
		if !slices.Contains(p.want, addr) {
			removed = append(removed, addr)
		}
	}
	return added, removed, nil
}

// sync gives a device the list.
func (p *peers) sync(host *sockets, l *link) error {
	added, removed, err := p.diff(host, l)
	if err != nil {
		return err
	}
	var b batch
	for _, addr := range added {
		b = append(b, flood(unix.RTM_NEWNEIGH, l.index, addr))
	}
	for _, addr := range removed {
		b = append(b, flood(unix.RTM_DELNEIGH, l.index, addr))
	}
	if len(b) > 0 {
		if err := host.write(b...); err != nil {
			return err
		}
	}
	p.synced[l.index] = true
	return nil
}

func (p *peers) forget(index int) {
	p.Lock()
	defer p.Unlock()
	delete(p.synced, index)
}
