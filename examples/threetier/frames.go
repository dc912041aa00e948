package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/l3kit/l3kit/internal/test/lab"
)

// flow is a download, the addresses that its packets have on the way, and the hosts that carry it.
type flow struct {
	claim        string
	from         *lab.Host
	source, url  string
	between, via []string
}

// carried checks that some hosts carry a download, and that no other has a frame of it.
func (s *site) carried(ctx context.Context, out *report, f flow) {
	counts, err := s.frames(f.between, func() error {
		d, err := startFetch(ctx, f.from, f.source, f.url)
		if err == nil {
			d.close()
		}
		return err
	})
	hosts := slices.Sorted(maps.Keys(counts))
	seen := "no other any"
	for _, h := range slices.Backward(hosts) {
		seen = fmt.Sprintf("%s %d, ", h, counts[h]) + seen
	}
	if err == nil && !slices.Equal(hosts, f.via) {
		err = fmt.Errorf("%s; want %s alone", seen, strings.Join(f.via, ", "))
	}
	out.check(f.claim, seen, err)
}

// frames counts the frames with packets between some addresses, in a tunnel or not, that are on
// each host's tunnel and external cables while do runs. Hosts with none are left out.
func (s *site) frames(between []string, do func() error) (counts map[string]int, err error) {
	captures := map[*lab.Capture]string{} // hosts
	defer func() {
		for c := range captures {
			err = errors.Join(err, c.Close())
		}
	}()
	for _, h := range s.cluster.Hosts {
		for device, on := range map[string]*lab.Underlay{h.TunnelPort(): s.cluster.Tunnels, h.ExternalPort(): s.cluster.External} {
			c, err := on.CaptureAll(device)
			if err != nil {
				return nil, err
			}
			captures[c] = h.Name
		}
	}
	if err := do(); err != nil {
		return nil, err
	}
	counts = map[string]int{}
	for c, host := range captures {
		packets, err := c.Packets()
		if err != nil {
			return nil, err
		}
		for _, p := range packets {
			if p.Tunnel != nil && p.Tunnel.Inner != nil {
				p = *p.Tunnel.Inner
			}
			if slices.Contains(between, p.Src.Addr().String()) && slices.Contains(between, p.Dst.Addr().String()) {
				counts[host]++
			}
		}
	}
	return counts, nil
}
