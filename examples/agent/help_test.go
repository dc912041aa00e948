package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// helpOf is what a command prints for --help, as wide as where there is no terminal.
func helpOf(t *testing.T, words ...string) string {
	t.Helper()
	text, err := process(t.Context(), nil, append(words, "--help")...).Output()
	require.NoError(t, err)
	return string(text)
}

func TestHelp(t *testing.T) {
	commands := [][]string{nil, {"attach"}, {"detach"}, {"inspect"}, {"plan"}, {"explain"}, {"remove"}, {"clean"}, {"completion"}}
	for _, words := range commands {
		text := helpOf(t, words...)
		require.NotContains(t, text, ",...,...", "%v", words)
		require.NotRegexp(t, `\$\{`, text, "%v", words)
		for _, line := range strings.Split(text, "\n") {
			require.LessOrEqual(t, len(line), 110, "%v", words)
		}
	}
	flat := regexp.MustCompile(`\s+`).ReplaceAllString(helpOf(t, "attach"), " ")
	require.Contains(t, flat, "Usage: agent attach (--netns=NAME | --pid=PID | --tap) <port> [flags] ")
	for _, want := range []string{
		"--api=URL Root of the API. Default: http://127.0.0.1:9696.",
		"--device=NAME Name of the device in the namespace or container. Default: eth0.",
		"--tunnel-peers=ADDR,... ",
		"Open vSwitch: bridge,ovs.",
	} {
		require.Contains(t, flat, want)
	}
	require.Contains(t, helpOf(t, "inspect"), `
    PORT        internal; gateway: the one on the external network;
                transit: the one to the router's parts on other hosts
    DEVICE      the port's interface in the router's namespace
    NETWORK     ID of its network, and the segment: type, ID, physical
                network; of a gateway also its next hops, and SNAT if
                it translates sources
    PACKETS IN  what passed towards the floating IP since its
                translation was added; OUT: from it
    BY TRANSIT  addresses and subnets that other parts of the router
                have, or reach; INSTANCE: the part's transit address
`)
}
