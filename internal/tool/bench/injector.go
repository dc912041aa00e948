package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/test/lab"
)

// injector puts ready-made frames on a host's eth0, many in one system call, so that what is
// measured is what becomes of them.
type injector struct {
	fd    int
	batch []mmsghdr
	iovs  []unix.Iovec
}

// mmsghdr is struct mmsghdr of sendmmsg(2).
type mmsghdr struct {
	hdr  unix.Msghdr
	sent uint32
	_    [4]byte
}

const batchLen = 64

func newInjector(h *lab.Host) (*injector, error) {
	in := &injector{fd: -1, batch: make([]mmsghdr, batchLen), iovs: make([]unix.Iovec, batchLen)}
	nl, err := netlink.NewHandleAt(vnetns.NsHandle(h.FD()), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer nl.Close()
	l, err := nl.LinkByName("eth0")
	if err != nil {
		return nil, err
	}
	err = h.Do(func() error {
		if in.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return unix.Bind(in.fd, &unix.SockaddrLinklayer{Ifindex: l.Attrs().Index})
	})
	return in, err
}

func (in *injector) close() error { return unix.Close(in.fd) }

// send puts n frames on the wire; frame returns the i-th, which must stay as it is until batchLen
// further calls.
func (in *injector) send(n int, frame func(i int) []byte) error {
	for i := 0; i < n; {
		k := min(batchLen, n-i)
		for j := range k {
			f := frame(i + j)
			in.iovs[j] = unix.Iovec{Base: &f[0], Len: uint64(len(f))}
			in.batch[j].hdr = unix.Msghdr{Iov: &in.iovs[j], Iovlen: 1}
		}
		sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(in.fd), uintptr(unsafe.Pointer(&in.batch[0])), uintptr(k), 0, 0, 0)
		runtime.KeepAlive(in)
		if errno != 0 {
			return fmt.Errorf("sendmmsg: %w", errno)
		}
		i += int(sent)
	}
	return nil
}

// rate sends n frames and returns how many a second arrived at the receiver's eth0.
func (in *injector) rate(n int, frame func(i int) []byte, receiver *lab.Host) (float64, error) {
	before, err := received(receiver)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if err := in.send(n, frame); err != nil {
		return 0, err
	}
	took := time.Since(start)
	time.Sleep(50 * time.Millisecond)
	after, err := received(receiver)
	if err != nil {
		return 0, err
	}
	arrived := int(after - before)
	if arrived < n*99/100 {
		return 0, fmt.Errorf("%d of %d frames arrived", arrived, n)
	}
	return float64(arrived) / took.Seconds(), nil
}

func received(h *lab.Host) (uint64, error) {
	nl, err := netlink.NewHandleAt(vnetns.NsHandle(h.FD()), unix.NETLINK_ROUTE)
	if err != nil {
		return 0, err
	}
	defer nl.Close()
	l, err := nl.LinkByName("eth0")
	if err != nil {
		return 0, err
	}
	return l.Attrs().Statistics.RxPackets, nil
}

const (
	ethernetLen = 14
	ipv4Len     = 20
	udpLen      = 8
	payloadLen  = 18
)

// udpFrame makes a frame with a UDP datagram. The UDP checksum is left out, as IPv4 allows (RFC
// 768).
func udpFrame(from, to dataplane.MAC, src, dst netip.AddrPort) []byte {
	f := make([]byte, ethernetLen+ipv4Len+udpLen+payloadLen)
	copy(f, to[:])
	copy(f[6:], from[:])
	binary.BigEndian.PutUint16(f[12:], unix.ETH_P_IP)
	ip := f[ethernetLen:]
	ip[0], ip[8], ip[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	udp := ip[ipv4Len:]
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	readdress(f, src, dst)
	return f
}

// readdress writes other addresses and ports into a frame.
func readdress(f []byte, src, dst netip.AddrPort) {
	ip := f[ethernetLen:]
	copy(ip[12:], src.Addr().AsSlice())
	copy(ip[16:], dst.Addr().AsSlice())
	binary.BigEndian.PutUint16(ip[ipv4Len:], src.Port())
	binary.BigEndian.PutUint16(ip[ipv4Len+2:], dst.Port())
	binary.BigEndian.PutUint16(ip[10:], 0)
	var sum uint32
	for i := 0; i < ipv4Len; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
}
