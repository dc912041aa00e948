package nftables

import (
	"net/netip"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
)

// delta is the difference that want.Since makes. Its cost does not depend on how much there is
// beside. It is not ok if the difference may make another one that want.Since does not tell.
func delta(want namespace.Change) (c changes, ok bool) {
	d, i := want.Since, instanceOf(want.Want)
	if !i.transit {
		have, here := renderTranslation(d.Removed, d.Forwardings.Removed), renderTranslation(d.Added, d.Forwardings.Added)
		for _, t := range []*table{have, here} {
			t.sets = append(t.sets, i.leavingSets()...)
		}
		i.fillLeaving(have, d.Removed)
		i.fillLeaving(here, d.Added)
		ok := limitDelta(have, here, want.Want.Limits, d.Limits.Removed, d.Limits.Added)
		return changes{compare(have, here)}, ok
	}
	if !want.KeepsIPv6() {
		return nil, false
	}
	have, here := renderTranslation(d.Removed, d.Forwardings.Removed), renderTranslation(d.Added, d.Forwardings.Added)
	if !limitDelta(have, here, want.Want.Limits, d.Limits.Removed, d.Limits.Added) {
		return nil, false
	}
	for _, t := range []*table{have, here} {
		t.sets = append(t.sets, i.sets()...)
		t.sets = append(t.sets, newInside(address))
	}
	i.fillAddresses(have, d.Removed, d.Remote.Removed, d.Elsewhere.Removed)
	i.fillAddresses(here, d.Added, d.Remote.Added, d.Elsewhere.Added)
	changed := want.Inside()
	fillInside(have, changed.Removed)
	fillInside(here, changed.Added)
	c = changes{compare(have, here)}
	if len(changed.Removed)+len(changed.Added) > 0 {
		have6, want6 := renderInside6(changed.Removed), renderInside6(changed.Added)
		if d := compare(have6, want6); !d.empty() {
			c = append(c, d)
		}
	}
	return c, true
}

// renderInside6 is that part of the IPv6 table in which routers differ that differ in the transit's
// routes.
func renderInside6(prefixes []netip.Prefix) *table {
	t := &table{family: ipv6, sets: []*set{newInside(address6)}}
	fillInside(t, prefixes)
	return t
}

// renderTranslation is only that part of a table in which routers differ that differ in floating
// IPs and port forwardings. Its cost depends on these alone.
func renderTranslation(fips []dataplane.FloatingIP, forwardings []dataplane.PortForwarding) *table {
	t := &table{family: ipv4, sets: []*set{{name: fipDNAT}, {name: fipSNAT}, {name: fipIn}, {name: fipOut}, {name: pfDNAT, elements: map[string]element{}}}}
	fillFloatingIPs(t, fips)
	fillForwardings(t, forwardings)
	return t
}
