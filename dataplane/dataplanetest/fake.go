package dataplanetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/l3kit/l3kit/dataplane"
)

// Fake makes a harness for [dataplane.Fake]: its workloads are on a network in memory, which asks
// the fake host what becomes of packets.
func Fake(testing.TB) Harness { return newFake() }

func newFake() *fake {
	host := new(dataplane.FakeHost)
	return &fake{host: host, dp: dataplane.NewFake(host), net: &fakeNetwork{host: host, open: host.Open}}
}

type fake struct {
	host *dataplane.FakeHost
	dp   dataplane.Dataplane
	net  *fakeNetwork
}

func (f *fake) Dataplane() dataplane.Dataplane { return f.dp }

func (f *fake) Reopen() (dataplane.Dataplane, error) { return dataplane.NewFake(f.host), nil }

func (f *fake) Attach(_ context.Context, w Workload) (Host, error) { return f.net.attach(w), nil }

func (f *fake) Router(_ context.Context, id string) (Host, error) {
	if _, ok := f.host.Router(id); !ok {
		return nil, fmt.Errorf("no router %q", id)
	}
	return fakeInside{net: f.net, router: id}, nil
}

func (f *fake) State(_ context.Context, id string) (string, error) { return f.host.State(id), nil }

// HostState is the list of routers: the fake host has no other side.
func (f *fake) HostState(ctx context.Context) (string, error) {
	ids, err := dataplane.NewFake(f.host).List(ctx)
	return strings.Join(ids, "\n"), err
}

func (f *fake) Writes(_ context.Context, fn func() error) ([]string, error) {
	before := f.host.Writes()
	err := fn()
	return make([]string, f.host.Writes()-before), err
}

func (f *fake) Break(after int) (heal func()) {
	f.host.Fail(after, errBroken)
	return func() { f.host.Fail(0, nil) }
}

func (f *fake) Trespass(_ context.Context, id string) (intact func() error, err error) {
	f.host.Occupy(id)
	return func() error {
		if _, ok := f.host.Router(id); ok {
			return errors.New("the intruder's place is taken by a router")
		}
		return nil
	}, nil
}

// HalfMake leaves the router's first port.
func (f *fake) HalfMake(ctx context.Context, r dataplane.Router) error {
	r = dataplane.Router{ID: r.ID, Ports: r.Ports[:1]}
	_, err := dataplane.NewFake(f.host).Apply(ctx, r)
	return err
}

func (f *fake) tamper(name, mentions string, change func(*dataplane.Router)) Damage {
	return Damage{name, mentions, func(_ context.Context, id string) error {
		if !f.host.Tamper(id, change) {
			return fmt.Errorf("no router %q", id)
		}
		return nil
	}}
}

func (f *fake) InstanceDamages() []Damage {
	return []Damage{
		f.tamper("the subnet of a leg put on the link", "anycast", func(r *dataplane.Router) { r.Ports[0].Anycast = nil }),
		f.tamper("the way to the centre deleted", "default via 169.254.64.99", func(r *dataplane.Router) { r.Transit.Centre = r.Transit.Centre[1:] }),
		f.tamper("the way to another edge deleted", "10.0.1.20/32", func(r *dataplane.Router) { r.Transit.Routes = r.Transit.Routes[1:] }),
		f.tamper("the way to another edge's floating IP deleted", fip2.String(), func(r *dataplane.Router) { r.Transit.External = nil }),
		f.tamper("nothing is translated elsewhere", "elsewhere", func(r *dataplane.Router) { r.Transit.Elsewhere = nil }),
		f.tamper("the gateway for everything", "floating IPs only", func(r *dataplane.Router) { r.Gateway.FloatingIPsOnly = false }),
	}
}

func (f *fake) Damages() []Damage {
	tamper := f.tamper
	return []Damage{
		tamper("a port deleted", "qr-web", without("web")),
		tamper("an MTU changed", "mtu", func(r *dataplane.Router) { r.Ports[0].MTU = 1400 }),
		tamper("a floating IP removed", fip1.String(), unbound(fip1)),
		tamper("a floating IP moved", fip1.String(), func(r *dataplane.Router) { r.FloatingIPs[0].Fixed = web2Addr }),
		tamper("a port no longer forwarded", forwardAddr.String(), unforward("8080")),
		tamper("routes flushed", "10.9.0.0/24", func(r *dataplane.Router) { r.Routes = nil }),
		tamper("SNAT switched off", "snat", snat(false)),
	}
}
