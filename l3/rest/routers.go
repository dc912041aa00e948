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
		field("routes", list(staticRoute), given|needed, func(r *l3.Router) []l3.Route { return r.Routes }, func(s *[]l3.Route, v []l3.Route) { *s = v }),
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
	type (
		R = l3.Router
		S = l3.RouterSpec
	)
	return append(standard(func(r *R) *l3.Meta { return &r.Meta }, func(s *S, v string) { s.ProjectID = &v }, func(s *S, v []string) { s.Tags = &v }),
		field("name", label, given|found, func(r *R) string { return r.Name }, func(s *S, v string) { s.Name = &v }),
		field("description", label, given|found, func(r *R) string { return r.Description }, func(s *S, v string) { s.Description = &v }),
		field("admin_state_up", boolean, given|found, func(r *R) bool { return r.AdminStateUp }, func(s *S, v bool) { s.AdminStateUp = &v }),
		shown[R, S]("status", label, found, func(r *R) string { return string(r.Status) }),
		shown[R, S]("status_reason", label, 0, func(r *R) string { return r.StatusReason }),
		field("external_gateway_info", gateway, given, func(r *R) *l3.GatewayInfo { return r.Gateway }, func(s *S, v *l3.GatewaySpec) { s.Gateway = v }),
		field("routes", list(staticRoute), inPut, func(r *R) []l3.Route { return r.Routes }, func(s *S, v []l3.Route) { s.Routes = &v }).
			emptiedByNull(),
		shown[R, S]("availability_zones", texts, 0, func(r *R) []string { return r.AvailabilityZones }),
		field("availability_zone_hints", texts, inPost|filtered, func(r *R) []string { return r.AZHints }, func(s *S, v []string) { s.AZHints = &v }),
		field("flavor_id", uuidOrNo, inPost|found, func(r *R) string { return r.FlavorID }, func(s *S, v string) { s.FlavorID = &v }),
		field("distributed", boolean, given|found|guarded, func(r *R) bool { return r.Distributed }, func(s *S, v bool) { s.Distributed = &v }),
		field("ha", boolean, given|found|guarded, func(r *R) bool { return r.HA }, func(s *S, v bool) { s.HA = &v }),
	)
}

// gateway is null for a router without one. An empty object, too, takes it away.
var gateway = func() codec[*l3.GatewayInfo, *l3.GatewaySpec] {
	type (
		R = l3.GatewayInfo
		S = l3.GatewaySpec
	)
	info := record(table[R, S]{
		field("network_id", anyUUID, given|needed, func(r *R) string { return r.NetworkID }, func(s *S, v string) { s.NetworkID = v }),
		field("enable_snat", boolean, given, func(r *R) bool { return r.EnableSNAT }, func(s *S, v bool) { s.EnableSNAT = &v }),
		field("external_fixed_ips", fixedIPs, given, func(r *R) []l3.FixedIP { return r.FixedIPs }, func(s *S, v []l3.FixedIPSpec) { s.FixedIPs = &v }),
	})
	return codec[*R, *S]{
		schema: info.schema.nullable(),
		write: func(b []byte, r *R) []byte {
			if r == nil {
				return append(b, "null"...)
			}
			return info.write(b, *r)
		},
		read: func(v any) (*S, error) {
			if object, ok := v.(map[string]any); v == nil || ok && len(object) == 0 {
				return &S{}, nil
			}
			s, err := info.read(v)
			return &s, err
		},
	}
}()

func interfaceTable() table[l3.Interface, l3.InterfaceSpec] {
	type (
		R = l3.Interface
		S = l3.InterfaceSpec
	)
	return table[R, S]{
		shown[R, S]("id", anyUUID, 0, func(r *R) string { return r.RouterID }),
		shown[R, S]("project_id", label, 0, func(r *R) string { return r.ProjectID }),
		shown[R, S]("tenant_id", label, 0, func(r *R) string { return r.ProjectID }),
		field("port_id", anyUUID, inPut, func(r *R) string { return r.PortID }, func(s *S, v string) { s.PortID = v }),
		field("subnet_id", anyUUID, inPut, func(r *R) string { return r.SubnetID }, func(s *S, v string) { s.SubnetID = v }),
		shown[R, S]("subnet_ids", list(anyUUID), 0, func(r *R) []string { return r.SubnetIDs }),
		shown[R, S]("network_id", anyUUID, 0, func(r *R) string { return r.NetworkID }),
		shown[R, S]("tags", texts, 0, func(r *R) []string { return r.Tags }),
	}
}
