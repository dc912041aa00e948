package sqlstore

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
)

// segments is [l3.Segments] in a transaction.
type segments struct{ tx *tx }

// Claim takes a segment. A segment that has neither an ID nor a physical network, such as a local
// one, is nothing that another could want.
func (s segments) Claim(ctx context.Context, seg l3.Segment, networkID string) error {
	if seg.ID == 0 && seg.Physical == "" {
		return nil
	}
	_, err := s.tx.try(ctx, "INSERT INTO segments (type, physical, number, network_id) VALUES ($1, $2, $3, $4)",
		[]any{string(seg.Type), seg.Physical, int64(seg.ID), networkID})
	if err == nil {
		err = s.runs(seg.Type, seg.Physical).add(ctx, segmentNumber(seg.ID))
	}
	if err != nil {
		return fmt.Errorf("claim segment %d of %s %s: %w", seg.ID, seg.Type, seg.Physical, err)
	}
	return nil
}

// Release gives back what a network has, if it has any.
func (s segments) Release(ctx context.Context, networkID string) error {
	var held []l3.Segment
	err := s.tx.query(ctx, func(r row) error {
		var seg l3.Segment
		err := r.Scan((*string)(&seg.Type), &seg.Physical, &seg.ID)
		held = append(held, seg)
		return err
	}, "SELECT type, physical, number FROM segments WHERE network_id = $1", networkID)
	for i := 0; err == nil && i < len(held); i++ {
		err = s.runs(held[i].Type, held[i].Physical).drop(ctx, segmentNumber(held[i].ID))
	}
	if err == nil && len(held) > 0 {
		_, err = s.tx.exec(ctx, "DELETE FROM segments WHERE network_id = $1", networkID)
	}
	if err != nil {
		return fmt.Errorf("release segments of network %s: %w", networkID, err)
	}
	return nil
}

// FirstFree finds an ID that nobody has.
func (s segments) FirstFree(ctx context.Context, typ dataplane.NetworkType, physical string, first, last uint32) (uint32, error) {
	free, err := s.runs(typ, physical).free(ctx, segmentNumber(first), segmentNumber(last))
	if err != nil {
		return 0, fmt.Errorf("find a free segment of %s %s: %w", typ, physical, err)
	}
	if free == nil {
		return 0, nil
	}
	return binary.BigEndian.Uint32(free), nil
}

// All reads every claim.
func (s segments) All(ctx context.Context) (map[l3.Segment]string, error) {
	all := map[l3.Segment]string{}
	err := s.tx.query(ctx, func(r row) error {
		var seg l3.Segment
		var network string
		err := r.Scan((*string)(&seg.Type), &seg.Physical, &seg.ID, &network)
		all[seg] = network
		return err
	}, "SELECT type, physical, number, network_id FROM segments")
	if err != nil {
		return nil, fmt.Errorf("list segments: %w", err)
	}
	return all, nil
}

func (s segments) runs(typ dataplane.NetworkType, physical string) runs {
	return runs{s.tx, "segments/" + string(typ) + "/" + physical}
}

func segmentNumber(id uint32) []byte { return binary.BigEndian.AppendUint32(nil, id) }
