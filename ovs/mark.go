package ovs

import (
	"maps"
	"strconv"

	"github.com/l3kit/l3kit/dataplane"
)

// mark is what the external_ids of a port of ours say, and all that a fresh process knows about it:
// whose it is, what for, and where. The keys are documented with the package.
type mark struct {
	role     role
	bridge   string // that the port is on
	router   string // of a port for a router; empty for a workload's
	port     string
	network  dataplane.Network
	vlan     uint16      // local VLAN of the network; 0: the port is not on the integration bridge
	contain  containment // of a port of a distributed router
	physical string      // of a patch port: the physical network that it leads to
	to       string      // of a patch port on the integration bridge: the bridge that it leads to
}

// role is what something of ours is for.
type role string

const (
	plugRole   role = "port"
	patchRole  role = "patch"
	tunnelRole role = "tunnel"
	bridgeRole role = "bridge"
)

// Keys in external_ids.
const (
	keyRole     = "l3kit"
	keyBridge   = "l3kit-bridge"
	keyRouter   = "l3kit-router"
	keyPort     = "l3kit-port"
	keyNetwork  = "l3kit-network"
	keyType     = "l3kit-type"
	keySegment  = "l3kit-segment"
	keyVLAN     = "l3kit-vlan"
	keyPhysical = "l3kit-physical"
	keyTo       = "l3kit-to"
	keyContain  = "l3kit-contain"
)

// ids writes the mark. Numbers and texts that are zero are left out.
func (m mark) ids() map[string]string {
	ids := map[string]string{
		keyRole: string(m.role), keyBridge: m.bridge, keyRouter: m.router, keyPort: m.port,
		keyNetwork: m.network.ID, keyType: string(m.network.Type), keySegment: number(m.network.Segment), keyVLAN: number(uint32(m.vlan)),
		keyPhysical: m.physical, keyTo: m.to, keyContain: string(m.contain),
	}
	if m.network.Physical != "" {
		ids[keyPhysical] = m.network.Physical
	}
	maps.DeleteFunc(ids, func(_, v string) bool { return v == "" })
	return ids
}

func number(n uint32) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(n), 10)
}

// parseMark reads external_ids. The zero mark says that they are not ours.
func parseMark(ids map[string]string) mark {
	m := mark{role: role(ids[keyRole]), bridge: ids[keyBridge]}
	segment, segmentErr := parseNumber(ids[keySegment], 32)
	vlan, vlanErr := parseNumber(ids[keyVLAN], 12)
	switch {
	case segmentErr != nil || vlanErr != nil:
		return mark{}
	case m.role == patchRole:
		m.physical, m.to = ids[keyPhysical], ids[keyTo]
		return m
	case m.role == tunnelRole:
		m.network.Type = dataplane.NetworkType(ids[keyType])
		return m
	case m.role != plugRole || ids[keyPort] == "" || ids[keyNetwork] == "":
		return mark{}
	}
	m.router, m.port, m.vlan, m.contain = ids[keyRouter], ids[keyPort], uint16(vlan), containment(ids[keyContain])
	m.network = dataplane.Network{
		ID: ids[keyNetwork], Type: dataplane.NetworkType(ids[keyType]), Physical: ids[keyPhysical], Segment: uint32(segment),
	}
	return m
}

func parseNumber(text string, bits int) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	return strconv.ParseUint(text, 10, bits)
}

// has says that ids contain want.
func has(ids, want map[string]string) bool {
	for k, v := range want {
		if ids[k] != v {
			return false
		}
	}
	return true
}

// with returns ids with want among them, and without keys of ours that are not in it.
func with(ids, want map[string]string) map[string]string {
	all := maps.Clone(ids)
	if all == nil {
		all = map[string]string{}
	}
	for _, k := range []string{keyRole, keyBridge, keyRouter, keyPort, keyNetwork, keyType, keySegment, keyVLAN, keyPhysical, keyTo, keyContain} {
		delete(all, k)
	}
	maps.Copy(all, want)
	return all
}
