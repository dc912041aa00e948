package ovs_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/test/wiringtest"
	"github.com/l3kit/l3kit/ovs"
)

// A network's frames leave the host with its own segment or not at all, and those of others never
// do, while the pair of patch ports that it leaves by is made, is mended, and comes back with
// ovs-vswitchd.
func TestNothingLeavesWithoutFlows(t *testing.T) {
	for name, c := range map[string]struct {
		kind   dataplane.NetworkType
		bridge string // made by an operator, with fail_mode standalone
		pair   [2]string
	}{
		"physical":        {dataplane.NetworkVLAN, "", [2]string{"int-br-wire", "phy-br-wire"}},
		"tunnel":          {dataplane.NetworkVXLAN, "", [2]string{"patch-tun", "patch-int"}},
		"existing tunnel": {dataplane.NetworkVXLAN, "br-tun", [2]string{"patch-tun", "patch-int"}},
	} {
		t.Run(name, func(t *testing.T) {
			list, cables, network := wired(t, c.kind, 2)
			nd, cable := list[0], cables[0]
			if c.bridge != "" {
				nd.do(fmt.Sprintf("add-br %s -- set bridge %s datapath_type=%s", c.bridge, c.bridge, datapath()))
			}
			require.NoError(t, unix.SetsockoptInt(cable.fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1))
			stranger := nd.talker("stranger", wiringtest.Local("stranger"), 1)
			member := nd.talker("member", wiringtest.Local(network.ID), 2)

			seen := map[dataplane.MAC]map[uint32]int{stranger.MAC: {}, member.MAC: {}}
			passes := func(what string) {
				t.Helper()
				cable.segments(seen)
				before := seen[member.MAC][network.Segment]
				require.Eventually(t, func() bool {
					cable.segments(seen)
					return seen[member.MAC][network.Segment] > before
				}, time.Minute, time.Millisecond, what)
				require.Empty(t, seen[stranger.MAC], "%s: frames of another network, by segment", what)
				require.Len(t, seen[member.MAC], 1, "%s: frames of the network, by segment", what)
			}

			member.Network = network
			wiringtest.Plug(t, nd.driver, member.ns, "qr-member", member.Port)
			passes("the network comes to the host")
			require.Empty(t, wiringtest.Plan(t, nd.driver, member.ns, "qr-member", member.Port))

			other := network
			other.ID, other.Segment = "other", 78
			before := nd.transactions()
			neighbour := nd.Router("other")
			wiringtest.Plug(t, nd.driver, neighbour, "qr-other", wiringtest.PortOn(other, "other", 3))
			passes("another network comes")
			require.Equal(t, before+1, nd.transactions(), "no more than without a pair")

			require.NoError(t, nd.RestartDaemon(wiringtest.Soon(t)))
			passes("ovs-vswitchd starts anew")

			for _, name := range c.pair {
				nd.do("del-port " + name)
				wiringtest.Plug(t, nd.driver, member.ns, "qr-member", member.Port)
				passes(name + " is made anew")
			}
			nd.do("set interface " + c.pair[1] + " options:peer=nonexistent-peer")
			require.Equal(t, []string{"~ wiring " + c.pair[1] + ": closed"}, wiringtest.Plan(t, nd.driver, member.ns, "qr-member", member.Port),
				"as a process leaves it that is killed before it has opened the pair")
			wiringtest.Plug(t, nd.driver, member.ns, "qr-member", member.Port)
			passes("a pair is opened")

			require.NoError(t, nd.driver.Unplug(wiringtest.Soon(t), neighbour, "qr-other"))
			require.NoError(t, nd.driver.Unplug(wiringtest.Soon(t), member.ns, "qr-member"))
			wiringtest.Plug(t, nd.driver, member.ns, "qr-member", member.Port)
			wiringtest.Up(t, member.ns, "qr-member", "10.0.0.2/24")
			member.talk(200 * time.Microsecond)
			passes("a port comes after the last one has gone")
		})
	}
}

// What passes by a pair of patch ports that is open is not disturbed by what else happens on the
// host: other networks and pairs that come, fail, are mended and go; and another process.
func TestOpenPairIsLeftAlone(t *testing.T) {
	list, cables, network := wired(t, dataplane.NetworkVLAN, 1)
	nd, cable := list[0], cables[0]
	require.NoError(t, nd.driver.Close())
	nd.do("add-br br-ex -- set bridge br-ex datapath_type=" + string(datapath()))
	open := func(peers ...string) *ovs.Driver {
		d, err := ovs.New(wiringtest.Soon(t), ovs.Config{
			HostNS: nd.HostNS, Endpoints: []string{nd.Endpoint}, RunDir: nd.RunDir, Datapath: datapath(), Device: ovs.Internal,
			Physical: map[string]string{"wire": "br-wire", "ext": "br-ex"},
			Tunnel:   ovs.Tunnel{Local: addr("192.0.2.1"), Peers: addrs(peers...)},
		})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, d.Close()) })
		return d
	}
	nd.driver = open("192.0.2.2")
	member := nd.port("member", network, 1)
	stop := member.talk(2 * time.Millisecond)
	own := func(f frame) bool { return f.src == member.MAC && f.kind == fenceKind }
	cable.sees(own, "the network")

	others := nd.Router("others")
	plug := func(n int, network dataplane.Network) {
		wiringtest.Plug(t, nd.driver, others, "qr-"+network.ID, wiringtest.PortOn(network, network.ID, n))
	}
	plug(2, dataplane.Network{ID: "same", Type: dataplane.NetworkVLAN, Physical: "wire", Segment: 78})
	plug(3, flat("new", "ext"))
	nd.do("del-port phy-br-ex")
	plug(3, flat("new", "ext"))
	nd.do("add-port br-int rival -- set interface rival type=vxlan options:remote_ip=192.0.2.9 options:key=flow options:local_ip=192.0.2.1")
	failing := open("192.0.2.2", "192.0.2.9")
	tunnelled := wiringtest.VXLAN("tunnelled", 77)
	require.ErrorContains(t, failing.Plug(wiringtest.Soon(t), others, wiringtest.At("qr-tunnelled", wiringtest.PortOn(tunnelled, "tunnelled", 4))), "ovs-vswitchd says")
	require.NoError(t, failing.Close())
	nd.do("del-port rival")
	plug(4, tunnelled)
	require.NoError(t, nd.driver.Close())
	nd.driver = open("192.0.2.2")
	require.Empty(t, wiringtest.Plan(t, nd.driver, member.ns, "qr-member", member.Port))
	wiringtest.Plug(t, nd.driver, member.ns, "qr-member", member.Port)
	require.NoError(t, nd.driver.Release(wiringtest.Soon(t), "others"))

	last := stop()
	number := func(f frame) uint32 { return binary.BigEndian.Uint32(f.payload) }
	cable.sees(func(f frame) bool { return own(f) && number(f) == last }, "the last frame")
	seen := map[uint32]bool{}
	first := last
	for _, f := range cable.seen {
		if own(f) {
			seen[number(f)], first = true, min(first, number(f))
		}
	}
	require.EqualValues(t, last-first+1, len(seen), "frames from %d to %d", first, last)
}

// talker is a router's port that sends all the time.
type talker struct {
	dataplane.Port
	ns namespace.NS
	t  testing.TB
}

func (nd *node) talker(id string, network dataplane.Network, n int) *talker {
	nd.t.Helper()
	k := nd.port(id, network, n)
	k.talk(200 * time.Microsecond)
	return k
}

// port plugs a port that does not talk yet.
func (nd *node) port(id string, network dataplane.Network, n int) *talker {
	nd.t.Helper()
	k := &talker{wiringtest.PortOn(network, id, n), nd.Router(id), nd.t}
	wiringtest.Plug(nd.t, nd.driver, k.ns, "qr-"+id, k.Port)
	wiringtest.Up(nd.t, k.ns, "qr-"+id, fmt.Sprintf("10.0.0.%d/24", n))
	return k
}

// talk sends numbered frames until stop is called, which returns the last number.
func (k *talker) talk(interval time.Duration) (stop func() uint32) {
	out := newTap(k.t, k.ns.FD, "qr-"+k.ID, k.ID)
	end := make(chan struct{})
	var talk sync.WaitGroup
	var last uint32
	talk.Go(func() {
		for {
			select {
			case <-end:
				return
			case <-time.After(interval):
				f := frame{everybody, k.MAC, fenceKind, binary.BigEndian.AppendUint32(nil, last+1)}
				if _, err := unix.Write(out.fd, f.bytes()); err == nil { // it fails once the port has gone
					last++
				}
			}
		}
	})
	stop = sync.OnceValue(func() uint32 { close(end); talk.Wait(); return last })
	k.t.Cleanup(func() { stop() })
	return stop
}

// segments counts the frames that have come in from some senders, by the VLAN or VXLAN that they are
// in; 0: none.
func (d *tap) segments(seen map[dataplane.MAC]map[uint32]int) {
	d.t.Helper()
	buf, aux := make([]byte, 2048), make([]byte, 256)
	for {
		n, control, _, from, err := unix.Recvmsg(d.fd, buf, aux, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			return
		}
		require.NoError(d.t, err)
		f, ok := parseFrame(buf[:n])
		if ll, is := from.(*unix.SockaddrLinklayer); !ok || !is || ll.Pkttype == unix.PACKET_OUTGOING || seen[f.src] == nil {
			continue
		}
		seen[f.src][d.segment(buf[:n], aux[:control])]++
	}
}

// segment reads the VXLAN from a frame, or the VLAN from what the kernel says of it (struct
// tpacket_auxdata).
func (d *tap) segment(b, aux []byte) uint32 {
	const vni = 14 + 20 + 8 + 4
	if len(b) >= vni+4 && binary.BigEndian.Uint16(b[12:]) == unix.ETH_P_IP {
		return binary.BigEndian.Uint32(b[vni:]) >> 8
	}
	messages, err := unix.ParseSocketControlMessage(aux)
	require.NoError(d.t, err)
	for _, m := range messages {
		if status := binary.NativeEndian.Uint32(m.Data); status&unix.TP_STATUS_VLAN_VALID != 0 {
			return uint32(binary.NativeEndian.Uint16(m.Data[16:])) & 0xfff
		}
	}
	return 0
}
