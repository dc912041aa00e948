package namespace

import (
	"context"
	"net/netip"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/netns"
)

// NS is a network namespace that a [Firewall] or an [InterfaceDriver] works in. It is valid until
// the [Rules] or the driver that got it is closed.
type NS struct {
	// Router is the ID of the router that the namespace realises; empty for a workload's (see
	// [InterfaceDriver.Plug]).
	Router string
	// FD is a file descriptor open on the namespace, for netlink sockets that are to live in it.
	FD int
}

// Do runs fn on an OS thread that is in the namespace. Goroutines that fn starts are not.
func (ns NS) Do(fn func() error) error { return netns.Do(ns.FD, fn) }

// Firewall writes routers' translation and filtering. It is the part in which the backends differ.
type Firewall interface {
	// Name is the backend's name for people and for reports: nftables, iptables.
	Name() string

	// Open begins to work in a namespace. It does not write.
	Open(ns NS) (Rules, error)
}

// Rules is the translation and filtering of one router's namespace. Calls are made one at a time.
// It may remember what it wrote last, and trust that for as long as it can prove that nobody else
// wrote.
type Rules interface {
	// Plan says what Apply would do. It touches nothing.
	Plan(ctx context.Context, want Change) ([]dataplane.Step, error)

	// Apply makes the rules match, all or nothing, without an instant in which neither the old
	// rules nor the new ones are in force. Nothing is written when they match already. The function
	// returned puts back what was there before; it is nil if nothing was written.
	Apply(ctx context.Context, want Change) (undo func(context.Context) error, err error)

	// Present says whether the namespace holds anything that this backend ever wrote.
	Present(ctx context.Context) (bool, error)

	// Clear takes that away, after another backend's rules have come into force. Absent is fine.
	Clear(ctx context.Context) error

	// Counters reads what has passed through each floating IP; see [dataplane.CounterReader].
	Counters(ctx context.Context) (map[netip.Addr]dataplane.Counters, error)

	// Close releases sockets. The rules stay.
	Close() error
}

// ProvenRules are [Rules] that can prove, at little cost, that nobody else wrote. Only such are
// watched for changes ([Dataplane.Watch]).
type ProvenRules interface {
	Rules

	// Unchanged reports whether the rules are known to be as they were last applied.
	Unchanged() (bool, error)

	// Notified reports whether each change of the rules, whoever makes it, advances the generation
	// of the namespace's nftables ruleset, of which the kernel sends notifications. Where it does
	// not, Unchanged is called about twice a second.
	Notified() bool
}

// Change is what a firewall is asked for.
type Change struct {
	Want dataplane.Router // valid

	// Since, if not nil, says in what Want differs from the router that these Rules last applied
	// with success. Nothing differs but what a Delta lists; an empty one says that nothing does.
	// Rules that can prove their last state may act on it alone.
	Since *Delta
}

// Delta is a difference between two routers. What changed is in both lists of its kind.
type Delta struct {
	Removed, Added []dataplane.FloatingIP

	Forwardings     Difference[dataplane.PortForwarding]
	ForwardingAddrs Difference[netip.Addr] // those of [dataplane.Router.ForwardingAddrs]

	Limits Difference[dataplane.Limit]

	Neighbours Difference[Neighbour]       // of anycast ports
	Routes     Difference[dataplane.Route] // of [dataplane.Transit]
	Remote     Difference[dataplane.Route] // what is outside, and other instances lead to: [dataplane.Transit.External]
	Elsewhere  Difference[netip.Addr]      // see [dataplane.Transit]
}

// Difference is what one list lacks of another, either way.
type Difference[T any] struct{ Removed, Added []T }

// Empty reports whether the two lists hold the same.
func (d Difference[T]) Empty() bool { return len(d.Removed)+len(d.Added) == 0 }

// Empty reports whether the two routers are the same.
func (d Delta) Empty() bool {
	return len(d.Removed)+len(d.Added) == 0 && d.Forwardings.Empty() && d.Limits.Empty() &&
		d.Neighbours.Empty() && d.Routes.Empty() && d.Remote.Empty() && d.Elsewhere.Empty()
}

// Neighbour is a host on the link of an anycast port.
type Neighbour struct {
	Port string // ID
	Addr netip.Addr
}

// Attachment is a device, by the name that it has in its namespace, and the port that it is.
type Attachment struct {
	Device string
	Port   dataplane.Port
}

// InterfaceDriver is wiring: it attaches devices in namespaces to their networks. Methods may run
// concurrently.
type InterfaceDriver interface {
	// Plan says what Plug would do, for each device apart; what several need is told with the first
	// of them. It touches nothing, and costs next to nothing when all are plugged as they should
	// be. A ns with FD < 0 does not exist yet.
	Plan(ctx context.Context, ns NS, what ...Attachment) ([][]dataplane.Step, error)

	// Plug makes devices exist in ns, each attached to its port's network, with the port's MAC and
	// MTU. They are created down, and one that exists is left up or down as it is. Again is free.
	// What is half there is completed, or replaced if it is attached elsewhere. Workloads, in
	// namespaces whose NS.Router is empty, are plugged in the same way. Where wiring has to wait
	// for somebody, it does so once for all devices of a call.
	//
	// The error names the device at fault, and then the devices that this call made are gone again.
	// Those that were there may have been mended, or be gone if they had to be replaced.
	Plug(ctx context.Context, ns NS, what ...Attachment) error

	// Ready waits until devices that were plugged, and are up, pass packets both ways: the next one
	// gets through. It does not wait for what is not the host's to say, such as the carrier of a
	// physical interface.
	Ready(ctx context.Context, ns NS, what ...Attachment) error

	// Unplug takes away a device that Plug made, the host's side included, and what the network
	// needed on this host for its last port. A device that is not there is fine.
	Unplug(ctx context.Context, ns NS, dev string) error

	// Release takes away everything that belongs to a router, without need of its namespace: also
	// what a process killed half-way left.
	Release(ctx context.Context, router string) error

	// Spare says what Sweep would remove. It touches nothing.
	Spare(ctx context.Context, router string, devices []string) ([]dataplane.Step, error)

	// Sweep takes away what a process left that was killed while it plugged or unplugged: ports of
	// a router that are none of these devices, and what serves networks that have no port on this
	// host.
	Sweep(ctx context.Context, router string, devices []string) error

	// Routers names every router that has something plugged on this host, whoever plugged it.
	Routers(ctx context.Context) ([]string, error)

	// Networks returns the networks that a router's ports are plugged into on this host, by port
	// ID, whoever plugged them, as far as the host shows. A router without ports has none.
	Networks(ctx context.Context, router string) (map[string]dataplane.Network, error)

	// Close releases what this process holds. Everything stays plugged.
	Close() error
}

// CheckedWiring is an [InterfaceDriver] that depends on daemons, and can tell whether they do their
// part; see [Dataplane.Ready].
type CheckedWiring interface {
	InterfaceDriver

	// Check returns nil if Plug could succeed now, as far as that does not depend on the port.
	Check(ctx context.Context) error
}

// WatchedWiring is an [InterfaceDriver] that notices when somebody else changes what it made on the
// host's side.
type WatchedWiring interface {
	InterfaceDriver

	// Watch calls changed with the ID of each router of which a port may no longer be plugged as it
	// was, and with "" when that may be so of all. Plan says whether it is. It blocks until ctx
	// ends. changed must not block and not call the driver.
	Watch(ctx context.Context, changed func(router string)) error
}
