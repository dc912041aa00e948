package service_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
)

func TestRoutesPutReplacesTheList(t *testing.T) {
	onRigs(t, func(r *rig) {
		router := r.routerTo(r.external("public", "203.0.113.0/24"), r.inside("10.0.1.0/24"), r.inside("2001:db8:1::/64"))
		a, b := route("10.9.0.0/16", "10.0.1.9"), route("10.9.0.0/16", "10.0.1.8")
		c, d := route("2001:db8:9::/48", "2001:db8:1::9"), route("10.8.0.0/16", "203.0.113.99")
		require.Equal(r, []l3.Route{a, b, c, d}, ok(r.putRoutes(router.ID, a, b, c, d))(r).Routes)
		before := r.see(router.ID)
		require.Equal(r, before, ok(r.putRoutes(router.ID, d, c, b, a))(r), "the same routes in another order are no change")
		require.Equal(r, []l3.Route{b}, ok(r.putRoutes(router.ID, b))(r).Routes)
		var null []l3.Route
		require.Equal(r, []l3.Route{}, ok(r.putRoutes(router.ID, null...))(r).Routes, "null is empty")
	})
}

func TestRoutesAddAndRemove(t *testing.T) {
	onRigs(t, func(r *rig) {
		router := r.routerTo(r.external("public", "203.0.113.0/24"), r.inside("10.0.1.0/24"))
		a, b, wrong := route("10.9.0.0/16", "10.0.1.9"), route("10.8.0.0/16", "10.0.1.9"), route("10.7.0.0/16", "10.99.0.1")
		add := func(routes ...l3.Route) (l3.Router, error) {
			return r.AddExtraRoutes(r.Context(), r.member, router.ID, routes)
		}
		remove := func(routes ...l3.Route) (l3.Router, error) {
			return r.RemoveExtraRoutes(r.Context(), r.member, router.ID, routes)
		}
		require.Equal(r, []l3.Route{a}, ok(add(a, a))(r).Routes)
		require.Equal(r, []l3.Route{a, b}, ok(add(b, a))(r).Routes, "what is there already is fine")
		_, err := add(route("10.6.0.0/16", "10.0.1.7"), wrong)
		r.refused(err, l3.ErrInvalid, "InvalidRoutes")
		before := r.see(router.ID)
		require.Equal(r, []l3.Route{a, b}, before.Routes, "all or nothing")
		require.Equal(r, before, ok(remove(wrong))(r), "what is not there is fine")
		require.Equal(r, []l3.Route{b}, ok(remove(a, wrong))(r).Routes)
	})
}

func TestRoutesInvalid(t *testing.T) {
	onRigs(t, func(r *rig) {
		ext := r.external("public", "203.0.113.0/24")
		router := r.routerTo(ext, r.inside("10.0.1.0/24"), r.inside("2001:db8:1::/64"))
		own := router.Gateway.FixedIPs[0].IPAddress
		for name, routes := range map[string][]l3.Route{
			"not connected":              {route("10.9.0.0/16", "10.0.2.9")},
			"own address":                {route("10.9.0.0/16", "10.0.1.1")},
			"own address on the gateway": {{Destination: route("10.9.0.0/16", "10.0.1.1").Destination, NextHop: own}},
			"network address":            {route("10.9.0.0/16", "10.0.1.0")},
			"broadcast address":          {route("10.9.0.0/16", "10.0.1.255")},
			"two families":               {route("10.9.0.0/16", "2001:db8:1::9")},
			"link-local":                 {route("2001:db8:9::/48", "fe80::9")},
			"host bits":                  {route("10.9.0.1/16", "10.0.1.9")},
			"multicast":                  {route("224.0.0.0/8", "10.0.1.9")},
			"nothing":                    {{}},
		} {
			_, err := r.putRoutes(router.ID, routes...)
			r.refused(err, l3.ErrInvalid, "InvalidRoutes")
			require.Empty(r, r.see(router.ID).Routes, name)
		}
		_, err := r.putRoutes(router.ID, route("10.9.0.0/16", "10.0.1.9"), route("10.9.0.0/16", "10.0.1.9"))
		r.refused(err, l3.ErrInvalid, "HTTPBadRequest")
		require.Empty(r, r.see(router.ID).Routes, "duplicates")
	})
}

func TestRoutesExhausted(t *testing.T) {
	onRigs(t, func(r *rig) {
		router := r.routerTo(r.external("public", "203.0.113.0/24"), r.inside("10.0.1.0/24"))
		routes := make([]l3.Route, 31)
		for i := range routes {
			routes[i] = route(fmt.Sprintf("10.%d.0.0/16", 100+i), "10.0.1.9")
		}
		_, err := r.putRoutes(router.ID, routes...)
		r.refused(err, l3.ErrInvalid, "RoutesExhausted")
		ok(r.putRoutes(router.ID, routes[:30]...))(r)
		_, err = r.AddExtraRoutes(r.Context(), r.member, router.ID, routes[30:])
		r.refused(err, l3.ErrInvalid, "RoutesExhausted")
	})
}

func TestRoutesNextHopIsNoFloatingIPOfTheRouter(t *testing.T) {
	onRigs(t, func(r *rig) {
		ext, s := r.external("public", "203.0.113.0/24"), r.inside("10.0.1.0/24")
		router := r.routerTo(ext, s)
		f := r.fip(ext, "")
		ok(r.putRoutes(router.ID, route("10.9.0.0/16", f.Address.String())))(r)
		p := r.port(r.member, s)
		_, err := r.UpdateFloatingIP(r.Context(), r.member, f.ID, l3.FloatingIPSpec{PortID: &p.ID}, l3.If{})
		r.refused(err, l3.ErrInvalid, "BadRequest")
		ok(r.putRoutes(router.ID))(r)
		r.rebind(f, p.ID)
		_, err = r.putRoutes(router.ID, route("10.9.0.0/16", f.Address.String()))
		r.refused(err, l3.ErrInvalid, "InvalidRoutes")
	})
}
