package service_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/service"
)

// nowhere is a store that is never asked.
type nowhere struct{}

func (nowhere) View(context.Context, func(l3.Tx) error) error   { return nil }
func (nowhere) Update(context.Context, func(l3.Tx) error) error { return nil }
func (nowhere) Close() error                                    { return nil }

func TestNewRefuses(t *testing.T) {
	for what, config := range map[string]service.Config{
		"Store":            {},
		"Quotas":           {Store: nowhere{}, Quotas: map[string]int{"horse": 1}},
		"BaseMAC":          {Store: nowhere{}, BaseMAC: dataplane.MAC{1}},
		"PhysicalMTU":      {Store: nowhere{}, PhysicalMTU: 500},
		"SegmentRanges":    {Store: nowhere{}, SegmentRanges: []service.SegmentRange{{Type: "vlan", Physical: "p", First: 1, Last: 4095}}},
		"Ranges[0]":        {Store: nowhere{}, SegmentRanges: []service.SegmentRange{{Type: "flat", Physical: "p"}}},
		"Ranges[0]: local": {Store: nowhere{}, SegmentRanges: []service.SegmentRange{{Type: "local", First: 1, Last: 2}}},
		"Ranges[1]":        {Store: nowhere{}, SegmentRanges: []service.SegmentRange{{Type: "gre", First: 1, Last: 2}, {Type: "gre", First: 2, Last: 1}}},
	} {
		_, err := service.New(config)
		require.ErrorIs(t, err, l3.ErrInvalid, what)
		require.ErrorContains(t, err, what)
	}
	_, err := service.New(service.Config{Store: nowhere{}})
	require.NoError(t, err)
}
