package service_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/service"
)

var update = flag.Bool("update", false, "write testdata anew")

// TestCompile: each file is an intent, a line ---, and what its host must realise. The lists of the
// intent are given in any order.
func TestCompile(t *testing.T) {
	files, err := filepath.Glob("testdata/compile/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			given, want, ok := strings.Cut(string(text), "---\n")
			require.True(t, ok)
			var in service.Intent
			require.NoError(t, yaml.UnmarshalStrict([]byte(given), &in))
			got, err := service.Compile(in)
			require.NoError(t, err)
			out, err := yaml.Marshal(got)
			require.NoError(t, err)
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(given+"---\n"+string(out)), 0o644))
				return
			}
			require.Equal(t, want, string(out))

			rand.Shuffle(len(in.Ports), func(i, j int) { in.Ports[i], in.Ports[j] = in.Ports[j], in.Ports[i] })
			rand.Shuffle(len(in.Router.Routes), func(i, j int) {
				in.Router.Routes[i], in.Router.Routes[j] = in.Router.Routes[j], in.Router.Routes[i]
			})
			rand.Shuffle(len(in.FloatingIPs), func(i, j int) {
				in.FloatingIPs[i], in.FloatingIPs[j] = in.FloatingIPs[j], in.FloatingIPs[i]
			})
			rand.Shuffle(len(in.PortForwardings), func(i, j int) {
				in.PortForwardings[i], in.PortForwardings[j] = in.PortForwardings[j], in.PortForwardings[i]
			})
			again, err := service.Compile(in)
			require.NoError(t, err)
			require.Equal(t, got, again, "the order of the lists must be without effect")
		})
	}
}

// TestCompileRefuses: nothing is left out because it is not known, and nothing invalid gets
// through.
func TestCompileRefuses(t *testing.T) {
	in := manyFloatingIPs(1)
	delete(in.Subnets, "ext4")
	_, err := service.Compile(in)
	require.ErrorContains(t, err, "router r: port ext: subnet ext4 is not known")

	in = manyFloatingIPs(1)
	delete(in.Networks, "ext-net")
	_, err = service.Compile(in)
	require.ErrorContains(t, err, "router r: port ext: network ext-net is not known")

	in = manyFloatingIPs(2)
	in.FloatingIPs[1].Address = in.FloatingIPs[0].Address
	_, err = service.Compile(in)
	require.ErrorIs(t, err, dataplane.ErrInvalid)
}

// BenchmarkCompile is l3/compile-1000: three ports and 1,000 floating IPs.
func BenchmarkCompile(b *testing.B) {
	in := manyFloatingIPs(1000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := service.Compile(in); err != nil {
			b.Fatal(err)
		}
	}
}

// manyFloatingIPs is a router with two subnets and a gateway, and as many floating IPs.
func manyFloatingIPs(n int) service.Intent {
	in := service.Intent{
		Router:   l3.Router{Meta: l3.Meta{ID: "r"}, AdminStateUp: true, EnableSNAT: true},
		Networks: map[string]l3.Network{},
		Subnets: map[string]l3.Subnet{
			"web4": {CIDR: netip.MustParsePrefix("10.1.0.0/16"), GatewayIP: netip.MustParseAddr("10.1.0.1")},
			"db4":  {CIDR: netip.MustParsePrefix("10.2.0.0/16"), GatewayIP: netip.MustParseAddr("10.2.0.1")},
			"ext4": {CIDR: netip.MustParsePrefix("100.64.0.0/10"), GatewayIP: netip.MustParseAddr("100.64.0.1")},
		},
	}
	for i, name := range []string{"web", "db", "ext"} {
		segment := l3.Segment{Type: dataplane.NetworkVXLAN, ID: uint32(i + 1)}
		in.Networks[name+"-net"] = l3.Network{Meta: l3.Meta{ID: name + "-net"}, MTU: 1450, Segments: []l3.Segment{segment}}
		addr := in.Subnets[name+"4"].GatewayIP
		owner := l3.OwnerRouterInterface
		if name == "ext" {
			owner, addr = l3.OwnerRouterGateway, addr.Next()
		}
		in.Ports = append(in.Ports, l3.Port{
			Meta: l3.Meta{ID: name}, NetworkID: name + "-net", AdminStateUp: true, DeviceOwner: owner,
			MAC: dataplane.MAC{0xfa, 0x16, 0x3e, 0, 0, byte(i)}, FixedIPs: []l3.FixedIP{{SubnetID: name + "4", IPAddress: addr}},
		})
	}
	for i := range n {
		in.FloatingIPs = append(in.FloatingIPs, l3.FloatingIP{
			Meta:    l3.Meta{ID: fmt.Sprintf("%08x-0000-4000-8000-000000000000", i*2654435761)},
			Address: netip.AddrFrom4([4]byte{100, 64, byte(i>>8) + 1, byte(i)}),
			FixedIP: netip.AddrFrom4([4]byte{10, 1, byte(i>>8) + 1, byte(i)}),
		})
	}
	return in
}
