package differential

import (
	"errors"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/frame"
)

// trySelf sends a packet as a program in the router's namespace does, and receives as such a
// program does.
func (s *site) trySelf(p trial, a *answer) error {
	f := p.packet(a.Data)
	ear, err := s.rawSocket(f.Dst, int(f.Proto))
	if err != nil {
		return err
	}
	defer unix.Close(ear)
	mouth, err := s.rawSocket(f.Dst, int(f.Proto))
	if err != nil {
		return err
	}
	defer unix.Close(mouth)
	backProto, backEar := f.Proto, ear
	if p.ErrorFrom.IsValid() {
		backProto = icmpOf(f.Dst)
		if backEar, err = s.rawSocket(f.Dst, int(backProto)); err != nil {
			return err
		}
		defer unix.Close(backEar)
	}
	w, err := s.watch(func() error { return send(mouth, &f) })
	a.First, a.Source = w.seen, f.Src
	if err != nil {
		return err
	}
	taken, err := receive(ear, f.Proto, f)
	if err != nil {
		return err
	}
	a.First = append(a.First, taken...)
	if _, ok := a.delivered(); !ok {
		return nil
	}
	if err := s.sendBack(p, a); err != nil {
		return err
	}
	if taken, err = receive(backEar, backProto, f); err != nil {
		return err
	}
	a.Back = taken // and not the kernel's own refusal: it knows of no program that the answer is for
	return nil
}

func icmpOf(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.IPPROTO_ICMP
	}
	return unix.IPPROTO_ICMPV6
}

// rawSocket is a socket in the router's namespace that sends what follows the IP header, and
// receives the protocol's packets.
func (s *site) rawSocket(of netip.Addr, proto int) (fd int, err error) {
	domain := unix.AF_INET
	if of.Is6() {
		domain = unix.AF_INET6
	}
	err = s.inside.Do(func() error {
		if fd, err = unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto); err != nil {
			return os.NewSyscallError("socket", err)
		}
		if domain == unix.AF_INET6 {
			return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1))
		}
		return nil
	})
	return fd, err
}

// send sends the packet, and fills in the source that the kernel chooses. It is no error that the
// kernel refuses: then nothing is sent.
func send(fd int, f *frame.Packet) error {
	given := f.Src.IsValid() && !f.Src.IsUnspecified()
	refused := given && unix.Bind(fd, sockaddr(f.Src)) != nil || unix.Connect(fd, sockaddr(f.Dst)) != nil
	if refused {
		return nil
	}
	own, err := unix.Getsockname(fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	f.Src = addrOf(own)
	_ = unix.Send(fd, f.Transport(), 0)
	return nil
}

// receive returns the packets that a socket has received, other than the one that was sent: the
// router may have sent it to itself.
func receive(fd int, proto uint8, sent frame.Packet) (list []sighting, err error) {
	control := make([]byte, 256)
	for {
		buf := make([]byte, 2048)
		n, cn, _, from, err := unix.Recvmsg(fd, buf, control, 0)
		if errors.Is(err, unix.EAGAIN) {
			return list, nil
		}
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EHOSTUNREACH) {
			continue
		}
		if err != nil {
			return list, os.NewSyscallError("recvmsg", err)
		}
		var p frame.Packet
		var ok bool
		if sent.Dst.Is4() {
			p, ok = frame.ParsePacket(buf[:n])
		} else { // the kernel keeps the header to itself
			dst, err := packetInfo(control[:cn])
			if err != nil {
				return list, err
			}
			p, ok = frame.ParseTransport(addrOf(from), dst, proto, buf[:n])
		}
		if !ok || housekeeping(p) || p.Type == sent.Type && p.Src == sent.Src && p.Dst == sent.Dst && string(p.Data) == string(sent.Data) {
			continue
		}
		list = append(list, sighting{Packet: p})
	}
}

func packetInfo(control []byte) (netip.Addr, error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, m := range messages {
		if m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= 16 {
			return netip.AddrFrom16([16]byte(m.Data)), nil
		}
	}
	return netip.Addr{}, errors.New("no IPV6_PKTINFO")
}

func sockaddr(a netip.Addr) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4()}
	}
	return &unix.SockaddrInet6{Addr: a.As16()}
}

func addrOf(s unix.Sockaddr) netip.Addr {
	switch s := s.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(s.Addr)
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(s.Addr)
	}
	return netip.Addr{}
}
