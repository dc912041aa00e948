package dataplane_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
)

// sighted runs Sight, and returns what it tells, and a function that ends it.
func sighted(t *testing.T, f *dataplane.Fake) (<-chan dataplane.Sighting, func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	seen, ended := make(chan dataplane.Sighting, 10), make(chan error, 1)
	go func() { ended <- f.Sight(ctx, func(s dataplane.Sighting) { seen <- s }) }()
	require.Eventually(t, func() bool { return f.Host().Show("r", "web", netip.MustParseAddr("10.0.1.200")) }, 10*time.Second, time.Millisecond)
	<-seen
	return seen, func() error { cancel(); return <-ended }
}

func TestFakeSights(t *testing.T) {
	f := dataplane.NewFake(nil)
	r := dataplane.Router{
		ID: "r",
		Ports: []dataplane.Port{
			{
				ID: "web", Network: dataplane.Network{ID: "n1"}, MAC: dataplane.MAC{2, 0, 0, 0, 0, 1}, MTU: 1500,
				Addrs:   []netip.Prefix{netip.MustParsePrefix("10.0.1.1/24"), netip.MustParsePrefix("2001:db8::1/64")},
				Anycast: &dataplane.Anycast{Neighbours: []netip.Addr{netip.MustParseAddr("10.0.1.5")}},
			},
		},
		Transit: &dataplane.Transit{
			Port: dataplane.Port{
				ID: "tr", Network: dataplane.Network{ID: "nt"}, MAC: dataplane.MAC{2, 0, 0, 0, 0, 9}, MTU: 1500,
				Addrs: []netip.Prefix{netip.MustParsePrefix("169.254.64.1/18")},
			},
			Centre: []netip.Addr{netip.MustParseAddr("169.254.64.9"), netip.MustParseAddr("fe80::9")},
		},
	}
	_, err := f.Apply(t.Context(), r)
	require.NoError(t, err)
	seen, end := sighted(t, f)
	show := func(port, a string) bool { return f.Host().Show("r", port, netip.MustParseAddr(a)) }

	for _, a := range []string{"10.0.1.7", "2001:db8::7"} {
		require.True(t, show("web", a))
		s := <-seen
		require.NotZero(t, s.At)
		s.At = dataplane.Sighting{}.At
		require.Equal(t, dataplane.Sighting{Router: "r", Port: "web", Addr: netip.MustParseAddr(a)}, s)
	}
	for port, addrs := range map[string][]string{
		"web": {"10.0.1.5", "10.0.1.1", "10.0.2.7", "0.0.0.0", "2001:db8:1::7", "fe80::7"}, "tr": {"169.254.64.7"}, "other": {"10.0.1.7"},
	} {
		for _, a := range addrs {
			require.False(t, show(port, a), "%s on %s", a, port)
		}
	}
	require.Error(t, f.Sight(t.Context(), func(dataplane.Sighting) {}), "a second one")
	require.NoError(t, end())
	require.False(t, show("web", "10.0.1.7"), "it has ended")
	require.Empty(t, seen)

	_, end = sighted(t, f)
	require.NoError(t, f.Close())
	require.ErrorIs(t, end(), dataplane.ErrClosed)
}
