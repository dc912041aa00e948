package rest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
)

// TestFieldsAreThoseOfResources: what a table says of a field that is not there, or is of another
// type than its codec, is found when the table is made.
func TestFieldsAreThoseOfResources(t *testing.T) {
	type (
		R = l3.Router
		S = l3.RouterSpec
	)
	a := field[R, S]("Host", label, found)
	require.Equal(t, "host", a.name)
	require.Equal(t, `"h1"`, string(a.write(nil, &R{Host: "h1"})))
	host := field[l3.Port, l3.PortSpec]("Binding.HostID", label, given|found)
	require.Equal(t, []string{"binding:host_id", "binding.binding:host_id"}, []string{host.name, host.stored})
	var spec l3.PortSpec
	require.NoError(t, host.read(&spec, "h1"))
	require.Equal(t, "h1", *spec.HostID)

	for said, make := range map[string]func(){
		"l3.Router has no field Hosts with a name in JSON":        func() { field[R, S]("Hosts", label, found) },
		"l3.Router has no field StatusReason with a name in JSON": func() { field[R, S]("StatusReason", label, found) },
		"HA of l3.Router is a bool, and is written as a string":   func() { field[R, S]("HA", label, found) },
		"l3.RouterSpec has no field for Host of l3.Router":        func() { field[R, S]("Host", label, given) },
	} {
		require.PanicsWithValue(t, said, make)
	}
}
