package service

import (
	"context"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
)

// The least MTU of a network: RFC 791, and RFC 8200 where it has an IPv6 subnet.
const (
	minMTU  = 68
	minMTU6 = 1280
)

// overhead is how many bytes of the underlying network's MTU go to encapsulation over IPv4: outer
// Ethernet and IP headers and the tunnel's own.
func overhead(t dataplane.NetworkType) int {
	const ip, udp, ethernet = 20, 8, 14
	switch t {
	case dataplane.NetworkVXLAN:
		return ip + udp + 8 + ethernet // RFC 7348
	case dataplane.NetworkGeneve:
		return ip + udp + 8 + ethernet // RFC 8926, without options
	case dataplane.NetworkGRE:
		return ip + 8 + ethernet // RFC 2890, with a key
	}
	return 0
}

// mtu is the one that was asked for; 0: the largest that all segments carry.
func (s *Service) mtu(n l3.Network, asked int) (int, error) {
	most := s.config.PhysicalMTU
	for _, seg := range n.Segments {
		most = min(most, s.config.PhysicalMTU-overhead(seg.Type))
	}
	switch {
	case asked == 0:
		return most, nil
	case asked > most:
		return 0, invalid("Invalid input for mtu. Reason: Requested MTU is too big, maximum is %d.", most)
	case asked < minMTU:
		return 0, invalid("Invalid input for mtu. Reason: Requested MTU is too small, minimum is %d.", minMTU)
	}
	return asked, nil
}

func (s *Service) changeMTU(ctx context.Context, w *work, n *l3.Network, asked *int) (err error) {
	if asked == nil || *asked == n.MTU {
		return nil
	}
	if n.MTU, err = s.mtu(*n, *asked); err != nil || n.MTU >= minMTU6 {
		return err
	}
	subnets, err := w.Subnets().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("network_id", n.ID)}})
	for _, sub := range subnets {
		if sub.IPVersion == 6 {
			return mtuTooSmall(n.ID)
		}
	}
	return err
}

func mtuTooSmall(network string) error {
	return conflict("NetworkMTUSubnetConflict", "MTU of %s is not valid, subnet requires a minimum of %d", network, minMTU6)
}
