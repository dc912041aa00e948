package lab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/monitor"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/nlmsg"
)

// still is how long the kernel must have said nothing before writes are counted.
const still = 60 * time.Millisecond

// routeGroups are what configuration is announced in. Neighbours that the kernel learns by itself
// are not configuration, and are left out when they are read.
var routeGroups = []uint32{
	unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH,
	unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV4_NETCONF,
	unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV6_RULE, unix.RTNLGRP_IPV6_NETCONF,
	unix.RTNLGRP_NEXTHOP,
}

// Writes returns what fn changed in the namespaces at paths, one line for each notification of the
// kernel: links, addresses, routes, rules, forwarding settings, permanent neighbours
// (rtnetlink(7)), and nf_tables. What is not seen: other sysctls, iptables-legacy's tables, and
// connections, which traffic makes as well. Two kinds of notification are not counted, because the
// kernel sends them without anybody having written: a neighbour that it learned, and a link that
// differs in nothing but its operational state.
func Writes(paths []string, fn func() error) (writes []string, err error) {
	var watches []*watch
	defer func() {
		for _, w := range watches {
			err = errors.Join(err, w.close())
		}
	}()
	for _, p := range paths {
		w, err := newWatch(p)
		if err != nil {
			return nil, err
		}
		watches = append(watches, w)
	}
	if err := settle(watches); err != nil {
		return nil, err
	}
	if err := fn(); err != nil {
		return nil, err
	}
	for _, w := range watches {
		lines, err := w.drain()
		if err != nil {
			return nil, err
		}
		writes = append(writes, lines...)
	}
	return writes, nil
}

func settle(watches []*watch) error {
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		time.Sleep(still)
		quiet := true
		for _, w := range watches {
			lines, err := w.drain()
			if err != nil && !errors.Is(err, monitor.ErrOverrun) {
				return err
			}
			quiet = quiet && len(lines) == 0 && err == nil
			if quiet {
				if quiet, err = w.ready(); err != nil {
					return err
				}
			}
		}
		if quiet {
			return nil
		}
	}
	return errors.New("somebody keeps on writing, or the kernel keeps on changing things")
}

// ready says that the kernel has taken note of every carrier: only then does it complete what it
// does for the addresses of a link that came up, which may be a second later (linkwatch, in
// net/core/link_watch.c).
func (w *watch) ready() (bool, error) {
	ns, err := netns.Open(w.path)
	if errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer ns.Close()
	ready := true
	err = netns.Do(int(ns.Fd()), func() error {
		return eachLink(unix.AF_UNSPEC, func(b []byte) {
			flags := binary.NativeEndian.Uint32(b[8:])
			ready = ready && (flags&unix.IFF_LOWER_UP == 0 || flags&unix.IFF_RUNNING != 0)
		})
	})
	return ready, err
}

// watch listens to one namespace.
type watch struct {
	path  string
	route *monitor.Monitor
	nft   int
	links map[linkKey][]byte // what was last said of each link, without its operational state
}

// linkKey names a link as one family sees it: a bridge tells of its ports separately.
type linkKey struct {
	family uint8
	index  uint32
}

func newWatch(path string) (*watch, error) {
	ns, err := netns.Open(path)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	w := &watch{path: path, nft: -1, links: map[linkKey][]byte{}}
	if w.route, err = monitor.Open(int(ns.Fd()), routeGroups...); err != nil {
		return nil, err
	}
	err = netns.Do(int(ns.Fd()), func() error {
		if err := w.learn(); err != nil {
			return err
		}
		w.nft, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
		if err != nil {
			return err
		}
		if err := unix.Bind(w.nft, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return err
		}
		return unix.SetsockoptInt(w.nft, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, unix.NFNLGRP_NFTABLES)
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen in %s: %w", path, err), w.close())
	}
	return w, nil
}

// learn notes the links of the calling thread's namespace as they are.
func (w *watch) learn() error {
	for _, family := range []int{unix.AF_UNSPEC, unix.AF_BRIDGE} {
		err := eachLink(family, func(b []byte) {
			link, now := configuration(b)
			w.links[link] = now
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// eachLink calls fn with the struct ifinfomsg of each link in the calling thread's namespace, and
// its attributes.
func eachLink(family int, fn func(b []byte)) error {
	dump, err := syscall.NetlinkRIB(unix.RTM_GETLINK, family)
	if err != nil {
		return err
	}
	messages, err := syscall.ParseNetlinkMessage(dump)
	if err != nil {
		return err
	}
	for _, m := range messages {
		if m.Header.Type == unix.RTM_NEWLINK && len(m.Data) >= unix.SizeofIfInfomsg {
			fn(m.Data)
		}
	}
	return nil
}

// configuration returns what there is to configure in a struct ifinfomsg with its attributes, as
// bytes to compare.
func configuration(b []byte) (linkKey, []byte) {
	key := linkKey{b[0], binary.NativeEndian.Uint32(b[4:])}
	now := []byte{b[8] & unix.IFF_UP}
	for kind, value := range nlmsg.Attributes(b[unix.SizeofIfInfomsg:]) {
		switch kind {
		case unix.IFLA_IFNAME, unix.IFLA_ADDRESS, unix.IFLA_MTU, unix.IFLA_MASTER, unix.IFLA_IFALIAS, unix.IFLA_LINK, unix.IFLA_TXQLEN:
			now = nlmsg.Append(now, kind, value)
		}
	}
	return key, now
}

func (w *watch) close() error {
	err := w.route.Close()
	if w.nft >= 0 {
		err = errors.Join(err, unix.Close(w.nft))
	}
	return err
}

// drain returns what has been written since it was last called.
func (w *watch) drain() (lines []string, err error) {
	err = w.route.Drain(func(h unix.NlMsghdr, b []byte) {
		if what := w.describe(h, b); what != "" {
			lines = append(lines, fmt.Sprintf("%s: %s (rtnetlink type %d)", w.path, what, h.Type))
		}
	})
	if err != nil {
		return lines, err
	}
	buf := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(w.nft, buf, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return lines, nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ENOBUFS):
			lines = append(lines, w.path+": more changes of nf_tables than could be heard")
		case err != nil:
			return lines, err
		case n >= unix.SizeofNlMsghdr:
			lines = append(lines, fmt.Sprintf("%s: nf_tables (message type %#x)", w.path, binary.NativeEndian.Uint16(buf[4:])))
		}
	}
}

// describe says what a notification is about; empty if nobody has written.
func (w *watch) describe(h unix.NlMsghdr, b []byte) string {
	switch h.Type {
	case unix.RTM_NEWLINK:
		if len(b) < unix.SizeofIfInfomsg {
			return "link"
		}
		if link, now := configuration(b); !bytes.Equal(w.links[link], now) {
			w.links[link] = now
			return "link"
		}
		return ""
	case unix.RTM_DELLINK:
		return "link removed"
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		const stateAt, permanent = 8, unix.NUD_PERMANENT | unix.NUD_NOARP // struct ndmsg
		if len(b) <= stateAt+1 || binary.NativeEndian.Uint16(b[stateAt:])&permanent == 0 {
			return ""
		}
		return "permanent neighbour"
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return "address"
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return "route"
	case unix.RTM_NEWRULE, unix.RTM_DELRULE:
		return "routing rule"
	}
	return "setting"
}
