package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/nlmsg"
)

// floor makes the state of a router with the least netlink work that can make it, and the table
// that write writes (see [floorTable] and [leastTable]): a namespace with a name, a veth pair a
// port in one message each, all addresses, links and routes in one system call, one nftables
// transaction; no reads, no sysctls, no checks. A veth pair is made as ip-link makes one, with as
// many queues as the kernel likes. It takes everything away again, and returns how long the making
// took.
func floor(s *stage, r dataplane.Router, write tableWriter) (time.Duration, error) {
	host, err := netns.Open(s.lab.HostNS)
	if err != nil {
		return 0, err
	}
	defer host.Close()
	bridges, err := bridgesOf(host, r)
	if err != nil {
		return 0, err
	}
	hostSocket, err := newSocket(int(host.Fd()))
	if err != nil {
		return 0, err
	}
	defer unix.Close(hostSocket)

	const name = "floor"
	var ns *os.File
	took, err := timed(func() (err error) {
		ns, err = floorRouter(s.lab.Dir, name, hostSocket, bridges, r, write)
		return err
	})
	if err != nil {
		return 0, err
	}
	return took, errors.Join(floorAway(host, name, r), netns.Remove(s.lab.Dir, name), ns.Close())
}

// tableWriter writes a table for a router into the namespace that fd is open on.
type tableWriter func(fd int, r dataplane.Router) error

// floorRouter makes one router, under a name of its own.
func floorRouter(dir, name string, hostSocket int, bridges []int, r dataplane.Router, write tableWriter) (ns *os.File, err error) {
	if ns, err = netns.Create(dir, name, "", nil); err != nil {
		return nil, err
	}
	if err = floorLinks(hostSocket, ns, name, bridges, r); err != nil {
		err = fmt.Errorf("links: %w", err)
	} else if err = write(int(ns.Fd()), r); err != nil {
		err = fmt.Errorf("nftables: %w", err)
	} else {
		err = floorInside(ns, r)
	}
	if err != nil {
		return nil, errors.Join(err, ns.Close(), netns.Remove(dir, name))
	}
	return ns, nil
}

func floorPorts(r dataplane.Router) []dataplane.Port {
	return append(r.Ports[:len(r.Ports):len(r.Ports)], r.Gateway.Port)
}

// Devices inside get the indexes 2, 3, 4 in the order of their making, which saves the floor from
// asking.
const firstIndex = 2

func bridgesOf(host *os.File, r dataplane.Router) ([]int, error) {
	h, err := netlink.NewHandleAt(vnetns.NsHandle(host.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	var list []int
	for _, p := range floorPorts(r) {
		l, err := h.LinkByName("brq" + p.Network.ID)
		if err != nil {
			return nil, err
		}
		list = append(list, l.Attrs().Index)
	}
	return list, nil
}

func newSocket(fd int) (s int, err error) {
	err = netns.Do(fd, func() error {
		s, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
		return err
	})
	return s, err
}

func floorLinks(socket int, ns *os.File, name string, bridges []int, r dataplane.Router) error {
	var requests []*nl.NetlinkRequest
	for i, p := range floorPorts(r) {
		req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
		msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
		msg.Flags, msg.Change = unix.IFF_UP, unix.IFF_UP
		req.AddData(msg)
		req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(floorDevice(name, i))))
		req.AddData(nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(p.MTU))))
		req.AddData(nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(bridges[i]))))
		info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
		info.AddRtAttr(nl.IFLA_INFO_KIND, []byte("veth"))
		peer := info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.VETH_INFO_PEER, nil)
		nl.NewIfInfomsgChild(peer, unix.AF_UNSPEC)
		peer.AddRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(fmt.Sprint("qr-", i)))
		peer.AddRtAttr(unix.IFLA_ADDRESS, p.MAC[:])
		peer.AddRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(p.MTU)))
		peer.AddRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(ns.Fd())))
		req.AddData(info)
		requests = append(requests, req)
	}
	return sendAll(socket, requests)
}

func floorInside(ns *os.File, r dataplane.Router) error {
	socket, err := newSocket(int(ns.Fd()))
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	var requests []*nl.NetlinkRequest
	for i, p := range floorPorts(r) {
		for _, a := range p.Addrs {
			requests = append(requests, floorAddress(firstIndex+i, a))
		}
	}
	gateway := firstIndex + len(r.Ports)
	for _, f := range r.FloatingIPs {
		requests = append(requests, floorAddress(gateway, netip.PrefixFrom(f.Addr, 32)))
	}
	for i := 1; i <= gateway; i++ {
		req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, 0)
		msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
		msg.Index, msg.Flags, msg.Change = int32(i), unix.IFF_UP, unix.IFF_UP
		req.AddData(msg)
		requests = append(requests, req)
	}
	for _, via := range r.Gateway.NextHops {
		req := nl.NewNetlinkRequest(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
		msg := nl.NewRtMsg()
		msg.Family = unix.AF_INET
		req.AddData(msg)
		req.AddData(nl.NewRtAttr(unix.RTA_GATEWAY, via.AsSlice()))
		requests = append(requests, req)
	}
	return sendAll(socket, requests)
}

func floorAddress(index int, p netip.Prefix) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	msg := nl.NewIfAddrmsg(unix.AF_INET)
	msg.Index, msg.Prefixlen = uint32(index), uint8(p.Bits())
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFA_LOCAL, p.Addr().AsSlice()))
	req.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, p.Addr().AsSlice()))
	return req
}

// sendAll sends the requests in one system call, and waits for the answer to the last.
func sendAll(socket int, requests []*nl.NetlinkRequest) error {
	var b []byte
	for i, r := range requests {
		if i == len(requests)-1 {
			r.Flags |= unix.NLM_F_ACK
		}
		b = append(b, r.Serialize()...)
		b = append(b, make([]byte, nlmsg.Align(len(b))-len(b))...)
	}
	if err := unix.Sendto(socket, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 8192)
	n, _, err := unix.Recvfrom(socket, answer, 0)
	if err != nil {
		return err
	}
	if errno := nlmsg.Errno(answer[unix.SizeofNlMsghdr:n]); errno != 0 {
		return errno
	}
	return nil
}

// floorDevice is the host's end of a router's i-th port.
func floorDevice(name string, i int) string { return fmt.Sprint(name, ".", i) }

// floorAway takes the devices away from the host's side, where they go at once.
func floorAway(host *os.File, name string, r dataplane.Router) error {
	h, err := netlink.NewHandleAt(vnetns.NsHandle(host.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	var errs []error
	for i := range floorPorts(r) {
		l, err := h.LinkByName(floorDevice(name, i))
		if err == nil {
			err = h.LinkDel(l)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
