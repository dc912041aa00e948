package control

import (
	"strconv"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/examples/internal/setting"
	"github.com/l3kit/l3kit/l3/service"
)

// segments reads what --tenant-networks says: TYPE:FIRST:LAST, vlan:PHYSICAL:FIRST:LAST, or local.
func segments(texts []string) (ranges []service.SegmentRange, err error) {
	for _, text := range texts {
		r, err := segment(text)
		if err != nil {
			return nil, setting.Errorf("--tenant-networks: %q: %w", text, err)
		}
		ranges = append(ranges, r)
	}
	return ranges, nil
}

func segment(text string) (r service.SegmentRange, err error) {
	parts := strings.Split(text, ":")
	r.Type = dataplane.NetworkType(parts[0])
	if parts = parts[1:]; r.Type == dataplane.NetworkLocal && len(parts) == 0 {
		return r, nil
	}
	if r.Type == dataplane.NetworkVLAN && len(parts) == 3 {
		r.Physical, parts = parts[0], parts[1:]
	}
	if len(parts) != 2 {
		return r, setting.Errorf("write vxlan:1:1000, geneve:1:1000, gre:1:1000, vlan:PHYSICAL:100:199, or local")
	}
	for i, end := range []*uint32{&r.First, &r.Last} {
		n, err := strconv.ParseUint(parts[i], 10, 32)
		if err != nil {
			return r, err
		}
		*end = uint32(n)
	}
	return r, nil
}
