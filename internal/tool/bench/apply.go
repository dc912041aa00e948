package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/test/lab"
)

// applyNew measures the making of a router with n floating IPs on networks that exist, in turn with
// two floors: the least work for the same table, and for the least table that translates the same
// packets.
func applyNew(ctx context.Context, name string, n, runs int) ([]row, error) {
	s, err := newStage(ctx, nft)
	if err != nil {
		return nil, err
	}
	defer s.close()
	var ours, floors, ratios, leasts, leastRatios []float64
	for i := range runs + 2 {
		r := router("r", n)
		d, err := timed(func() error {
			_, err := s.dataplane.Apply(ctx, r)
			return err
		})
		if err != nil {
			return nil, err
		}
		if err := s.dataplane.Delete(ctx, r.ID); err != nil {
			return nil, err
		}
		time.Sleep(30 * time.Millisecond) // the kernel takes the old namespace apart in the background
		f, err := floor(s, r, floorTable)
		if err != nil {
			return nil, fmt.Errorf("floor: %w", err)
		}
		time.Sleep(30 * time.Millisecond)
		l, err := floor(s, r, leastTable)
		if err != nil {
			return nil, fmt.Errorf("least table: %w", err)
		}
		time.Sleep(30 * time.Millisecond)
		if i < 2 { // warm-up
			continue
		}
		ours, floors, leasts = append(ours, milliseconds(d)), append(floors, milliseconds(f)), append(leasts, milliseconds(l))
		ratios, leastRatios = append(ratios, float64(d)/float64(f)), append(leastRatios, float64(d)/float64(l))
	}
	return []row{
		atMost(1.5, row{Name: name, Value: median(ratios), Unit: "x floor",
			Note: fmt.Sprintf("%.2f ms, least work for the same table %.2f ms, %d runs", median(ours), median(floors), len(ours))}),
		{Name: name + "/least-table", Value: median(leastRatios), Unit: "x least table",
			Note: fmt.Sprintf("two maps that translate the same packets %.2f ms", median(leasts))},
	}, nil
}

// applyNewTime measures the same without a floor.
func applyNewTime(ctx context.Context, b backend, limit float64, runs int) ([]row, error) {
	s, err := newStage(ctx, b)
	if err != nil {
		return nil, err
	}
	defer s.close()
	var samples []time.Duration
	for i := range runs + 2 {
		d, err := timed(func() error {
			_, err := s.dataplane.Apply(ctx, router("r", 0))
			return err
		})
		if err != nil {
			return nil, err
		}
		if err := s.dataplane.Delete(ctx, "r"); err != nil {
			return nil, err
		}
		time.Sleep(30 * time.Millisecond)
		if i >= 2 { // after a warm-up
			samples = append(samples, d)
		}
	}
	return []row{atMost(limit, row{Name: b.name + "/apply-new", Value: milliseconds(median(samples)), Unit: "ms"})}, nil
}

// applySame measures an Apply that has nothing to do, and counts the writes that reach the kernel.
func applySame(ctx context.Context, b backend, limit float64, sizes ...int) ([]row, error) {
	var rows []row
	for _, n := range sizes {
		name := b.name + "/apply-same"
		if n > 0 {
			name += fmt.Sprint("-", n)
		}
		err := withRouter(ctx, b, n, func(s *stage, r dataplane.Router) error {
			var samples []time.Duration
			same := func() error {
				_, err := s.dataplane.Apply(ctx, r)
				return err
			}
			writes, err := lab.Writes([]string{s.lab.HostNS, filepath.Join(s.lab.Dir, dataplane.NamespaceName(r.ID))}, func() error {
				for range 300 {
					d, err := timed(same)
					if err != nil {
						return err
					}
					samples = append(samples, d)
				}
				return nil
			})
			rows = append(rows,
				atMost(limit, row{Name: name, Value: milliseconds(median(samples)), Unit: "ms"}),
				atMost(0, row{Name: name + "/writes", Value: float64(len(writes)), Unit: "kernel writes", Note: "in 300 runs"}))
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// fipAdd measures one floating IP more, with as many present as sizes say; and in turn with that,
// what the kernel alone takes to add its address.
func fipAdd(ctx context.Context, b backend, limit float64, runs int, sizes ...int) (ours, kernel []row, err error) {
	for _, n := range sizes {
		err := withRouter(ctx, b, n, func(s *stage, r dataplane.Router) error {
			bare, err := newCrowd(n)
			if err != nil {
				return err
			}
			defer bare.close()
			var samples, alone []time.Duration
			for i := range runs {
				more := r
				more.FloatingIPs = append(r.FloatingIPs[:n:n], floatingIP(n+i))
				d, err := s.there(ctx, r, more)
				if err != nil {
					return err
				}
				samples = append(samples, d)
				if d, err = bare.oneMore(n + i); err != nil {
					return err
				}
				alone = append(alone, d)
			}
			ours = append(ours, atMost(limit, row{Name: fmt.Sprint(b.name, "/fip-add-", n), Value: milliseconds(median(samples)), Unit: "ms"}))
			kernel = append(kernel, row{Name: fmt.Sprint("kernel-address-add-", n), Value: milliseconds(median(alone)), Unit: "ms"})
			return nil
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return ours, kernel, nil
}

// there applies another router in place of one that is applied, and then that again. It returns how
// long the way there took.
func (s *stage) there(ctx context.Context, r, other dataplane.Router) (time.Duration, error) {
	d, err := timed(func() error {
		_, err := s.dataplane.Apply(ctx, other)
		return err
	})
	if err == nil {
		_, err = s.dataplane.Apply(ctx, r)
	}
	return d, err
}

// forwardingAdd measures one port forwarding more, with as many present as sizes say, all of one
// address.
func forwardingAdd(ctx context.Context, b backend, runs int, sizes ...int) (rows []row, err error) {
	for _, n := range sizes {
		err := withRouter(ctx, b, 0, func(s *stage, r dataplane.Router) error {
			for i := range n {
				r.PortForwardings = append(r.PortForwardings, portForwarding(i))
			}
			for range 2 {
				if _, err := s.dataplane.Apply(ctx, r); err != nil {
					return err
				}
			}
			time.Sleep(3 * time.Second) // announcements are over
			var samples []time.Duration
			for i := range runs {
				more := r
				more.PortForwardings = append(r.PortForwardings[:n:n], portForwarding(n+i))
				d, err := s.there(ctx, r, more)
				if err != nil {
					return err
				}
				samples = append(samples, d)
			}
			rows = append(rows, row{Name: fmt.Sprint(b.name, "/forwarding-add-", n), Value: milliseconds(median(samples)), Unit: "ms"})
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// flat compares the slowest to the fastest of some rows: twice as long is the most.
func flat(name, note string, rows []row) row {
	least, most := rows[0].Value, rows[0].Value
	for _, r := range rows {
		least, most = min(least, r.Value), max(most, r.Value)
	}
	return atMost(2, row{Name: name, Value: most / least, Unit: "x", Note: note})
}

// less is what is left of some rows without what others take.
func less(rows, others []row) []row {
	rest := slices.Clone(rows)
	for i := range rest {
		rest[i].Value -= others[i].Value
	}
	return rest
}

// withRouter runs fn with a router of n floating IPs that has been applied, and applied again.
func withRouter(ctx context.Context, b backend, n int, fn func(*stage, dataplane.Router) error) error {
	s, err := newStage(ctx, b)
	if err != nil {
		return err
	}
	defer s.close()
	r := router("r", n)
	for range 2 {
		if _, err := s.dataplane.Apply(ctx, r); err != nil {
			return err
		}
	}
	time.Sleep(3 * time.Second) // announcements are over
	return errors.Join(fn(s, r), s.dataplane.Delete(context.WithoutCancel(ctx), r.ID))
}
