package bridge

import (
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/wiring"
)

// Names are those of Neutron's Linux bridge agent where it has one, so that tools and people who
// know those find their way.
const nameLen = unix.IFNAMSIZ - 1

// bridgeName is a network's first bridge, unless that is an existing one, and its overflow bridges
// from 1 on.
func bridgeName(network string, overflow int) string {
	if overflow == 0 {
		return "brq" + wiring.Cut(network)
	}
	return "bro" + wiring.Cut(network) + digit(overflow)
}

// trunkNames are the ends of the veth between the first bridge and an overflow bridge.
func trunkNames(network string, overflow int) (inFirst, inOverflow string) {
	id := wiring.Cut(network) + digit(overflow)
	return "tbq" + id, "tbo" + id
}

// digit is exactly one character, so that names of different IDs which were not cut never meet. See
// maxOverflow.
func digit(n int) string { return strconv.FormatInt(int64(n), 36) }

func vxlanName(vni uint32) string { return "vxlan-" + strconv.FormatUint(uint64(vni), 10) }

func vlanName(parent string, vid uint16) string {
	suffix := "." + strconv.Itoa(int(vid))
	return parent[:min(len(parent), nameLen-len(suffix))] + suffix
}
