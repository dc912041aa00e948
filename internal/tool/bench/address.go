package main

import (
	"errors"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/netns"
)

// crowd is a device with as many addresses as a gateway with floating IPs, in a namespace with
// nothing else. It shows what the kernel alone takes for one more: it looks at each address of the
// device twice (find_matching_ifa and __inet_insert_ifa in net/ipv4/devinet.c).
type crowd struct {
	ns     *os.File
	socket int
}

const crowdIndex = 100 // high above what the kernel gives to the other end

func newCrowd(n int) (_ *crowd, err error) {
	c := &crowd{socket: -1}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	if c.ns, err = netns.New(nil); err != nil {
		return nil, err
	}
	if c.socket, err = newSocket(int(c.ns.Fd())); err != nil {
		return nil, err
	}
	if err := sendAll(c.socket, []*nl.NetlinkRequest{crowdLink(), floorAddress(crowdIndex, router("crowd", 0).Gateway.Addrs[0])}); err != nil {
		return nil, err
	}
	for i := range n {
		if err := c.add(i); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func crowdLink() *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index, msg.Flags, msg.Change = crowdIndex, unix.IFF_UP, unix.IFF_UP
	req.AddData(msg)
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, []byte("veth"))
	req.AddData(info)
	return req
}

// add adds the address of the i-th floating IP.
func (c *crowd) add(i int) error {
	return sendAll(c.socket, []*nl.NetlinkRequest{floorAddress(crowdIndex, prefix(i))})
}

func (c *crowd) remove(i int) error {
	req := floorAddress(crowdIndex, prefix(i))
	req.Type, req.Flags = unix.RTM_DELADDR, unix.NLM_F_REQUEST
	return sendAll(c.socket, []*nl.NetlinkRequest{req})
}

func prefix(i int) netip.Prefix { return netip.PrefixFrom(floatingIP(i).Addr, 32) }

// oneMore returns how long the adding of the i-th address takes, and removes it again.
func (c *crowd) oneMore(i int) (time.Duration, error) {
	took, err := timed(func() error { return c.add(i) })
	return took, errors.Join(err, c.remove(i))
}

func (c *crowd) close() error {
	var errs []error
	if c.socket >= 0 {
		errs = append(errs, unix.Close(c.socket))
	}
	if c.ns != nil {
		errs = append(errs, c.ns.Close())
	}
	return errors.Join(errs...)
}
