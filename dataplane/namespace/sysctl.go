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

// Sysctl is a setting below /proc/sys/net (ip-sysctl.rst, nf_conntrack-sysctl.rst of the kernel).
type Sysctl struct{ Name, Value string }

// Sysctls are the settings of every router's namespace. Devices are made after them and inherit "default"; "all" is set where the kernel
// combines it with the device's own value (maximum or logical or).
func Sysctls() []Sysctl { return append([]Sysctl(nil), sysctls...) }

// A namespace starts with the IPv4 settings of the host's own (net.core.devconf_inherit_init_net), hence also what looks like a default here.
// ip_forward comes first because changing it resets the others (RFC 1122 host or RFC 1812 router).
var sysctls = []Sysctl{
	{"ipv4/ip_forward", "1"},
	{"ipv4/conf/all/rp_filter", "0"},
	{"ipv4/conf/default/rp_filter", "0"},
	{"ipv4/conf/all/send_redirects", "0"},
	{"ipv4/conf/default/send_redirects", "0"},
	{"ipv4/conf/all/proxy_arp", "0"},
	{"ipv4/conf/default/proxy_arp", "0"},
	{"ipv4/conf/all/arp_ignore", "1"},
	{"ipv4/conf/all/arp_announce", "2"},
	{"ipv4/conf/all/promote_secondaries", "1"}, // another address of a subnet survives when the first one goes
	{"ipv4/fib_multipath_hash_policy", "1"},    // ECMP by flow, not by pair of hosts
	{"ipv6/conf/all/forwarding", "1"},
	{"ipv6/conf/default/addr_gen_mode", "1"}, // none: link-local addresses are made like the others
	{"ipv6/conf/default/accept_ra", "0"},
	{"ipv6/conf/default/accept_dad", "0"},
	{"ipv6/conf/default/dad_transmits", "0"},
	{"ipv6/conf/all/keep_addr_on_down", "1"}, // as IPv4 does, so that a link may be taken down and up again
	{"ipv6/fib_multipath_hash_policy", "1"},
	conntrackSysctl,
}

// conntrackSysctl exists once the kernel has connection tracking, which on most the first rules bring in: it is set after those.
var conntrackSysctl = Sysctl{"netfilter/nf_conntrack_tcp_be_liberal", "1"}

func (s Sysctl) path() string { return "/proc/sys/net/" + s.Name }

// dotted is the name as sysctl(8) writes it.
func (s Sysctl) dotted() string { return "net." + strings.ReplaceAll(s.Name, "/", ".") }

func (s Sysctl) String() string { return s.dotted() + " = " + s.Value }

func wanted(name string) string {
	i := slices.IndexFunc(sysctls, func(s Sysctl) bool { return s.Name == name })
	return sysctls[i].Value
}

// writeSysctls sets them in the calling thread's namespace.
func writeSysctls(list []Sysctl) error {
	for _, s := range list {
		err := os.WriteFile(s.path(), []byte(s.Value), 0)
		if errors.Is(err, os.ErrNotExist) {
			if optional(s) {
				continue
			}
			err = dataplane.ErrUnsupported
		}
		if err != nil {
			return &dataplane.OpError{Op: "set sysctl", Object: s.String(), Err: err}
		}
	}
	return nil
}

// readSysctls returns those that differ in the calling thread's namespace, with the values that they have.
func readSysctls() ([]Sysctl, error) {
	var differ []Sysctl
	buf := make([]byte, 16)
	for _, s := range sysctls {
		value, err := readShort(s.path(), buf)
		if errors.Is(err, os.ErrNotExist) && optional(s) {
			continue
		}
		if err != nil {
			return nil, &dataplane.OpError{Op: "read sysctl", Object: s.String(), Err: err}
		}
		if string(value) != s.Value {
			differ = append(differ, Sysctl{s.Name, string(value)})
		}
	}
	return differ, nil
}

// optional says that a kernel may lack the setting: one started without IPv6, or one that tracks no connections yet.
func optional(s Sysctl) bool { return strings.HasPrefix(s.Name, "ipv6/") || s == conntrackSysctl }

// readShort reads a file that fits into buf, without the allocations of [os.ReadFile]: it is in the way of every Apply.
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
