package netdev

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Of linux/ethtool.h.
const setTxChecksum = 0x17 // ETHTOOL_STXCSUM

// ChecksumInSoftware is ethtool -K dev tx off, in the calling thread's namespace. The userspace
// datapath of Open vSwitch and packet sockets hand a packet on as it is read from a device, so that
// a checksum which was left to hardware would never be made. Without the offload the kernel also
// cuts large segments before they leave.
func ChecksumInSoftware(dev string) error {
	return withSocket(func(fd int) error {
		if err := ethtool(fd, dev, setTxChecksum, 0); err != nil {
			return fmt.Errorf("turn off checksum offload of %s: %w", dev, err)
		}
		return nil
	})
}

// withSocket calls fn with a socket for ethtool.
func withSocket(fn func(fd int) error) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	return fn(fd)
}

// ethtool sends a command that is a number (struct ethtool_value). Package unix has only those that
// read drivers and time stamps.
func ethtool(fd int, dev string, command, data uint32) error {
	value := struct{ command, data uint32 }{command, data}
	request := struct { // struct ifreq of netdevice(7)
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(&value)}
	copy(request.name[:unix.IFNAMSIZ-1], dev)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		return errno
	}
	return nil
}
