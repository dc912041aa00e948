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
	type R = l3.Network
	type S = l3.NetworkSpec
	return append(standard[R, S](),
		field[R, S]("Name", label, given|found),
		field[R, S]("Description", label, given|found),
		field[R, S]("AdminStateUp", boolean, given|found).storedOnly("routers are attached to a network whether it is up or down, as in Neutron"),
		field[R, S]("Status", status, found),
		field[R, S]("Shared", boolean, given|found),
		field[R, S]("External", boolean, given|found),
		field[R, S]("IsDefault", boolean, given|found),
		field[R, S]("MTU", integer(0, 65535), given|found),
		shown[R, S]("subnets", list(anyUUID), filtered, func(r *R) []string { return r.Subnets }),
		field[R, S]("AvailabilityZones", texts, filtered),
		field[R, S]("AZHints", texts, inPost|found).storedOnly(dhcp),
		field[R, S]("PortSecurityEnabled", boolean, given|found).storedOnly("it is the default of the network's ports, and "+firewall),
		field[R, S]("QoSPolicyID", uuidOrNo, given|found),
		field[R, S]("DNSDomain", textOrNo, given|found).storedOnly(dns),
		shown[R, S]("ipv4_address_scope", uuidOrNo, filtered, func(r *R) string { return r.IPv4AddressScope }),
		shown[R, S]("ipv6_address_scope", uuidOrNo, filtered, func(r *R) string { return r.IPv6AddressScope }),

		ofOnlySegment(segments[0]), ofOnlySegment(segments[1]), ofOnlySegment(segments[2]),
		field[R, S]("Segments", list(record(segments)), given|guarded).only(func(r *R) bool { return len(r.Segments) > 1 }),
	)
}

var (
	networkType = word[dataplane.NetworkType](orNull(choice(string(dataplane.NetworkFlat), string(dataplane.NetworkVLAN),
		string(dataplane.NetworkVXLAN), string(dataplane.NetworkGeneve), string(dataplane.NetworkGRE), string(dataplane.NetworkLocal))))
	segmentID = orNull(integer(0, 1<<32-1)) // see zeroID

	segments = table[l3.Segment, l3.Segment]{
		field[l3.Segment, l3.Segment]("Type", networkType, given|filtered),
		field[l3.Segment, l3.Segment]("Physical", textOrNo, given|filtered),
		custom("provider:segmentation_id", segmentID, given|filtered,
			func(r *l3.Segment) int { return int(r.ID) }, func(s *l3.Segment, v int) { s.ID = uint32(v) }).parsedBy(parseSegmentID),
	}
)

// ofOnlySegment is the attribute of a network's only segment, which is shown as the network's own.
func ofOnlySegment(a attribute[l3.Segment, l3.Segment]) attribute[l3.Network, l3.NetworkSpec] {
	return attribute[l3.Network, l3.NetworkSpec]{
		name: a.name, key: a.key, uses: a.uses | guarded, schema: a.schema,
		stored: "segments." + a.stored,
		write:  func(b []byte, n *l3.Network) []byte { return a.write(b, &n.Segments[0]) },
		when:   func(n *l3.Network) bool { return len(n.Segments) == 1 },
		read:   func(s *l3.NetworkSpec, v any) error { return a.read(onlySegment(s), v) },
		filters: func(values []string) ([]l3.Filter, error) {
			filters, err := a.filters(values)
			for i := range filters {
				filters[i].Field = "segments." + filters[i].Field
			}
			return filters, err
		},
	}
}

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
	several, _ := spec["segments"].([]any)
	for _, v := range several {
		if segment, ok := v.(map[string]any); ok {
			if err := zeroID(segment); err != nil {
				return err
			}
		}
	}
	if spec["segments"] == nil {
		return nil
	}
	for _, a := range segments {
		if spec[a.name] != nil {
			return &l3.Error{Kind: l3.ErrInvalid, Name: "SegmentsSetInConjunctionWithProviders",
				Message: "Segments and provider values cannot both be set: segments, " + a.name + "."}
		}
	}
	return nil
}
