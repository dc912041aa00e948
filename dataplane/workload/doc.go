// Package workload attaches virtual machines, containers and network namespaces to networks, by the
// same wiring that attaches routers: Linux bridges or Open vSwitch.
//
//	config := workload.Config{Port: port, NextHops: []netip.Addr{gateway}}
//	err := workload.Attach(ctx, wiring, ns, "eth0", config)
//
// [Attach] gives a namespace a device with the port's MAC address, MTU, addresses and routes.
// [AttachTap] makes a tap device for a virtual machine, which configures its addresses itself:
// there is no DHCP server. [Detach] and [DetachTap] undo that.
//
// On a tunnelled network (VXLAN, Geneve, GRE) the other hosts must flood to this one, and this one
// to them. A list of tunnel peers is a host's, not a network's, so a host with nothing but a
// workload is reached like one with a router. All processes that plug ports on one host must be
// given the same list.
//
// A device of a workload says in its interface alias which port it is:
//
//	l3kit-workload port=<id> network=<id>
//
// For a tap device there are three devices on the host, named after the first characters of the
// port's ID, because a tap device is not something that both kinds of wiring can plug:
//
//	vm-<port>  the tap device
//	vb-<port>  a bridge of two ports, which passes every frame from one to the other
//	vp-<port>  what the wiring has plugged
package workload
