// Package deployment runs the reference deployment on this machine: servers, agents and nodes of
// the bus as real processes, on pretended machines.
//
// A [Machine] is a network namespace, and if it is to be a host with agents also a mount namespace
// with its own /run, /tmp and /var/lib: so several agents have their routers in what each takes for
// /run/netns. Nothing but an open file keeps that mount namespace, so all that agents have made
// ends with the process that made the machine, however that ends, and so do the programs.
//
// A [Cluster] is machines joined by three Ethernets: for management, which has the servers and the
// bus; for tunnels; and the external network, with a host of the outside world on it. Any cable can
// be cut, and any program be ended or killed and started again. Hosts have Linux bridges, or an
// Open vSwitch each.
//
// Everything needs root. Nothing touches the namespaces that the caller is in.
package deployment
