package agent

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/l3kit/l3kit/dataplane"
)

// peers is the tunnel peers that the wiring has. One that the control plane does not name any more
// stays for a while: the control plane may have lost its memory, or a clock may have jumped past
// the time at which all of them expire, and each is named again with its host's next heartbeat.
type peers struct {
	named []netip.Addr
	until map[netip.Addr]time.Time // those that are not named any more
}

// name takes a new list. Those that are missing stay until the given time.
func (p *peers) name(list []netip.Addr, until time.Time) {
	left := map[netip.Addr]time.Time{}
	for _, a := range p.named {
		left[a] = until
	}
	maps.Copy(left, p.until)
	for _, a := range list {
		delete(left, a)
	}
	p.named, p.until = list, left
}

// at returns the peers at a time, and when the next of them leaves; zero: none does.
func (p *peers) at(now time.Time) (all []netip.Addr, next time.Time) {
	maps.DeleteFunc(p.until, func(_ netip.Addr, until time.Time) bool { return !now.Before(until) })
	for _, until := range p.until {
		if next.IsZero() || until.Before(next) {
			next = until
		}
	}
	all = slices.AppendSeq(slices.Clone(p.named), maps.Keys(p.until))
	slices.SortFunc(all, netip.Addr.Compare)
	return all, next
}

// namePeers takes the control plane's list of the tunnel peers.
func (r *run) namePeers(list []netip.Addr, now time.Time) {
	if len(list) == 0 {
		list = []netip.Addr{} // known to be none
	}
	r.known.name(list, now.Add(max(r.config.KeepPeers, 0)))
	if n := len(r.known.until); n > 0 {
		r.log.Info("the control plane does not name some tunnel peers any more: they stay for a while", "peers", n, "for", r.config.KeepPeers)
	}
	r.offerPeers(now)
}

// offerPeers has the wiring told of the present list.
func (r *run) offerPeers(now time.Time) {
	all, next := r.known.at(now)
	r.peersDue = next
	select {
	case <-r.peers: // it is not the newest any more
	default:
	}
	r.peers <- all
}

// tellPeers tells the wiring of the tunnel peers, the newest list only, again and again until it
// takes it. It has a goroutine of its own, so that a switch which does not answer holds up nothing
// else.
func (r *run) tellPeers(ctx context.Context) {
	for {
		select {
		case list := <-r.peers:
			if !r.setPeers(ctx, list) {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// setPeers says false when ctx ended.
func (r *run) setPeers(ctx context.Context, list []netip.Addr) bool {
	for fails := 0; r.config.SetPeers != nil; fails++ {
		err := r.config.SetPeers(ctx, list)
		select {
		case r.peersSet <- struct{}{}: // a wiring that failed knows them all the same
		default:
		}
		if errors.Is(err, dataplane.ErrInvalid) {
			// The wiring has skipped the bad ones, and trying again does not make them better.
			r.log.Warn("some tunnel peers cannot be used and were skipped", "err", err)
			break
		}
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return false
		}
		r.log.Error("cannot set the tunnel peers, will be tried again", "err", err)
		select {
		case list = <-r.peers:
			fails = 0
		case <-time.After(pauses().After(fails)):
		case <-ctx.Done():
			return false
		}
	}
	if r.cache != nil {
		r.cache.keepPeers(list)
	}
	return true
}
