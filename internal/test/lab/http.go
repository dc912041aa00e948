package lab

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strconv"
)

// HTTP returns a client that asks from this host, each time by a new connection. A zero address of
// from is for the host to choose; link-local ones are on eth0.
func (h *Host) HTTP(from netip.Addr) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (c net.Conn, err error) {
			to, err := netip.ParseAddrPort(address)
			if err != nil {
				return nil, err
			}
			var d net.Dialer
			if from.IsValid() {
				d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
			}
			err = h.Do(func() error {
				if to.Addr().Is6() && to.Addr().IsLinkLocalUnicast() {
					dev, err := net.InterfaceByName(device(0))
					if err != nil {
						return err
					}
					to = netip.AddrPortFrom(to.Addr().WithZone(strconv.Itoa(dev.Index)), to.Port())
				}
				c, err = d.DialContext(ctx, network, to.String())
				return err
			})
			return c, err
		},
	}}
}
