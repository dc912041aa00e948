package lab

import (
	"fmt"
	"net"
	"net/netip"
)

// Send sends so many datagrams, each an IPv4 packet of so many bytes, without waiting for anything.
// That nobody listens is no error.
func (h *Host) Send(to netip.AddrPort, count, size int) error {
	var conn *net.UDPConn
	err := h.Do(func() (err error) {
		conn, err = net.ListenUDP("udp4", nil) // not connected, so that it does not hear of errors
		return err
	})
	if err != nil {
		return fmt.Errorf("send from %s: %w", h.Name, err)
	}
	defer conn.Close()
	const headers = 28 // of IPv4 and UDP
	payload := make([]byte, size-headers)
	for range count {
		if _, err := conn.WriteToUDPAddrPort(payload, to); err != nil {
			return fmt.Errorf("send from %s to %s: %w", h.Name, to, err)
		}
	}
	return nil
}
