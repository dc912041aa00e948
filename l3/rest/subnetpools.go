package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

func (a *api) subnetPools() {
	serve(a, collection[l3.SubnetPool, l3.SubnetPoolSpec]{
		path: "subnetpools", one: "subnetpool", many: "subnetpools", kind: l3.KindSubnetPool, revisions: true,
		table: subnetPoolTable(), ids: func(p *l3.SubnetPool) string { return p.ID },
		list: a.service.ListSubnetPools, get: a.service.GetSubnetPool, create: a.service.CreateSubnetPools,
		update: a.service.UpdateSubnetPool, delete: a.service.DeleteSubnetPool,
	})

	prefixes := table[[]netip.Prefix, []netip.Prefix]{
		custom("prefixes", list(block), given|needed, func(r *[]netip.Prefix) []netip.Prefix { return *r }, func(s *[]netip.Prefix, v []netip.Prefix) { *s = v }),
	}
	changing := func(do func(context.Context, l3.Caller, string, []netip.Prefix) ([]netip.Prefix, error)) func(*http.Request, l3.Caller) ([]byte, error) {
		return func(r *http.Request, who l3.Caller) ([]byte, error) {
			body, err := readBody(r)
			if err != nil {
				return nil, err
			}
			given, err := prefixes.read(body, inPost)
			if err != nil {
				return nil, err
			}
			if len(given) == 0 {
				return nil, badRequest("Request body contains invalid data")
			}
			all, err := do(r.Context(), who, r.PathValue("id"), given)
			if err != nil {
				return nil, err
			}
			return prefixes.write(nil, &all), nil
		}
	}
	for _, op := range []struct {
		name, summary string
		do            func(context.Context, l3.Caller, string, []netip.Prefix) ([]netip.Prefix, error)
	}{
		{"add_prefixes", "Add prefixes to a subnet pool", a.service.AddPrefixes},
		{"remove_prefixes", "Remove prefixes that no subnet has from a subnet pool", a.service.RemovePrefixes},
	} {
		a.handle("PUT /v2.0/subnetpools/{id}/"+op.name, operation{summary: op.summary, accepts: prefixes.schema(inPost),
			status: http.StatusOK, answers: prefixes.schema(0), run: changing(op.do)})
	}

	network := table[string, string]{
		custom("network_id", label, given, unset[string, string], func(s *string, v string) { *s = v }),
	}
	boarded := list(record(table[l3.OnboardedSubnet, any]{
		field[l3.OnboardedSubnet, any]("ID", anyUUID, 0),
		field[l3.OnboardedSubnet, any]("CIDR", cidr, 0),
	}))
	a.handle("PUT /v2.0/subnetpools/{id}/onboard_network_subnets", operation{summary: "Make the subnets of a network ones of a subnet pool",
		accepts: network.schema(inPut), status: http.StatusOK, answers: boarded.schema,
		run: func(r *http.Request, who l3.Caller) ([]byte, error) {
			body, err := readBody(r)
			if err != nil {
				return nil, err
			}
			id, err := network.read(body, inPut)
			if err != nil {
				return nil, err
			}
			if id == "" {
				return nil, invalid("network_id", errors.New("network_id must be specified"))
			}
			subnets, err := a.service.OnboardNetworkSubnets(r.Context(), who, r.PathValue("id"), id)
			if err != nil {
				return nil, err
			}
			return boarded.write(nil, subnets), nil
		}})
}

func subnetPoolTable() table[l3.SubnetPool, l3.SubnetPoolSpec] {
	type R = l3.SubnetPool
	type S = l3.SubnetPoolSpec
	return append(standard[R, S](),
		field[R, S]("Name", label, given|needed|found),
		field[R, S]("Description", label, given|found),
		field[R, S]("IPVersion", ipVersion, found),
		field[R, S]("Prefixes", blocks, given|needed|filtered),
		field[R, S]("MinPrefixLen", prefixLen, given|found).taking(prefixLen.schema.or("integer")),
		field[R, S]("MaxPrefixLen", prefixLen, given|found).taking(prefixLen.schema.or("integer")),
		field[R, S]("DefaultPrefixLen", prefixLen, given|found).taking(prefixLen.schema.or("integer")),
		field[R, S]("DefaultQuota", poolQuota, given|found),
		field[R, S]("IsDefault", boolean, given|found),
		field[R, S]("Shared", boolean, inPost|found),
		field[R, S]("AddressScopeID", uuidOrNo, given|found),
	)
}

var (
	// prefixLen is shown as a string, as Neutron shows it.
	prefixLen = func() value[int] {
		v := integer(0, 1<<31-1)
		write := v.write
		v.write = func(b []byte, n int) []byte { return append(write(append(b, '"'), n), '"') }
		v.schema = schema{"type": "string"}
		return v
	}()

	// poolQuota is null where there is none.
	poolQuota = func() codec[*int, int] {
		v := integer(0, 1<<31-1)
		shown := orNil(v)
		return codec[*int, int]{schema: shown.schema, write: shown.write, read: v.read, parse: shown.parse}
	}()

	// block is a prefix, of which clients may give bits beyond its length.
	block = value[netip.Prefix]{schema: cidr.schema, write: appendPrefix, read: readBlock, parse: canonical(readBlock)}

	// blocks are prefixes, each of which is given once.
	blocks = func() codec[[]netip.Prefix, []netip.Prefix] {
		c := list(block)
		read := c.read
		c.read = func(v any) ([]netip.Prefix, error) {
			all, err := read(v)
			for i, p := range all {
				if slices.Contains(all[:i], p) {
					return nil, l3.Refuse(l3.ErrInvalid, "InvalidInput", "Invalid input for prefixes. Reason: Duplicate items in the list: '%s'.", p)
				}
			}
			return all, err
		}
		return c
	}()
)

func readBlock(v any) (netip.Prefix, error) {
	s, _ := v.(string)
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return p, fmt.Errorf("'%s' is not a valid IP subnet", show(v))
	}
	return p.Masked(), nil
}
