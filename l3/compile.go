package l3

import "github.com/l3kit/l3kit/dataplane"

// Assignment is what one host must realise of a router, as it goes over the message queue.
type Assignment struct {
	Host     string           `json:"-"`
	Revision uint64           `json:"revision"` // the router's Generation; only grows
	Epoch    uint64           `json:"epoch"`    // grows when the router moves; see [RouterBinding]
	Router   dataplane.Router `json:"router"`
}
