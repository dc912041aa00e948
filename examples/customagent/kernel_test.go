package main

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/bridge"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/lab"
	"github.com/l3kit/l3kit/internal/needs"
	"github.com/l3kit/l3kit/nftables"
)

// TestSamplesOnAHost realises the sample routers, and asks them from outside whether they are
// there.
func TestSamplesOnAHost(t *testing.T) {
	needs.Root(t)
	machine, err := lab.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, machine.Close()) })
	wiring, err := bridge.New(bridge.Config{HostNS: machine.HostNS})
	require.NoError(t, err)
	host, err := nftables.New(namespace.Config{Wiring: wiring, HostNS: machine.HostNS, Dir: machine.Dir})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, host.Close()) })

	folder := t.TempDir()
	require.NoError(t, os.CopyFS(folder, os.DirFS("routers")))
	a := &agent{folder: folder, dataplane: host, log: slog.New(slog.DiscardHandler)}
	require.NoError(t, a.once(t.Context()))

	l, err := readFolder(folder)
	require.NoError(t, err)
	outside, err := machine.Attach(t.Context(), wiring, lab.Spec{Name: "outside", Ports: []dataplane.Port{{
		Network: l.routers["8e81973e-0bec-47b0-b898-d190f9ebdacc"].Gateway.Network,
		Addrs:   []netip.Prefix{netip.MustParsePrefix("203.0.113.1/24"), netip.MustParsePrefix("2001:db8::1/64")},
	}}})
	require.NoError(t, err)
	for _, router := range []string{"203.0.113.2", "203.0.113.3", "2001:db8::3"} {
		answers(t, outside, router)
	}

	require.NoError(t, a.once(t.Context())) // the kernel numbers a namespace, and says so, when a link that leads into it is first read
	writes, err := lab.Writes([]string{machine.HostNS}, func() error { return a.once(t.Context()) })
	require.NoError(t, err)
	require.Empty(t, writes, "again is free")

	require.NoError(t, os.Remove(filepath.Join(folder, "three-tier.yaml")))
	require.NoError(t, a.once(t.Context()))
	routers, err := host.List(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"8e81973e-0bec-47b0-b898-d190f9ebdacc"}, routers)
	answers(t, outside, "203.0.113.3")

	require.NoError(t, host.Delete(t.Context(), routers[0]))
}

func answers(t *testing.T, from *lab.Host, router string) {
	t.Helper()
	conn, err := from.Dial(t.Context(), dataplane.ICMP, netip.AddrPort{}, netip.AddrPortFrom(netip.MustParseAddr(router), 0))
	require.NoError(t, err)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err = conn.Exchange(ctx, 0)
	require.NoError(t, err, "router %s does not answer", router)
}
