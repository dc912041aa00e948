package netdev

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/backoff"
	"github.com/l3kit/l3kit/internal/netns"
)

// Limit is how long to wait for what takes the kernel microseconds when it is idle.
const Limit = 10 * time.Second

// ErrNone says that devices have no carrier although somebody waited for it.
var ErrNone = errors.New("no carrier")

// Await waits until ready reports that devices in a namespace pass packets. ns is a file
// descriptor.
//
// When both ends of a veth are up, both get a carrier at once. But that a device may send, and that
// a bridge forwards to it, follows only when the kernel's link watch gets round to it
// (net/core/link_watch.c), a moment later, and on a busy machine many moments. Until then packets
// are dropped.
func Await(ctx context.Context, ns int, devices []string, ready func() (bool, error)) error {
	if len(devices) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, Limit, fmt.Errorf("%w on %s within %s", ErrNone, strings.Join(devices, ", "), Limit))
	defer cancel()
	pause := backoff.Backoff{Pause: 50 * time.Microsecond, Longest: 5 * time.Millisecond}
	for {
		if err := hurry(ns, devices); err != nil {
			return err
		}
		if ok, err := ready(); ok || err != nil {
			return err
		}
		if err := pause.Wait(ctx); err != nil {
			return err
		}
	}
}

// AwaitUp waits until devices in a namespace are operational (RFC 2863). One that is not there is
// not waited for.
func AwaitUp(ctx context.Context, ns int, devices []string) error {
	return In(ns, func(h *netlink.Handle) error {
		return Await(ctx, ns, devices, func() (bool, error) {
			for _, dev := range devices {
				l, err := Find(h, dev)
				if err != nil {
					return false, err
				}
				// A device that never tells, such as one of Open vSwitch's in the kernel, has a
				// carrier whenever it is up. Of a veth nothing is known until the kernel has looked
				// at it.
				if l != nil && l.Attrs().OperState != netlink.OperUp &&
					(l.Attrs().OperState != netlink.OperUnknown || l.Type() == "veth") {
					return false, nil
				}
			}
			return true, nil
		})
	})
}

// hurry asks for the carriers. Since 6.8 the kernel acts on them before it answers
// (linkwatch_sync_dev); before, asking is no more than that.
func hurry(ns int, devices []string) error {
	return netns.Do(ns, func() error {
		return withSocket(func(fd int) error {
			for _, dev := range devices {
				_ = ethtool(fd, dev, unix.ETHTOOL_GLINK, 0) // Await will see
			}
			return nil
		})
	})
}
