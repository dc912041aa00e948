package sqlstore

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/l3kit/l3kit/l3"
)

// TestNUL: the character is found, and what only looks like its escape is not.
func TestNUL(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringOf(rapid.SampledFrom([]rune{0, '\\', 'u', '0', 'a', '"', 'é'})).Draw(t, "string")
		_, err := encode(map[string]string{"name": s})
		require.Equal(t, !storable(s), err != nil, "%q", s)
	})
}

// TestDocumentIsJSON: another program reads the same in a document.
func TestDocumentIsJSON(t *testing.T) {
	doc, err := encode(l3.Router{Meta: l3.Meta{Name: "<a> & \u2028"}, Gateway: &l3.GatewayInfo{}})
	require.NoError(t, err)
	var r l3.Router
	require.NoError(t, json.Unmarshal(doc, &r))
	require.Equal(t, "<a> & \u2028", r.Name)
	require.NotNil(t, r.Gateway)
	require.Nil(t, r.Routes)
}

func TestAttributes(t *testing.T) {
	found := attributesOf(reflect.TypeFor[l3.Port]())
	require.Equal(t, attribute{path: []string{"name"}, kind: text}, found["name"])
	require.Equal(t, attribute{path: []string{"mac_address"}, kind: text}, found["mac_address"])
	require.Equal(t, attribute{path: []string{"created_at"}, kind: text}, found["created_at"])
	require.Equal(t, attribute{path: []string{"admin_state_up"}, kind: boolean}, found["admin_state_up"])
	require.Equal(t, attribute{path: []string{"revision_number"}, kind: number}, found["revision_number"])
	require.Equal(t, attribute{lists: [][]string{{"tags"}}, kind: text}, found["tags"])
	require.Equal(t, attribute{lists: [][]string{{"fixed_ips"}}, path: []string{"ip_address"}, kind: text}, found["fixed_ips.ip_address"])
	require.Equal(t, attribute{path: []string{"binding", "binding:host_id"}, kind: text}, found["binding.binding:host_id"])
	for _, name := range []string{"", "fixed_ips", "binding", "Meta", "ID"} {
		require.NotContains(t, found, name)
	}
	configurations := attributesOf(reflect.TypeFor[l3.Agent]())["configurations"]
	require.Equal(t, attribute{path: []string{"configurations"}, kind: text}, configurations)
	require.NotContains(t, attributesOf(reflect.TypeFor[l3.Agent]()), "-")
	gateway := attributesOf(reflect.TypeFor[l3.Router]())["external_gateway_info.external_fixed_ips.ip_address"]
	require.Equal(t, attribute{lists: [][]string{{"external_gateway_info", "external_fixed_ips"}}, path: []string{"ip_address"}, kind: text}, gateway)
}
