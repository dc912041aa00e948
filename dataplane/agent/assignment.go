package agent

import (
	"github.com/l3kit/l3kit/dataplane"
)

// Assignment is what one host must realise of a router, as it goes over the message queue.
type Assignment struct {
	Host       string           `json:"-"`
	Deployment string           `json:"deployment,omitempty"` // the control plane's that asks for it
	Revision   uint64           `json:"revision"`             // of what the router is; only grows
	Epoch      uint64           `json:"epoch"`                // grows when the router moves to another host
	Request    string           `json:"request,omitempty"`    // ID of the API's request that caused this revision, for logs
	Router     dataplane.Router `json:"router"`

	// Announce is the last revision with which the router's addresses must be announced although
	// nothing changes here: another host, which answered for them too, has let go. 0: there was
	// none.
	Announce uint64 `json:"announce,omitempty"`
}

// Version orders what is said of one router: by epoch, then by revision. Versions only grow, so a
// message that is late or doubled is recognised by its version.
type Version struct {
	Epoch    uint64 // as Assignment.Epoch
	Revision uint64 // as Assignment.Revision
}

// Newer reports whether v is newer than another version.
func (v Version) Newer(than Version) bool {
	if v.Epoch != than.Epoch {
		return v.Epoch > than.Epoch
	}
	return v.Revision > than.Revision
}

// Version returns the version that the host must realise.
func (a Assignment) Version() Version { return Version{a.Epoch, a.Revision} }

// Version returns the version that runs; the zero Version is not known.
func (r RunningRouter) Version() Version { return Version{r.Epoch, r.Revision} }
