package namespace

import (
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/nlmsg"
)

// watched are the multicast groups that report changes of what the router consists of.
var watched = []uint32{
	unix.RTNLGRP_LINK,
	unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
	unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
	unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_IPV6_NETCONF,
	unix.RTNLGRP_IPV4_RULE,
}

// watch compares queued notifications with the known state of the namespace.
type watch struct {
	port  uint32          // of the socket that our own writes go through
	links map[string]link // as they are known, with indexes
	owner string          // as it is known; empty: it may be any
	lo    map[netip.Prefix]form
	// plugged says that links were made or set since the last look. Then their way there is ours,
	// and the last word on each is what counts.
	plugged bool

	broken dataplane.Kind // of the first thing that is not as known; empty: nothing
	last   map[int]bool   // with plugged: whether the last word on a link was as known
}

// undisturbed drains the queue, and reports whether the known state still holds.
func (s *site) undisturbed(links map[string]link, plugged bool) bool {
	holds, _ := s.look(links, plugged)
	return holds
}

// look is undisturbed, and returns the kind of something that differs, if that is known.
func (s *site) look(links map[string]link, plugged bool) (holds bool, differs dataplane.Kind) {
	w := watch{port: s.write.port, links: links, plugged: plugged, last: map[int]bool{}}
	if s.last != nil {
		w.owner, w.lo = s.last.owner, wantLo(s.last.router)
	}
	if err := s.events.Drain(w.see); err != nil || w.broken != "" {
		return false, w.broken
	}
	for _, good := range w.last {
		if !good {
			return false, dataplane.KindLink
		}
	}
	return true, ""
}

func (w *watch) see(h unix.NlMsghdr, payload []byte) {
	good, kind := true, dataplane.KindLink
	switch h.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		index, expected := w.link(h, payload)
		if w.plugged {
			w.last[index] = expected
		} else {
			good = expected
		}
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		good, kind = w.address(h.Type, payload), dataplane.KindAddress
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		good, kind = h.Pid == w.port || foreignRoute(h, payload), dataplane.KindRoute
	case unix.RTM_NEWRULE, unix.RTM_DELRULE:
		good, kind = h.Pid == w.port || foreignRule(payload), dataplane.KindPolicyRule
	default: // a setting of a device; a new one reports its own
		good, kind = w.plugged || w.foreignSetting(payload), dataplane.KindSysctl
	}
	if !good && w.broken == "" {
		w.broken = kind
	}
}

// link reports whether a notification agrees with what is known about a link, or is about a link
// that is not the router's.
func (w *watch) link(h unix.NlMsghdr, payload []byte) (index int, expected bool) {
	l, err := netlink.LinkDeserialize(&h, payload)
	if err != nil {
		return 0, false
	}
	a := l.Attrs()
	known, ours := w.links[a.Name]
	switch {
	case a.Index == loopbackIndex:
		return a.Index, w.owner == "" || slices.Equal(ownersOf(a.AltNames), []string{w.owner})
	case !ours:
		return a.Index, !ownDevice(a.Name) && !w.knows(a.Index) // else it was renamed, or has come from nowhere
	case h.Type == unix.RTM_DELLINK:
		return a.Index, a.Index != known.index // an older one of that name
	}
	return a.Index, a.Index == known.index && a.MTU == known.mtu && a.RawFlags&unix.IFF_UP != 0 == known.up &&
		len(a.HardwareAddr) == len(known.mac) && dataplane.MAC(a.HardwareAddr) == known.mac
}

// foreignSetting reports whether a setting is that of a device which is not the router's. A setting
// of all devices names none.
func (w *watch) foreignSetting(payload []byte) bool {
	const (
		header           = 4 // struct netconfmsg of linux/netconf.h, padded
		ifindexOfSetting = 1 // NETCONFA_IFINDEX
	)
	for kind, v := range nlmsg.Attributes(payload[min(header, len(payload)):]) {
		if kind == ifindexOfSetting {
			index := nlmsg.Int(v)
			return index > 0 && !w.knows(index)
		}
	}
	return false
}

func (w *watch) knows(index int) bool {
	for _, l := range w.links {
		if l.index == index {
			return true
		}
	}
	return false
}

// address reports whether a notification agrees with what is known: our addresses are present, no
// others are, and lo has only loopback addresses beside ours.
func (w *watch) address(kind uint16, payload []byte) bool {
	msg := nl.DeserializeIfAddrmsg(payload)
	var local, remote netip.Addr // IFA_LOCAL is absent for IPv6
	flags := int(msg.Flags)
	for kind, v := range nlmsg.Attributes(payload[msg.Len():]) {
		switch kind {
		case unix.IFA_LOCAL:
			local = nlmsg.Addr(v)
		case unix.IFA_ADDRESS:
			remote = nlmsg.Addr(v)
		case unix.IFA_FLAGS:
			flags = nlmsg.Int(v)
		}
	}
	if !local.IsValid() {
		local = remote
	}
	if msg.Index == loopbackIndex {
		if _, ours := w.lo[netip.PrefixFrom(local, int(msg.Prefixlen))]; ours {
			return kind == unix.RTM_NEWADDR
		}
		return kind == unix.RTM_DELADDR || local.IsLoopback()
	}
	for _, l := range w.links {
		if l.index == int(msg.Index) {
			f, known := l.addrs[netip.PrefixFrom(local, int(msg.Prefixlen))]
			if known && kind == unix.RTM_NEWADDR {
				return f == formOf(local.Is4(), int(msg.Scope), flags)
			}
			return known == (kind == unix.RTM_NEWADDR)
		}
	}
	return true
}

// foreignRoute reports whether a route that somebody else wrote does not matter: it is in another
// table, belongs to a routing daemon, or the kernel derived it from an address and nobody but the
// kernel removed it.
func foreignRoute(h unix.NlMsghdr, payload []byte) bool {
	msg := nl.DeserializeRtMsg(payload)
	if !ownTable(tableOf(msg, payload)) {
		return true
	}
	if msg.Protocol == unix.RTPROT_KERNEL {
		return h.Pid == 0 || h.Type == unix.RTM_NEWROUTE
	}
	return !ownProtocol(int(msg.Protocol))
}

// foreignRule reports whether a rule of policy routing names a table that is not the router's.
func foreignRule(payload []byte) bool {
	table := tableOf(nl.DeserializeRtMsg(payload), payload)
	return !ownTable(table) && table != unix.RT_TABLE_LOCAL
}

// tableOf returns the table of a route, or that a rule names: an attribute if its number is too
// large for the header.
func tableOf(msg *nl.RtMsg, payload []byte) int {
	for kind, v := range nlmsg.Attributes(payload[msg.Len():]) {
		if kind == unix.RTA_TABLE { // FRA_TABLE is the same
			return nlmsg.Int(v)
		}
	}
	return int(msg.Table)
}
