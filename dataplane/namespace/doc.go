// Package namespace realises routers as Linux network namespaces: the half that all backends share.
// A [Firewall] writes translation and filtering, an [InterfaceDriver] attaches devices to networks;
// this package makes the namespace, addresses, links, routes and sysctls, ends the connections that
// a change touches, and announces addresses to the neighbours.
//
// # Apply
//
// Apply observes the namespace, compares it with what the router asks for, and runs the difference
// as one ordered list of actions, each with its inverse. Order is what keeps a half-made router
// from doing harm: new devices come down first, then translation and filter rules, then addresses,
// links, routes, policy rules; what leaves goes the other way round. When an action fails, the inverses of those
// before it run backwards.
//
// Some actions have no inverse: connections that were ended do not come back, nor does a port that
// was unplugged. They come last, when the new router is in force. From there on the end of the
// context does not stop Apply, and a failure does not stop the other actions.
//
// # Trust
//
// Observing costs time that grows with the router. So a [Dataplane] remembers the last router that
// it applied, and acts on the difference to it alone for as long as it can prove that nobody else
// wrote: the name still stands for the same namespace, the kernel has sent no notification about
// its links, addresses, routes, rules of policy routing and device settings that is not the echo of
// our own writes, the sysctls read as they should, wiring is as it was, and the firewall's own
// proof holds.
// Notifications are queued before the system call of whoever writes returns, so an empty queue is a
// proof. Whenever this fails, Apply falls back to a full convergence.
//
// # Watching
//
// The same notifications wake [Dataplane.Watch], which examines a router in a turn of its own and
// announces it unless the proof holds. A router costs no goroutine and, besides the socket that it
// has anyway, one for new generations of its nftables ruleset. Names of namespaces are watched in
// their directory (inotify(7)), so that one which is unmounted without being removed is not
// noticed; the host's side is watched by the wiring, if that can ([WatchedWiring]). Of
// iptables-legacy the kernel tells nothing: its fingerprint is taken twice a second, and less often
// where that would take more than one part in fifty of a processor. What has neither notification
// nor proof is left to whoever applies the router from time to time: sysctls other than forwarding
// and the reverse path filter, and rules of the variant of iptables that is not written with. How
// devices get link-local addresses by themselves is put right before the next one is made.
//
// # What is ours
//
// A fresh process finds a router by the name of its namespace together with a mark inside: the
// interface alias of lo. A process killed before the namespace was mounted leaves a file of that
// name with the same mark as its content. A namespace without the mark belongs to somebody else,
// and is not touched. Inside a namespace of ours, ours are: devices named qr-…, qg-… and qt-…, all
// addresses on them, and those of lo, which has none but the loopback ones and the metadata address,
// because the router would answer for any other; the routes by protocol static or boot that go through them, in the
// tables main and default and in those that have the number of a mark; the rules of policy routing
// that every kernel begins with, and those that name these tables by a mark; the sysctls that a
// router needs, and what the firewall says is its. The rest — other devices, tables, rules and
// routes, a routing daemon's for instance — stays.
//
// # Instances of a distributed router
//
// An anycast leg has its addresses without the subnet's route (noprefixroute), and each neighbour has
// a route of its own; whatever else is in the subnet is beyond the transit. Packets that the firewall
// has marked look for their way in tables of their own:
//
//	pref 1      MarkToCentre    the centre, even if the destination is an address of the edge's own
//	pref 2                      local, which is at 0 elsewhere
//	pref 32766                  main: neighbours, other instances, what is inside, all of IPv6
//	pref 32766  MarkFloatingIP  the external network, and extra routes
//	pref 32767                  default: extra routes, what is outside by other instances, the centre
//
// A centre has the routes of the transit in main, and no rules.
package namespace
