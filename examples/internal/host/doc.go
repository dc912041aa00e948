// Package host is the agent of the reference deployment: the loop that keeps the routers of a host
// as the control plane wants them, by flags, and the commands that show what is on the host.
package host
