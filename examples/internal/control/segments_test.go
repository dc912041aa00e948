package control

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3/service"
)

func TestTenantNetworks(t *testing.T) {
	got, err := segments([]string{"vxlan:1:1000", "vlan:physnet1:100:199", "local"})
	require.NoError(t, err)
	require.Equal(t, []service.SegmentRange{
		{Type: "vxlan", First: 1, Last: 1000}, {Type: "vlan", Physical: "physnet1", First: 100, Last: 199}, {Type: "local"},
	}, got)
	for _, wrong := range []string{"", "vxlan", "vxlan:1", "vxlan:a:2", "vlan:p:1:2:3", "local:1", "gre:1:99999999999"} {
		_, err := segments([]string{wrong})
		require.ErrorContains(t, err, "--tenant-networks", wrong)
	}
}
