package rest

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
)

func (a *api) portForwardings() {
	t := portForwardingTable()
	serveParts(a, func(floatingIP string) collection[l3.PortForwarding, l3.PortForwardingSpec] {
		return collection[l3.PortForwarding, l3.PortForwardingSpec]{
			path: "floatingips/{parent}/port_forwardings", one: "port_forwarding", many: "port_forwardings",
			table: t, ids: func(f *l3.PortForwarding) string { return f.ID },
			list: func(ctx context.Context, who l3.Caller, q l3.Query) ([]l3.PortForwarding, error) {
				return a.service.ListPortForwardings(ctx, who, floatingIP, q)
			},
			get: func(ctx context.Context, who l3.Caller, id string) (l3.PortForwarding, error) {
				return a.service.GetPortForwarding(ctx, who, floatingIP, id)
			},
			create: func(ctx context.Context, who l3.Caller, specs ...l3.PortForwardingSpec) ([]l3.PortForwarding, error) {
				return a.service.CreatePortForwardings(ctx, who, floatingIP, specs...)
			},
			update: func(ctx context.Context, who l3.Caller, id string, spec l3.PortForwardingSpec, cond l3.If) (l3.PortForwarding, error) {
				return a.service.UpdatePortForwarding(ctx, who, floatingIP, id, spec, cond)
			},
			delete: func(ctx context.Context, who l3.Caller, id string, cond l3.If) error {
				return a.service.DeletePortForwarding(ctx, who, floatingIP, id, cond)
			},
		}
	})
}

func portForwardingTable() table[l3.PortForwarding, l3.PortForwardingSpec] {
	type R = l3.PortForwarding
	type S = l3.PortForwardingSpec
	return table[R, S]{
		field[R, S]("ID", anyUUID, found),
		ownerOfFloatingIP("project_id"),
		ownerOfFloatingIP("tenant_id"),
		field[R, S]("Description", label, given|found),
		field[R, S]("PortID", anyUUID, given|needed|found),
		field[R, S]("FixedIP", addrOrNo, given|found).unlessNull(),
		field[R, S]("Protocol", forwarded, given|needed|found),
		field[R, S]("ExternalPort", portNumber, given|found).unlessNull(),
		field[R, S]("ExternalRange", portRange, given|found).taking(portRange.schema.nullable().or("integer")).unlessNull(),
		field[R, S]("InternalPort", portNumber, given|found).unlessNull(),
		field[R, S]("InternalRange", portRange, given|found).taking(portRange.schema.nullable().or("integer")).unlessNull(),
	}
}

// ownerOfFloatingIP is the project of a forwarding, which is not shown, as in Neutron.
func ownerOfFloatingIP(name string) attribute[l3.PortForwarding, l3.PortForwardingSpec] {
	return notShown(custom(name, label, inPost, unset[l3.PortForwarding, string], func(s *l3.PortForwardingSpec, v string) { s.ProjectID = &v }))
}

// exposedForwarding is what a floating IP shows of a forwarding.
func exposedForwarding() table[l3.PortForwarding, any] {
	type R = l3.PortForwarding
	return table[R, any]{
		field[R, any]("ID", anyUUID, 0),
		field[R, any]("PortID", anyUUID, 0),
		field[R, any]("FixedIP", address, 0),
		field[R, any]("Protocol", forwarded, 0),
		field[R, any]("ExternalPort", portNumber, 0),
		field[R, any]("ExternalRange", portRange, 0),
		field[R, any]("InternalPort", portNumber, 0),
		field[R, any]("InternalRange", portRange, 0),
	}
}

var (
	// forwarded is a protocol with ports that can be forwarded.
	forwarded = word[dataplane.Proto](choice("sctp", "tcp", "udp"))

	// portNumber is a single port; null where there are several.
	portNumber = func() value[int] {
		v := integer(1, 65535)
		return value[int]{
			schema: v.schema.nullable(), read: v.read, parse: orNull(v).parse,
			write: func(b []byte, n int) []byte {
				if n == 0 {
					return append(b, "null"...)
				}
				return v.write(b, n)
			},
		}
	}()

	portRange = value[l3.PortRange]{
		schema: schema{"type": "string"},
		write:  func(b []byte, r l3.PortRange) []byte { return appendString(b, r.String()) },
		read:   readPortRange,
		parse:  canonical(readPortRange),
	}
)

// readPortRange reads a string such as 8000:8099, or a single port.
func readPortRange(v any) (l3.PortRange, error) {
	var text string
	switch v := v.(type) {
	case string:
		text = v
	case json.Number:
		text = v.String()
	}
	r, err := l3.ParsePortRange(text)
	if err != nil {
		return r, fmt.Errorf("'%s' is not a port from 1 to 65535, or two with a colon between them, the first not greater than the second", show(v))
	}
	return r, nil
}
