package rest

import (
	"net/netip"

	"github.com/l3kit/l3kit/l3"
)

func (a *api) floatingIPs() {
	serve(a, collection[l3.FloatingIP, l3.FloatingIPSpec]{
		path: "floatingips", one: "floatingip", many: "floatingips", kind: l3.KindFloatingIP, revisions: true,
		table: floatingIPTable(), ids: func(f *l3.FloatingIP) string { return f.ID },
		list: a.service.ListFloatingIPs, get: a.service.GetFloatingIP, create: a.service.CreateFloatingIPs, update: a.service.UpdateFloatingIP,
		delete: a.service.DeleteFloatingIP,
	})
	a.pools()
}

func floatingIPTable() table[l3.FloatingIP, l3.FloatingIPSpec] {
	type (
		R = l3.FloatingIP
		S = l3.FloatingIPSpec
	)
	return append(standard(func(r *R) *l3.Meta { return &r.Meta }, func(s *S, v string) { s.ProjectID = &v }, func(s *S, v []string) { s.Tags = &v }),
		field("description", label, given|found, func(r *R) string { return r.Description }, func(s *S, v string) { s.Description = &v }),
		field("floating_network_id", anyUUID, inPost|needed|found, func(r *R) string { return r.NetworkID }, func(s *S, v string) { s.NetworkID = &v }),
		field("subnet_id", uuidOrNo, inPost|found, func(r *R) string { return r.SubnetID }, func(s *S, v string) { s.SubnetID = optional(v) }),
		field("floating_ip_address", addrOrNo, inPost|found,
			func(r *R) netip.Addr { return r.Address }, func(s *S, v netip.Addr) { s.Address = optional(v) }).
			as("floating_ip_address", orNothing(addrOrNo.parse)),
		field("port_id", uuidOrNo, given|found, func(r *R) string { return r.PortID }, func(s *S, v string) { s.PortID = &v }),
		field("fixed_ip_address", addrOrNo, given|found, func(r *R) netip.Addr { return r.FixedIP }, func(s *S, v netip.Addr) { s.FixedIP = &v }).
			as("fixed_ip_address", orNothing(addrOrNo.parse)),
		shown[R, S]("router_id", uuidOrNo, found, func(r *R) string { return r.RouterID }),
		shown[R, S]("status", label, found, func(r *R) string { return string(r.Status) }),
		shown[R, S]("status_reason", label, 0, func(r *R) string { return r.StatusReason }),
		shown[R, S]("port_details", portDetails, 0, func(r *R) *l3.PortDetails { return r.PortDetails }),
		shown[R, S]("port_forwardings", texts, 0, func(*R) []string { return nil }), // there are none here; clients expect the list
	)
}

// optional is a value that null stands for the absence of.
func optional[T comparable](v T) *T {
	var none T
	if v == none {
		return nil
	}
	return &v
}

// portDetails is null for a floating IP that is not bound.
var portDetails = func() codec[*l3.PortDetails, any] {
	type R = l3.PortDetails
	t := table[R, any]{
		shown[R, any]("name", label, 0, func(r *R) string { return r.Name }),
		shown[R, any]("network_id", anyUUID, 0, func(r *R) string { return r.NetworkID }),
		shown[R, any]("mac_address", label, 0, func(r *R) string { return r.MAC }),
		shown[R, any]("admin_state_up", boolean, 0, func(r *R) bool { return r.AdminStateUp }),
		shown[R, any]("status", label, 0, func(r *R) string { return string(r.Status) }),
		shown[R, any]("device_id", label, 0, func(r *R) string { return r.DeviceID }),
		shown[R, any]("device_owner", label, 0, func(r *R) string { return r.DeviceOwner }),
	}
	return codec[*R, any]{
		schema: t.schema(0).nullable(),
		write: func(b []byte, r *R) []byte {
			if r == nil {
				return append(b, "null"...)
			}
			return t.write(b, r)
		},
	}
}()
