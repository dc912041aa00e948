// Package control is the server's part of the reference deployment: the API over a database, the
// bus to the agents, and failover.
package control
