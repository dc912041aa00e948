package ovs_test

import (
	"cmp"
	"context"
	"os"
	"testing"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/dataplanetest"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/iptables"
	"github.com/l3kit/l3kit/nftables"
	"github.com/l3kit/l3kit/ovs"
)

// backend is a way to make a router on Open vSwitch. Each of both has another kind of ports.
type backend struct {
	name   string
	device ovs.Device
	open   func(namespace.Config) (*namespace.Dataplane, error)
}

var backends = []backend{
	{"nftables", ovs.Internal, nftables.New},
	{"iptables", ovs.Veth, func(c namespace.Config) (*namespace.Dataplane, error) {
		c.Firewall = &iptables.Firewall{Variant: iptables.NFT}
		return iptables.New(c)
	}},
}

func TestConformance(t *testing.T) {
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) { dataplanetest.Run(t, dataplanetest.Kernel(b.opener())) })
	}
}

// TestKilled kills processes amid their work: each port is one transaction, so that whatever moment
// it was, a fresh process knows what is there.
func TestKilled(t *testing.T) {
	dataplanetest.RunKilled(t, backends[0].opener(), 25)
}

// datapath is the one under test. On most kernels only the userspace datapath works; make
// test-kernel asks for the other one.
func datapath() ovs.Datapath {
	return ovs.Datapath(cmp.Or(os.Getenv("L3KIT_OVS_DATAPATH"), string(ovs.Netdev)))
}

func (b backend) opener() dataplanetest.Opener {
	return func(site dataplanetest.Site, wrap func(namespace.InterfaceDriver) namespace.InterfaceDriver) (
		dataplane.Dataplane, namespace.InterfaceDriver, error,
	) {
		s, err := site.Switch()
		if err != nil {
			return nil, nil, err
		}
		wiring, err := ovs.New(context.Background(), ovs.Config{
			HostNS: site.HostNS, Endpoints: []string{s.Endpoint}, RunDir: s.RunDir, Datapath: datapath(), Device: b.device,
		})
		if err != nil {
			return nil, nil, err
		}
		dp, err := b.open(namespace.Config{Wiring: wrap(wiring), HostNS: site.HostNS, Dir: site.Dir, Metadata: site.Metadata})
		if err != nil {
			wiring.Close()
			return nil, nil, err
		}
		return dp, wiring, nil
	}
}

func BenchmarkConformance(b *testing.B) {
	for _, backend := range backends {
		b.Run(backend.name, func(b *testing.B) { dataplanetest.Benchmarks(b, dataplanetest.Kernel(backend.opener())) })
	}
}
