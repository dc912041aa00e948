package lab

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Frames looks at the whole frames of a device, both ways.
type Frames struct{ fd int }

// CaptureFrames begins to look at a device.
func (h *Host) CaptureFrames(device string) (*Frames, error) {
	f := &Frames{fd: -1}
	err := h.Do(func() (err error) {
		dev, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		if f.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
			return os.NewSyscallError("socket", err)
		}
		if err := unix.SetsockoptInt(f.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, captureBuffer); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
		return os.NewSyscallError("bind", unix.Bind(f.fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: dev.Index}))
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("capture on %s of %s: %w", device, h.Name, err), f.Close())
	}
	return f, nil
}

// Each hands over the frames since the last call, as far as they are kept, without waiting. It
// fails if any was lost.
func (f *Frames) Each(look func(frame []byte)) error {
	buf := make([]byte, 2048)
	for {
		n, _, err := unix.Recvfrom(f.fd, buf, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENETDOWN):
			continue
		case errors.Is(err, unix.EAGAIN):
			stats, err := unix.GetsockoptTpacketStats(f.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
			if err == nil && stats.Drops > 0 {
				err = fmt.Errorf("%d frames were lost", stats.Drops)
			}
			return err
		case err != nil:
			return os.NewSyscallError("recvfrom", err)
		}
		look(buf[:n])
	}
}

// Close ends the capture.
func (f *Frames) Close() error {
	if f.fd < 0 {
		return nil
	}
	fd := f.fd
	f.fd = -1
	return os.NewSyscallError("close", unix.Close(fd))
}
