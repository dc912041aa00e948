// Package scheduler chooses which agent hosts a router. Everything in it is pure: no clock, no I/O,
// and under one random source the same answers. A scheduler is given to the service; the service
// offers it only agents that are alive, enabled, able to reach the router's external network and in
// a zone that was asked for.
package scheduler
