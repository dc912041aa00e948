package dataplanetest_test

import (
	"testing"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/bridge"
	"github.com/l3kit/l3kit/dataplane/dataplanetest"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/nftables"
)

// The test of a dataplane that realises routers as network namespaces.
func ExampleRun() {
	open := func(site dataplanetest.Site, wrap func(namespace.InterfaceDriver) namespace.InterfaceDriver) (
		dataplane.Dataplane, namespace.InterfaceDriver, error,
	) {
		wiring, err := bridge.New(bridge.Config{HostNS: site.HostNS})
		if err != nil {
			return nil, nil, err
		}
		dp, err := nftables.New(namespace.Config{HostNS: site.HostNS, Dir: site.Dir, Wiring: wrap(wiring)})
		return dp, wiring, err
	}
	var t *testing.T // of TestConformance
	dataplanetest.Run(t, dataplanetest.Kernel(open))
}
