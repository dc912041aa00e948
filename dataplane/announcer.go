package dataplane

import "context"

// Announcer is a Dataplane that can tell the neighbours of a router where its addresses are, as
// Apply tells them of new ones.
//
// Apply does not, for a router that matches. Yet neighbours and switches may have learned
// otherwise meanwhile: when another host still had the router, and let go of it later.
type Announcer interface {
	Dataplane

	// Announce announces all addresses of a router, in the background. A router that is not there
	// is [os.ErrNotExist].
	Announce(ctx context.Context, id string) error
}
