// Package explain says what a router does with a packet, and why: by the model, and by a packet
// that is sent through the router, on this host or across all hosts that have a part of it.
package explain
