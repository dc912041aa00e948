package service_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

func TestCheckHostName(t *testing.T) {
	for _, good := range []string{"h", "host1", "node-1.rack_2.example.org", "1", "198.51.100.1", strings.Repeat("a", 255)} {
		require.NoError(t, agent.CheckHostName(good), good)
	}
	for _, bad := range badHostNames {
		require.Error(t, agent.CheckHostName(bad), bad)
	}
}

// badHostNames are names that mean something else to somebody.
var badHostNames = []string{
	"", strings.Repeat("a", 256), "two words", "line\nfeed", "*", ">", "a.*", "a/b", ".hidden", "-x", "h=1", "h\x00", "höst", "h%", "a:b", "\xff",
}

// TestHostNamesOfAgents: an agent with another name is refused, whatever it sends first.
func TestHostNamesOfAgents(t *testing.T) {
	onRigs(t, func(r *rig) {
		for _, bad := range badHostNames {
			var refused *l3.Error
			require.ErrorAs(r, r.Attach(r.Context(), agent.Session{Host: bad, Instance: "i", Machine: "m"}), &refused, "%q", bad)
			_, err := r.Heartbeat(r.Context(), agent.Heartbeat{Host: bad, Instance: "i", Machine: "m"})
			require.ErrorAs(r, err, &refused, "%q", bad)
		}
		require.Empty(r, ok(r.ListAgents(r.Context(), r.admin, l3.Query{}))(r))
	})
}
