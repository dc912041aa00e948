package lab

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/dump"
	"github.com/l3kit/l3kit/internal/netns"
)

// State is the whole configuration of the namespace at path, as text that is the same whenever the
// configuration is: links, addresses, routes, rules, the sysctls that make a router, and the
// listings of nft and, where they are installed, both kinds of iptables. Indexes, handles, counters
// and what the kernel learns by itself are left out.
func State(path string) (string, error) {
	ns, err := netns.Open(path)
	if err != nil {
		return "", err
	}
	defer ns.Close()
	nl, err := netlink.NewHandleAt(vnetns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return "", err
	}
	defer nl.Close()
	return dump.Complete(func() (string, error) {
		s := state{nl: nl, names: map[int]string{}}
		err := netns.Do(int(ns.Fd()), func() error {
			return errors.Join(s.links(), s.routes(), s.rules(), s.sysctls(), s.tables())
		})
		return s.text.String(), err
	})
}

type state struct {
	nl    *netlink.Handle
	names map[int]string // of links, by index
	text  bytes.Buffer
}

// section writes lines in order, so that the kernel's order does not matter.
func (s *state) section(title string, lines []string) {
	slices.Sort(lines)
	fmt.Fprintf(&s.text, "# %s\n", title)
	for _, l := range slices.Compact(lines) {
		s.text.WriteString(l + "\n")
	}
}

func (s *state) links() error {
	links, err := s.nl.LinkList()
	if err != nil {
		return err
	}
	var lines, addrs []string
	for _, l := range links {
		a := l.Attrs()
		s.names[a.Index] = a.Name
	}
	for _, l := range links {
		a := l.Attrs()
		line := fmt.Sprintf("%s %s mtu %d", a.Name, l.Type(), a.MTU)
		if a.Name != "lo" {
			line += " mac " + a.HardwareAddr.String()
		}
		if a.Flags&net.FlagUp != 0 {
			line += " up"
		}
		if a.MasterIndex != 0 {
			line += " master " + s.names[a.MasterIndex]
		}
		if a.Alias != "" {
			line += fmt.Sprintf(" alias %q", a.Alias)
		}
		lines = append(lines, line)
	}
	list, err := s.nl.AddrList(nil, netlink.FAMILY_ALL)
	for _, a := range list {
		const learned = unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED | unix.IFA_F_PERMANENT
		line := fmt.Sprintf("%s %s scope %s flags %#x", s.names[a.LinkIndex], a.IPNet, netlink.Scope(a.Scope), a.Flags&^learned)
		if a.Peer != nil && !a.Peer.IP.Equal(a.IP) {
			line += " peer " + a.Peer.String()
		}
		addrs = append(addrs, line)
	}
	s.section("links", lines)
	s.section("addresses", addrs)
	return err
}

func (s *state) routes() error {
	var lines []string
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := s.nl.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return err
		}
		for _, r := range routes {
			const cloned = unix.RTM_F_CLONED // a cache entry, such as a path MTU
			if r.Table == unix.RT_TABLE_LOCAL || r.Flags&cloned != 0 {
				continue
			}
			lines = append(lines, s.route(r))
		}
	}
	s.section("routes", lines)
	return nil
}

func (s *state) route(r netlink.Route) string {
	dst := "default"
	if r.Dst != nil {
		dst = r.Dst.String()
	}
	line := fmt.Sprintf("%s table %d proto %s scope %s metric %d", dst, r.Table, r.Protocol, r.Scope, r.Priority)
	if r.Type != unix.RTN_UNICAST {
		line += fmt.Sprintf(" type %d", r.Type)
	}
	if r.Src != nil {
		line += " src " + r.Src.String()
	}
	if r.MTU != 0 {
		line += fmt.Sprintf(" mtu %d", r.MTU)
	}
	hops := []string{s.hop(r.Gw, r.LinkIndex, r.Flags, 0)}
	if len(r.MultiPath) > 0 {
		hops = nil
		for _, h := range r.MultiPath {
			hops = append(hops, s.hop(h.Gw, h.LinkIndex, h.Flags, h.Hops))
		}
	}
	slices.Sort(hops)
	return line + strings.Join(hops, "")
}

func (s *state) hop(gw net.IP, link, flags, weight int) string {
	line := ""
	if gw != nil {
		line += " via " + gw.String()
	}
	if link != 0 {
		line += " dev " + s.names[link]
	}
	if flags&int(netlink.FLAG_ONLINK) != 0 {
		line += " onlink"
	}
	if weight != 0 {
		line += fmt.Sprintf(" weight %d", weight+1)
	}
	return line
}

func (s *state) rules() error {
	var lines []string
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		rules, err := s.nl.RuleList(family)
		if err != nil {
			return err
		}
		for _, r := range rules {
			lines = append(lines, fmt.Sprintf("family %d %s", family, r))
		}
	}
	s.section("routing rules", lines)
	return nil
}

// The settings that a router depends on, below /proc/sys/net, and those of each device.
var (
	sysctlNames = []string{
		"ipv4/ip_forward", "ipv4/fwmark_reflect", "ipv4/fib_multipath_hash_policy", "ipv6/fib_multipath_hash_policy",
		"netfilter/nf_conntrack_tcp_be_liberal",
	}
	deviceSysctls = map[string][]string{
		"ipv4/conf": {"forwarding", "rp_filter", "send_redirects", "arp_ignore", "arp_announce", "accept_local"},
		"ipv6/conf": {"forwarding", "accept_ra", "accept_dad", "dad_transmits", "addr_gen_mode", "disable_ipv6"},
	}
)

func (s *state) sysctls() error {
	const root = "/proc/sys/net/"
	names := slices.Clone(sysctlNames)
	for dir, settings := range deviceSysctls {
		devices, err := os.ReadDir(root + dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		for _, d := range devices {
			for _, setting := range settings {
				names = append(names, dir+"/"+d.Name()+"/"+setting)
			}
		}
	}
	var lines []string
	for _, name := range names {
		value, err := readSmall(root + name)
		if errors.Is(err, os.ErrNotExist) { // its device has just gone
			continue
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", root+name, err)
		}
		lines = append(lines, name+" = "+strings.TrimSpace(value))
	}
	s.section("sysctls", lines)
	return nil
}

// readSmall reads a short file of the kernel's in as few system calls as that takes: a state has
// hundreds of them.
func readSmall(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var buf [128]byte
	n, err := unix.Read(fd, buf[:])
	return string(buf[:max(n, 0)]), err
}
