package service

import (
	"context"
	"errors"
	"slices"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
)

// segments completes the segments that an administrator asked for; none: one of the first range
// that has a free one.
func (s *Service) segments(ctx context.Context, w *work, asked []l3.Segment) ([]l3.Segment, error) {
	if len(asked) == 0 || len(asked) == 1 && asked[0] == (l3.Segment{}) {
		seg, err := s.freeSegment(ctx, w, nil, func(SegmentRange) bool { return true })
		return []l3.Segment{seg}, err
	}
	var chosen []l3.Segment
	for _, seg := range asked {
		if err := checkSegment(seg); err != nil {
			return nil, err
		}
		if numbered(seg.Type) && seg.ID == 0 {
			var err error
			seg, err = s.freeSegment(ctx, w, chosen, func(r SegmentRange) bool {
				return r.Type == seg.Type && (seg.Physical == "" || seg.Physical == r.Physical)
			})
			if err != nil {
				return nil, err
			}
		}
		if slices.Contains(chosen, seg) {
			return nil, segmentInUse(seg)
		}
		chosen = append(chosen, seg)
	}
	return chosen, nil
}

// freeSegment is one of the first range that fits and has one that neither a network has nor is
// chosen already: the lowest after the one that this range gave last. One that was given back just
// now may be in use on a host for a moment yet, and one of an orphan is.
func (s *Service) freeSegment(ctx context.Context, w *work, chosen []l3.Segment, fits func(SegmentRange) bool) (l3.Segment, error) {
	orphaned, err := orphanSegments(ctx, w)
	if err != nil {
		return l3.Segment{}, err
	}
	chosen = append(slices.Clone(chosen), orphaned...)
	for _, r := range s.config.SegmentRanges {
		if !fits(r) {
			continue
		}
		if r.Type == dataplane.NetworkLocal {
			return l3.Segment{Type: r.Type}, nil
		}
		turn := s.turns.of(r)
		for _, part := range []SegmentRange{{r.Type, r.Physical, turn, r.Last}, {r.Type, r.Physical, r.First, turn - 1}} {
			seg, err := firstFree(ctx, w, part, chosen)
			if err != nil {
				return l3.Segment{}, err
			}
			if seg.ID != 0 {
				s.turns.given(r, seg.ID)
				return seg, nil
			}
		}
	}
	return l3.Segment{}, l3.Refuse(l3.ErrExhausted, "NoNetworkAvailable",
		"Unable to create the network. No available network found in maximum allowed attempts.")
}

// firstFree is the lowest of a range; its ID is 0 when there is none.
func firstFree(ctx context.Context, w *work, r SegmentRange, chosen []l3.Segment) (l3.Segment, error) {
	for first := r.First; first <= r.Last; {
		id, err := w.Segments().FirstFree(ctx, r.Type, r.Physical, first, r.Last)
		if err != nil || id == 0 {
			return l3.Segment{}, err
		}
		if seg := (l3.Segment{Type: r.Type, Physical: r.Physical, ID: id}); !slices.Contains(chosen, seg) {
			return seg, nil
		}
		if id == r.Last {
			break
		}
		first = id + 1
	}
	return l3.Segment{}, nil
}

// turns is where each range goes on.
type turns struct {
	mu   sync.Mutex
	next map[SegmentRange]uint32
}

func (t *turns) of(r SegmentRange) uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return max(t.next[r], r.First)
}

func (t *turns) given(r SegmentRange, id uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next[r] = 0
	if id < r.Last {
		t.next[r] = id + 1
	}
}

// numbered says whether networks of a type are told apart by a segmentation ID.
func numbered(t dataplane.NetworkType) bool { return largestID(t) > 0 }

// largestID is IEEE 802.1Q's, RFC 7348's (VXLAN), RFC 8926's (Geneve) and RFC 2890's (GRE); 0: the
// type has none.
func largestID(t dataplane.NetworkType) uint32 {
	switch t {
	case dataplane.NetworkVLAN:
		return 4094
	case dataplane.NetworkVXLAN, dataplane.NetworkGeneve:
		return 1<<24 - 1
	case dataplane.NetworkGRE:
		return 1<<32 - 1
	}
	return 0
}

// checkSegment holds a segment to what its type has. An ID that is missing, and a VLAN's physical
// network with it, come from the ranges.
func checkSegment(seg l3.Segment) error {
	physical := seg.Type == dataplane.NetworkFlat || seg.Type == dataplane.NetworkVLAN
	switch seg.Type {
	case dataplane.NetworkLocal, dataplane.NetworkFlat, dataplane.NetworkVLAN, dataplane.NetworkVXLAN, dataplane.NetworkGeneve, dataplane.NetworkGRE:
	case "":
		return invalid("Invalid input for provider:network_type. Reason: network_type required.")
	default:
		return invalid("Invalid input for provider:network_type. Reason: network_type value '%s' not supported.", seg.Type)
	}
	switch {
	case seg.ID > 0 && !numbered(seg.Type):
		return invalid("Invalid input for provider:segmentation_id. Reason: it is prohibited for a %s network.", seg.Type)
	case numbered(seg.Type) && seg.ID > largestID(seg.Type):
		return invalid("Invalid input for provider:segmentation_id. Reason: segmentation_id out of range (1 through %d).", largestID(seg.Type))
	case seg.Physical != "" && !physical:
		return invalid("Invalid input for provider:physical_network. Reason: it is prohibited for a %s network.", seg.Type)
	case seg.Physical == "" && (seg.Type == dataplane.NetworkFlat || seg.Type == dataplane.NetworkVLAN && seg.ID > 0):
		return invalid("Invalid input for provider:physical_network. Reason: it is required for a %s network.", seg.Type)
	case len(seg.Physical) > 64 || !printable(seg.Physical):
		return invalid("Invalid input for provider:physical_network. Reason: it is not a printable name of at most 64 bytes.")
	}
	return nil
}

func printable(s string) bool {
	for _, r := range s {
		if !unicode.IsGraphic(r) {
			return false
		}
	}
	return utf8.ValidString(s)
}

func claimSegments(ctx context.Context, w *work, n l3.Network) error {
	for _, seg := range n.Segments {
		if seg.Type == dataplane.NetworkLocal {
			continue // it stays on its host, so that there is nothing to share
		}
		if err := w.Segments().Claim(ctx, seg, n.ID); errors.Is(err, l3.ErrTaken) {
			return segmentInUse(seg)
		} else if err != nil {
			return err
		}
	}
	return nil
}

func segmentInUse(seg l3.Segment) error {
	switch seg.Type {
	case dataplane.NetworkFlat:
		return conflict("FlatNetworkInUse", "Unable to create the flat network. Physical network %s is in use.", seg.Physical)
	case dataplane.NetworkVLAN:
		return conflict("VlanIdInUse", "Unable to create the network. The VLAN %d on physical network %s is in use.", seg.ID, seg.Physical)
	}
	return conflict("TunnelIdInUse", "Unable to create the network. The tunnel ID %d is in use.", seg.ID)
}
