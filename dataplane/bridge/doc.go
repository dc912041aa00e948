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
// # What it costs
//
// A driver lists the host's links once, and listens from then on, so that it knows them without
// asking. A Plan that finds nothing to do costs a few system calls, one of which asks for the
// port's device in its namespace; making a port costs one request. Writes of different processes on
// one host do not disturb each other, but two that remove the last port of a network and add the
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
