// Package server assembles a control plane: the service, its API, its store, its bus and failover,
// as one value that a program can have several of.
//
//	s, err := server.Open(ctx, server.Config{})
//	…
//	defer s.Close()
//	go s.Run(ctx)                         // serves agents
//	source, err := s.Login("host1")       // for an agent in this process
//	http.ListenAndServe(addr, s.Handler()) // the Networking API v2.0
//
// # What it promises
//
//   - The zero [Config] works: a database and a bus in memory.
//   - [Open] either succeeds or leaves nothing behind: no goroutine, connection, file lock or
//     metric.
//   - It has no globals, handles no signals and does not end the process. Two servers in one
//     process share nothing, unless they are given the same store, listener or registerer.
//   - Methods may be called concurrently. [Server.Run] is called once ([ErrRan]), and
//     [Server.Close] after Run has returned.
//   - The handler and the service may block for as long as the database does not answer, and no
//     longer than the context, or [Limits].Request, allows.
//   - Errors of Open name the field of the Config. One that the caller could have avoided is an
//     [l3.Error]; another bus that serves the database is [l3.ErrOtherBus].
//   - Any number of servers may share one PostgreSQL database and one bus: they do the same work,
//     and what they do twice changes nothing.
package server
