package membus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

// late is the age at which a heartbeat proves nothing any more.
const late = 30 * time.Second

// unheard is the last heartbeat of a host, if it could not be taken.
type unheard struct {
	agent.Heartbeat
	at time.Time
}

// heartbeat hands a heartbeat to the control plane. One that cannot be taken is kept, because it
// proves that the host was alive at that time; see [Bus.CaughtUp].
func (b *Bus) heartbeat(ctx context.Context, h agent.Heartbeat, at time.Time) error {
	taken := make(chan struct{})
	b.mu.Lock()
	b.busy[taken] = true
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.busy, taken)
		close(taken)
	}()
	if _, _, err := b.state(); err != nil {
		return err
	}
	err := b.take(ctx, h)
	b.mu.Lock()
	defer b.mu.Unlock()
	if delete(b.unheard, h.Host); err != nil && !refused(err) {
		b.unheard[h.Host] = unheard{h, at}
	}
	return err
}

// refused reports whether the control plane will never take what it did not take now.
func refused(err error) bool {
	var refusal *l3.Error
	return errors.As(err, &refusal) || errors.Is(err, agent.ErrRefused)
}

// take hands a heartbeat to the control plane, and notes the tunnel address in it.
func (b *Bus) take(ctx context.Context, h agent.Heartbeat) error {
	_, err := b.control.Heartbeat(ctx, h)
	if errors.Is(err, l3.ErrHostTaken) {
		return fmt.Errorf("%w: %w", agent.ErrRefused, err)
	}
	if err != nil {
		return err
	}
	addr, err := l3.TunnelPeer(h)
	if err != nil {
		b.log.Error("ignoring the tunnel address of a host", "host", h.Host, "err", err)
		return nil // the heartbeat itself was taken
	}
	if !addr.IsValid() {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	before, known := b.peers[h.Host]
	b.peers[h.Host] = peer{addr, time.Now()}
	if !known || before.addr != addr {
		b.tellPeers()
	}
	return nil
}

// tellPeers has all watches tell the tunnel peers. b.mu must be held.
func (b *Bus) tellPeers() {
	for _, w := range b.watches {
		w.tellPeers()
	}
}

// expirePeers forgets hosts that were silent for a lifetime.
func (b *Bus) expirePeers() {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := len(b.peers)
	maps.DeleteFunc(b.peers, func(_ string, p peer) bool { return time.Since(p.seen) >= b.options.Lifetime })
	if len(b.peers) < before {
		b.tellPeers()
	}
}

// CaughtUp implements [l3.Bus]. It waits for the heartbeats that are being taken, and tries those
// again that could not be.
func (b *Bus) CaughtUp(ctx context.Context) error {
	if _, _, err := b.state(); err != nil {
		return err
	}
	b.mu.Lock()
	busy := slices.Collect(maps.Keys(b.busy))
	b.mu.Unlock()
	for _, taken := range busy {
		select {
		case <-taken:
		case <-ctx.Done():
			return fmt.Errorf("heartbeats wait to be taken: %w", ctx.Err())
		}
	}
	b.mu.Lock()
	maps.DeleteFunc(b.unheard, func(_ string, h unheard) bool { return time.Since(h.at) > late })
	again := slices.Collect(maps.Values(b.unheard))
	b.mu.Unlock()
	for _, h := range again {
		if err := b.heartbeat(ctx, h.Heartbeat, h.at); err != nil && !refused(err) {
			return fmt.Errorf("take the heartbeat of host %s: %w", h.Host, err)
		}
	}
	return nil
}
