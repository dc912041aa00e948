// Package bridge attaches ports to networks with Linux bridges. It needs nothing but a kernel: no
// daemon, no tool, no package.
//
// # What there is on a host
//
// Names are those of Neutron's Linux bridge agent, an ID cut to eleven characters:
//
//	brq<network>        a network's bridge, unless the network is an existing bridge
//	tap<port>           host end of a port's veth; the other end is in the router's namespace
//	vxlan-<vni>         uplink of a VXLAN network, in its bridge (RFC 7348; learning, a flood entry for each peer)
//	<device>.<vid>      uplink of a VLAN network, in its bridge
//	bro<network><n>     overflow bridge n of a network with more ports than a bridge takes, 1,023
//	tbq…, tbo<network><n>  the veth that joins overflow bridge n to the first: a star
//
// A flat network is one of three things. Its physical network is an existing bridge: ports go
// straight into that. It is an interface: the interface becomes a port of a bridge of ours. It is
// none: a bridge of ours without an uplink, as for a local network.
//
// Bridges of ours forward at once (no spanning tree, no forward delay) and flood multicast (no
// snooping, which would need a querier). The host itself stays silent: neither bridges nor host
// ends give themselves IPv6 addresses. A bridge's MTU follows its ports; an uplink's is never less
// than that of the largest port, and is not limited by the underlying network, whose MTU must have
// room for the tunnel's headers: 50 bytes over IPv4, 70 over IPv6.
//
// # What a fresh process finds, and how
//
// Nothing is kept in files. Each device of ours says in its interface alias whose it is:
//
//	l3kit router=<id> port=<id> network=<id>   a router's port
//	    [anycast=<mac>] [outside]              the same of a distributed router
//	l3kit port=<id> network=<id>               a workload's port
//	l3kit network=<id> [uplink=<device>]       a bridge, a VLAN or VXLAN device
//	l3kit network=<id> overflow=<n>            an overflow bridge, and both ends of its trunk
//
// A device that has one of our names without the right mark is somebody else's: it is
// [dataplane.ErrForeign], and never touched. There is one exception: a host end whose other end is
// the port's device in the port's namespace is ours, whatever became of its mark. Existing bridges
// and physical interfaces carry no mark. Each device and its mark are made in one system call, so
// that a killed process leaves nothing unmarked; what it left half-made the next Plug completes,
// and Sweep and Release take away. That is why messages are made here, with mdlayher/netlink:
// vishvananda/netlink sends one at a time.
//
// # Ports of distributed routers
//
// Frames from and to an anycast port ([dataplane.Anycast]) stay on the host. One nftables table
// sees to that, "bridge l3kit_anycast" in the host's namespace. It comes with the host's first
// anycast port, goes with the last, and has the same rules on each host; what differs is in its
// sets. Plan compares all of it, Watch notices when somebody changes it, and other tables are not
// touched. In short, on networks with an anycast port:
//
//   - No frame with the MAC of the port passes an uplink, in either direction, and the bridge does
//     not learn that the MAC is there.
//   - Nothing passes between the port and an uplink at all, so nothing that is flooded on other
//     hosts comes to it.
//   - Nothing about the gateway's addresses passes: requests for them (ARP, neighbour
//     solicitations), and messages that say who has them. A request by which the router's centre
//     looks for a workload loses its sender's address, and so becomes a probe (RFC 5227), which a
//     workload answers without taking the sender for its gateway.
//   - Router solicitations do not pass, nor advertisements of a centre on the same host.
//
// Uplinks are the VXLAN or VLAN device, the physical interface, or each port of an existing bridge
// that is not ours. A port with [dataplane.Port.Outside] counts as an uplink. The addresses of
// anycast ports are in the table's sets addrs4 and addrs6, where a fresh process finds them; their
// MACs are in the marks of their host ends.
//
// These ports are in the network's first bridge, never in an overflow bridge. A kernel without
// nf_tables for bridges (CONFIG_NF_TABLES_BRIDGE, and on some kernels the module nft_meta_bridge)
// has no anycast ports, and all others. [Driver.CheckAnycast] tells.
//
// There are limits. A device that somebody adds to an existing bridge is contained only after the
// next Plug; Watch announces it. Router advertisements of a centre on another host pass, because
// nothing tells them from those of other routers. A neighbour solicitation from a centre's own IPv6
// address is dropped, because the workload would learn from it that the address is at the centre.
// For packets that it forwards, a centre solicits from its link-local address, which passes.
//
// # What it costs
//
// A driver lists the host's links once, and listens from then on, so that it knows them without
// asking. A Plan that finds nothing to do costs a few system calls, one of which asks for the
// port's device in its namespace; on a network with an anycast port, another asks whether somebody
// has changed the host's nftables. Making a port costs one request. Writes of different processes
// on one host do not disturb each other, but two that remove the last port of a network and add the
// first in the same instant may leave the port without its bridge, until it is plugged again. Peers
// of a VXLAN device are read when a process first uses it: an entry that somebody else removes
// later is missed until SetPeers.
//
// # Bridged frames and the host's own firewall
//
// Where the module br_netfilter is loaded and net.bridge.bridge-nf-call-iptables is 1 (container
// engines do that), the host's iptables and nftables see IP packets that cross its bridges, and a
// FORWARD policy of drop stops them. Nothing here changes that setting, which is the whole host's:
// either set it to 0, or accept packets between bridge ports (iptables -I FORWARD -m physdev
// --physdev-is-bridged -j ACCEPT).
//
// # Promises
//
// The methods of a [Driver] may be called concurrently, in any number of processes on one host that
// are configured alike. A method returns soon after its context ends; a device that Plug was making
// is gone then. Errors wrap the sentinels of package dataplane. The zero [Config] is usable.
package bridge
