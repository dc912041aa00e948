package differential

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"pgregory.net/rapid"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/frame"
)

var metadata4, metadata6 = dataplane.MetadataAddrs()

// servesMetadata says that a router has a metadata proxy, and somebody who may ask it.
func servesMetadata(r dataplane.Router) bool { return r.Metadata && len(r.Ports) > 0 }

// drawMetadata makes of a packet one that asks for metadata.
func drawMetadata(t *rapid.T, r dataplane.Router, p *trial) {
	if !r.Metadata || rapid.IntRange(0, 3).Draw(t, "asks for metadata") < 3 {
		return
	}
	if p.Dst = metadata4; p.Src.Is6() {
		p.Dst = metadata6
	}
	if p.Proto == dataplane.TCP && rapid.Bool().Draw(t, "at its port") {
		p.DstPort = dataplane.MetadataPort
	}
}

// judgeMetadata requires that the metadata proxy takes a connection.
func (e expectation) judgeMetadata(seen []sighting, sent frame.Packet) string {
	taken := func(s sighting) bool {
		return s.Src == sent.Dst && s.Dst == sent.Src && s.SrcPort == sent.DstPort && s.DstPort == sent.SrcPort && s.Flags == frame.SYN|frame.ACK
	}
	if e.In == "" && slices.ContainsFunc(seen, taken) || len(seen) == 1 && taken(seen[0]) { // the sender's kernel knows of no connection, and resets it
		return ""
	}
	return fmt.Sprintf("%v, want a connection with the metadata proxy", seen)
}

// judgeMetadataWay says what is wrong with the way of an answer at the metadata address. done says
// that there is nothing else to judge: the way is one of several, by some of which answers must not
// leave.
func (e expectation) judgeMetadataWay(seen []sighting) (why string, done bool) {
	if e.Dst != metadata4 {
		return "", false
	}
	outside := func(port string) bool { return port == gatewayID || port == transitID }
	for _, s := range seen {
		if outside(s.Port) {
			return fmt.Sprintf("%s, which is for hosts inside only", s), true
		}
	}
	away := slices.ContainsFunc(e.bare.Paths(dataplane.Packet{Dst: e.Src}), func(t dataplane.Trace) bool { return outside(t.Out) })
	return "", away && len(seen) == 0
}

// removeMetadata removes the metadata address.
func (v victim) removeMetadata() error {
	lo, err := v.links.LinkByName("lo")
	if err != nil {
		return err
	}
	return v.links.AddrDel(lo, &netlink.Addr{IPNet: &net.IPNet{IP: metadata4.AsSlice(), Mask: net.CIDRMask(32, 32)}})
}

// removeMetadata6 removes that of IPv6 from all ports.
func (v victim) removeMetadata6() error {
	var errs []error
	for _, p := range v.router.Ports {
		if speaksIPv6(v.router, p) {
			link, err := v.links.LinkByName(dataplane.PortDevice(p.ID))
			if err == nil {
				err = v.links.AddrDel(link, &netlink.Addr{IPNet: &net.IPNet{IP: metadata6.AsSlice(), Mask: net.CIDRMask(128, 128)}})
			}
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// metadataOn lists what a port has beside its addresses.
func metadataOn(r dataplane.Router, p dataplane.Port) []netip.Addr {
	inner := slices.ContainsFunc(r.Ports, func(q dataplane.Port) bool { return q.ID == p.ID })
	if r.Metadata && inner && speaksIPv6(r, p) {
		return []netip.Addr{metadata6}
	}
	return nil
}
