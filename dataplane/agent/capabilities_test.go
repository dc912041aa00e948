package agent_test

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
)

// TestCapabilitiesAreAsWritten: whatever object an agent sends, its values are those that the API
// shows, and fields have what they can of them.
func TestCapabilitiesAreAsWritten(t *testing.T) {
	for written, want := range map[string]agent.Capabilities{
		`{}`: {},
		`{"agent_mode":"legacy","dataplane":"nftables","ex_gw_ports":0,"floating_ips":3,"interfaces":2,"kernel":"6.18","lease":1.5,"physical_networks":[],` +
			`"routers":1,"tunnel_types":["vxlan"],"tunneling_ip":"192.0.2.1","version":"v1","wiring":"ovs"}`: {
			Mode: "legacy", Dataplane: "nftables", Gateways: new(0), FloatingIPs: new(3), Interfaces: new(2), Lease: 1500 * time.Millisecond,
			PhysicalNetworks: []string{}, Routers: new(1), TunnelTypes: []dataplane.NetworkType{dataplane.NetworkVXLAN}, TunnelAddress: netip.MustParseAddr("192.0.2.1"),
			Version: "v1", Wiring: "ovs", Other: map[string]any{"kernel": "6.18"},
		},
		// A foreign agent's.
		`{"interfaces":7}`:          {Interfaces: new(7)},
		`{"port_forwarding":true}`:  {PortForwarding: true},
		`{"metadata":true}`:         {Metadata: true},
		`{"address_scopes":true}`:   {AddressScopes: true},
		`{"limits":true}`:           {Limits: true},
		`{"port_forwarding":false}`: {Other: map[string]any{"port_forwarding": false}},
		`{"agent_mode":null,"lease":0,"physical_networks":null,"routers":null,"tunneling_ip":"","wiring":""}`: {Other: map[string]any{
			"agent_mode": nil, "lease": json.Number("0"), "physical_networks": nil, "routers": nil, "tunneling_ip": "", "wiring": "",
		}},
		`{"interfaces":1.5,"physical_networks":"a","tunneling_ip":"nonsense","wiring":7}`: {Other: map[string]any{
			"interfaces": json.Number("1.5"), "physical_networks": "a", "tunneling_ip": "nonsense", "wiring": json.Number("7"),
		}},
		`{"lease":-1}`:     {Other: map[string]any{"lease": json.Number("-1")}},
		`{"lease":1e+300}`: {Other: map[string]any{"lease": json.Number("1e+300")}},
		`{"physical_networks":["a",1],"tunneling_ip":"2001:DB8::1"}`: {
			PhysicalNetworks: []string{"a", ""}, TunnelAddress: netip.MustParseAddr("2001:db8::1"),
			Other: map[string]any{"physical_networks": []any{"a", json.Number("1")}, "tunneling_ip": "2001:DB8::1"},
		},
		`{"Wiring":"ovs","deep":{"a":[1,{"b":null}]},"routers":12345678}`: {Routers: new(12345678), Other: map[string]any{
			"Wiring": "ovs", "deep": map[string]any{"a": []any{json.Number("1"), map[string]any{"b": nil}}},
		}},
		// Numbers keep their digits, as many as there are.
		`{"deep":[12345678901234567890123456789.25],"serial":9007199254740993}`: {Other: map[string]any{
			"deep": []any{json.Number("12345678901234567890123456789.25")}, "serial": json.Number("9007199254740993"),
		}},
		`{"lease":60.0}`: {Lease: time.Minute, Other: map[string]any{"lease": json.Number("60.0")}},
	} {
		var read agent.Capabilities
		require.NoError(t, json.Unmarshal([]byte(written), &read), written)
		require.Equal(t, want, read, written)
		shown, err := json.Marshal(read)
		require.NoError(t, err, written)
		require.Equal(t, written, string(shown))
	}
	for _, none := range []string{`[]`, `7`, `"x"`, `{`} {
		require.Error(t, json.Unmarshal([]byte(none), &agent.Capabilities{}), none)
	}
	own, err := json.Marshal(agent.Capabilities{Wiring: "bridge", Other: map[string]any{"wiring": "of another kind"}})
	require.NoError(t, err)
	require.JSONEq(t, `{"wiring": "of another kind"}`, string(own), "Other precedes")
}
