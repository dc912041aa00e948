package ovs_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/test/wiringtest"
	"github.com/l3kit/l3kit/ovs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBridgeAndPorts(t *testing.T) {
	for _, device := range []ovs.Device{ovs.Auto, ovs.Internal} {
		t.Run("device "+string(device), func(t *testing.T) {
			h := newHost(t)
			d := h.driver(ovs.Config{Device: device})
			router, vm, other := h.Router("r1"), h.Workload("vm1"), h.Workload("vm2")
			rp, vp, op := wiringtest.LocalPort("net-a", "port-r", 1), wiringtest.LocalPort("net-a", "port-v", 2), wiringtest.LocalPort("net-b", "port-o", 3)
			name, what := "tapport-r", "veth tapport-r"
			if device == ovs.Internal {
				name, what = "qr-port-r", "internal port"
			}
			require.Equal(t, []string{
				"+ wiring br-int: bridge with the netdev datapath",
				"+ wiring qr-port-r: " + what + " on bridge br-int (network net-a)",
			}, wiringtest.Plan(t, d, namespace.NS{Router: "r1", FD: -1}, "qr-port-r", rp))
			wiringtest.Plug(t, d, router, "qr-port-r", rp)
			wiringtest.Plug(t, d, vm, "eth0", vp)
			wiringtest.Plug(t, d, other, "eth0", op)
			require.ElementsMatch(t, []string{"br-int " + name + " 1", "br-int tapport-v 1", "br-int tapport-o 2"}, h.ports())

			for _, column := range []string{"iface-id=port-r", `attached-mac="fa:16:3e:00:00:01"`, "iface-status=active"} {
				require.Contains(t, h.do("get interface "+name+" external_ids"), column)
			}
			require.Equal(t, "1450", h.do("get interface "+name+" mtu_request"))
		})
	}
}
