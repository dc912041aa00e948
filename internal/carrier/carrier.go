// Package carrier waits until the kernel has acted on the carriers of devices.
//
// When both ends of a veth are up, both get a carrier at once. But that a device may send, and that a bridge forwards to
// it, follows only when the kernel's link watch gets round to it (net/core/link_watch.c), a moment later, and on a busy
// machine many moments. Until then packets are dropped.
package carrier

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/netns"
)

// Limit is how long to wait for what takes the kernel microseconds when it is idle.
const Limit = 10 * time.Second

// ErrNone says that devices have no carrier although somebody waited for it.
var ErrNone = errors.New("no carrier")

// Await waits until ready reports that devices in a namespace pass packets. ns is a file descriptor.
func Await(ctx context.Context, ns int, devices []string, ready func() (bool, error)) error {
	if len(devices) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, Limit, fmt.Errorf("%w on %s within %s", ErrNone, strings.Join(devices, ", "), Limit))
	defer cancel()
	const longest = 5 * time.Millisecond
	for pause := 50 * time.Microsecond; ; pause = min(2*pause, longest) {
		if err := hurry(ns, devices); err != nil {
			return err
		}
		if ok, err := ready(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// AwaitUp waits until devices in a namespace are operational (RFC 2863). One that is not there is not waited for.
func AwaitUp(ctx context.Context, ns int, devices []string) error {
	h, err := netlink.NewHandleAt(vnetns.NsHandle(ns), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open rtnetlink socket: %w", err)
	}
	defer h.Close()
	return Await(ctx, ns, devices, func() (bool, error) {
		for _, dev := range devices {
			l, err := h.LinkByName(dev)
			if errors.As(err, new(netlink.LinkNotFoundError)) {
				continue
			}
			if err != nil {
				return false, fmt.Errorf("read device %s: %w", dev, err)
			}
			// A device that never tells, such as one of Open vSwitch's in the kernel, has a carrier whenever it is up. Of a veth nothing is known
			// until the kernel has looked at it.
			if o := l.Attrs().OperState; o != netlink.OperUp && (o != netlink.OperUnknown || l.Type() == "veth") {
				return false, nil
			}
		}
		return true, nil
	})
}

// hurry asks for the carriers. Since 6.8 the kernel acts on them before it answers (linkwatch_sync_dev); before, asking is no more than that.
func hurry(ns int, devices []string) error {
	return netns.Do(ns, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		defer unix.Close(fd)
		for _, dev := range devices {
			value := struct{ cmd, data uint32 }{cmd: unix.ETHTOOL_GLINK}
			request := struct { // struct ifreq of netdevice(7)
				name [unix.IFNAMSIZ]byte
				data unsafe.Pointer
				_    [16]byte
			}{data: unsafe.Pointer(&value)}
			copy(request.name[:unix.IFNAMSIZ-1], dev)
			// Whether it answers, and what, is not asked: ready will tell.
			_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
		}
		return nil
	})
}
