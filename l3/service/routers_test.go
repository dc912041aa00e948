package service_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

func TestRouterWithNothingToRealiseIsActiveAtOnceAndNotScheduled(t *testing.T) {
	onRigs(t, func(r *rig) {
		r.agent("h1")
		made := r.router(l3.RouterSpec{Name: new("edge")})
		require.Equal(r, l3.StatusActive, made.Status)
		require.Equal(r, "edge", made.Name)
		require.Equal(r, "p1", made.ProjectID)
		require.Equal(r, 1, made.Revision)
		require.True(r, made.AdminStateUp)
		require.Nil(r, made.Gateway)
		require.Equal(r, []l3.Route{}, made.Routes)
		require.Equal(r, []string{}, made.AZHints)
		require.Equal(r, []string{}, made.AvailabilityZones)
		require.Empty(r, r.hostOf(made.ID))
		require.Empty(r, r.notices(nil))
		_, err := r.DesiredOf(r.Context(), made.ID)
		require.ErrorIs(r, err, l3.ErrNotFound)
	})
}

func TestRouterIsScheduledWhenItFirstHasSomethingToRealise(t *testing.T) {
	onRigs(t, func(r *rig) {
		r.agent("h1")
		router := r.router()
		r.attach(router, r.inside("10.0.1.0/24"))
		require.Equal(r, "h1", r.hostOf(router.ID))
		require.Equal(r, []string{"h1 r 1"}, r.notices(map[string]string{router.ID: "r"}))

		gated := r.routerTo(r.external("public", "203.0.113.0/24"))
		require.Equal(r, "h1", r.hostOf(gated.ID))
		require.Equal(r, []string{"nova"}, gated.AvailabilityZones)
		require.Equal(r, []string{"h1 g 1"}, r.notices(map[string]string{gated.ID: "g"}))
	})
}

func TestRouterRoutesCannotBeGivenAtCreate(t *testing.T) {
	onRigs(t, func(r *rig) {
		_, err := r.CreateRouters(r.Context(), r.member, l3.RouterSpec{Routes: &[]l3.Route{}})
		r.refused(err, l3.ErrInvalid, "HTTPBadRequest")
	})
}

func TestRouterAttributesOfAdministrators(t *testing.T) {
	onRigs(t, func(r *rig) {
		ext := r.external("public", "203.0.113.0/24")
		router := r.router()
		for name, spec := range map[string]l3.RouterSpec{
			"distributed": {Distributed: new(false)},
			"ha":          {HA: new(false)},
			"enable_snat": {Gateway: &l3.GatewaySpec{NetworkID: ext.ID, EnableSNAT: new(true)}},
			"external_fixed_ips": {Gateway: &l3.GatewaySpec{
				NetworkID: ext.ID, FixedIPs: &[]l3.FixedIPSpec{},
			}},
		} {
			_, err := r.CreateRouters(r.Context(), r.member, spec)
			r.refused(err, l3.ErrForbidden, "PolicyNotAuthorized")
			require.ErrorContains(r, err, "(rule:create_router:")
			require.ErrorContains(r, err, ":"+name+") is disallowed by policy")
			_, err = r.UpdateRouter(r.Context(), r.member, router.ID, spec, l3.If{})
			r.refused(err, l3.ErrForbidden, "PolicyNotAuthorized")
			_, err = r.UpdateRouter(r.Context(), r.admin, router.ID, spec, l3.If{})
			require.NoError(r, err)
		}
		_, err := r.CreateRouters(r.Context(), r.member, l3.RouterSpec{ProjectID: &r.other.Project})
		require.ErrorIs(r, err, l3.ErrInvalid)
		theirs := one(r.CreateRouters(r.Context(), r.admin, l3.RouterSpec{ProjectID: &r.other.Project}))(r)
		require.Equal(r, "p2", theirs.ProjectID)
	})
}

func TestRouterOfAnotherProjectIsNotFound(t *testing.T) {
	onRigs(t, func(r *rig) {
		id, s := r.router().ID, r.inside("10.0.1.0/24")
		_, get := r.GetRouter(r.Context(), r.other, id)
		_, put := r.UpdateRouter(r.Context(), r.other, id, l3.RouterSpec{}, l3.If{})
		_, add := r.AddRouterInterface(r.Context(), r.other, id, l3.InterfaceSpec{SubnetID: s.ID})
		_, remove := r.RemoveRouterInterface(r.Context(), r.other, id, l3.InterfaceSpec{SubnetID: s.ID})
		_, routes := r.AddExtraRoutes(r.Context(), r.other, id, nil)
		for _, err := range []error{get, put, add, remove, routes, r.DeleteRouter(r.Context(), r.other, id, l3.If{})} {
			r.refused(err, l3.ErrNotFound, "RouterNotFound")
		}
		require.Empty(r, ok(r.ListRouters(r.Context(), r.other, l3.Query{}))(r))
		require.Len(r, ok(r.ListRouters(r.Context(), r.member, l3.Query{}))(r), 1)
		require.Len(r, ok(r.ListRouters(r.Context(), r.admin, l3.Query{}))(r), 1)
		require.Empty(r, ok(r.ListRouters(r.Context(), l3.Caller{}, l3.Query{}))(r), "the zero caller may do nothing")
	})
}

func TestRouterQuota(t *testing.T) {
	onRigs(t, func(r *rig) {
		_, err := r.CreateRouters(r.Context(), r.member, make([]l3.RouterSpec, 11)...)
		r.refused(err, l3.ErrOverQuota, "OverQuota")
		require.Empty(r, ok(r.ListRouters(r.Context(), r.member, l3.Query{}))(r), "all or nothing")
		ok(r.CreateRouters(r.Context(), r.member, make([]l3.RouterSpec, 10)...))(r)
		_, err = r.CreateRouters(r.Context(), r.member, l3.RouterSpec{})
		r.refused(err, l3.ErrOverQuota, "OverQuota")
		r.refused(func() error { _, err := r.CreateRouters(r.Context(), r.member, l3.RouterSpec{}); return err }(), l3.ErrOverQuota, "OverQuota")
	})
}

func TestRouterRevision(t *testing.T) {
	onRigs(t, func(r *rig) {
		r.agent("h1")
		router := r.routerTo(r.external("public", "203.0.113.0/24"), r.inside("10.0.1.0/24"))
		r.notices(nil)
		_, err := r.UpdateRouter(r.Context(), r.member, router.ID, l3.RouterSpec{Name: new("x")}, l3.If{Revision: new(router.Revision - 1)})
		r.refused(err, l3.ErrRevision, "RevisionNumberConstraintFailed")
		require.ErrorIs(r, err, l3.ErrRevision)
		err = r.DeleteRouter(r.Context(), r.member, router.ID, l3.If{Revision: new(router.Revision + 1)})
		require.ErrorIs(r, err, l3.ErrRevision)

		same := l3.RouterSpec{
			Name: new(""), AdminStateUp: new(true), Routes: &[]l3.Route{}, Gateway: &l3.GatewaySpec{NetworkID: router.Gateway.NetworkID},
		}
		again := ok(r.UpdateRouter(r.Context(), r.member, router.ID, same, l3.If{Revision: &router.Revision}))(r)
		require.Equal(r, router, again, "a request that changes nothing does not grow the revision")
		require.Empty(r, r.notices(nil), "and publishes nothing")

		named := ok(r.UpdateRouter(r.Context(), r.member, router.ID, l3.RouterSpec{Name: new("x")}, l3.If{}))(r)
		require.Equal(r, router.Revision+1, named.Revision)
		require.Equal(r, router.StateRevision, named.StateRevision)
		require.Empty(r, r.notices(nil), "a host does not see the name")
	})
}

func TestRouterDeleteChecksEverythingBeforeAnythingChanges(t *testing.T) {
	onRigs(t, func(r *rig) {
		r.agent("h1")
		ext, s := r.external("public", "203.0.113.0/24"), r.inside("10.0.1.0/24")
		router := r.routerTo(ext, s)
		f := r.fip(ext, r.port(r.member, s).ID)
		names := map[string]string{router.ID: "r"}
		r.notices(names)

		r.refused(r.DeleteRouter(r.Context(), r.member, router.ID, l3.If{}), l3.ErrConflict, "RouterInUse")
		require.Len(r, r.routerPorts(router.ID), 2, "the gateway's port must still be there")
		require.Empty(r, r.notices(names))

		r.rebind(f, "")
		ok(r.RemoveRouterInterface(r.Context(), r.member, router.ID, l3.InterfaceSpec{SubnetID: s.ID}))(r)
		require.Equal(r, []string{"h1 r 1", "h1 r 1"}, r.notices(names))
		require.NoError(r, r.DeleteRouter(r.Context(), r.member, router.ID, l3.If{}))
		require.Empty(r, r.routerPorts(router.ID), "the gateway's port goes with the router")
		require.Equal(r, []string{"h1 r 1 gone"}, r.notices(names))
		_, err := r.GetRouter(r.Context(), r.member, router.ID)
		r.refused(err, l3.ErrNotFound, "RouterNotFound")
	})
}

func TestRouterThatIsDownIsTakenOffItsHost(t *testing.T) {
	onRigs(t, func(r *rig) {
		r.agent("h1")
		ext, s := r.external("public", "203.0.113.0/24"), r.inside("10.0.1.0/24")
		router := r.routerTo(ext, s)
		f := r.fip(ext, r.port(r.member, s).ID)
		r.report(router.ID)
		require.Equal(r, l3.StatusActive, r.see(router.ID).Status)
		names := map[string]string{router.ID: "r"}
		r.notices(names)

		down := ok(r.UpdateRouter(r.Context(), r.member, router.ID, l3.RouterSpec{AdminStateUp: new(false)}, l3.If{}))(r)
		require.Equal(r, l3.StatusDown, down.Status)
		require.Equal(r, []string{"h1 r 1 gone"}, r.notices(names))
		require.Empty(r, ok(r.DesiredOn(r.Context(), "h1"))(r))
		require.Equal(r, l3.StatusDown, ok(r.GetFloatingIP(r.Context(), r.member, f.ID))(r).Status)
		require.Len(r, r.routerPorts(router.ID), 2, "its data stays")

		ok(r.UpdateRouter(r.Context(), r.member, router.ID, l3.RouterSpec{AdminStateUp: new(true)}, l3.If{}))(r)
		require.Equal(r, []string{"h1 r 1"}, r.notices(names))
		require.Len(r, r.report(router.ID).Router.FloatingIPs, 1)
		require.Equal(r, l3.StatusActive, r.see(router.ID).Status)
		require.Equal(r, l3.StatusActive, ok(r.GetFloatingIP(r.Context(), r.member, f.ID))(r).Status)
	})
}

func TestRouterPortThatIsDownIsUnplugged(t *testing.T) {
	onRigs(t, func(r *rig) {
		r.agent("h1")
		ext, s := r.external("public", "203.0.113.0/24"), r.inside("10.0.1.0/24")
		router := r.routerTo(ext, s)
		f := r.fip(ext, r.port(r.member, s).ID)
		i := ok(r.ListPorts(r.Context(), r.admin, l3.Query{Filters: []l3.Filter{{Field: "device_owner", Values: []any{l3.OwnerRouterInterface}}}}))(r)[0]
		r.report(router.ID)

		ok(r.UpdatePort(r.Context(), r.member, i.ID, l3.PortSpec{AdminStateUp: new(false)}, l3.If{}))(r)
		a := r.report(router.ID)
		require.Empty(r, a.Router.Ports)
		require.Empty(r, a.Router.FloatingIPs)
		require.Equal(r, l3.StatusDown, ok(r.GetFloatingIP(r.Context(), r.member, f.ID))(r).Status, "status tells the truth")
		require.Equal(r, l3.StatusActive, r.see(router.ID).Status)

		ok(r.UpdatePort(r.Context(), r.member, i.ID, l3.PortSpec{AdminStateUp: new(true)}, l3.If{}))(r)
		require.Len(r, r.report(router.ID).Router.FloatingIPs, 1)
		require.Equal(r, l3.StatusActive, ok(r.GetFloatingIP(r.Context(), r.member, f.ID))(r).Status)
	})
}

func TestRouterAvailabilityZoneHints(t *testing.T) {
	onRigs(t, func(r *rig) {
		ok(r.CreateRouters(r.Context(), r.member, l3.RouterSpec{AZHints: &[]string{"nova"}}))(r)
		_, err := r.CreateRouters(r.Context(), r.member, l3.RouterSpec{AZHints: &[]string{"east"}})
		r.refused(err, l3.ErrNotFound, "AvailabilityZoneNotFound")
		r.beat(agent.Heartbeat{Host: "h1"})
		r.beat(agent.Heartbeat{Host: "h2", AvailabilityZone: "east"})
		_, err = r.CreateRouters(r.Context(), r.member, l3.RouterSpec{AZHints: &[]string{"east", "east"}})
		r.refused(err, l3.ErrInvalid, "InvalidInput")
		router := r.router(l3.RouterSpec{AZHints: &[]string{"east"}})
		r.attach(router, r.inside("10.0.1.0/24"))
		require.Equal(r, "h2", r.hostOf(router.ID))
		require.Equal(r, []string{"east"}, r.see(router.ID).AvailabilityZones)
	})
}

func TestRouterListsByStatus(t *testing.T) {
	onRigs(t, func(r *rig) {
		r.agent("h1")
		var ids []string
		for i := range 6 {
			router := r.router(l3.RouterSpec{Name: new(fmt.Sprint("r", i/2))})
			ids = append(ids, router.ID)
			if i%2 == 1 {
				r.attach(router, r.inside(fmt.Sprintf("10.0.%d.0/24", i)))
			}
		}
		list := func(q l3.Query) (got []int) {
			for _, router := range ok(r.ListRouters(r.Context(), r.member, q))(r) {
				for i, id := range ids {
					if router.ID == id {
						got = append(got, i)
					}
				}
			}
			return got
		}
		byName := []l3.Sort{{Field: "name"}}
		building := []l3.Filter{{Field: "status", Values: []any{"BUILD"}}}
		require.Equal(r, []int{1, 3, 5}, list(l3.Query{Filters: building, Sort: byName}))
		require.Equal(r, []int{1, 3}, list(l3.Query{Filters: building, Sort: byName, Limit: 2}))
		require.Equal(r, []int{5}, list(l3.Query{Filters: building, Sort: byName, Limit: 2, Marker: ids[3]}))
		require.Equal(r, []int{1, 3}, list(l3.Query{Filters: building, Sort: byName, Limit: 2, Marker: ids[5], Reverse: true}))
		require.Equal(r, []int{0, 2, 4}, list(l3.Query{Filters: []l3.Filter{{Field: "status", Op: l3.NotIn, Values: []any{"BUILD"}}}, Sort: byName}))
		require.Equal(r, []int{1, 3, 5, 0, 2, 4}, list(l3.Query{Sort: []l3.Sort{{Field: "status", Desc: true}, {Field: "name"}}}))
		require.Equal(r, []int{0, 1, 2, 3, 4, 5}, list(l3.Query{Sort: []l3.Sort{{Field: "name"}, {Field: "status"}}}))
		_, err := r.ListRouters(r.Context(), r.member, l3.Query{Filters: building, Marker: "nobody"})
		require.Error(r, err)
	})
}
