package ovs

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/internal/test/needs"
	"github.com/l3kit/l3kit/internal/test/wiringtest"
	"github.com/l3kit/l3kit/ovs/internal/openflow"
)

// bench is a real Open vSwitch with the bridges and ports of the layout full, and asks it what
// becomes of a packet.
type bench struct {
	t       *testing.T
	s       *lab.Switch
	bridges map[string]*openflow.Bridge
	numbers map[string]string // of ports, in datapath actions
	layout  layout
}

// The bench has two ports of each network on br-int, named after it: blue1 and blue2; and one on
// each physical bridge, wire and wire2.
func newBench(t *testing.T) *bench {
	t.Helper()
	needs.Root(t)
	hosts, err := lab.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, hosts.Close()) })
	s, err := hosts.Switch(wiringtest.Soon(t))
	require.NoError(t, err)
	b := &bench{t: t, s: s, bridges: map[string]*openflow.Bridge{}, numbers: map[string]string{}, layout: layouts()["full"]}

	var commands []string
	add := func(bridge, port string, number uint32, settings string) {
		if number != 0 {
			settings = fmt.Sprintf("ofport_request=%d ", number) + settings
		}
		commands = append(commands, fmt.Sprintf("add-port %s %s -- set interface %s %s", bridge, port, port, settings))
	}
	for bridge, mode := range map[string]string{"br-int": "secure", "br-tun": "secure", "br-ex": "standalone", "br-lab": "standalone"} {
		commands = append(commands, fmt.Sprintf("add-br %s -- set bridge %s datapath_type=netdev fail_mode=%s", bridge, bridge, mode))
	}
	patch := func(bridge, port string, number uint32, peer string) {
		add(bridge, port, number, "type=patch options:peer="+peer)
	}
	patch("br-int", "to-tun", b.layout.PatchInt, "to-int")
	patch("br-tun", "to-int", b.layout.PatchTun, "to-tun")
	for _, p := range b.layout.Physical {
		patch("br-int", "int-"+p.Name, p.Int, "phy-"+p.Name)
		patch(p.Bridge, "phy-"+p.Name, p.Phy, "int-"+p.Name)
		add(p.Bridge, "wire-"+p.Name, 0, "type=internal")
	}
	for _, tunnel := range b.layout.Tunnels {
		add("br-tun", fmt.Sprintf("tunnel%d", tunnel.Port), tunnel.Port,
			fmt.Sprintf(`type=%s options:remote_ip="%s" options:key=flow`, tunnel.Type, tunnel.Peer))
	}
	for _, n := range b.layout.Networks {
		for i := 1; i <= 2; i++ {
			name := fmt.Sprintf("%s%d", n.Network.ID, i)
			add("br-int", name, 0, fmt.Sprintf("type=internal -- set port %s tag=%d", name, n.VLAN))
		}
	}
	add("br-int", "dead", b.layout.Dead[0], fmt.Sprintf("type=internal -- set port dead tag=%d", deadVLAN))
	add("br-int", "dead2", 0, fmt.Sprintf("type=internal -- set port dead2 tag=%d", deadVLAN))
	b.vsctl(strings.Join(commands, " -- "))

	for name := range b.layout.flows() {
		bridge, err := openflow.Open(filepath.Join(s.RunDir, name+".mgmt"), b.layout.Integration)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, bridge.Close()) })
		b.bridges[name] = bridge
	}
	b.bring(b.layout)
	for _, m := range datapathPort.FindAllStringSubmatch(b.appctl("dpif/show"), -1) {
		b.numbers[m[1]] = m[2]
	}
	return b
}

var datapathPort = regexp.MustCompile(`(?m)^ +(\S+) \d+/(\d+):`)

func (b *bench) vsctl(command string) {
	b.t.Helper()
	out, err := b.s.Vsctl(strings.Fields(command)...)
	require.NoError(b.t, err, out)
}

// bring gives the bridges the flows of a layout.
func (b *bench) bring(l layout) {
	b.t.Helper()
	flows := l.flows()
	for name, bridge := range b.bridges {
		require.NoError(b.t, bridge.Replace(wiringtest.Soon(b.t), flows[name]))
	}
}

// trace asks what becomes of a packet, and makes it happen as far as learning goes.
func (b *bench) trace(bridge, packet string) trace {
	b.t.Helper()
	return trace{b, b.appctl("ofproto/trace", bridge, packet, "-generate")}
}

func (b *bench) appctl(args ...string) string {
	b.t.Helper()
	out, err := exec.Command("ovs-appctl", append([]string{"-t", filepath.Join(b.s.RunDir, "ovs-vswitchd.ctl")}, args...)...).CombinedOutput()
	require.NoError(b.t, err, string(out))
	return string(out)
}

type trace struct {
	b    *bench
	text string
}

var (
	outputs = regexp.MustCompile(`(?m)^ +output:(\d+)\n +-> output to native tunnel`)
	actions = regexp.MustCompile(`(?m)^Datapath actions: (.*)$`)
)

// tunnels are the ports that lead to other hosts by which the packet leaves.
func (t trace) tunnels() (ports []string) {
	for _, m := range outputs.FindAllStringSubmatch(t.text, -1) {
		ports = append(ports, m[1])
	}
	return ports
}

// id is the tunnel id that it leaves with.
func (t trace) id() string {
	m := regexp.MustCompile(`set_field:(0x[0-9a-f]+)->tun_id`).FindStringSubmatch(t.text)
	require.NotNil(t.b.t, m, t.text)
	return m[1]
}

// reaches says what a packet that was sent untagged is like when it comes to a port: "untagged" or
// its VLAN ID; "" if it does not come.
func (t trace) reaches(port string) string {
	t.b.t.Helper()
	text := actions.FindStringSubmatch(t.text)
	require.NotNil(t.b.t, text, t.text)
	number := t.b.numbers[port]
	require.NotEmpty(t.b.t, number, port)
	tag := "untagged"
	for action := range strings.SplitSeq(outside.ReplaceAllString(text[1], "$1;"), ";") {
		switch {
		case action == number:
			return tag
		case action == "pop_vlan":
			tag = "untagged"
		case strings.HasPrefix(action, "push_vlan("), strings.HasPrefix(action, "set(vlan("):
			tag = vid.FindStringSubmatch(action)[1]
		}
	}
	return ""
}

var (
	outside = regexp.MustCompile(`((?:[^,(]|\([^()]*(?:\([^()]*\)[^()]*)*\))+),?`) // an action, with what is in its parentheses
	vid     = regexp.MustCompile(`vid=(\d+)`)
)

// silent says that the packet reaches nobody.
func (t trace) silent() {
	t.b.t.Helper()
	require.Contains(t.b.t, t.text, "\nDatapath actions: drop\n")
	require.Empty(t.b.t, t.tunnels())
}

const broadcast = ",dl_dst=ff:ff:ff:ff:ff:ff"

// TestFlowsOnASwitch asks a real Open vSwitch what the flows do.
func TestFlowsOnASwitch(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		name string
		test func(*testing.T, *bench)
	}{
		{"flows survive the switch", flowsSurviveTheSwitch},
		{"flood goes to the tunnels of the network's type", floodGoesToTheTunnelsOfTheNetworksType},
		{"tunnel id selects the network", tunnelIDSelectsTheNetwork},
		{"learned destination is reached by one tunnel", learnedDestinationIsReachedByOneTunnel},
		{"told destination needs no flood", toldDestinationNeedsNoFlood},
		{"arp is answered", arpIsAnswered},
		{"physical networks have their own tags", physicalNetworksHaveTheirOwnTags},
		{"dead ports are not heard", deadPortsAreNotHeard},
		{"physical bridge keeps its own flows", physicalBridgeKeepsItsOwnFlows},
	} {
		t.Run(c.name, func(t *testing.T) {
			own := *b
			own.t = t
			own.bring(own.layout)
			own.appctl("fdb/flush") // what NORMAL has learned
			own.appctl("revalidator/purge")
			c.test(t, &own)
		})
	}
}

// What Open vSwitch makes of our words is what we said, so that a fresh process finds nothing to
// write.
func flowsSurviveTheSwitch(t *testing.T, b *bench) {
	for name, l := range layouts() {
		b.bring(l)
		for name2, flows := range l.flows() {
			fresh, err := openflow.Open(filepath.Join(b.s.RunDir, name2+".mgmt"), l.Integration)
			require.NoError(t, err)
			add, remove, err := fresh.Plan(wiringtest.Soon(t), flows)
			require.NoError(t, err)
			require.Empty(t, add, "%s: %s", name, name2)
			require.Empty(t, remove, "%s: %s", name, name2)
			require.NoError(t, fresh.Close())
		}
	}
}

func floodGoesToTheTunnelsOfTheNetworksType(t *testing.T, b *bench) {
	for from, want := range map[string]struct {
		id      string
		tunnels []string
	}{
		"blue1": {"0x64", []string{"1", "2"}}, "red1": {"0x65", []string{"1", "2"}}, "green1": {"0x64", []string{"3"}}, "grey1": {"0x64", []string{"4"}},
	} {
		for _, to := range []string{broadcast, ",dl_dst=02:00:00:00:77:77"} {
			flood := b.trace("br-int", "in_port="+from+to)
			require.Equal(t, want.tunnels, flood.tunnels(), from)
			require.Equal(t, want.id, flood.id(), from)
			require.NotEmpty(t, flood.reaches(strings.TrimSuffix(from, "1")+"2"), "the neighbour on this host")
		}
	}
	for _, from := range []string{"local1", "external1", "office1"} {
		require.Empty(t, b.trace("br-int", "in_port="+from+broadcast).tunnels(), from)
	}
}

func tunnelIDSelectsTheNetwork(t *testing.T, b *bench) {
	for packet, network := range map[string]string{
		"in_port=1,tun_id=0x64": "blue", "in_port=2,tun_id=0x65": "red", "in_port=3,tun_id=0x64": "green", "in_port=4,tun_id=0x64": "grey",
	} {
		arrival := b.trace("br-tun", packet+",dl_src=02:00:00:00:88:88"+broadcast)
		require.Empty(t, arrival.tunnels(), "split horizon: nothing goes from tunnel to tunnel")
		for _, n := range b.layout.Networks {
			for _, i := range []string{"1", "2"} {
				require.Equal(t, n.Network.ID == network, arrival.reaches(n.Network.ID+i) != "", "%s: %s", packet, n.Network.ID)
			}
		}
		require.Equal(t, "untagged", arrival.reaches(network+"1"), "the local VLAN's tag is gone again")
		for _, wire := range []string{"wire-public", "wire-other"} {
			require.Empty(t, arrival.reaches(wire))
		}
	}
	for _, unknown := range []string{"in_port=1,tun_id=0x66", "in_port=3,tun_id=0x65", "in_port=4,tun_id=0", "in_port=1,tun_id=0"} {
		b.trace("br-tun", unknown+broadcast).silent()
	}
}

func learnedDestinationIsReachedByOneTunnel(t *testing.T, b *bench) {
	const there = ",dl_dst=02:00:00:00:00:77"
	arrive := func(port int) {
		b.trace("br-tun", fmt.Sprintf("in_port=%d,tun_id=0x64,dl_src=02:00:00:00:00:77%s", port, broadcast))
	}
	require.Equal(t, []string{"1", "2"}, b.trace("br-int", "in_port=blue1"+there).tunnels())
	arrive(2)
	require.Equal(t, []string{"2"}, b.trace("br-int", "in_port=blue1"+there).tunnels())
	require.Equal(t, []string{"1", "2"}, b.trace("br-int", "in_port=red1"+there).tunnels(), "another network's destinations are others")
	arrive(1)
	require.Equal(t, []string{"1"}, b.trace("br-int", "in_port=blue1"+there).tunnels(), "it has moved")

	// The peer's port gets another number, and 1 becomes another peer's.
	moved := b.layout
	moved.Tunnels = slices.Clone(moved.Tunnels)
	moved.Tunnels[0].Port, moved.Tunnels[1].Port = moved.Tunnels[1].Port, moved.Tunnels[0].Port
	b.bring(moved)
	require.Equal(t, []string{"2"}, b.trace("br-int", "in_port=blue1"+there).tunnels())
	// The peer goes.
	gone := moved
	gone.Tunnels = gone.Tunnels[1:]
	b.bring(gone)
	require.Equal(t, []string{"1"}, b.trace("br-int", "in_port=blue1"+there).tunnels(), "it is flooded for")
	b.bring(b.layout)

	// The network goes, and another gets its VLAN.
	without := b.layout
	without.Networks = append([]localNetwork{network("new", 2, dataplane.NetworkVXLAN, "", 999)}, without.Networks[2:]...)
	b.bring(without)
	heir := b.trace("br-int", "in_port=blue1"+there)
	require.Equal(t, []string{"1", "2"}, heir.tunnels(), "what was learned is forgotten")
	require.Equal(t, "0x3e7", heir.id())
}

func toldDestinationNeedsNoFlood(t *testing.T, b *bench) {
	require.Equal(t, []string{"1"}, b.trace("br-int", "in_port=blue1,dl_dst=02:00:00:00:00:01").tunnels())
	red := b.trace("br-int", "in_port=red1,dl_dst=02:00:00:00:00:01")
	require.Equal(t, []string{"2"}, red.tunnels())
	require.Equal(t, "0x65", red.id())
	require.Equal(t, []string{"1", "2"}, b.trace("br-int", "in_port=red1,dl_dst=02:00:00:00:00:09").tunnels(), "its host has no tunnel")
}

func arpIsAnswered(t *testing.T, b *bench) {
	ask := func(from, spa, tpa, to string) trace {
		return b.trace("br-int", fmt.Sprintf("in_port=%s,arp,arp_op=1,dl_src=02:00:00:00:00:aa,arp_sha=02:00:00:00:00:aa,arp_spa=%s,arp_tpa=%s,dl_dst=%s", from, spa, tpa, to))
	}
	const all = "ff:ff:ff:ff:ff:ff"
	answer := ask("blue1", "10.0.0.5", "10.0.0.1", all)
	require.Empty(t, answer.tunnels(), "nobody else is asked")
	require.NotEmpty(t, answer.reaches("blue1"), answer.text)
	require.Regexp(t, regexp.QuoteMeta("set(eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:aa)),"+
		"set(arp(sip=10.0.0.1,tip=10.0.0.5,op=2,sha=02:00:00:00:00:01,tha=02:00:00:00:00:aa)),")+"(pop_vlan,)?"+b.numbers["blue1"]+`\b`, answer.text)
	require.Equal(t, []string{"1", "2"}, ask("blue1", "10.0.0.5", "10.0.0.2", all).tunnels(), "an address that nobody told us")
	require.Equal(t, []string{"3"}, ask("green1", "10.0.0.5", "10.0.0.1", all).tunnels(), "another network")
	require.Equal(t, []string{"1", "2"}, ask("blue1", "10.0.0.1", "10.0.0.1", all).tunnels(), "an announcement is for everybody")
	require.Equal(t, []string{"1"}, ask("blue1", "10.0.0.5", "10.0.0.1", "02:00:00:00:00:01").tunnels(), "one that checks on a neighbour")
	require.Empty(t, ask("blue1", "0.0.0.0", "10.0.0.1", all).tunnels(), "a probe learns that the address is taken")
}

func physicalNetworksHaveTheirOwnTags(t *testing.T, b *bench) {
	for from, want := range map[string]string{"external1": "untagged", "office1": "2"} {
		out := b.trace("br-int", "in_port="+from+broadcast)
		require.Equal(t, want, out.reaches("wire-public"), from)
		require.Empty(t, out.reaches("wire-other"), from)
	}
	out := b.trace("br-int", "in_port=lab1"+broadcast)
	require.Equal(t, "2", out.reaches("wire-other"))
	require.Empty(t, out.reaches("wire-public"))

	for packet, network := range map[string]string{
		"br-ex in_port=wire-public":                                          "external",
		"br-ex in_port=wire-public,vlan_tci=0x7000":                          "external", // a priority, no VLAN
		"br-ex in_port=wire-public,dl_vlan=2":                                "office",
		"br-lab in_port=wire-other,dl_vlan=2":                                "lab",
		"br-lab in_port=wire-other":                                          "",
		"br-ex in_port=wire-public,dl_vlan=3":                                "",
		"br-ex in_port=wire-public,dl_vlan=6":                                "", // a local VLAN's number means nothing there
		"br-ex in_port=wire-public,dl_vlan=" + fmt.Sprint(deadVLAN):          "",
		"br-lab in_port=wire-other,vlan_tci=0x1000,dl_src=02:00:00:00:00:bb": "",
	} {
		bridge, fields, _ := strings.Cut(packet, " ")
		in := b.trace(bridge, fields+broadcast)
		for _, n := range b.layout.Networks {
			require.Equal(t, n.Network.ID == network, in.reaches(n.Network.ID+"1") != "", "%s: %s\n%s", packet, n.Network.ID, in.text)
		}
		require.Empty(t, in.tunnels(), packet)
	}
	for _, from := range []string{"local1", "blue1", "grey1"} {
		out := b.trace("br-int", "in_port="+from+broadcast)
		require.Empty(t, out.reaches("wire-public"), from)
		require.Empty(t, out.reaches("wire-other"), from)
	}
}

func deadPortsAreNotHeard(t *testing.T, b *bench) {
	b.trace("br-int", "in_port=dead"+broadcast).silent()
	b.trace("br-int", fmt.Sprintf("in_port=dead,dl_vlan=%d%s", deadVLAN, broadcast)).silent()
	b.trace("br-int", fmt.Sprintf("in_port=%d,dl_vlan=%d%s", b.layout.PatchInt, deadVLAN, broadcast)).silent()
	heard := b.trace("br-int", "in_port=dead2"+broadcast)
	require.NotEmpty(t, heard.reaches("dead"), "without a flow of its own, NORMAL would let it speak to the dead")
	require.Empty(t, heard.tunnels())
	require.Empty(t, heard.reaches("wire-public"))
}

// A bridge of somebody else's keeps its own way of forwarding, whether we are there or not.
func physicalBridgeKeepsItsOwnFlows(t *testing.T, b *bench) {
	normal := func() string {
		out, err := b.s.Ofctl("--no-stats", "dump-flows", "br-ex", "cookie=0/-1")
		require.NoError(t, err)
		return out
	}
	require.Contains(t, normal(), "priority=0 actions=NORMAL", "ovs-vswitchd's own, for fail_mode=standalone")
	_, err := b.s.Ofctl("add-flow", "br-ex", "priority=100,dl_type=0x86dd,actions=drop")
	require.NoError(t, err)
	b.bring(layout{Integration: "br-int"})
	require.Contains(t, normal(), "priority=0 actions=NORMAL")
	require.Contains(t, normal(), "priority=100,ipv6 actions=drop")
	require.NotContains(t, normal(), "in_port", "ours have gone")
	b.bring(b.layout)
	b.trace("br-int", "in_port=office1,ipv6"+broadcast) // the operator's flow comes before ours
	require.Empty(t, b.trace("br-int", "in_port=office1,ipv6"+broadcast).reaches("wire-public"))

	_, err = b.s.Ofctl("del-flows", "br-ex")
	require.NoError(t, err)
	add, _, err := b.bridges["br-ex"].Plan(wiringtest.Soon(t), b.layout.flows()["br-ex"])
	require.NoError(t, err)
	require.Equal(t, b.layout.flows()["br-ex"], add)
	b.bring(b.layout)
	require.NotContains(t, normal(), "NORMAL", "what an operator removed, nobody brings back")
	_, err = b.s.Ofctl("add-flow", "br-ex", "priority=0,actions=NORMAL")
	require.NoError(t, err)
}
