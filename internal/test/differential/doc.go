// Package differential holds the proof that a router is what the model says, on every backend:
// random routers are realised by all of them, random packets are put on real wires, and what comes
// out is compared with [dataplane.Model.Paths], packet by packet, for the first packet of a
// connection and for what comes back.
//
// There are tests only. A difference shrinks to the smallest router and packet that show it,
// printed as a router file with what each backend did. Deliberate mistakes, one at a time, prove
// that differences are found.
//
// # How a packet is seen to vanish
//
// Far ends of the router's networks are bare wires: one socket that sees every frame, and answers
// every question for a neighbour with a MAC that tells whose it is. So one sees which next hop was
// chosen, and needs no hosts. Behind each packet a question follows that the router's kernel
// answers by itself. All devices are veths, whose frames queue in the order in which they were sent
// by one CPU; the test stays on one. So once the answer is there, whatever the packet was to cause
// is there too, and what is not there was dropped. No clock decides.
package differential
