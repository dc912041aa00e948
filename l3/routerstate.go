package l3

import (
	"cmp"
	"net/netip"
	"time"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
)

// RouterState is what must be realised of a router, as a number, and what its host said of it. A
// distributed router has one for each of its instances: the edges and the centre. It
// is kept beside the [Router], because it changes with what a router is joined to, and with what
// hosts report, neither of which grows Router.Revision unless its status changes. There is none
// before there is something to realise, or a host.
//
// Revision, and the StateRevision of ports and floating IPs, are "generation" in stored documents:
// databases have them under that name, and "revision_number" is that of [Meta].
type RouterState struct {
	ID       string `json:"id"`                 // of the router; see also CentreStateID and EdgeStateID
	Revision uint64 `json:"generation"`         // counts the changes of what a host must realise
	Request  string `json:"request,omitempty"`  // that caused the last of them; see [WithRequest]
	Announce uint64 `json:"announce,omitempty"` // see [agent.Assignment]
	Wanted   bool   `json:"wanted"`             // there is something to realise
	AgentID  string `json:"agent_id"`           // that hosts it; empty: none does
	Host     string `json:"host"`               // of that agent
	Epoch    uint64 `json:"epoch"`              // grows with every move, so that an earlier host is told from the present one
	// Inside is the subnets whose addresses floating IPs can stand for: those of ports that are up,
	// while the gateway is up too.
	Inside []netip.Prefix `json:"inside,omitempty"`

	// Unhosted is why no agent can host it, as far as that was tried; empty: one can.
	// UnhostedDetail is for administrators.
	Unhosted       string `json:"unhosted,omitempty"`
	UnhostedDetail string `json:"unhosted_detail,omitempty"`
	// Removed says that an administrator took the router from its agent. Failover gives
	// it no host then.
	Removed bool `json:"removed,omitempty"`

	// What the host of this epoch reported.
	Reported    uint64    `json:"reported"`               // revision that it applied, or tried; 0: nothing yet
	Applied     uint64    `json:"applied,omitempty"`      // revision that runs; 0: none
	Error       string    `json:"error,omitempty"`        // why it could not be applied
	ReportedAt  time.Time `json:"reported_at,omitzero"`   // as Report.At
	ReportedBy  string    `json:"reported_by,omitempty"`  // as Report.Instance
	ReportedSeq uint64    `json:"reported_seq,omitempty"` // as Report.Seq

	// Left is the floating IPs for which the host answers until it has applied LeftAt. Whoever has
	// one of them by then announces it again.
	Left   []netip.Addr `json:"left,omitempty"`
	LeftAt uint64       `json:"left_at,omitempty"`

	// Of an instance of a distributed router.
	RouterID string        `json:"router_id,omitempty"` // empty: ID is the router's, which is not distributed
	Edge     bool          `json:"edge,omitempty"`      // on Host because of its workloads there; else it is the centre
	Number   uint16        `json:"number,omitempty"`    // unique among the router's instances: its address on the transit
	MAC      dataplane.MAC `json:"mac,omitzero"`        // on the transit, and of an edge on the external network
	Transit  Segment       `json:"transit,omitzero"`    // of the router's own network, kept with the centre
	MTU      int           `json:"mtu,omitempty"`       // of that network

	Lagging int `json:"lagging,omitempty"` // inventories in a row that showed that the host has not tried the version
}

// EdgeStateID is the ID of the state of a distributed router's edge on a host. That of the centre
// is [dataplane.CentreID] of the router's.
func EdgeStateID(routerID, host string) string { return routerID + "@" + host }

// Router returns the ID of the router.
func (st *RouterState) Router() string { return cmp.Or(st.RouterID, st.ID) }

// Instance returns the ID by which the host knows the router, or its part of it; see
// [dataplane.Router].
func (st *RouterState) Instance() string {
	if st.Edge {
		return st.RouterID
	}
	return st.ID
}

// Version returns the version that the router's host must realise.
func (st *RouterState) Version() agent.Version {
	return agent.Version{Epoch: st.Epoch, Revision: st.Revision}
}
