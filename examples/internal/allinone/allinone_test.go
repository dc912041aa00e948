package allinone

import (
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"
)

// TestFlags: those of a server and of an agent reach both.
func TestFlags(t *testing.T) {
	var r Run
	k, err := kong.New(&r)
	require.NoError(t, err)
	_, err = k.Parse([]string{"--distributed", "--mode=dvr_snat", "--physical=public=eth1"})
	require.NoError(t, err)
	require.True(t, r.server().Service.Distributed)
	require.Equal(t, "dvr_snat", r.Agent.Mode)
	require.NoError(t, r.CheckFlags(r.AgentDownTime))
	r.Physical = nil
	require.ErrorContains(t, r.CheckFlags(r.AgentDownTime), "--mode: dvr_snat is for hosts that reach external networks")
}
