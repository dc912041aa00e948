package dataplane

import "context"

// Dataplane makes a host match. It holds no intent of its own: the caller hands over the whole
// router every time.
//
// All methods may run concurrently; two calls for the same router run one after the other, calls
// for different routers do not wait for each other. A method returns soon after its context ends:
// what it had changed by then is taken back, or, where that is no longer possible, finished in
// bounded time. Nothing is retried: the caller decides when to try again.
type Dataplane interface {
	// Plan says what Apply would do. It touches nothing.
	Plan(ctx context.Context, want Router) (Plan, error)

	// Apply makes the host match want, from whatever state it is in, and returns what it did. A
	// router that matches already costs no write and no packet. The plan returned with an error
	// says what was tried, and the error is one of [ErrOldInForce], [ErrNewInForce] and
	// [ErrNoneInForce]. A router that does not pass [Router.Validate] is refused with [ErrInvalid]
	// before anything is touched.
	Apply(ctx context.Context, want Router) (Plan, error)

	// Delete takes the router off the host and leaves nothing of it behind. A router that is not
	// there is fine. An error is one of [ErrOldInForce], [ErrNewInForce] and [ErrNoneInForce].
	Delete(ctx context.Context, id string) error

	// List names every router of ours on this host, sorted: whoever made it, half-made ones too.
	// What only looks like ours is not in it.
	List(ctx context.Context) ([]string, error)

	// Inspect reads from the host on whose behalf a router runs and which addresses it answers for,
	// whoever applied it. It touches nothing. A router that is not there is [os.ErrNotExist]; of
	// one that is half-made it returns what there is.
	Inspect(ctx context.Context, id string) (Inspection, error)

	// Announce tells the neighbours of a router where all its addresses are, in the background, as
	// Apply tells them of new ones. Apply does not for a router that matches; yet neighbours and
	// switches may have learned otherwise meanwhile, when another host still had the router and let
	// go of it later. A router that is not there is [os.ErrNotExist].
	Announce(ctx context.Context, id string) error

	// Ready returns nil if the host can realise routers now. Otherwise the error says why Apply
	// would fail for any router: [ErrPermission], [ErrUnsupported] for what the kernel lacks,
	// [ErrDaemon] for a daemon that does not answer, [ErrClosed]. Ready leaves nothing behind, and
	// takes milliseconds, so that a health check may call it every few seconds. Whether the packets
	// of a router pass is not asked: they do when Apply has returned.
	Ready(ctx context.Context) error

	// Close releases what this process holds. The routers stay, and traffic flows on.
	Close() error
}
