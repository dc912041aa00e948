package explain

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	vnetlink "github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/dump"
	"github.com/l3kit/l3kit/internal/frame"
	"github.com/l3kit/l3kit/internal/netns"
)

// site is a router on this host, open to be watched, and to be sent to by one of its ports.
type site struct {
	router dataplane.Router
	in     dataplane.Port
	device string         // of that port
	mac    dataplane.MAC  //
	ports  map[int]string // IDs by index of device
	ear    int            // sees what the router's devices send
	cable  cable          // of the port
	flows  connections
	links  *vnetlink.Handle
}

// openSite fails with [os.ErrNotExist] when the router, or its port, is not on the host.
func openSite(h Host, r dataplane.Router, in string) (_ *site, err error) {
	s := &site{router: r, ports: map[int]string{}, ear: -1, cable: cable{fd: -1}}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	inside, err := netns.Open(filepath.Join(h.dir(), dataplane.NamespaceName(r.ID)))
	if err != nil {
		return nil, fmt.Errorf("the router is not on this host: %w", err)
	}
	defer inside.Close()
	var device vnetlink.Link
	if err := netns.Do(int(inside.Fd()), func() (err error) {
		device, err = s.findDevices(in)
		if err == nil {
			s.ear, err = listen(nil)
		}
		return err
	}); err != nil {
		return nil, err
	}
	if s.cable, err = h.openCable(device); err != nil {
		return nil, err
	}
	if s.links, err = vnetlink.NewHandleAt(vnetns.NsHandle(inside.Fd()), unix.NETLINK_ROUTE); err != nil {
		return nil, err
	}
	s.flows, err = openConnections(inside)
	return s, err
}

func (s *site) close() {
	if s.ear >= 0 {
		unix.Close(s.ear)
	}
	s.cable.close()
	s.flows.close()
	if s.links != nil {
		s.links.Close()
	}
}

// findDevices notes the devices of all ports, and returns that of one. It runs in the router's
// namespace.
func (s *site) findDevices(in string) (vnetlink.Link, error) {
	var device vnetlink.Link
	for _, p := range ports(s.router) {
		name := dataplane.PortDevice(p.ID)
		if g := s.router.Gateway; g != nil && p.ID == g.ID {
			name = dataplane.GatewayDevice(p.ID)
		}
		l, err := vnetlink.LinkByName(name)
		if err != nil {
			return nil, &dataplane.OpError{Op: "find device", Object: name, Err: err}
		}
		s.ports[l.Attrs().Index] = p.ID
		if p.ID == in {
			device, s.in, s.device = l, p, name
			copy(s.mac[:], l.Attrs().HardwareAddr)
		}
	}
	return device, nil
}

// listen opens a socket that sees the frames of all devices of the calling thread's namespace, or
// those that pass a filter.
func listen(filter []bpf.RawInstruction) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0) // hears nothing before bind
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if len(filter) > 0 {
		var program []unix.SockFilter
		for _, i := range filter {
			program = append(program, unix.SockFilter{Code: i.Op, Jt: i.Jt, Jf: i.Jf, K: i.K})
		}
		err = os.NewSyscallError("setsockopt", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}))
	}
	const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // in network order
	if err == nil {
		err = os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all}))
	}
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// receive waits for the next frame that the router sends by one of its ports.
func (s *site) receive(ctx context.Context) (f frame.Frame, port string, err error) {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := unix.Recvfrom(s.ear, buf, 0)
		switch {
		case errors.Is(err, unix.EAGAIN):
			const glance = 10 * time.Millisecond // so that a context that ends is seen
			if err := ctx.Err(); err != nil {
				return f, "", err
			}
			_, err = unix.Poll([]unix.PollFd{{Fd: int32(s.ear), Events: unix.POLLIN}}, int(glance.Milliseconds()))
			if err != nil && !errors.Is(err, unix.EINTR) {
				return f, "", os.NewSyscallError("poll", err)
			}
			continue
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENETDOWN):
			continue
		case err != nil:
			return f, "", os.NewSyscallError("recvfrom", err)
		}
		ll, is := from.(*unix.SockaddrLinklayer)
		if !is || ll.Pkttype != unix.PACKET_OUTGOING || s.ports[ll.Ifindex] == "" {
			continue
		}
		if f, ok := frame.Parse(buf[:n]); ok {
			return f, s.ports[ll.Ifindex], nil
		}
	}
}

// own is an address of the port, of IPv4 if it has one.
func (s *site) own() (netip.Addr, bool) {
	for _, a := range s.in.Addrs {
		if a.Addr().Is4() {
			return a.Addr(), true
		}
	}
	if len(s.in.Addrs) == 0 {
		return netip.Addr{}, false
	}
	return s.in.Addrs[0].Addr(), true
}

// settle waits until the router asks for none of the neighbours that it may need for a packet or
// its answer: while it does, it holds packets back without a further question, and nothing would be
// seen.
func (s *site) settle(ctx context.Context, p dataplane.Packet, paths []dataplane.Trace) error {
	paths = append(dataplane.NewModel(s.router).Paths(dataplane.Packet{Dst: p.Src}), paths...)
	var needed []netip.Addr
	for _, t := range paths {
		needed = append(needed, t.NextHops...)
	}
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for {
		asked, err := s.resolving(needed)
		if err != nil || !asked.IsValid() {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the router asks for %s all the time, who does not answer: while it does, no packet to there can be watched", asked)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// resolving returns one of the neighbours whose MAC the router waits for.
func (s *site) resolving(needed []netip.Addr) (netip.Addr, error) {
	for device := range s.ports {
		neighbours, err := dump.Complete(func() ([]vnetlink.Neigh, error) { return s.links.NeighList(device, unix.AF_UNSPEC) })
		if err != nil {
			return netip.Addr{}, fmt.Errorf("list neighbours: %w", err)
		}
		for _, n := range neighbours {
			if a, ok := netip.AddrFromSlice(n.IP); ok && n.State == vnetlink.NUD_INCOMPLETE && slices.Contains(needed, a.Unmap()) {
				return a.Unmap(), nil
			}
		}
	}
	return netip.Addr{}, nil
}

// noWay says that the kernel has no route for what comes in by the port.
func (s *site) noWay(src, dst netip.Addr) bool {
	_, err := s.links.RouteGetWithOptions(dst.AsSlice(), &vnetlink.RouteGetOptions{Iif: s.device, SrcAddr: src.AsSlice()})
	return errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH)
}

// owns says that an address is one of the router's.
func (s *site) owns(a netip.Addr) bool {
	floating := slices.ContainsFunc(s.router.FloatingIPs, func(f dataplane.FloatingIP) bool { return f.Addr == a })
	four, six := dataplane.MetadataAddrs()
	metadata := s.router.Metadata && (a == four || a == six)
	return floating || metadata || slices.Contains(s.router.ForwardingAddrs(), a) || slices.ContainsFunc(ports(s.router), func(p dataplane.Port) bool {
		return slices.ContainsFunc(p.Addrs, func(own netip.Prefix) bool { return own.Addr() == a })
	})
}

// onOneCPU runs fn on a thread that does not move.
func onOneCPU(fn func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return os.NewSyscallError("sched_getaffinity", err)
	}
	cpu := 0
	for !before.IsSet(cpu) {
		cpu++
	}
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return os.NewSyscallError("sched_setaffinity", err)
	}
	return errors.Join(fn(), os.NewSyscallError("sched_setaffinity", unix.SchedSetaffinity(0, &before)))
}
