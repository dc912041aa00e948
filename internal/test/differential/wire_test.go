package differential

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/frame"
	"github.com/l3kit/l3kit/internal/test/lab"
)

// wires are the far ends of all of a router's networks: one socket that puts frames on them and
// sees every frame.
type wires struct {
	fd      int
	device  map[string]int // by network
	network map[int]string // by device
	buf     []byte
}

// patience bounds the wait for what must come. Nothing is ever waited for that must not.
const patience = 10 * time.Second

func openWires(h *lab.Host, networks []string) (*wires, error) {
	w := &wires{fd: -1, device: map[string]int{}, network: map[int]string{}, buf: make([]byte, 2048)}
	err := h.Do(func() error {
		for i, network := range networks {
			dev, err := net.InterfaceByName(fmt.Sprintf("eth%d", i))
			if err != nil {
				return err
			}
			w.device[network], w.network[dev.Index] = dev.Index, network
		}
		var err error
		if w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil { // hears nothing before bind
			return os.NewSyscallError("socket", err)
		}
		if err := unix.SetsockoptInt(w.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
		all := uint16(unix.ETH_P_ALL)<<8 | unix.ETH_P_ALL>>8
		return os.NewSyscallError("bind", unix.Bind(w.fd, &unix.SockaddrLinklayer{Protocol: all}))
	})
	return w, err
}

func (w *wires) close() error { return unix.Close(w.fd) }

func (w *wires) send(network string, b []byte) error {
	err := unix.Sendto(w.fd, b, 0, &unix.SockaddrLinklayer{Ifindex: w.device[network]})
	return os.NewSyscallError("sendto", err)
}

// poll returns a frame that has arrived and its network, which is empty when there is none yet.
func (w *wires) poll() (f frame.Frame, network string, err error) {
	for {
		n, from, err := unix.Recvfrom(w.fd, w.buf, 0)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return f, "", nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENETDOWN):
			continue
		case err != nil:
			return f, "", os.NewSyscallError("recvfrom", err)
		}
		ll, is := from.(*unix.SockaddrLinklayer)
		if f, ok := frame.Parse(slices.Clone(w.buf[:n])); ok && is && w.network[ll.Ifindex] != "" {
			return f, w.network[ll.Ifindex], nil
		}
	}
}

// next waits for a frame. When none comes until then, the error is [os.ErrDeadlineExceeded].
func (w *wires) next(until time.Time) (frame.Frame, string, error) {
	for {
		if f, network, err := w.poll(); network != "" || err != nil {
			return f, network, err
		}
		left := time.Until(until)
		if left <= 0 {
			return frame.Frame{}, "", os.ErrDeadlineExceeded
		}
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return frame.Frame{}, "", os.NewSyscallError("poll", err)
		}
	}
}

// neighbourMAC is the MAC of whoever has an address. It tells the address: all of an IPv4 address,
// and those bytes of an IPv6 address in which the ones that are drawn differ.
func neighbourMAC(a netip.Addr) dataplane.MAC {
	m := dataplane.MAC{0x02, 4}
	b := a.AsSlice()
	if a.Is6() {
		m[1] = 6
		b = []byte{b[0], b[5], b[7], b[15]}
	}
	binary.BigEndian.PutUint32(m[2:], binary.BigEndian.Uint32(b))
	return m
}
