package iptables_test

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/bridge"
	"github.com/l3kit/l3kit/dataplane/dataplanetest"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/iptables"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, v := range []iptables.Variant{iptables.NFT, iptables.Legacy} {
		t.Run(string(v), func(t *testing.T) {
			t.Parallel()
			dataplanetest.Run(t, harness(v))
		})
	}
}

// kernel is all that the suite's own harness for namespaces can do.
type kernel interface {
	dataplanetest.Harness
	dataplanetest.Damager
	dataplanetest.InstanceDamager
	dataplanetest.Breaker
	dataplanetest.Trespasser
	dataplanetest.HalfMaker
}

// tabled is the suite's harness with a difference that iptables makes.
type tabled struct {
	kernel
	variant iptables.Variant
	dir     *string
}

func harness(v iptables.Variant) func(testing.TB) dataplanetest.Harness {
	return func(tb testing.TB) dataplanetest.Harness {
		h := tabled{variant: v, dir: new(string)}
		open := func(site dataplanetest.Site, wrap func(namespace.InterfaceDriver) namespace.InterfaceDriver) (
			dataplane.Dataplane, namespace.InterfaceDriver, error,
		) {
			*h.dir = site.Dir
			wiring, err := bridge.New(bridge.Config{HostNS: site.HostNS})
			if err != nil {
				return nil, nil, err
			}
			dp, err := iptables.New(namespace.Config{
				Firewall: &iptables.Firewall{Variant: v}, Wiring: wrap(wiring), HostNS: site.HostNS, Dir: site.Dir, Metadata: site.Metadata,
			})
			if err != nil {
				wiring.Close()
				return nil, nil, err
			}
			return dp, wiring, nil
		}
		h.kernel = dataplanetest.Kernel(open)(tb).(kernel)
		return h
	}
}

// Damages flush what iptables-legacy has by iptables-legacy.
func (h tabled) Damages() []dataplanetest.Damage {
	damages := h.kernel.Damages()
	if h.variant == iptables.Legacy {
		i := slices.IndexFunc(damages, func(d dataplanetest.Damage) bool { return d.Name == "rules flushed" })
		damages[i].Do = func(_ context.Context, id string) error {
			ns, err := netns.Open(filepath.Join(*h.dir, dataplane.NamespaceName(id)))
			if err != nil {
				return err
			}
			defer ns.Close()
			return netns.Do(int(ns.Fd()), func() error {
				for _, table := range []string{"filter", "mangle", "nat"} {
					if out, err := exec.Command("iptables-legacy", "--wait", "-t", table, "-F").CombinedOutput(); err != nil {
						return fmt.Errorf("%w: %s", err, out)
					}
				}
				return nil
			})
		}
	}
	return damages
}
