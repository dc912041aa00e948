package iptables

import (
	"fmt"
	"maps"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
)

// clamp is the chain that lowers what TCP announces. The kernel could work that out from the routes
// of both directions (--clamp-mss-to-pmtu), but looks up the way back without a mark, which at an
// edge is another way, and gives an option to segments that have none.
const clamp = prefix + "mss"

const isSYN = "-p tcp -m tcp --tcp-flags SYN,RST SYN"

// addClamp adds what a router has that clamps. It has no effect on what gets through.
func addClamp(rs ruleset, r dataplane.Router) {
	if !r.ClampMSS {
		return
	}
	ports := namespace.PortsByDevice(r)
	devices := slices.Sorted(maps.Keys(ports))
	for table, largest := range map[string]func(dataplane.Port) uint16{filter: dataplane.Port.MaxMSS4, filter6: dataplane.Port.MaxMSS6} {
		t := rs[table]
		if t == nil {
			continue
		}
		t.chains["FORWARD"] = append(specs(isSYN+" -j "+clamp), t.chains["FORWARD"]...)
		t.chains[clamp] = nil
		for _, dev := range devices {
			mss := largest(ports[dev])
			for _, side := range []string{"-i ", "-o "} {
				rs.add(table, clamp, fmt.Sprintf("%s%s %s -m tcpmss --mss %d:65535 -j TCPMSS --set-mss %d", side, dev, isSYN, int(mss)+1, mss))
			}
		}
	}
}
