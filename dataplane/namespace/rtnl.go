package namespace

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/nlmsg"
)

// writer sends the rtnetlink(7) requests by which this package changes a namespace. Many requests
// go to the kernel in one system call, which is what makes a thousand addresses cheap; and as all
// go through one socket, notifications that echo them are known by its port. vishvananda/netlink,
// which builds the requests, sends one at a time and waits for each answer.
type writer struct {
	fd   int
	port uint32
	seq  uint32
	buf  []byte
}

// maxBatch bounds what one system call carries, so that neither it nor the errors that come back
// overflow a socket's buffers.
const maxBatch = 256

// newWriter writes to the namespace that the calling thread is in.
func newWriter() (*writer, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	w := &writer{fd: fd}
	if err := w.bind(); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

func (w *writer) bind() error {
	if err := unix.Bind(w.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	sa, err := unix.Getsockname(w.fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	w.port = sa.(*unix.SockaddrNetlink).Pid
	return nil
}

func (w *writer) close() error { return unix.Close(w.fd) }

// deviceIndex returns 0 if there is no device of that name.
func (w *writer) deviceIndex(name string) (int, error) {
	r, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	err = unix.IoctlIfreq(w.fd, unix.SIOCGIFINDEX, r) // netdevice(7): any socket of the namespace will do
	if errors.Is(err, unix.ENODEV) {
		return 0, nil
	}
	return int(r.Uint32()), os.NewSyscallError("ioctl", err)
}

// request is one change. tolerate is the error that means it was made already.
type request struct {
	*nl.NetlinkRequest
	tolerate unix.Errno
}

// made reports whether an error means that the change was made already. A device whose MTU has become
// less than IPv6 needs has lost its IPv6 addresses by that.
func (r request) made(errno unix.Errno) bool {
	return errno == r.tolerate || errno == unix.ENXIO && r.Type == unix.RTM_DELADDR
}

// send makes the changes in order. It goes on after one that the kernel refuses, and returns the
// first refusal, with the number of its request.
func (w *writer) send(ctx context.Context, requests ...request) (failed int, err error) {
	failed = -1
	for start := 0; start < len(requests); start += maxBatch {
		if err := ctx.Err(); err != nil {
			return start, err
		}
		n, e := w.sendBatch(requests[start:min(start+maxBatch, len(requests))])
		if e != nil && err == nil {
			failed, err = start+n, e
		}
	}
	return failed, err
}

func (w *writer) sendBatch(requests []request) (failed int, err error) {
	first := w.seq + 1
	w.buf = w.buf[:0]
	for i, r := range requests {
		w.seq++
		r.Seq = w.seq
		r.Pid = w.port
		if i == len(requests)-1 { // a refusal is answered anyhow; success only on demand
			r.Flags |= unix.NLM_F_ACK
		}
		w.buf = append(w.buf, r.Serialize()...)
		w.buf = append(w.buf, make([]byte, nlmsg.Align(len(w.buf))-len(w.buf))...)
	}
	if err := unix.Sendto(w.fd, w.buf, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, os.NewSyscallError("sendto", err)
	}
	var answer [8192]byte
	for {
		n, _, e := unix.Recvfrom(w.fd, answer[:], 0)
		if errors.Is(e, unix.EINTR) {
			continue
		}
		if e != nil {
			return 0, os.NewSyscallError("recvfrom", e)
		}
		last := false
		malformed := nlmsg.Walk(answer[:n], func(h unix.NlMsghdr, payload []byte) {
			if h.Type != unix.NLMSG_ERROR || h.Seq < first { // not an answer, or one to a batch that was given up
				return
			}
			i, errno := int(h.Seq-first), nlmsg.Errno(payload)
			if errno != 0 && !requests[i].made(errno) && err == nil {
				failed, err = i, errno
			}
			last = last || h.Seq == w.seq
		})
		if malformed != nil {
			return failed, malformed
		}
		if last {
			return failed, err
		}
	}
}

func addAddress(index int, a address) request {
	return request{addressRequest(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, index, a), unix.EEXIST}
}

func deleteAddress(index int, a address) request {
	return request{addressRequest(unix.RTM_DELADDR, 0, index, a), unix.EADDRNOTAVAIL}
}

// reformAddress changes the form of an address that a device has. Of IPv4 the kernel changes
// nothing but lifetimes and the metric, so the address is added anew. Meanwhile the device has it
// with another length, or the kernel would take away the routes that need it.
func reformAddress(index int, to address) []request {
	if to.Addr().Is6() {
		return []request{{addressRequest(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, index, to), 0}}
	}
	meanwhile := address{Prefix: host(to.Addr()), form: form{noPrefixRoute: true}}
	if to.IsSingleIP() {
		meanwhile.Prefix = netip.PrefixFrom(to.Addr(), to.Bits()-1)
	}
	return []request{addAddress(index, meanwhile), deleteAddress(index, to), addAddress(index, to), deleteAddress(index, meanwhile)}
}

func addressRequest(proto, flags, index int, a address) *nl.NetlinkRequest {
	r := nl.NewNetlinkRequest(proto, flags)
	msg := nl.NewIfAddrmsg(nlFamily(a.Addr()))
	msg.Prefixlen = uint8(a.Bits())
	msg.Index = uint32(index)
	msg.Scope = a.scope
	if a.Addr().Is6() {
		msg.Flags = unix.IFA_F_NODAD
	}
	r.AddData(msg)
	addr := a.Addr().AsSlice()
	r.AddData(nl.NewRtAttr(unix.IFA_LOCAL, addr))
	r.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, addr))
	if a.noPrefixRoute { // a flag that has no place in the header
		r.AddData(nl.NewRtAttr(unix.IFA_FLAGS, nl.Uint32Attr(uint32(msg.Flags)|unix.IFA_F_NOPREFIXROUTE)))
	}
	return r
}

func setLink(index int, up bool) request {
	r := nl.NewNetlinkRequest(unix.RTM_NEWLINK, 0)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	msg.Change = unix.IFF_UP
	if up {
		msg.Flags = unix.IFF_UP
	}
	r.AddData(msg)
	return request{r, 0}
}

// markLoopback gives lo an alias, and takes it up.
func markLoopback(alias string) request {
	r := setLink(loopbackIndex, true)
	r.AddData(nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(alias)))
	return r
}

// addAltName gives lo another name, and deleteAltName takes one away. A kernel before 5.5 has no
// messages for it, and answers EOPNOTSUPP.
func addAltName(name string) request {
	return request{altNameRequest(unix.RTM_NEWLINKPROP, unix.NLM_F_CREATE|unix.NLM_F_EXCL, name), unix.EEXIST}
}

func deleteAltName(name string) request {
	return request{altNameRequest(unix.RTM_DELLINKPROP, 0, name), unix.ENOENT}
}

func altNameRequest(proto, flags int, name string) *nl.NetlinkRequest {
	r := nl.NewNetlinkRequest(proto, flags)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = loopbackIndex
	r.AddData(msg)
	list := nl.NewRtAttr(unix.IFLA_PROP_LIST|unix.NLA_F_NESTED, nil)
	list.AddRtAttr(unix.IFLA_ALT_IFNAME, nl.ZeroTerminated(name))
	r.AddData(list)
	return r
}

// putRoute adds a route, or replaces the one with its key. That a next hop is on the link is said,
// because for IPv6 the kernel would look for it among the routes that are there, and refuse one
// that a more specific extra route covers (ip6_route_check_nh).
func putRoute(key routeKey, h hops, index func(dev string) int) request {
	r := nl.NewNetlinkRequest(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE)
	msg := routeMessage(key)
	msg.Protocol = unix.RTPROT_STATIC
	msg.Type = unix.RTN_UNICAST
	msg.Scope = unix.RT_SCOPE_UNIVERSE
	if h.onLink() {
		msg.Scope = unix.RT_SCOPE_LINK
	}
	r.AddData(msg)
	addRouteKey(r, key)
	if src := h[0].src; src.IsValid() {
		r.AddData(nl.NewRtAttr(unix.RTA_PREFSRC, src.AsSlice()))
	}
	if len(h) == 1 {
		r.AddData(nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(index(h[0].dev)))))
		if !h.onLink() {
			msg.Flags = unix.RTNH_F_ONLINK
			r.AddData(nl.NewRtAttr(unix.RTA_GATEWAY, h[0].via.AsSlice()))
		}
		return request{r, 0}
	}
	multipath := nl.NewRtAttr(unix.RTA_MULTIPATH, nil)
	for _, way := range h {
		multipath.AddChild(&nl.RtNexthop{
			RtNexthop: unix.RtNexthop{Ifindex: int32(index(way.dev)), Flags: unix.RTNH_F_ONLINK},
			Children:  []nl.NetlinkRequestData{nl.NewRtAttr(unix.RTA_GATEWAY, way.via.AsSlice())},
		})
	}
	r.AddData(multipath)
	return request{r, 0}
}

func deleteRoute(key routeKey) request {
	r := nl.NewNetlinkRequest(unix.RTM_DELROUTE, 0)
	msg := routeMessage(key)
	msg.Scope = unix.RT_SCOPE_NOWHERE // any
	r.AddData(msg)
	addRouteKey(r, key)
	return request{r, unix.ESRCH}
}

func routeMessage(key routeKey) *nl.RtMsg {
	m := &nl.RtMsg{RtMsg: unix.RtMsg{Family: uint8(nlFamily(key.dest.Addr())), Dst_len: uint8(key.dest.Bits())}}
	m.Table = headerTable(key.table)
	return m
}

func addRouteKey(r *nl.NetlinkRequest, key routeKey) {
	if key.dest.Bits() > 0 {
		r.AddData(nl.NewRtAttr(unix.RTA_DST, key.dest.Addr().AsSlice()))
	}
	r.AddData(nl.NewRtAttr(unix.RTA_PRIORITY, nl.Uint32Attr(uint32(key.metric))))
	if headerTable(key.table) == unix.RT_TABLE_UNSPEC {
		r.AddData(nl.NewRtAttr(unix.RTA_TABLE, nl.Uint32Attr(uint32(key.table))))
	}
}

// headerTable is the table in the header of a message, which has room for a byte. A larger one is
// an attribute.
func headerTable(table int) uint8 {
	if table > 0xff {
		return unix.RT_TABLE_UNSPEC
	}
	return uint8(table)
}

// deleteNeighbour makes the kernel forget the MAC of a neighbour.
func deleteNeighbour(index int, a netip.Addr) request {
	const ndaDst = 1 // NDA_DST of linux/neighbour.h
	r := nl.NewNetlinkRequest(unix.RTM_DELNEIGH, 0)
	r.AddData(&netlink.Ndmsg{Family: uint8(nlFamily(a)), Index: uint32(index)})
	r.AddData(nl.NewRtAttr(ndaDst, a.AsSlice()))
	return request{r, unix.ENOENT}
}

func addRule(r rule) request {
	return request{ruleRequest(unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, r), unix.EEXIST}
}

func deleteRule(r rule) request { return request{ruleRequest(unix.RTM_DELRULE, 0, r), unix.ENOENT} }

func ruleRequest(proto, flags int, rule rule) *nl.NetlinkRequest {
	r := nl.NewNetlinkRequest(proto, flags)
	r.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET, Table: headerTable(rule.table), Type: unix.FR_ACT_TO_TBL}})
	r.AddData(nl.NewRtAttr(unix.FRA_PRIORITY, nl.Uint32Attr(uint32(rule.pref))))
	if proto == unix.RTM_NEWRULE { // rules of two protocols are two, even if they are the same otherwise
		protocol := uint8(unix.RTPROT_STATIC)
		if slices.Contains(standardRules(), rule) {
			protocol = unix.RTPROT_KERNEL
		}
		r.AddData(nl.NewRtAttr(unix.FRA_PROTOCOL, []byte{protocol}))
	}
	if headerTable(rule.table) == unix.RT_TABLE_UNSPEC {
		r.AddData(nl.NewRtAttr(unix.FRA_TABLE, nl.Uint32Attr(uint32(rule.table))))
	}
	if rule.mark != 0 {
		r.AddData(nl.NewRtAttr(unix.FRA_FWMARK, nl.Uint32Attr(uint32(rule.mark))))
		r.AddData(nl.NewRtAttr(unix.FRA_FWMASK, nl.Uint32Attr(uint32(rule.mark))))
	}
	return r
}

func nlFamily(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
