package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
)

// ARPRequest is an ARP message with the operation request (RFC 826): a question who has an address,
// or an announcement.
type ARPRequest struct {
	MAC            dataplane.MAC // of the sender, as the message says
	Sender, Target netip.Addr
}

// ARPCapture hears ARP requests on one device.
type ARPCapture struct {
	mu sync.Mutex
	fd int
}

// CaptureARP begins to hear the ARP requests that arrive by a device.
func (h *Host) CaptureARP(device string) (*ARPCapture, error) {
	c := &ARPCapture{fd: -1}
	err := h.Do(func() error {
		dev, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0) // hears nothing before bind
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		at := &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ARP), Ifindex: dev.Index}
		return os.NewSyscallError("bind", unix.Bind(c.fd, at))
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("capture ARP on %s of %s: %w", device, h.Name, err), c.Close())
	}
	return c, nil
}

// Requests returns what has been heard since the last call, without waiting.
func (c *ARPCapture) Requests() (requests []ARPRequest, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return nil, os.ErrClosed
	}
	buf := make([]byte, 128)
	for {
		n, _, err := unix.Recvfrom(c.fd, buf, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENETDOWN):
		case errors.Is(err, unix.EAGAIN):
			return requests, nil
		case err != nil:
			return requests, os.NewSyscallError("recvfrom", err)
		default:
			if r, ok := parseARP(buf[:n]); ok {
				requests = append(requests, r)
			}
		}
	}
}

// parseARP reads a request for an IPv4 address on Ethernet.
func parseARP(b []byte) (r ARPRequest, ok bool) {
	const length, etherIPv4, request = 28, 0x00010800, 1
	if len(b) < length || binary.BigEndian.Uint32(b) != etherIPv4 || binary.BigEndian.Uint16(b[6:]) != request {
		return r, false
	}
	return ARPRequest{
		MAC: dataplane.MAC(b[8:14]), Sender: netip.AddrFrom4([4]byte(b[14:18])), Target: netip.AddrFrom4([4]byte(b[24:28])),
	}, true
}

// Close ends the capture.
func (c *ARPCapture) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return nil
	}
	fd := c.fd
	c.fd = -1
	return os.NewSyscallError("close", unix.Close(fd))
}
