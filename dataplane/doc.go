// Package dataplane says what a virtual router is and what a host that realises one must do.
//
// A [Router] is the whole desired state of one router on one host: ports, gateway, floating IPs,
// port forwardings, extra routes. A [Dataplane] makes the host match it. [Router.Trace] is the
// reference model: what any dataplane must do with a packet, hop by hop. [Fake] is a dataplane in
// memory that answers by the model.
//
// # What a dataplane does
//
//	Plan, Apply, Delete   [Dataplane]: one router; each [Step] of a [Plan] has the ID of its object
//	List, Inspect         [Dataplane]: what runs on the host, other processes' routers too
//	Ready                 [Dataplane]: whether the host can realise routers
//	Watch                 [Watcher]: routers that somebody else has changed
//	Counters              [CounterReader]: what has passed through floating IPs
//
// Fake and the dataplanes of this module do all of it.
//
// # Promises
//
// Methods may be called concurrently. Those for one router take turns; those for different routers
// do not wait for each other. A method returns soon after its context ends. Values are never kept
// by reference: what is passed in may be changed afterwards, and so may what is returned. The zero
// Router is invalid for want of an ID, and a Router with nothing but an ID is valid. Errors are
// [OpError] and wrap a sentinel to branch on with [errors.Is]; those of Apply and Delete are
// [ChangeError] and tell which router is in force.
//
// The package imports the standard library only. Backends live elsewhere: the packages nftables and
// iptables of this module realise a router as a Linux network namespace; dataplane/dataplanetest
// holds any of them, and yours, to the same contract.
package dataplane
