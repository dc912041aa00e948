package natsbus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

// peer is the value of a host's key among the peers.
type peer struct {
	Host    string     `json:"host"`
	Address netip.Addr `json:"address"`
}

func decodePeer(host string, text []byte) (netip.Addr, error) {
	var p peer
	if err := json.Unmarshal(text, &p); err != nil {
		return netip.Addr{}, err
	}
	if p.Host != host {
		return netip.Addr{}, fmt.Errorf("it is of host %q", p.Host)
	}
	return p.Address, l3.CheckTunnelAddress(p.Address)
}

// setPeer records the tunnel address of a heartbeat for a lifetime from now on. It writes when the
// address has changed, and again before half of the lifetime is over.
func (b *Bus) setPeer(ctx context.Context, h agent.Heartbeat) error {
	addr, err := l3.TunnelPeer(h)
	if err != nil || !addr.IsValid() {
		return err
	}
	value, err := json.Marshal(peer{h.Host, addr})
	if err != nil {
		return err
	}
	subject := subjectOf(bucketPeers, Token(h.Host))
	was, err := b.stream(bucketPeers).GetLastMsgForSubject(ctx, subject)
	if err == nil && string(was.Data) == string(value) && time.Since(was.Time) < b.options.Lifetime/2 {
		return nil
	}
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return err
	}
	_, err = b.js.Publish(ctx, subject, value)
	return err
}
