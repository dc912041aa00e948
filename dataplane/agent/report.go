package agent

import (
	"time"
)

// Report is what an agent says of a router that it hosts.
type Report struct {
	Host     string
	RouterID string // of the [dataplane.Router]
	Epoch    uint64
	Revision uint64 // that was applied, or tried; see [Assignment]
	Error    string // why it could not be applied; empty: it was, with all floating IPs

	// Gone reports that the router is no longer on the host. Epoch and Revision are those of the
	// departure.
	Gone bool
	// Instance and Seq order the reports and inventories of one process; see [Inventory].
	Instance string
	Seq      uint64

	// At tells two reports of one revision apart, of which the first may say that it failed and
	// the second that it was applied, if they come in another order. It is by one clock for all
	// reports of a router; zero: nobody knows, and it is taken for the newest.
	At time.Time
}
