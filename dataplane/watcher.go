package dataplane

import "context"

// Watcher is a [Dataplane] that notices when somebody else changes a router: another process, or a
// person. It repairs nothing. Whoever is told should call Apply, which returns what was to be done.
type Watcher interface {
	Dataplane

	// Watch announces each router that may no longer be as this Dataplane last applied it. A
	// change is announced however much later it is made, for as long as the router is neither
	// deleted nor applied anew. When ctx ends, or the Dataplane is closed, it closes the channel.
	// Only one Watch may be under way.
	//
	// Routers that this Dataplane has not applied are not watched. One that it applied before Watch
	// was called is examined as Watch begins.
	//
	// An announcement is a suspicion. It may come after an Apply that failed, or because somebody
	// wrote what makes no difference. A change that the Dataplane itself made is not announced.
	//
	// However many changes there are, and however slowly the channel is read, each router is in it
	// at most once; and a router that was announced is not announced again before Apply was called
	// for it. Where the kernel dropped notifications because there were too many, every router that
	// they may have been about is announced.
	Watch(ctx context.Context) (<-chan Drift, error)
}

// Drift announces that somebody else may have changed a router.
type Drift struct {
	Router string `json:"router"` // its ID
	// Kind is that of an object that differs, of several one; empty if that is not known, such as
	// after notifications were lost. Apply, or Plan, says what differs.
	Kind Kind `json:"kind,omitempty"`
}
