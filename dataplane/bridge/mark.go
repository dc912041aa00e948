package bridge

import (
	"strconv"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
)

// mark is what an interface alias (IFLA_IFALIAS) of ours says, and all that a fresh process knows
// about a device: whose it is and what for. It prints as "l3kit router=… port=… network=…". IDs
// contain no spaces.
type mark struct {
	router   string // of a port; empty for a workload's
	port     string // empty: the device serves the whole network
	network  string
	overflow int    // number of the overflow bridge that the device is, or leads to; 0: none
	uplink   string // of a network's first bridge: the physical interface that was made a port of it, and carries no mark itself

	anycast dataplane.MAC // of an anycast port: its MAC; zero for others
	outside bool          // of a port that counts as one on another host
}

const markPrefix = "l3kit"

func (m mark) String() string {
	var b strings.Builder
	b.WriteString(markPrefix)
	word := func(key, value string) {
		if value != "" {
			b.WriteString(" " + key + "=" + value)
		}
	}
	word("router", m.router)
	word("port", m.port)
	word("network", m.network)
	if m.overflow > 0 {
		word("overflow", strconv.Itoa(m.overflow))
	}
	word("uplink", m.uplink)
	if m.anycast != (dataplane.MAC{}) {
		word("anycast", m.anycast.String())
	}
	if m.outside {
		b.WriteString(" outside")
	}
	return b.String()
}

// parseMark reads an alias. The zero mark says that it is not one of ours; words that it does not
// know are left to later versions.
func parseMark(alias string) (m mark) {
	words := strings.Split(alias, " ")
	if words[0] != markPrefix {
		return mark{}
	}
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "router":
			m.router = value
		case "port":
			m.port = value
		case "network":
			m.network = value
		case "overflow":
			m.overflow, _ = strconv.Atoi(value)
		case "uplink":
			m.uplink = value
		case "anycast":
			m.anycast, _ = dataplane.ParseMAC(value)
		case "outside":
			m.outside = true
		}
	}
	if m.network == "" {
		return mark{}
	}
	return m
}

// contained says that the table has something to say about the device.
func (m mark) contained() bool { return m.anycast != (dataplane.MAC{}) || m.outside }

// plumbing says that the device is neither foreign nor a port's: a bridge, an uplink, a trunk.
func (m mark) plumbing() bool { return m.network != "" && m.port == "" }
