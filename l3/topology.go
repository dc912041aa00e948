package l3

// AutoAllocatedTopology is a network of a project, with subnets of the default subnet pools, behind
// a router with a gateway on the default external network.
type AutoAllocatedTopology struct {
	ProjectID string `json:"project_id"` // which has one at most
	NetworkID string `json:"network_id"`
	RouterID  string `json:"router_id"` // empty: it was deleted
}
