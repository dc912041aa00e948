// Package dataplane says what a virtual router is and what a host that realises one must do.
//
// A [Router] is the whole desired state of one router on one host: ports, gateway, floating IPs,
// extra routes. A [Dataplane] makes the host match it. [Router.Trace] is the reference model: what
// any dataplane must do with a packet, hop by hop. [Fake] is a dataplane in memory that answers by
// the model.
//
// The package imports the standard library only. Backends live elsewhere: the packages nftables and
// iptables of this module realise a router as a Linux network namespace; dataplane/dataplanetest
// holds any of them, and yours, to the same contract.
package dataplane
