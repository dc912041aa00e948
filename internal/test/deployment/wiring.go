package deployment

import (
	"fmt"

	"github.com/l3kit/l3kit/dataplane/bridge"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/test/lab"
)

// Wiring attaches workloads to networks on the host. It ends with the cluster.
func (h *Host) Wiring() namespace.InterfaceDriver { return h.wiring }

// OutsideWiring attaches further hosts of the outside world to the external network. It is to be
// closed before the cluster.
func (cl *Cluster) OutsideWiring() (namespace.InterfaceDriver, error) {
	return bridge.New(bridge.Config{
		HostNS: fmt.Sprintf("/proc/self/fd/%d", cl.External.FD()), Physical: map[string]string{Physical: lab.UnderlayBridge},
	})
}
