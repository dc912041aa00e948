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
)

// peer is the value of a host's key among the peers.
type peer struct {
	Host    string     `json:"host"`
	Address netip.Addr `json:"address"`
}

// errPeer is returned for a tunnel address that no host can send to.
var errPeer = errors.New("the tunnel address cannot be used")

// checkPeer refuses addresses that are not those of one host on a shared network. Whether a host
// can use IPv4 or IPv6 depends on its wiring, which skips the addresses of the other family.
func checkPeer(addr netip.Addr) error {
	switch v4 := addr.Unmap(); {
	case !addr.IsValid():
		return fmt.Errorf("%w: it is missing", errPeer)
	case addr.Zone() != "" || addr.Is6() && addr.IsLinkLocalUnicast():
		return fmt.Errorf("%w: %s is an address of one link", errPeer, addr)
	case addr.Is4In6():
		return fmt.Errorf("%w: %s is written as IPv6: write %s", errPeer, addr, v4)
	case addr.IsMulticast() || addr.IsLoopback() || addr.IsUnspecified() || v4.Is4() && (v4.As4()[0] == 0 || v4.As4()[0] >= 240):
		return fmt.Errorf("%w: %s is not the address of a host", errPeer, addr)
	}
	return nil
}

func decodePeer(host string, text []byte) (netip.Addr, error) {
	var p peer
	if err := json.Unmarshal(text, &p); err != nil {
		return netip.Addr{}, err
	}
	if p.Host != host {
		return netip.Addr{}, fmt.Errorf("it is of host %q", p.Host)
	}
	return p.Address, checkPeer(p.Address)
}

// setPeer records the tunnel address of a heartbeat for a lifetime from now on. It writes when the
// address has changed, and again before half of the lifetime is over.
func (b *Bus) setPeer(ctx context.Context, h agent.Heartbeat) error {
	addr := h.Capabilities.TunnelAddress
	if !addr.IsValid() {
		if text, _ := h.Capabilities.Other[agent.TunnelingIP].(string); text != "" {
			return fmt.Errorf("%w: %q is no IP address", errPeer, text)
		}
		return nil
	}
	if err := checkPeer(addr); err != nil {
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
