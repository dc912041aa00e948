package iptables

import "github.com/l3kit/l3kit/dataplane"

// metadata is the chain that what goes to the metadata address, and comes from it, passes.
const metadata = prefix + "metadata"

// addMetadata lets a router answer at the metadata address inside only: neither the external
// network nor another instance asks for metadata, and a client whose way back leads there has lied
// about its address. At the IPv6 address the kernel sees to it.
func (i instance) addMetadata(rs ruleset) {
	four, _ := dataplane.MetadataAddrs()
	rs[filter].chains[metadata] = nil
	for _, dev := range []string{i.gateway, i.transit} {
		if dev != "" {
			rs.add(filter, metadata, "-i "+dev+" -j DROP")
			rs.add(filter, metadata, "-o "+dev+" -j DROP")
		}
	}
	rs.add(filter, "INPUT", "-d "+four.String()+"/32 -j "+metadata)
	rs.add(filter, "OUTPUT", "-s "+four.String()+"/32 -j "+metadata)
}
