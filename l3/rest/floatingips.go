package rest

import (
	"github.com/l3kit/l3kit/l3"
)

func (a *api) floatingIPs() {
	serve(a, collection[l3.FloatingIP, l3.FloatingIPSpec]{
		path: "floatingips", one: "floatingip", many: "floatingips", kind: l3.KindFloatingIP, revisions: true,
		table: floatingIPTable(), ids: func(f *l3.FloatingIP) string { return f.ID },
		list: a.service.ListFloatingIPs, get: a.service.GetFloatingIP, create: a.service.CreateFloatingIPs, update: a.service.UpdateFloatingIP,
		delete: a.service.DeleteFloatingIP,
	})
	a.portForwardings()
	a.pools()
}

func floatingIPTable() table[l3.FloatingIP, l3.FloatingIPSpec] {
	type R = l3.FloatingIP
	type S = l3.FloatingIPSpec
	return append(standard[R, S](),
		field[R, S]("Description", label, given|found),
		field[R, S]("NetworkID", anyUUID, inPost|needed|found),
		field[R, S]("SubnetID", uuidOrNo, inPost|found).unlessNull(),
		field[R, S]("Address", addrOrNo, inPost|found).parsedBy(orNothing(addrOrNo.parse)).unlessNull(),
		field[R, S]("PortID", uuidOrNo, given|found),
		field[R, S]("FixedIP", addrOrNo, given|found).parsedBy(orNothing(addrOrNo.parse)),
		field[R, S]("RouterID", uuidOrNo, found),
		field[R, S]("QoSPolicyID", uuidOrNo, given|found),
		shown[R, S]("qos_network_policy_id", uuidOrNo, 0, func(r *R) string { return r.NetworkQoSPolicyID }),
		field[R, S]("Distributed", boolean, given|found).orNull(true),
		field[R, S]("DNSName", textOrNo, inPost|found).storedOnly(dns),
		field[R, S]("DNSDomain", textOrNo, inPost|found).storedOnly(dns),
		field[R, S]("Status", status, found),
		shown[R, S]("status_reason", label, 0, func(r *R) string { return r.StatusReason }),
		shown[R, S]("port_details", portDetails, 0, func(r *R) *l3.PortDetails { return r.PortDetails }),
		shown[R, S]("port_forwardings", list(record(exposedForwarding())), 0, func(r *R) []l3.PortForwarding { return r.PortForwardings }),
	)
}

// portDetails is null for a floating IP that is not bound.
var portDetails = orNil(record(table[l3.PortDetails, any]{
	field[l3.PortDetails, any]("Name", label, 0),
	field[l3.PortDetails, any]("NetworkID", anyUUID, 0),
	field[l3.PortDetails, any]("MAC", label, 0),
	field[l3.PortDetails, any]("AdminStateUp", boolean, 0),
	field[l3.PortDetails, any]("Status", status, 0),
	field[l3.PortDetails, any]("DeviceID", label, 0),
	field[l3.PortDetails, any]("DeviceOwner", label, 0),
}))
