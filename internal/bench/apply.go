package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/lab"
)

// applyNew measures the making of a router with n floating IPs on networks that exist, in turn with the floor.
func applyNew(name string, n, runs int) ([]row, error) {
	ctx := context.Background()
	s, err := newStage(ctx)
	if err != nil {
		return nil, err
	}
	defer s.close()
	var ours, floors, ratios []float64
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
		f, err := floor(s, r)
		if err != nil {
			return nil, fmt.Errorf("floor: %w", err)
		}
		time.Sleep(30 * time.Millisecond)
		if i < 2 { // warm-up
			continue
		}
		ours = append(ours, milliseconds(d))
		floors = append(floors, milliseconds(f))
		ratios = append(ratios, float64(d)/float64(f))
	}
	return []row{
		atMost(1.5, row{Name: name, Value: median(ratios), Unit: "x floor",
			Note: fmt.Sprintf("%.2f ms, floor %.2f ms, %d runs", median(ours), median(floors), len(ours))}),
	}, nil
}

// applySame measures an Apply that has nothing to do, and counts the writes that reach the kernel.
func applySame() ([]row, error) {
	var rows []row
	for _, n := range []int{0, 10_000} {
		name := "nftables/apply-same"
		if n > 0 {
			name += fmt.Sprint("-", n)
		}
		err := withRouter(n, func(ctx context.Context, s *stage, r dataplane.Router) error {
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
				atMost(0.3, row{Name: name, Value: milliseconds(median(samples)), Unit: "ms"}),
				atMost(0, row{Name: name + "/writes", Value: float64(len(writes)), Unit: "kernel writes", Note: "in 300 runs"}))
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// fipAdd measures one floating IP more, with 0 to 10,000 present.
func fipAdd() ([]row, error) {
	var rows []row
	var least, most float64
	for _, n := range []int{0, 100, 1000, 10_000} {
		err := withRouter(n, func(ctx context.Context, s *stage, r dataplane.Router) error {
			var samples []time.Duration
			for i := range 200 {
				more := r
				more.FloatingIPs = append(r.FloatingIPs[:n:n], floatingIP(n+i))
				d, err := timed(func() error {
					_, err := s.dataplane.Apply(ctx, more)
					return err
				})
				if err != nil {
					return err
				}
				samples = append(samples, d)
				if _, err := s.dataplane.Apply(ctx, r); err != nil {
					return err
				}
			}
			ms := milliseconds(median(samples))
			least, most = min(ms, least), max(ms, most)
			if n == 0 {
				least, most = ms, ms
			}
			rows = append(rows, atMost(1, row{Name: fmt.Sprint("nftables/fip-add-", n), Value: ms, Unit: "ms"}))
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return append(rows, atMost(2, row{Name: "nftables/fip-add-flat", Value: most / least, Unit: "x", Note: "slowest to fastest of the four"})), nil
}

// withRouter runs fn with a router of n floating IPs that has been applied, and applied again.
func withRouter(n int, fn func(context.Context, *stage, dataplane.Router) error) error {
	ctx := context.Background()
	s, err := newStage(ctx)
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
	return errors.Join(fn(ctx, s, r), s.dataplane.Delete(ctx, r.ID))
}
