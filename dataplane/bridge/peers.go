package bridge

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/failure"
	"github.com/l3kit/l3kit/internal/wiring"
)

// peers is the list of hosts that VXLAN devices flood to, and which devices are known to have it.
// The lock is held while devices are written to, so that two lists never mix on one.
type peers struct {
	sync.Mutex
	want   []netip.Addr
	synced map[int]bool // by index of the device
}

// SetPeers replaces the list of the other hosts' tunnel addresses, on VXLAN networks that are
// plugged and on those to come. New peers are added before old ones are removed. An address that
// cannot be a peer is skipped, and the others are set; then the error is [dataplane.ErrInvalid] and
// names it. After any other error, some devices may have the new list and others the old one; the
// next Plug into a network, or the next SetPeers, completes the change.
func (d *Driver) SetPeers(ctx context.Context, peers []netip.Addr) error {
	want, skipped := wiring.Peers(d.config.VXLAN.Local, peers)
	if err := d.setPeers(ctx, want); err != nil {
		return err
	}
	return failure.Of("set VXLAN peers", "", skipped)
}

func (d *Driver) setPeers(ctx context.Context, want []netip.Addr) error {
	var devices []*link
	d.peers.Lock()
	defer d.peers.Unlock()
	d.peers.want = want
	clear(d.peers.synced)
	err := d.view.read(func() {
		for _, s := range d.view.plumbing {
			for _, l := range s {
				if l.kind == "vxlan" {
					devices = append(devices, l)
				}
			}
		}
	})
	if err != nil {
		return failure.Of("set VXLAN peers", "", err)
	}
	for _, l := range devices {
		if err = ctx.Err(); err == nil {
			err = d.peers.sync(d.host, l)
		}
		if err != nil && !errors.Is(err, unix.ENODEV) {
			return failure.Of("set VXLAN peers", "of "+l.name, err)
		}
	}
	return nil
}

// floodChanges compares a VXLAN device's peers with the list, once: the kernel has no notifications
// of them that are not mixed with those of every address that the device learns.
func (d *Driver) floodChanges(l *link) ([]change, error) {
	d.peers.Lock()
	defer d.peers.Unlock()
	if d.peers.synced[l.index] {
		return nil, nil
	}
	added, removed, err := d.peers.diff(d.host, l)
	if err != nil {
		return nil, err
	}
	if len(added)+len(removed) == 0 {
		d.peers.synced[l.index] = true
		return nil, nil
	}
	detail := fmt.Sprintf("%d peers missing, %d too many", len(added), len(removed))
	return []change{{wiring.Step(dataplane.Change, l.name, detail), func() error {
		d.peers.Lock()
		defer d.peers.Unlock()
		return d.peers.sync(d.host, l)
	}}}, nil
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
