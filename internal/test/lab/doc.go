// Package lab makes test and demonstration hosts out of network namespaces: a host for routers to
// run on, workloads beside them, and probes that say what the other end saw.
//
// A [Lab] is one pretended machine. Its workloads are attached by the same wiring as the routers'
// ports, and every one is a [Host] with sockets of its own: an echo service ([Host.Serve]),
// conversations with it ([Host.Dial]), a stream that counts lost packets ([Host.Stream]), and a
// look at the packets themselves ([Host.Capture]). No tools are started, with one exception:
// [State] asks nft and iptables for their own listings, so that a state can be compared without
// trust in the code that wrote it.
//
// A machine can have Open vSwitch ([Lab.Switch]), with its own tools to set it up and to look at
// it, and machines can be joined by an [Underlay].
//
// Everything needs root. Nothing touches the namespace that the caller is in.
package lab
