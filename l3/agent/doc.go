// Package agent is the loop between a control plane and a dataplane: it watches for the routers of one host, applies them, tries again, looks for drift,
// and reports. Where the routers come from is an interface, [Source]; what realises them is a [dataplane.Dataplane].
//
// # What it promises
//
//   - One router is worked on by one goroutine at a time, many routers at once, and always the newest version of each: versions in between are skipped.
//   - What changes now overtakes what is there from before: an agent that starts with a thousand routers applies a floating IP bound meanwhile at once.
//   - A router that fails is tried again with a growing, jittered delay, and keeps no other waiting.
//   - A version is an epoch and a revision, and only grows: a message that is doubled, late or out of order changes nothing.
//   - A router that somebody else changed is put right at once if the dataplane can watch ([dataplane.Watcher]), and else when it is next checked;
//     less and less often while somebody keeps changing it.
//   - Nothing is taken away because something is silent. A router goes when its source says so, or when a complete listing lacks it.
//   - What was applied is kept on disk, and the tunnel peers with it, so that a host that boots without its control plane has its routers.
//   - Word of routers waits for the control plane, the newest of each, and holds up none.
//   - It ends within a second, and leaves everything running.
package agent
