package rest

import "github.com/l3kit/l3kit/l3"

func (a *api) addressScopes() {
	serve(a, collection[l3.AddressScope, l3.AddressScopeSpec]{
		path: "address-scopes", one: "address_scope", many: "address_scopes",
		table: addressScopeTable(), ids: func(s *l3.AddressScope) string { return s.ID },
		list: a.service.ListAddressScopes, get: a.service.GetAddressScope, create: a.service.CreateAddressScopes,
		update: a.service.UpdateAddressScope, delete: a.service.DeleteAddressScope,
	})
}

func addressScopeTable() table[l3.AddressScope, l3.AddressScopeSpec] {
	type R = l3.AddressScope
	type S = l3.AddressScopeSpec
	return append(identity[R, S](),
		field[R, S]("Name", label, given|found),
		field[R, S]("IPVersion", ipVersion, inPost|needed|found),
		field[R, S]("Shared", boolean, given|found),
	)
}
