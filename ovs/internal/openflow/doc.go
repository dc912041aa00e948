// Package openflow declares the flows of an Open vSwitch bridge as a whole, and knows without
// asking whether they are still there.
//
// # Whose flow is it
//
// A flow of ours carries a cookie: the upper half is our mark, the lower half a hash of the flow's
// text. So a flow that ought to be there is recognised by its cookie alone, in any process, and
// nothing depends on how a version of Open vSwitch prints a match. The mark is the bytes 6c33
// ("l3"), and 16 bits of a hash of the owner's name, so that two owners can share a bridge. Flows
// that a learn action of ours makes carry the mark of learned flows ([LearnedCookie]); they belong
// to the switch, which makes and ends them. Flows with any other cookie are somebody else's: they
// are never counted, changed or removed, unless one of ours has the very same table, priority and
// match, for which a table has only one place.
//
// # How it knows
//
// Each [Bridge] keeps one connection to ovs-vswitchd, on which it asks for flow monitoring
// (NXST_FLOW_MONITOR of Open vSwitch's nicira-ext.h, over OpenFlow 1.0): all flows first, then each
// change. ovs-vswitchd writes the news to that socket before it answers whoever made the change. So
// a look at the socket that finds nothing, one system call, proves that nobody has completed a
// change, and the end of the connection says that ovs-vswitchd went away, and all flows with it.
//
// The news name a flow's cookie, not what it does. Where a flow was changed under its cookie, or
// was there before this process looked, its actions are compared once, by ovs-ofctl diff-flows.
//
// # How it writes
//
// Changes are written by ovs-ofctl(8), which is started only when there are any, as one OpenFlow
// 1.4 bundle: all of them take effect between two packets, or none does. Flows that stay are not
// mentioned in it, and keep their counters.
//
// A bridge whose column protocols is restricted must allow OpenFlow10 and OpenFlow14; by default
// all are allowed.
package openflow
