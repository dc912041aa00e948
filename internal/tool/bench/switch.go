package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/netns"
)

// applyNewSwitched measures the making of a router on Open vSwitch, in turn with the same on Linux
// bridges.
func applyNewSwitched(ctx context.Context) ([]row, error) {
	const runs = 20
	onBridges, err := newStage(ctx, nft)
	if err != nil {
		return nil, err
	}
	defer onBridges.close()
	onSwitch, err := newStage(ctx, switched)
	if err != nil {
		return nil, err
	}
	defer onSwitch.close()
	var times [2][]float64
	var ratios []float64
	for i := range runs + 2 {
		var took [2]time.Duration
		for j, s := range []*stage{onSwitch, onBridges} {
			if took[j], err = makeAndDelete(ctx, s); err != nil {
				return nil, err
			}
		}
		if i < 2 { // warm-up
			continue
		}
		for j, d := range took {
			times[j] = append(times[j], milliseconds(d))
		}
		ratios = append(ratios, float64(took[0])/float64(took[1]))
	}
	return []row{atMost(3, row{Name: "ovs/apply-new", Value: median(ratios), Unit: "x bridges",
		Note: fmt.Sprintf("%.2f ms, bridges %.2f ms, %d runs", median(times[0]), median(times[1]), runs)})}, nil
}

func makeAndDelete(ctx context.Context, s *stage) (time.Duration, error) {
	r := router("r", 0)
	took, err := timed(func() error {
		_, err := s.dataplane.Apply(ctx, r)
		return err
	})
	if err != nil {
		return 0, err
	}
	err = s.dataplane.Delete(ctx, r.ID)
	time.Sleep(30 * time.Millisecond) // the kernel takes the old namespace apart in the background
	return took, err
}

// applySameSwitched counts the OVSDB transactions of Applies that have nothing to do.
func applySameSwitched(ctx context.Context) (rows []row, err error) {
	const runs = 100
	err = withRouter(ctx, switched, 0, func(s *stage, r dataplane.Router) error {
		before, err := s.ovs.Transactions()
		if err != nil {
			return err
		}
		var samples []time.Duration
		for range runs {
			d, err := timed(func() error {
				_, err := s.dataplane.Apply(ctx, r)
				return err
			})
			if err != nil {
				return err
			}
			samples = append(samples, d)
		}
		after, err := s.ovs.Transactions()
		rows = []row{atMost(0, row{Name: "ovs/apply-same", Value: float64(after - before), Unit: "transactions",
			Note: fmt.Sprintf("in %d runs of %.2f ms", runs, milliseconds(median(samples)))})}
		return err
	})
	return rows, err
}

// plugThousand measures the plug of one port with a thousand present, as a ratio to the same with
// ten; and beside it what ovs-vsctl takes to add a port, so that it is seen how much of that is
// Open vSwitch's own.
func plugThousand(ctx context.Context) ([]row, error) {
	const few, many, runs = 10, 1000, 20
	s, err := newStage(ctx, switched)
	if err != nil {
		return nil, err
	}
	defer s.close()
	ns, err := netns.Create(s.lab.Dir, "ports", "", nil)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	at := namespace.NS{Router: "ports", FD: int(ns.Fd())}
	plug := func(i int) (time.Duration, error) {
		id := fmt.Sprintf("p%d", i)
		return timed(func() error {
			return s.wiring.Plug(ctx, at, namespace.Attachment{Device: dataplane.PortDevice(id), Port: port(id, "web", 9, "10.9.0.1/16")})
		})
	}
	present := 0
	measure := func(n int) (ours, theirs float64, err error) {
		var all errgroup.Group // many at once take less time than one after the other
		all.SetLimit(32)
		for i := present; i < n; i++ {
			all.Go(func() error {
				_, err := plug(i)
				return err
			})
		}
		present = n
		if err := all.Wait(); err != nil {
			return 0, 0, err
		}
		var plugs, adds []time.Duration
		for range runs {
			d, err := plug(n)
			if err != nil {
				return 0, 0, err
			}
			plugs = append(plugs, d)
			if err := s.wiring.Unplug(ctx, at, dataplane.PortDevice(fmt.Sprintf("p%d", n))); err != nil {
				return 0, 0, err
			}
			d, err = timed(func() error {
				_, err := s.ovs.Vsctl("add-port", "br-int", "bare", "--", "set", "interface", "bare", "type=internal")
				return err
			})
			if err != nil {
				return 0, 0, err
			}
			adds = append(adds, d)
			if _, err := s.ovs.Vsctl("del-port", "bare"); err != nil {
				return 0, 0, err
			}
		}
		return milliseconds(median(plugs)), milliseconds(median(adds)), nil
	}
	ten, bareTen, err := measure(few)
	if err != nil {
		return nil, err
	}
	thousand, bareThousand, err := measure(many)
	if err != nil {
		return nil, err
	}
	rows := []row{
		atMost(1.5, row{Name: "ovs/plug-1000", Value: thousand / ten, Unit: "x at 10",
			Note: fmt.Sprintf("%.2f ms at 1000 ports, %.2f ms at 10", thousand, ten)}),
		{Name: "ovs-vsctl/add-port-1000", Value: bareThousand / bareTen, Unit: "x at 10",
			Note: fmt.Sprintf("%.2f ms at 1000 ports, %.2f ms at 10: ovs-vswitchd's own part", bareThousand, bareTen)},
	}
	return rows, errors.Join(s.wiring.Release(ctx, "ports"))
}
