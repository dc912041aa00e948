package ovs_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/l3kit/l3kit/ovs"
)

// Every tampering is named by Plan, mended by Plug, and leaves what was up up.
func TestTampering(t *testing.T) {
	const dev = "qr-port"
	const anew = "+ wiring qr-port: veth tapport on bridge br-int (network net)"
	link := func(name string, do func(*netlink.Handle, netlink.Link) error) func(*netlink.Handle) error {
		return func(n *netlink.Handle) error {
			l, err := n.LinkByName(name)
			if err != nil {
				return err
			}
			return do(n, l)
		}
	}
	type tampering struct {
		name    string
		vsctl   string
		outside func(*netlink.Handle) error
		inside  func(*netlink.Handle) error
		steps   []string
	}
	host := newHost(t) // one for all, because it takes a second to start
	for _, c := range []tampering{
		{name: "port deleted", vsctl: "del-port tapport", steps: []string{anew}},
		{name: "bridge deleted", vsctl: "del-br br-int", steps: []string{"+ wiring br-int: bridge with the netdev datapath", anew}},
		{name: "tag", vsctl: "set port tapport tag=77", steps: []string{"~ wiring qr-port: local VLAN 1, was 77"}},
		{name: "no tag", vsctl: "clear port tapport tag", steps: []string{"~ wiring qr-port: local VLAN 1, was 0"}},
		{name: "a trunk", vsctl: "set port tapport vlan_mode=trunk trunks=1,2", steps: []string{"~ wiring qr-port: carries other VLANs"}},
		{name: "mark lost", vsctl: "clear port tapport external_ids", steps: []string{"~ wiring qr-port: mark lost"}},
		{name: "other tools' marks", vsctl: "remove interface tapport external_ids iface-id", steps: []string{"~ wiring qr-port: external_ids"}},
		{name: "MTU request", vsctl: "set interface tapport mtu_request=1300", steps: []string{
			"~ wiring qr-port: mtu_request 1450, was 1300",
		}},
		{name: "fail mode", vsctl: "del-fail-mode br-int", steps: []string{"~ wiring br-int: fail_mode secure, was standalone"}},
		{name: "on another bridge", vsctl: "del-port tapport -- add-br other -- set bridge other datapath_type=netdev -- add-port other tapport" +
			" -- set port tapport external_ids:l3kit=port external_ids:l3kit-port=port external_ids:l3kit-router=r1 external_ids:l3kit-network=net",
			steps: []string{"- wiring qr-port: not on bridge br-int  !", anew}},
		{
			name: "host end deleted", outside: link("tapport", (*netlink.Handle).LinkDel),
			steps: []string{"- wiring qr-port: its device is gone  !", anew},
		},
		{
			name: "device deleted", inside: link(dev, (*netlink.Handle).LinkDel),
			steps: []string{"- wiring qr-port: its device is gone  !", anew},
		},
		{name: "host end down", outside: link("tapport", (*netlink.Handle).LinkSetDown), steps: []string{"~ wiring qr-port: host end down"}},
		{
			name:   "device's MTU",
			inside: link(dev, func(n *netlink.Handle, l netlink.Link) error { return n.LinkSetMTU(l, 1300) }),
			steps:  []string{"~ wiring qr-port: mtu 1450, was 1300"},
		},
		{
			name: "device's MAC",
			inside: link(dev, func(n *netlink.Handle, l netlink.Link) error {
				return n.LinkSetHardwareAddr(l, []byte{2, 0, 0, 0, 0, 9})
			}),
			steps: []string{"~ wiring qr-port: MAC fa:16:3e:00:00:01, was 02:00:00:00:00:09  !"},
		},
		{
			name: "device renamed",
			inside: link(dev, func(n *netlink.Handle, l netlink.Link) error {
				if err := n.LinkSetDown(l); err != nil {
					return err
				}
				return n.LinkSetName(l, "elsewhere")
			}),
			steps: []string{"- wiring qr-port: attached elsewhere  !", anew},
		},
		{
			name: "device replaced by another",
			inside: link(dev, func(n *netlink.Handle, l netlink.Link) error {
				if err := n.LinkDel(l); err != nil {
					return err
				}
				return n.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: dev, TxQLen: -1}})
			}),
			steps: []string{"- wiring qr-port: its device is gone  !", anew},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := host.on(t)
			d := h.driver(ovs.Config{})
			router, vm := h.router("r1"), h.workload("vm")
			p, v := portOn(local("net"), "port", 1), portOn(local("net"), "vmport", 2)
			plug(t, d, router, dev, p)
			plug(t, d, vm, "eth0", v)
			up(t, vm, "eth0", "10.0.0.2/24")
			up(t, router, dev, "10.0.0.1/24")
			requireReach(t, vm, router, "10.0.0.1")

			if c.vsctl != "" {
				h.do(c.vsctl)
			}
			if c.outside != nil {
				require.NoError(t, c.outside(h.net))
			}
			if c.inside != nil {
				inside(t, router, c.inside)
			}
			require.Equal(t, c.steps, plan(t, d, router, dev, p))
			require.Equal(t, c.steps, plan(t, h.driver(ovs.Config{}), router, dev, p), "a fresh process sees the same")
			plug(t, d, router, dev, p)
			plug(t, d, vm, "eth0", v)
			up(t, vm, "eth0", "10.0.0.2/24")
			up(t, router, dev, "10.0.0.1/24")
			requireReach(t, vm, router, "10.0.0.1")
			require.NoError(t, d.Release(soon(t), "r1"))
			require.NoError(t, d.Unplug(soon(t), vm, "eth0"))
		})
	}
}
