package dataplane_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/l3kit/l3kit/dataplane"
)

func TestPlanText(t *testing.T) {
	require.Equal(t, "router r: nothing to do", dataplane.Plan{Router: "r"}.String())
	plan := dataplane.Plan{Router: "r", Steps: []dataplane.Step{
		{Op: dataplane.Add, Kind: dataplane.KindAddress, Object: "qg-ext 203.0.113.5/32"},
		{Op: dataplane.Change, Kind: dataplane.KindLink, Object: "qr-web", Detail: "mtu 1400, was 1500", Disturbs: true},
	}}
	require.Equal(t, "router r\n  + address qg-ext 203.0.113.5/32\n  ~ link qr-web: mtu 1400, was 1500  !", plan.String())
	require.True(t, plan.Disturbs())
	require.False(t, plan.Empty())
	plan.Steps = plan.Steps[:1]
	require.False(t, plan.Disturbs())
}

func TestPlanJSON(t *testing.T) {
	plan := dataplane.Plan{Router: "r", Steps: []dataplane.Step{
		{Op: dataplane.Remove, Kind: dataplane.KindRoute, Object: "10.9.0.0/16", Disturbs: true},
		{Op: dataplane.Add, Kind: dataplane.KindFloatingIP, ID: "f", Object: "203.0.113.5"},
	}}
	text, err := json.Marshal(plan)
	require.NoError(t, err)
	require.JSONEq(t, `{"router": "r", "steps": [{"op": "-", "kind": "route", "object": "10.9.0.0/16", "disturbs": true},
		{"op": "+", "kind": "floating-ip", "id": "f", "object": "203.0.113.5"}]}`, string(text))
	var back dataplane.Plan
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, plan, back)
}

func TestRouterJSON(t *testing.T) {
	text, err := json.Marshal(threeTier())
	require.NoError(t, err)
	var back dataplane.Router
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, threeTier(), back)
	require.ErrorContains(t, json.Unmarshal([]byte(`{"ports": [{"mac": "fa:16:3e"}]}`), &back), `"fa:16:3e" is not an Ethernet address`)
}

func TestRouterJSONKeepsEveryRouter(t *testing.T) {
	for _, r := range []dataplane.Router{edge(), centre(), forwarding()} {
		text, err := json.Marshal(r)
		require.NoError(t, err)
		var back dataplane.Router
		require.NoError(t, json.Unmarshal(text, &back))
		require.Equal(t, r, back)
	}
	rapid.Check(t, func(t *rapid.T) {
		r := genRouter().Draw(t, "router")
		text, err := json.Marshal(r)
		require.NoError(t, err)
		var back dataplane.Router
		require.NoError(t, json.Unmarshal(text, &back))
		require.True(t, r.Equal(back), "%s", text)
	})
}

func TestMAC(t *testing.T) {
	m, err := dataplane.ParseMAC("FA-16-3E-00-00-01")
	require.NoError(t, err)
	require.Equal(t, "fa:16:3e:00:00:01", m.String())
	_, err = dataplane.ParseMAC("02:00:5e:10:00:00:00:01")
	require.Error(t, err, "EUI-64")
}

func TestNames(t *testing.T) {
	const id = "5ad3a6b1-1c36-4f3c-8d0a-6f5e0a1b2c3d"
	require.Equal(t, "qrouter-"+id, dataplane.NamespaceName(id))
	require.Equal(t, "qr-5ad3a6b1-1c", dataplane.PortDevice(id))
	require.Equal(t, "qg-5ad3a6b1-1c", dataplane.GatewayDevice(id))
	require.Equal(t, "qr-web", dataplane.PortDevice("web"))
	for _, name := range []string{"qr-web", "qg-web", "qt-web"} {
		require.True(t, dataplane.IsDevice(name, "web"), name)
	}
	require.False(t, dataplane.IsDevice("qr-web", "app"))
}

func TestGatewayAddresses(t *testing.T) {
	var none *dataplane.Gateway
	require.False(t, none.SNATAddr().IsValid() || none.HairpinAddr().IsValid())
	g := dataplane.Gateway{Port: dataplane.Port{Addrs: []netip.Prefix{prefix("2001:db8::2/64"), prefix("203.0.113.2/24"), prefix("192.0.2.2/24")}}}
	require.False(t, g.SNATAddr().IsValid(), "SNAT is off")
	require.Equal(t, addr("203.0.113.2"), g.HairpinAddr())
	g.SNAT = true
	require.Equal(t, addr("203.0.113.2"), g.SNATAddr())
}

func TestOpError(t *testing.T) {
	err := &dataplane.OpError{Op: "add address", Object: "203.0.113.5/32 on qg-ext", Err: fs.ErrExist}
	require.EqualError(t, err, "add address 203.0.113.5/32 on qg-ext: file already exists")
	require.True(t, errors.Is(err, fs.ErrExist))
	require.EqualError(t, &dataplane.OpError{Op: "list namespaces", Err: fs.ErrPermission}, "list namespaces: permission denied")
}
