package explain

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	vnetlink "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/netns"
)

// cable sends into a device: by the other end of a veth, or by the switch that the device is an
// internal port of.
type cable struct {
	fd      int    // of a socket at the other end; -1: there is none
	bridges string // pattern of the sockets of the switch's bridges
	port    string
}

// openCable opens the cable of a device of a router.
func (h Host) openCable(device vnetlink.Link) (c cable, err error) {
	if kind := device.Type(); h.Switch != "" && (kind == "openvswitch" || kind == "tun" || kind == "tuntap") {
		return cable{fd: -1, bridges: filepath.Join(h.Switch, "*.mgmt"), port: device.Attrs().Name}, nil
	}
	c.fd = -1
	outside, err := netns.Open(h.NS)
	if err != nil {
		return c, err
	}
	defer outside.Close()
	err = netns.Do(int(outside.Fd()), func() (err error) {
		c.fd, err = openOtherEnd(device)
		return err
	})
	return c, err
}

// openOtherEnd runs in the namespace which that is in.
func openOtherEnd(device vnetlink.Link) (fd int, err error) {
	a := device.Attrs()
	end, err := vnetlink.LinkByIndex(a.ParentIndex)
	if err != nil || end.Type() != "veth" || end.Attrs().ParentIndex != a.Index {
		return -1, errors.Join(fmt.Errorf("device %s is not one end of a veth whose other end is on this host: nothing can be sent into it", a.Name), err)
	}
	if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: end.Attrs().Index}); err != nil {
		return -1, errors.Join(os.NewSyscallError("bind", err), unix.Close(fd))
	}
	return fd, nil
}

func (c cable) close() {
	if c.fd >= 0 {
		unix.Close(c.fd)
	}
}

// put sends a frame.
func (c cable) put(frame []byte) error {
	if c.fd < 0 {
		return c.packetOut(frame)
	}
	_, err := unix.Write(c.fd, frame)
	return os.NewSyscallError("write", err)
}

// packetOut has the switch send a frame to its port, on whichever bridge that is.
func (c cable) packetOut(frame []byte) error {
	sockets, err := filepath.Glob(c.bridges)
	if err != nil {
		return err
	}
	errs := []error{fmt.Errorf("no bridge of Open vSwitch sends to port %s", c.port)}
	for _, socket := range sockets {
		text, err := exec.Command("ovs-ofctl", "-O", "OpenFlow14", "--names", "--timeout=5", "packet-out", "unix:"+socket,
			fmt.Sprintf("in_port=controller packet=%x actions=output:%q", frame, c.port)).CombinedOutput()
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("ovs-ofctl packet-out: %w: %s", err, strings.TrimSpace(string(text))))
	}
	return errors.Join(errs...)
}
