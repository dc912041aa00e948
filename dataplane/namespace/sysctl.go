package namespace

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
)

// sysctl is a setting below /proc/sys/net (ip-sysctl.rst, nf_conntrack-sysctl.rst of the kernel).
type sysctl struct {
	name, value string
	// unread says that it need not be read to know that a router is as it was left: the kernel
	// sends a notification when it changes (RTM_NEWNETCONF), or it matters when a device is made,
	// which a full convergence does.
	unread bool
}

// sysctls are the settings of every router's namespace. Devices are made after them and inherit
// "default"; "all" is set where the kernel combines it with the device's own value (maximum or
// logical or). A namespace starts with the IPv4 settings of the host's own
// (net.core.devconf_inherit_init_net), hence also what looks like a default here. ip_forward comes
// first because changing it resets the others (RFC 1122 host or RFC 1812 router).
var sysctls = []sysctl{
	{"ipv4/ip_forward", "1", true},
	{"ipv4/conf/all/rp_filter", "0", true},
	{"ipv4/conf/default/rp_filter", "0", true},
	{"ipv4/conf/all/send_redirects", "0", false},
	{"ipv4/conf/default/send_redirects", "0", false},
	{"ipv4/conf/all/proxy_arp", "0", true},
	{"ipv4/conf/default/proxy_arp", "0", true},
	{"ipv4/conf/all/arp_ignore", "1", false},
	{"ipv4/conf/all/arp_announce", "2", false},
	{"ipv4/conf/all/promote_secondaries", "1", false}, // another address of a subnet survives when the first one goes
	{"ipv4/fib_multipath_hash_policy", "1", false},    // ECMP by flow, not by pair of hosts
	{"ipv6/conf/all/forwarding", "1", true},
	generateMode,
	{"ipv6/conf/default/accept_ra", "0", false},
	{"ipv6/conf/default/accept_dad", "0", false},
	{"ipv6/conf/default/dad_transmits", "0", false},
	{"ipv6/conf/all/keep_addr_on_down", "1", false}, // as IPv4 does, so that a link may be taken down and up again
	{"ipv6/fib_multipath_hash_policy", "1", false},
	conntrackSysctl,
}

// generateMode is none (1): link-local addresses are made like the others. While anybody else holds
// the kernel's lock for configuration (RTNL), which all namespaces share, a thread that reads it
// does not sleep, but is sent back to begin the system call again and again (restart_syscall in
// addrconf_sysctl_addr_gen_mode, net/ipv6/addrconf.c). On a busy host that takes most of the time
// of an Apply that has little to do.
var generateMode = sysctl{"ipv6/conf/default/addr_gen_mode", "1", true}

// conntrackSysctl exists once the kernel has connection tracking, which on many the first rules
// bring in: then it is set after those.
var conntrackSysctl = sysctl{"netfilter/nf_conntrack_tcp_be_liberal", "1", false}

func (s sysctl) path() string { return "/proc/sys/net/" + s.name }

// dotted is the name as sysctl(8) writes it.
func (s sysctl) dotted() string { return "net." + strings.ReplaceAll(s.name, "/", ".") }

func (s sysctl) String() string { return s.dotted() + " = " + s.value }

// reflectMark makes answers of the kernel, such as ICMP errors, take the way of the packets that
// they answer. Edges need it: what came by the gateway is answered by the gateway.
func reflectMark(on bool) sysctl {
	s := sysctl{"ipv4/fwmark_reflect", "0", false}
	if on {
		s.value = "1"
	}
	return s
}

// acceptLocal lets packets in that have one of the router's own addresses as their source: on the
// transit they are other instances', which have the same.
func acceptLocal(dev string) sysctl {
	return sysctl{"ipv4/conf/" + dev + "/accept_local", "1", false}
}

// ofInstance lists the settings of an instance of a distributed router, beside those of every
// router.
func ofInstance(r dataplane.Router) (list []sysctl) {
	if isEdge(r) {
		list = append(list, reflectMark(true))
	}
	if r.Transit != nil {
		list = append(list, acceptLocal(dataplane.TransitDevice(r.Transit.ID)))
	}
	return list
}

func valueOf(list []sysctl, name string) string {
	i := slices.IndexFunc(list, func(s sysctl) bool { return s.name == name })
	return list[i].value
}

// writeSysctls sets them in the calling thread's namespace, and returns those of the optional ones
// that the kernel has not.
func writeSysctls(list []sysctl) (missing []sysctl, err error) {
	for _, s := range list {
		err := writeShort(s.path(), s.value)
		if errors.Is(err, os.ErrNotExist) {
			if optional(s) {
				missing = append(missing, s)
				continue
			}
			err = dataplane.ErrUnsupported
		}
		if err != nil {
			return nil, &dataplane.OpError{Op: "set sysctl", Object: s.String(), Err: err}
		}
	}
	return missing, nil
}

// readSysctls returns those of a list that differ in the calling thread's namespace, with the
// values that they have. It leaves out those that skip picks.
func readSysctls(list []sysctl, skip func(sysctl) bool) ([]sysctl, error) {
	var differ []sysctl
	buf := make([]byte, 16)
	for _, s := range list {
		if skip(s) {
			continue
		}
		value, err := readShort(s.path(), buf)
		if errors.Is(err, os.ErrNotExist) && optional(s) {
			continue
		}
		if err != nil {
			return nil, &dataplane.OpError{Op: "read sysctl", Object: s.String(), Err: err}
		}
		if string(value) != s.value {
			s.value = string(value)
			differ = append(differ, s)
		}
	}
	return differ, nil
}

func none(sysctl) bool { return false }

func unread(s sysctl) bool { return s.unread }

// optional says that a kernel may lack the setting: one started without IPv6, or one that tracks no
// connections yet.
func optional(s sysctl) bool { return strings.HasPrefix(s.name, "ipv6/") || s == conntrackSysctl }

// writeShort writes a file that is there, without what [os.WriteFile] does for others: it is in the
// way of every new router.
func writeShort(path, value string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(value)); err != nil {
		return &os.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

// readShort reads a file that fits into buf, without the allocations of [os.ReadFile]: it is in the
// way of every Apply.
func readShort(path string, buf []byte) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, buf)
	if err != nil {
		return nil, &os.PathError{Op: "read", Path: path, Err: err}
	}
	return bytes.TrimSpace(buf[:n]), nil
}
