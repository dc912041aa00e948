package nftables_test

import (
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/bridge"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/internal/test/needs"
	"github.com/l3kit/l3kit/nftables"
)

// A host configures itself by what the router advertises, follows its changes, and has no default
// route any more when the port is gone.
func TestHostsConfigureThemselves(t *testing.T) {
	needs.Root(t)
	l, err := lab.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	wiring, err := bridge.New(bridge.Config{HostNS: l.HostNS})
	require.NoError(t, err)
	dp, err := nftables.New(namespace.Config{Wiring: wiring, HostNS: l.HostNS, Dir: l.Dir})
	require.NoError(t, err)
	t.Cleanup(func() { _ = dp.Close() })

	router := func(prefix string, mtu int) dataplane.Router {
		p := netip.MustParsePrefix(prefix)
		port := dataplane.Port{
			ID: "p", Network: dataplane.Network{ID: "net"}, MAC: dataplane.MAC{2, 0, 0, 0, 0, 1}, MTU: mtu,
			Addrs:         []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24"), netip.PrefixFrom(p.Addr().Next(), p.Bits())},
			Advertisement: &dataplane.Advertisement{Prefixes: []dataplane.AdvertisedPrefix{{Prefix: p, Autonomous: true}}},
		}
		return dataplane.Router{ID: "r1", Ports: []dataplane.Port{port}}
	}
	apply := func(r dataplane.Router) {
		t.Helper()
		_, err := dp.Apply(t.Context(), r)
		require.NoError(t, err)
	}
	mac := dataplane.MAC{2, 0, 0, 0, 0, 9}
	h, err := l.Attach(t.Context(), wiring, lab.Spec{Name: "vm", Ports: []dataplane.Port{{Network: dataplane.Network{ID: "net"}, MAC: mac, Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.9/24")}}}})
	require.NoError(t, err)
	require.NoError(t, h.Do(func() error {
		for name, v := range map[string]string{"accept_ra": "1", "router_solicitations": "-1", "accept_ra_mtu": "1"} {
			if err := os.WriteFile("/proc/sys/net/ipv6/conf/eth0/"+name, []byte(v), 0o644); err != nil {
				return err
			}
		}
		return nil
	}))
	// configured says what the host has made of it.
	configured := func() (addrs []string, gateways []string, mtu string) {
		require.NoError(t, h.Do(func() error {
			link, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			list, err := netlink.AddrList(link, unix.AF_INET6)
			if err != nil {
				return err
			}
			for _, a := range list {
				if !a.IP.IsLinkLocalUnicast() && a.PreferedLft > 0 {
					addrs = append(addrs, a.IPNet.String())
				}
			}
			routes, err := netlink.RouteListFiltered(unix.AF_INET6, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
			for _, r := range routes {
				if r.Dst == nil || r.Dst.IP.IsUnspecified() {
					gateways = append(gateways, r.Gw.String())
				}
			}
			b, readErr := os.ReadFile("/proc/sys/net/ipv6/conf/eth0/mtu")
			mtu = string(b)
			if err == nil {
				err = readErr
			}
			return err
		}))
		return addrs, gateways, mtu
	}
	becomes := func(addr, gateway, mtu string) {
		t.Helper()
		begin := time.Now()
		require.Eventually(t, func() bool {
			a, g, m := configured()
			return fmt.Sprint(a) == fmt.Sprintf("[%s]", addr) && fmt.Sprint(g) == fmt.Sprintf("[%s]", gateway) && m == mtu+"\n"
		}, lab.Patience(20*time.Second), 10*time.Millisecond, "%v", func() string { a, g, m := configured(); return fmt.Sprint(a, g, m) }())
		t.Log(addr, time.Since(begin))
	}
	const gateway = "fe80::ff:fe00:1"
	eui := func(prefix string) string {
		m := mac
		a := netip.MustParsePrefix(prefix).Addr().As16()
		copy(a[8:], []byte{m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
		return netip.AddrFrom16(a).String() + "/64"
	}
	apply(router("fd00:1::/64", 1400))
	becomes(eui("fd00:1::/64"), gateway, "1400")
	apply(router("fd00:2::/64", 1380))
	becomes(eui("fd00:2::/64"), gateway, "1380")
	apply(dataplane.Router{ID: "r1"})
	becomes(eui("fd00:2::/64"), "", "1380")
}
