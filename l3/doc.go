// Package l3 is the vocabulary of a virtual-router service: networks, subnets, ports, routers and
// floating IPs, as the OpenStack Networking API v2.0 knows them, what callers may ask for, and the
// seams that the service is joined at: [Store], [Bus], [Scheduler] and [Policy]. Package service
// has the rules, and package server assembles all of it.
package l3
