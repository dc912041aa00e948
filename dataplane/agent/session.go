package agent

// Session is an agent's request to serve a host.
type Session struct {
	Host       string `json:"host"`
	Instance   string `json:"instance"`             // random, of the agent's process
	Machine    string `json:"machine"`              // the same for every process on one machine until it reboots
	Deployment string `json:"deployment,omitempty"` // that the agent served before; empty: none
}
