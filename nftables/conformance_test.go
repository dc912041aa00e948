package nftables_test

import (
	"testing"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/bridge"
	"github.com/l3kit/l3kit/dataplane/dataplanetest"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/nftables"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	dataplanetest.Run(t, dataplanetest.Kernel(open))
}

func open(site dataplanetest.Site, wrap func(namespace.InterfaceDriver) namespace.InterfaceDriver) (dataplane.Dataplane, namespace.InterfaceDriver, error) {
	wiring, err := bridge.New(bridge.Config{HostNS: site.HostNS})
	if err != nil {
		return nil, nil, err
	}
	dp, err := nftables.New(namespace.Config{Wiring: wrap(wiring), HostNS: site.HostNS, Dir: site.Dir, Metadata: site.Metadata})
	if err != nil {
		wiring.Close()
		return nil, nil, err
	}
	return dp, wiring, nil
}

func BenchmarkConformance(b *testing.B) {
	dataplanetest.Benchmarks(b, dataplanetest.Kernel(open))
}
