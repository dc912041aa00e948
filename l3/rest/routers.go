package rest

import (
	"context"
	"net/http"

	"github.com/l3kit/l3kit/l3"
)

func (a *api) routers() {
	t := routerTable()
	serve(a, collection[l3.Router, l3.RouterSpec]{
		path: "routers", one: "router", many: "routers", kind: l3.KindRouter, revisions: true,
		table: t, ids: func(r *l3.Router) string { return r.ID },
		list: a.service.ListRouters, get: a.service.GetRouter, create: a.service.CreateRouters, update: a.service.UpdateRouter,
		delete: a.service.DeleteRouter,
	})

	join := interfaceTable()
	a.schemas["router_interface"] = join.schema(0)
	joining := func(do func(context.Context, l3.Caller, string, l3.InterfaceSpec) (l3.Interface, error)) func(*http.Request, l3.Caller) ([]byte, error) {
		return func(r *http.Request, who l3.Caller) ([]byte, error) {
			body, err := readBody(r)
			if err != nil {
				return nil, err
			}
			spec, err := join.read(body, inPut)
			if err != nil {
				return nil, err
			}
			out, err := do(r.Context(), who, r.PathValue("id"), spec)
			if err != nil {
				return nil, err
			}
			return join.write(nil, &out), nil
		}
	}
	a.handle("PUT /v2.0/routers/{id}/add_router_interface", operation{summary: "Attach a subnet, or a port", accepts: join.schema(inPut),
		status: http.StatusOK, answers: ref("router_interface"), run: joining(a.service.AddRouterInterface)})
	a.handle("PUT /v2.0/routers/{id}/remove_router_interface", operation{summary: "Detach a subnet, or a port", accepts: join.schema(inPut),
		status: http.StatusOK, answers: ref("router_interface"), run: joining(a.service.RemoveRouterInterface)})

	extra := table[l3.Router, []l3.Route]{
		custom("routes", list(staticRoute), given|needed, func(r *l3.Router) []l3.Route { return r.Routes }, func(s *[]l3.Route, v []l3.Route) { *s = v }),
	}
	routing := func(do func(context.Context, l3.Caller, string, []l3.Route) (l3.Router, error)) func(*http.Request, l3.Caller) ([]byte, error) {
		return func(r *http.Request, who l3.Caller) ([]byte, error) {
			body, err := readBody(r)
			if err != nil {
				return nil, err
			}
			object, err := member(body, "router")
			if err != nil {
				return nil, err
			}
			routes, err := extra.read(object, inPost)
			if err != nil {
				return nil, err
			}
			out, err := do(r.Context(), who, r.PathValue("id"), routes)
			if err != nil {
				return nil, err
			}
			return t.seen(a.sightOf(who, "router"), nil).writeOne("router", &out), nil
		}
	}
	accepts := envelopeOf("router", extra.schema(inPost))
	a.handle("PUT /v2.0/routers/{id}/add_extraroutes", operation{summary: "Add routes that are not there yet", accepts: accepts,
		status: http.StatusOK, answers: envelopeOf("router", ref("router")), run: routing(a.service.AddExtraRoutes)})
	a.handle("PUT /v2.0/routers/{id}/remove_extraroutes", operation{summary: "Remove routes that are there", accepts: accepts,
		status: http.StatusOK, answers: envelopeOf("router", ref("router")), run: routing(a.service.RemoveExtraRoutes)})
}

func routerTable() table[l3.Router, l3.RouterSpec] {
	type R = l3.Router
	type S = l3.RouterSpec
	return append(standard[R, S](),
		field[R, S]("Name", label, given|found),
		field[R, S]("Description", label, given|found),
		field[R, S]("AdminStateUp", boolean, given|found),
		field[R, S]("Status", status, found),
		shown[R, S]("status_reason", label, 0, func(r *R) string { return r.StatusReason }),
		field[R, S]("Gateway", gateway, given),
		field[R, S]("Routes", list(staticRoute), inPut).emptiedByNull(),
		shown[R, S]("availability_zones", texts, 0, func(r *R) []string { return r.AvailabilityZones }),
		field[R, S]("AZHints", texts, inPost|filtered),
		field[R, S]("FlavorID", uuidOrNo, inPost|found),
		field[R, S]("Distributed", boolean, given|found|guarded),
		field[R, S]("HA", boolean, given|found|guarded),
	)
}

// gateway is null for a router without one. An empty object, too, takes it away.
var gateway = func() codec[*l3.GatewayInfo, *l3.GatewaySpec] {
	type R = l3.GatewayInfo
	type S = l3.GatewaySpec
	c := orNil(record(table[R, S]{
		field[R, S]("NetworkID", anyUUID, given|needed),
		field[R, S]("EnableSNAT", boolean, given),
		field[R, S]("QoSPolicyID", uuidOrNo, given),
		field[R, S]("FixedIPs", fixedIPs, given),
	}))
	read := c.read
	c.read = func(v any) (*S, error) {
		if object, ok := v.(map[string]any); v == nil || ok && len(object) == 0 {
			return &S{}, nil
		}
		return read(v)
	}
	return c
}()

func interfaceTable() table[l3.Interface, l3.InterfaceSpec] {
	type R = l3.Interface
	type S = l3.InterfaceSpec
	return table[R, S]{
		field[R, S]("RouterID", anyUUID, 0),
		field[R, S]("ProjectID", label, 0),
		field[R, S]("ProjectID", label, 0).named("tenant_id"),
		field[R, S]("PortID", anyUUID, inPut),
		field[R, S]("SubnetID", anyUUID, inPut),
		field[R, S]("SubnetIDs", list(anyUUID), 0),
		field[R, S]("NetworkID", anyUUID, 0),
		field[R, S]("Tags", texts, 0),
	}
}
