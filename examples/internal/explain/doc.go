// Package explain says what a router does with a packet, and why: by the model, and by a packet
// that is sent through the router on this host.
package explain
