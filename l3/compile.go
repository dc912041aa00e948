package l3

import (
	"github.com/l3kit/l3kit/dataplane"
)

// Assignment is what one host must realise of a router, as it goes over the message queue.
type Assignment struct {
	Host       string           `json:"-"`
	Deployment string           `json:"deployment,omitempty"` // that asks for it; see [Deployment]
	Revision   uint64           `json:"revision"`             // the router's Generation; only grows
	Epoch      uint64           `json:"epoch"`                // grows when the router moves; see [RouterBinding]
	Request    string           `json:"request,omitempty"`    // that caused this revision; see [WithRequest]
	Router     dataplane.Router `json:"router"`
}
