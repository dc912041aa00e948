package main

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/internal/test/needs"
)

// blow is what a neighbour with root does to the router. In its commands, PORT is the host's end of
// the router's port, and BRIDGE what that is on.
type blow struct {
	name  string
	do    func(*repaired)
	wired bool // it is about the host's side
}

// repaired is a site whose agent would check its routers tomorrow.
type repaired struct {
	*site
	ovs *lab.Switch // nil: with bridges
	all []string
}

func (r *repaired) namespace() string {
	return filepath.Join(r.machine.Dir, dataplane.NamespaceName(office.ID))
}

// run runs a command in a namespace.
func (r *repaired) run(ns, command string) {
	r.t.Helper()
	args := append([]string{"--net=" + ns}, strings.Fields(command)...)
	text, err := exec.Command("nsenter", args...).CombinedOutput()
	require.NoError(r.t, err, "%s: %s", command, text)
}

func inside(command string) func(*repaired) {
	return func(r *repaired) {
		r.t.Helper()
		r.run(r.namespace(), command)
	}
}

// outside runs a command with the host's end of the router's port.
func outside(command string) func(*repaired) {
	return func(r *repaired) {
		r.t.Helper()
		tap, bridge := r.tap()
		r.run(r.machine.HostNS, strings.NewReplacer("PORT", tap, "BRIDGE", bridge).Replace(command))
	}
}

// tap is the host's end of the router's port, and its bridge.
func (r *repaired) tap() (name, bridge string) {
	r.t.Helper()
	ns, err := vnetns.GetFromPath(r.machine.HostNS)
	require.NoError(r.t, err)
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	require.NoError(r.t, err)
	defer h.Close()
	links, err := h.LinkList()
	require.NoError(r.t, err)
	for _, l := range links {
		a := l.Attrs()
		if strings.Contains(a.Alias, "router=office") && strings.Contains(a.Alias, "port=lan") {
			b, err := h.LinkByIndex(a.MasterIndex)
			require.NoError(r.t, err)
			return a.Name, b.Attrs().Name
		}
	}
	require.Fail(r.t, "the router has no port")
	return "", ""
}

func (r *repaired) state() string {
	text, err := lab.State(r.namespace())
	if err != nil {
		return err.Error() // it may be about to be made
	}
	return text
}

// right says that the router is as the agent has applied it.
func (r *repaired) right() bool {
	text, err := process(r.t.Context(), r.all, append([]string{"plan"}, r.flags...)...).Output()
	return err == nil && string(text) == "nothing to do\n"
}

// becomes waits until the router is as it was, and its wiring too, which takes a day if nobody
// announces what has happened.
func (r *repaired) becomes(want string, wired bool) {
	r.t.Helper()
	var got string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if got = r.state(); got == want && (!wired || r.right()) {
			return
		}
	}
	missing, surplus := lines(want), lines(got)
	for line := range missing {
		if surplus[line] {
			delete(missing, line)
			delete(surplus, line)
		}
	}
	require.Fail(r.t, "the router is not as it was", "missing: %q\ntoo much: %q", slices.Collect(maps.Keys(missing)), slices.Collect(maps.Keys(surplus)))
}

func lines(text string) map[string]bool {
	set := map[string]bool{}
	for line := range strings.Lines(text) {
		set[line] = true
	}
	return set
}

// TestWhatOthersBreakIsRepaired has an agent that checks its routers once a day, and neighbours who
// do not wait for that.
func TestWhatOthersBreakIsRepaired(t *testing.T) {
	needs.Program(t, "nft", "nftables")
	needs.Program(t, "iptables-legacy-restore", "iptables")
	blows := []blow{
		{"rules flushed", inside("nft flush ruleset"), false},
		{"port deleted", inside("ip link del qr-lan"), false},
		{"port down", inside("ip link set qr-lan down"), false},
		{"gateway down", inside("ip link set qg-wan down"), false},
		{"port renamed", inside("ip link set qr-lan down name away0"), false},
		{"address deleted", inside("ip address del 10.0.1.1/24 dev qr-lan"), false},
		{"IPv6 address deleted", inside("ip address del 2001:db8:1::1/64 dev qr-lan"), false},
		{"floating IP deleted", inside("ip address del 203.0.113.5/32 dev qg-wan"), false},
		{"all addresses deleted", inside("ip address flush dev qg-wan"), false},
		{"route deleted", inside("ip route del default"), false},
		{"route added", inside("ip route add 10.99.0.0/24 via 10.0.1.77"), false},
		{"forwarding off", inside("sysctl -qw net.ipv4.ip_forward=0"), false},
		{"namespace deleted", func(r *repaired) {
			require.NoError(r.t, netns.Remove(r.machine.Dir, dataplane.NamespaceName(office.ID)))
		}, false},
	}
	bridged := append(blows[:len(blows):len(blows)],
		blow{"host's end deleted", outside("ip link del PORT"), true},
		blow{"host's end down", outside("ip link set PORT down"), true},
		blow{"host's end off its bridge", outside("ip link set PORT nomaster"), true},
		blow{"host's end without its mark", outside("ip link set PORT alias none"), true},
		blow{"bridge down", outside("ip link set BRIDGE down"), true},
	)
	legacy := append([]blow{{"iptables-legacy flushed", func(r *repaired) {
		for _, table := range []string{"nat", "filter", "mangle"} {
			inside("iptables-legacy --wait -t " + table + " -F")(r)
		}
	}, false}, {"a rule of iptables-legacy deleted", inside("iptables-legacy --wait -t nat -D PREROUTING 1"), false}}, bridged[1:]...)
	vsctl := func(command ...string) func(*repaired) {
		return func(r *repaired) {
			_, err := r.ovs.Vsctl(command...)
			require.NoError(r.t, err)
		}
	}
	port := func(command string) func(*repaired) {
		return func(r *repaired) {
			name, err := r.ovs.Vsctl("--bare", "--columns=name", "find", "Interface", "external_ids:iface-id=lan")
			require.NoError(r.t, err)
			vsctl(strings.Fields(strings.ReplaceAll(command, "PORT", strings.TrimSpace(name)))...)(r)
		}
	}
	switched := append(blows[:len(blows):len(blows)],
		blow{"switch's port deleted", port("del-port PORT"), true},
		blow{"switch's port on another VLAN", port("set port PORT tag=4000"), true},
		blow{"switch's port without its mark", port("clear port PORT external_ids"), true},
		blow{"flows deleted", func(r *repaired) {
			_, err := r.ovs.Ofctl("del-flows", "br-int")
			require.NoError(r.t, err)
		}, true},
		blow{"bridge deleted", vsctl("del-br", "br-int"), true},
	)
	for _, tt := range []struct {
		name, dataplane, iptables string
		switched                  bool
		blows                     []blow
	}{
		{"nftables and bridges", "nftables", "", false, bridged},
		{"iptables-nft and bridges", "iptables", "xtables-nft-multi", false, bridged},
		{"iptables-legacy and bridges", "iptables", "xtables-legacy-multi", false, legacy},
		{"nftables and Open vSwitch", "nftables", "", true, switched},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := &repaired{site: newSite(t)}
			r.all = []string{"nsenter", "--net=" + r.machine.HostNS}
			r.flags = append(r.flags, "--dataplane", tt.dataplane)
			if tt.iptables != "" {
				r.all = append(useIPTables(t, tt.iptables), r.all...)
			}
			if tt.switched {
				needs.Program(t, "ovs-vswitchd", "openvswitch-switch")
				var err error
				r.ovs, err = r.machine.Switch(t.Context())
				require.NoError(t, err)
				r.flags = append(r.flags, "--wiring=ovs", "--ovs-endpoint="+r.ovs.Endpoint, "--ovs-run-dir="+r.ovs.RunDir, "--ovs-datapath=netdev")
			}
			stop := r.start(r.all, "--check=24h")
			defer stop()
			require.Eventually(t, r.right, patience, 50*time.Millisecond, "the agent applies what is in its cache")
			want := r.state()
			for i, b := range tt.blows {
				if i%4 == 3 {
					time.Sleep(3 * time.Second) // or else the agent takes us for a neighbour who fights back, and its time
				}
				began := time.Now()
				b.do(r)
				r.becomes(want, b.wired)
				if !tt.switched { // else the workloads are elsewhere
					r.passes()
				}
				t.Log(b.name, time.Since(began).Round(time.Millisecond))
			}
		})
	}
}

// useIPTables returns how to start a process in whose PATH one variant is the iptables.
func useIPTables(t *testing.T, variant string) []string {
	t.Helper()
	program, err := exec.LookPath(variant)
	require.NoError(t, err)
	dir := t.TempDir()
	for _, name := range []string{"iptables", "iptables-save", "iptables-restore"} {
		require.NoError(t, os.Symlink(program, filepath.Join(dir, name)))
	}
	return []string{"env", "PATH=" + dir + ":" + os.Getenv("PATH")}
}
