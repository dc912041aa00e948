package lab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Capture looks at the packets of one device.
type Capture struct {
	mu  sync.Mutex
	fd  int
	buf []byte
	all bool // also what is for others
}

const (
	captureBuffer = 32 << 20 // bytes of packets that may wait to be looked at
	snapLen       = 256      // enough for the headers of an ICMP error and of what it is about
)

// Capture begins to look at a device: eth0 for a workload. What it catches is kept by the kernel
// until it is asked for.
func (h *Host) Capture(device string) (*Capture, error) {
	return h.capture(device, &Capture{fd: -1, buf: make([]byte, snapLen)})
}

// CaptureAll is Capture that also looks at what is for others, as on a device of a bridge.
func (h *Host) CaptureAll(device string) (*Capture, error) {
	return h.capture(device, &Capture{fd: -1, buf: make([]byte, snapLen), all: true})
}

func (h *Host) capture(device string, c *Capture) (*Capture, error) {
	err := h.Do(func() error {
		dev, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		all := htons(unix.ETH_P_ALL)
		c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0) // hears nothing before bind
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, captureBuffer); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
		return os.NewSyscallError("bind", unix.Bind(c.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: dev.Index}))
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("capture on %s of %s: %w", device, h.Name, err), c.Close())
	}
	return c, nil
}

// Packets returns the IP packets since the last call, without waiting. A packet that the host has
// received, and maybe answered, is among them. It fails if any was lost.
func (c *Capture) Packets() ([]Packet, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return nil, os.ErrClosed
	}
	var packets []Packet
	for {
		n, from, err := unix.Recvfrom(c.fd, c.buf, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENETDOWN) { // the latter once, when the device goes down
			continue
		}
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			return packets, os.NewSyscallError("recvfrom", err)
		}
		p, ok := parse(c.buf[:n])
		if ll, is := from.(*unix.SockaddrLinklayer); ok && is && (c.all || ll.Pkttype != unix.PACKET_OTHERHOST) {
			p.Sent = ll.Pkttype == unix.PACKET_OUTGOING
			packets = append(packets, p)
		}
	}
	stats, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return packets, os.NewSyscallError("getsockopt", err)
	}
	if stats.Drops > 0 {
		return packets, fmt.Errorf("%d packets were captured, %d lost", len(packets), stats.Drops)
	}
	return packets, nil
}

// Close ends the capture.
func (c *Capture) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return nil
	}
	fd := c.fd
	c.fd = -1
	return os.NewSyscallError("close", unix.Close(fd))
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }
