package bridge

import "strconv"

// Names are those of Neutron's Linux bridge agent where it has one, so that tools and people who
// know those find their way.
const (
	idLen   = 11 // of an ID in a name: Neutron's cut
	nameLen = 15 // IFNAMSIZ - 1
)

func cut(s string, n int) string { return s[:min(len(s), n)] }

// tapName is the host end of a port's veth.
func tapName(port string) string { return "tap" + cut(port, idLen) }

// bridgeName is a network's first bridge, unless that is an existing one, and its overflow bridges
// from 1 on.
func bridgeName(network string, overflow int) string {
	if overflow == 0 {
		return "brq" + cut(network, idLen)
	}
	return "bro" + cut(network, idLen) + digit(overflow)
}

// trunkNames are the ends of the veth between the first bridge and an overflow bridge.
func trunkNames(network string, overflow int) (inFirst, inOverflow string) {
	id := cut(network, idLen) + digit(overflow)
	return "tbq" + id, "tbo" + id
}

// digit is exactly one character, so that names of different IDs which were not cut never meet. See
// maxOverflow.
func digit(n int) string { return strconv.FormatInt(int64(n), 36) }

func vxlanName(vni uint32) string { return "vxlan-" + strconv.FormatUint(uint64(vni), 10) }

func vlanName(parent string, vid uint16) string {
	suffix := "." + strconv.Itoa(int(vid))
	return cut(parent, nameLen-len(suffix)) + suffix
}
