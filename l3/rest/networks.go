package rest

import (
	"fmt"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
)

func (a *api) networks() {
	serve(a, collection[l3.Network, l3.NetworkSpec]{
		path: "networks", one: "network", many: "networks", kind: l3.KindNetwork, revisions: true,
		table: networkTable(), ids: func(n *l3.Network) string { return n.ID }, check: checkSegments,
		list: a.service.ListNetworks, get: a.service.GetNetwork, create: a.service.CreateNetworks, update: a.service.UpdateNetwork,
		delete: a.service.DeleteNetwork,
	})
}

func networkTable() table[l3.Network, l3.NetworkSpec] {
	type (
		R = l3.Network
		S = l3.NetworkSpec
	)
	flat := func(r *R) bool { return len(r.Segments) == 1 }
	return append(standard(func(r *R) *l3.Meta { return &r.Meta }, func(s *S, v string) { s.ProjectID = &v }, func(s *S, v []string) { s.Tags = &v }),
		field("name", label, given|found, func(r *R) string { return r.Name }, func(s *S, v string) { s.Name = &v }),
		field("description", label, given|found, func(r *R) string { return r.Description }, func(s *S, v string) { s.Description = &v }),
		field("admin_state_up", boolean, given|found, func(r *R) bool { return r.AdminStateUp }, func(s *S, v bool) { s.AdminStateUp = &v }),
		shown[R, S]("status", label, found, func(r *R) string { return string(r.Status) }),
		field("shared", boolean, given|found, func(r *R) bool { return r.Shared }, func(s *S, v bool) { s.Shared = &v }),
		field("router:external", boolean, given|found, func(r *R) bool { return r.External }, func(s *S, v bool) { s.External = &v }),
		field("is_default", boolean, given|found, func(r *R) bool { return r.IsDefault }, func(s *S, v bool) { s.IsDefault = &v }),
		field("mtu", integer(0, 65535), given|found, func(r *R) int { return r.MTU }, func(s *S, v int) { s.MTU = &v }),
		shown[R, S]("subnets", list(anyUUID), filtered, func(r *R) []string { return r.Subnets }),
		shown[R, S]("availability_zones", texts, filtered, func(r *R) []string { return r.AvailabilityZones }),
		field("availability_zone_hints", texts, inPost|found, func(r *R) []string { return r.AZHints }, func(s *S, v []string) { s.AZHints = &v }),
		field("port_security_enabled", boolean, given|found,
			func(r *R) bool { return r.PortSecurityEnabled }, func(s *S, v bool) { s.PortSecurityEnabled = &v }),
		constant[R, S]("ipv4_address_scope", uuidOrNo, "", ""),
		constant[R, S]("ipv6_address_scope", uuidOrNo, "", ""),

		// One segment is shown as attributes of the network, several as a list.
		field("provider:network_type", networkType, given|filtered|guarded,
			func(r *R) string { return string(r.Segments[0].Type) },
			func(s *S, v string) { onlySegment(s).Type = dataplane.NetworkType(v) }).as("segments.provider:network_type", asWritten).only(flat),
		field("provider:physical_network", textOrNo, given|filtered|guarded,
			func(r *R) string { return r.Segments[0].Physical },
			func(s *S, v string) { onlySegment(s).Physical = v }).as("segments.provider:physical_network", asWritten).only(flat),
		field("provider:segmentation_id", segmentID, given|filtered|guarded,
			func(r *R) int { return int(r.Segments[0].ID) },
			func(s *S, v int) { onlySegment(s).ID = uint32(v) }).as("segments.provider:segmentation_id", parseSegmentID).only(flat),
		field("segments", list(segment), given|guarded,
			func(r *R) []l3.Segment { return r.Segments },
			func(s *S, v []l3.Segment) { s.Segments = &v }).only(func(r *R) bool { return len(r.Segments) > 1 }),
	)
}

var (
	networkType = orNull(choice(string(dataplane.NetworkFlat), string(dataplane.NetworkVLAN), string(dataplane.NetworkVXLAN),
		string(dataplane.NetworkGeneve), string(dataplane.NetworkGRE), string(dataplane.NetworkLocal)))
	segmentID = orNull(integer(0, 1<<32-1)) // see zeroID

	segment = record(table[l3.Segment, l3.Segment]{
		field("provider:network_type", networkType, given,
			func(r *l3.Segment) string { return string(r.Type) }, func(s *l3.Segment, v string) { s.Type = dataplane.NetworkType(v) }),
		field("provider:physical_network", textOrNo, given,
			func(r *l3.Segment) string { return r.Physical }, func(s *l3.Segment, v string) { s.Physical = v }),
		field("provider:segmentation_id", segmentID, given,
			func(r *l3.Segment) int { return int(r.ID) }, func(s *l3.Segment, v int) { s.ID = uint32(v) }),
	})
)

// parseSegmentID reads a filter. None is stored as 0, which is nothing that a segment could have.
func parseSegmentID(text string) (any, error) {
	switch text {
	case "":
		return 0, nil
	case "0":
		return -1, nil
	}
	return segmentID.parse(text)
}

// onlySegment is the one that attributes of the network itself describe.
func onlySegment(s *l3.NetworkSpec) *l3.Segment {
	if s.Segments == nil {
		s.Segments = &[]l3.Segment{{}}
	}
	return &(*s.Segments)[0]
}

// zeroID refuses 0 as the segmentation ID of a type that has one. Clients such as gophercloud say 0
// for types that have none.
func zeroID(segment map[string]any) error {
	v := segment["provider:segmentation_id"]
	kind := segment["provider:network_type"]
	without := kind == string(dataplane.NetworkFlat) || kind == string(dataplane.NetworkLocal)
	if id, err := segmentID.read(v); err == nil && v != nil && id == 0 && !without {
		return invalid("provider:segmentation_id", fmt.Errorf("'%s' is too small - must be at least '1'", show(v)))
	}
	return nil
}

// checkSegments checks what no single attribute of a network's segments can say.
func checkSegments(spec map[string]any) error {
	if err := zeroID(spec); err != nil {
		return err
	}
	segments, _ := spec["segments"].([]any)
	for _, v := range segments {
		if segment, ok := v.(map[string]any); ok {
			if err := zeroID(segment); err != nil {
				return err
			}
		}
	}
	if spec["segments"] == nil {
		return nil
	}
	for _, name := range []string{"provider:network_type", "provider:physical_network", "provider:segmentation_id"} {
		if spec[name] != nil {
			return &l3.Error{Kind: l3.ErrInvalid, Name: "SegmentsSetInConjunctionWithProviders",
				Message: "Segments and provider values cannot both be set: segments, " + name + "."}
		}
	}
	return nil
}
