package agent

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/l3kit/l3kit/dataplane"
)

// tellPeers tells the wiring of the tunnel peers, the newest list only, again and again until it takes it. It has a goroutine of its own, so that a
// switch which does not answer holds up nothing else.
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
		case <-time.After(backoff(fails)):
		case <-ctx.Done():
			return false
		}
	}
	if r.cache != nil {
		r.cache.keepPeers(list)
	}
	return true
}
