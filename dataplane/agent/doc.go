// Package agent is the loop between a control plane and a dataplane: it watches for the routers of
// one host, applies them, tries again, looks for drift, and reports. Where the routers come from is
// an interface, [Source]; a [Poller] is one for a control plane that can only be listed. What
// realises the routers is a [dataplane.Dataplane]. [Agent.Run] is the loop, [Agent.Once] one turn of
// it, and [Agent.Plan] says what that would do.
//
// # What it promises
//
//   - One router is worked on by one goroutine at a time, many routers at once, and always the
//     newest version of each: versions in between are skipped.
//   - A change overtakes the listing: an agent that starts with a thousand routers applies a
//     floating IP that is bound meanwhile at once.
//   - A router that fails is tried again with a growing, jittered delay, and delays no other.
//   - A router that somebody else changed is put right at once if the dataplane can watch
//     ([dataplane.Watcher]), and else when it is next checked; less and less often while somebody
//     keeps changing it.
//   - A version is an epoch and a revision, and only grows: a message that is doubled, late or out
//     of order changes nothing.
//   - A router is removed only when its source says that its departure was recorded. A listing that
//     lacks a router, whether it is empty, stale or of another deployment, removes nothing: the
//     router is an orphan, which is kept, repaired, counted and reported until somebody decides.
//   - Each heartbeat has an inventory: what runs on the host, in which version.
//   - An agent that the control plane refuses, because another machine uses its host name, applies
//     nothing.
//   - What was applied is kept on disk, and the tunnel peers with it, so that a host that boots
//     without its control plane has its routers.
//   - An agent whose cache is full, read-only or damaged works from its source, and says so; see
//     [Config.Cache].
//   - An agent that has lost its cache reads from the host whose the routers are.
//   - Reports wait for the control plane, the newest of each router, and delay nothing.
//   - Run ends within a second of its context, and leaves everything running.
package agent
