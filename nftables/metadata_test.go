package nftables_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/bridge"
	"github.com/l3kit/l3kit/dataplane/metadata"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/internal/test/needs"
	"github.com/l3kit/l3kit/iptables"
	"github.com/l3kit/l3kit/nftables"
)

// A router's metadata proxy from its beginning to its end: a service that hangs is given up, the
// address is put back when somebody removes it, each backend takes over from the other, and a host
// without a service refuses it.
func TestMetadataProxy(t *testing.T) {
	needs.Root(t)
	needs.Program(t, "iptables-nft-restore", "iptables")
	l, err := lab.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	end := make(chan struct{})
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hangs" {
			select {
			case <-end:
			case <-r.Context().Done():
			}
		}
		_, _ = io.WriteString(w, r.Header.Get("X-Neutron-Router-ID")+" "+r.Header.Get("X-Forwarded-For"))
	}))
	t.Cleanup(service.Close)
	t.Cleanup(func() { close(end) })
	to, err := url.Parse(service.URL)
	require.NoError(t, err)
	h, err := metadata.URL(to, metadata.Config{Timeout: 100 * time.Millisecond})
	require.NoError(t, err)

	open := func(h http.Handler, by func(namespace.Config) (*namespace.Dataplane, error), own, other namespace.Firewall) *namespace.Dataplane {
		wiring, err := bridge.New(bridge.Config{HostNS: l.HostNS})
		require.NoError(t, err)
		dp, err := by(namespace.Config{
			Wiring: wiring, HostNS: l.HostNS, Dir: l.Dir, Metadata: h, Firewall: own, Replaces: []namespace.Firewall{other},
		})
		require.NoError(t, err)
		t.Cleanup(func() { _ = dp.Close() })
		return dp
	}
	byNFTables := func(h http.Handler) *namespace.Dataplane {
		return open(h, nftables.New, nil, &iptables.Firewall{Variant: iptables.NFT})
	}
	wiring, err := bridge.New(bridge.Config{HostNS: l.HostNS})
	require.NoError(t, err)
	t.Cleanup(func() { _ = wiring.Close() })
	vm, err := l.Attach(t.Context(), wiring, lab.Spec{Name: "vm", NextHops: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, Ports: []dataplane.Port{{
		Network: dataplane.Network{ID: "net"}, Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.9/24"), netip.MustParsePrefix("fd00::9/64"), netip.MustParsePrefix("fe80::9/64")},
	}}})
	require.NoError(t, err)
	r := dataplane.Router{
		ID: "r1", Metadata: true,
		Ports: []dataplane.Port{{
			ID: "p", Network: dataplane.Network{ID: "net"}, MAC: dataplane.MAC{2, 0, 0, 0, 0, 1}, MTU: 1500,
			Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("fd00::1/64")},
		}},
		Gateway: &dataplane.Gateway{SNAT: true, Port: dataplane.Port{
			ID: "g", Network: dataplane.Network{ID: "ext"}, MAC: dataplane.MAC{2, 0, 0, 0, 0, 2}, MTU: 1500,
			Addrs: []netip.Prefix{netip.MustParsePrefix("203.0.113.2/24")},
		}},
	}
	get := func(target string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
		require.NoError(t, err)
		resp, err := vm.HTTP(netip.Addr{}).Do(req)
		if err != nil {
			return 0, ""
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(body)
	}
	served := func() {
		t.Helper()
		status, body := get("http://169.254.169.254/")
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, "r1 10.0.0.9", body)
		status, body = get("http://[fe80::a9fe:a9fe]/")
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, "r1 fe80::9", body)
	}
	inside := func(fn func(lo netlink.Link) error) {
		t.Helper()
		ns, err := l.Enter(filepath.Join(l.Dir, dataplane.NamespaceName(r.ID)))
		require.NoError(t, err)
		require.NoError(t, ns.Do(func() error {
			lo, err := netlink.LinkByName("lo")
			if err == nil {
				err = fn(lo)
			}
			return err
		}))
	}

	dp := byNFTables(h)
	_, err = dp.Apply(t.Context(), r)
	require.NoError(t, err)
	served()
	status, _ := get("http://169.254.169.254/hangs")
	require.Equal(t, http.StatusGatewayTimeout, status)

	drifts, err := dp.Watch(t.Context())
	require.NoError(t, err)
	inside(func(lo netlink.Link) error {
		addrs, err := netlink.AddrList(lo, netlink.FAMILY_V4)
		for _, a := range addrs {
			if !a.IP.IsLoopback() {
				err = netlink.AddrDel(lo, &a)
			}
		}
		return err
	})
	drift := <-drifts
	require.Equal(t, dataplane.KindAddress, drift.Kind)
	status, _ = get("http://169.254.169.254/")
	require.Zero(t, status)
	plan, err := dp.Apply(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, "router r1\n  + address lo 169.254.169.254/32", plan.String())
	served()

	in, err := dp.Inspect(t.Context(), r.ID)
	require.NoError(t, err)
	for _, held := range in.Held {
		require.False(t, held.Addr.IsLinkLocalUnicast(), held.Addr)
	}

	other := open(h, iptables.New, &iptables.Firewall{Variant: iptables.NFT}, nftables.Firewall{})
	_, err = other.Apply(t.Context(), r)
	require.NoError(t, err)
	require.NoError(t, dp.Close())
	served()
	rules := func() (text string) {
		inside(func(netlink.Link) error {
			out, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
			text = string(out)
			return err
		})
		return text
	}
	require.NotContains(t, rules(), "metadata_in")
	require.Contains(t, rules(), "l3kit-metadata")
	require.NoError(t, other.Close())
	status, _ = get("http://169.254.169.254/")
	require.Zero(t, status, "nobody is there")

	dp = byNFTables(h)
	_, err = dp.Apply(t.Context(), r)
	require.NoError(t, err)
	served()
	require.NotContains(t, rules(), "l3kit-metadata")
	require.NoError(t, dp.Close())

	dp = byNFTables(nil)
	_, err = dp.Apply(t.Context(), r)
	require.ErrorIs(t, err, dataplane.ErrUnsupported)
	require.ErrorIs(t, err, dataplane.ErrOldInForce)
	r.Metadata = false
	_, err = dp.Apply(t.Context(), r)
	require.NoError(t, err)
	status, _ = get("http://169.254.169.254/")
	require.Zero(t, status)
	require.NotContains(t, rules(), "metadata_in")
	require.NoError(t, dp.Delete(t.Context(), r.ID))
}
