// Package ovs attaches ports to networks with Open vSwitch, in the way that Neutron's agents do: an
// integration bridge with a local VLAN for each network, bridges of physical networks joined to it
// by patch ports, and a tunnel bridge towards the other hosts.
//
// It speaks OVSDB (RFC 7047) with ovsdb-server, OpenFlow with ovs-vswitchd, and rtnetlink with the
// kernel. ovs-ofctl must be in PATH: it is started when flows change, and not otherwise. All is
// tested with Open vSwitch 3.1.
//
// # What there is on a host
//
//	br-int                 the integration bridge; every router's port, with the local VLAN of its network as its tag
//	int-<b>, phy-<b>       patch ports between br-int and the bridge b of a physical network, one on each
//	br-tun                 the tunnel bridge
//	patch-tun, patch-int   patch ports between br-int and br-tun
//	vxlan-<address>        tunnel port to a host, its address as a hexadecimal number; so geneve-… and gre-…
//	tap<port>              a port that is a veth, a port's ID cut to eleven characters; the other end is in the router's namespace
//	qr-<port>, qg-<port>   a port that is an internal one; its device is in the router's namespace
//
// A port that is on a direct physical network is on that network's bridge, without a tag. Names are
// Neutron's. If the integration bridge is called otherwise than br-int, its name follows that of
// the physical bridge in the names of patch ports: int-<b>-<integration>.
//
// A network's local VLAN is the lowest that no port of the switch uses when the network's first
// port comes. It means nothing on another host. 4095 is for dead ports, and gets nowhere. A segment
// of a physical network, or of a type of tunnels, belongs to one network on a switch: a port of a
// second one is [dataplane.ErrInvalid], because frames of the two would meet. Flows, which this
// package documents with the tables that they are in, give frames the network's own VLAN or tunnel
// ID on their way out of br-int, and take it away on the way in.
//
// Bridges of ours, patch ports and tunnels stay when the last port goes: they serve the host. They
// carry nothing then, for the flows of a network go with its last port.
//
// A pair of patch ports is made closed: its end on the other bridge has the peer nonexistent-peer.
// It is opened when both bridges have their flows, so that no frame of another network leaves by it.
// A process that is killed in between leaves it closed, for the next Plug to open. While flows are
// written, those of the integration bridge come last, and not at all while a bridge that is joined
// to it cannot get its own: without flows it passes nothing, because a bridge of ours has fail_mode
// secure. Whoever makes the integration bridge should choose that, too: with standalone, which is
// the default, it floods as soon as ovs-vswitchd starts, and so may a physical bridge.
//
// # Ports of distributed routers
//
// An anycast port ([dataplane.Port].Anycast) is kept to its host by a few flows for each network,
// whatever the number of workloads. They are on br-int for what comes in, and on br-tun or the
// bridge of the physical network for what leaves. It is also a protected port (column protected of
// table Port), as is the patch port on br-int by which its network leaves the host: Open vSwitch
// floods nothing from one protected port to another. So an operator's own protected port on br-int
// reaches no other host while anycast ports use the same patch port. Anycast ports of several
// routers reach each other, by flows. On a direct physical network an anycast port is
// [dataplane.ErrUnsupported].
//
// A port that is [dataplane.Port].Outside gets the flows of another host's port, if its network has
// an anycast port here. But what the two flood reaches the other, except for announcements of the
// gateway's address; and what the outside port answers to the host's own workloads about that
// address goes to the other hosts, where nobody asked.
//
// # What a fresh process finds, and how
//
// Nothing is kept in files, nor in any process. Columns external_ids say whose a port is, and all
// that flows follow from:
//
//	Bridge     l3kit=bridge
//	Port       l3kit=port l3kit-bridge l3kit-router l3kit-port l3kit-network l3kit-type l3kit-physical l3kit-segment l3kit-vlan
//	Port       l3kit-contain, of an anycast or outside port: which of both, its MAC, its addresses
//	Port       l3kit=patch l3kit-bridge l3kit-to l3kit-physical
//	Port       l3kit=tunnel l3kit-bridge l3kit-type
//	Interface  iface-id attached-mac iface-status=active
//
// A port with one of our names and without the right mark is somebody else's: it is
// [dataplane.ErrForeign], and never touched; so is a device of the host. There is one exception: a
// port whose device is the port's in the port's namespace is ours, whatever became of its mark. A
// bridge serves whoever made it, if its datapath_type is that of the configuration.
//
// Flows carry a cookie that says of which integration bridge they are (see ovs/internal/openflow).
// So processes with different integration bridges can share the bridge of a physical network, and
// touch no flow of each other's. Tunnels are for one of them.
//
// # How it is changed
//
// A change is one transaction, with all that it needs: bridges, patch ports, tunnels, every port of
// a call, VLANs; and another one if pairs of patch ports are to be opened. A transaction is refused
// by ovsdb-server if any other process has changed something since we looked
// (Open_vSwitch:next_cfg), and then it is thought out anew. Then Plug waits until ovs-vswitchd says
// that it has acted (cur_cfg), and looks at what it says (Interface:ofport and error). If that
// fails, what the transaction made is taken back.
//
// Flows are written by one process of a host at a time, which holds a lock (flock(2)) on the
// directory of the bridges' sockets, and meanwhile works them out from the database as it is then.
// So no process puts older flows in the place of newer ones. The lock of a process that is killed
// ends when its last ovs-ofctl has.
//
// # What it costs
//
// A Plan costs an echo from ovsdb-server for all its devices together, which proves that the copy
// of the database is up to date, and a few system calls for each. Plug costs a transaction, which
// proves that for itself, an echo, and the time that ovs-vswitchd takes, all once for all the ports
// of a call. That time grows with the number of all ports, because ovs-vswitchd looks at all of
// them at each change (bridge_reconfigure in vswitchd/bridge.c): nothing here does. It does so also
// whenever the kernel tells it of a device of the host. So a veth costs it two rounds, the first of
// which begins when the veth appears, and the second, with the transaction, after that.
//
// # Limits of the userspace datapath
//
// With the datapath netdev, ovs-vswitchd itself looks up the route to a tunnel's other end. Whenever
// a device of the host comes, goes or changes, it forgets all routes and reads them again
// (route_table_reset in lib/route-table.c); until it has, packets to tunnels are lost. The kernel's
// datapath leaves routes to the kernel, and has no such gap.
//
// # When something is started anew
//
// This process: it finds all, and writes nothing; but flows of ours on the bridges of physical
// networks that no network there accounts for are removed, in the background, as are such flows on
// br-int and br-tun. They are of a process that was killed between a transaction and its flows.
// ovsdb-server: the next call connects again, and until it is back calls fail at once.
// ovs-vswitchd: flows are installed again in the background. On the userspace datapath internal
// ports come back as new devices in the host's namespace: Plan names them, and Plug puts them in
// place of the dead ones. Veths are opened again, and lose nothing.
//
// # Promises
//
// The methods of a [Driver] may be called concurrently, in any number of processes on one host that
// are configured alike. A method returns soon after its context ends; what Plug had made by then is
// taken back. While a daemon does not answer, the error is [dataplane.ErrDaemon]; other sentinels
// are those of package dataplane. The zero [Config] is usable.
package ovs
