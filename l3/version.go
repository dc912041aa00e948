package l3

import (
	"github.com/l3kit/l3kit/dataplane/agent"
)

// Version returns the version that is recorded.
func (p Placement) Version() agent.Version {
	return agent.Version{Epoch: p.Epoch, Revision: p.Revision}
}

// Version returns the router's last version on the host.
func (d Departure) Version() agent.Version {
	return agent.Version{Epoch: d.Epoch, Revision: d.Revision}
}

// Version returns the version that the router's host must realise.
func (st *RouterState) Version() agent.Version {
	return agent.Version{Epoch: st.Epoch, Revision: st.Revision}
}
