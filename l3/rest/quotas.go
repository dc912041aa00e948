package rest

import (
	"context"
	"maps"
	"math"
	"net/http"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

// quotas registers what differs from other resources: the names of the limits are the service's,
// and a project without any of its own has quotas too.
func (a *api) quotas() {
	a.resources = append(a.resources, resource{"quotas", "quota", "quotas"})
	limits := schema{"type": "object", "additionalProperties": boolean.schema.asGiven()}
	a.schemas["quota"] = schema{"type": "object", "additionalProperties": either(quotaLimit.schema, label.schema)}
	a.schemas["quota_detail"] = schema{"type": "object", "additionalProperties": schema{"type": "object", "properties": schema{
		"limit": schema{"type": "integer"}, "used": schema{"type": "integer"}, "reserved": schema{"type": "integer"},
	}}}
	one := envelopeOf("quota", ref("quota"))

	a.handle("GET /v2.0/quotas", operation{summary: "List the quotas of projects that have their own", status: http.StatusOK,
		answers: envelopeOf("quotas", schema{"type": "array", "items": ref("quota")}),
		run: func(r *http.Request, who l3.Caller) ([]byte, error) {
			all, err := a.service.ListQuotas(r.Context(), who)
			if err != nil {
				return nil, err
			}
			list := []map[string]any{}
			for _, project := range slices.Sorted(maps.Keys(all)) {
				quota := map[string]any{"project_id": project, "tenant_id": project}
				for resource, limit := range all[project] {
					quota[resource] = limit
				}
				list = append(list, quota)
			}
			return marshal(schema{"quotas": list}), nil
		}})
	a.handle("GET /v2.0/quotas/{project}", operation{summary: "Show the quotas of a project", status: http.StatusOK, answers: one,
		run: quotaOf(a.service.GetQuota)})
	a.handle("GET /v2.0/quotas/{project}/default", operation{summary: "Show the quotas of projects that were given none", status: http.StatusOK,
		answers: one, run: quotaOf(a.service.DefaultQuota)})
	details := operation{summary: "Show the quotas of a project and what is used", status: http.StatusOK,
		answers: envelopeOf("quota", ref("quota_detail")), run: quotaOf(a.service.QuotaDetails)}
	a.handle("GET /v2.0/quotas/{project}/details", details)
	a.handle("GET /v2.0/quotas/{project}/details.json", details) // as gophercloud spells it
	a.handle("PUT /v2.0/quotas/{project}", operation{summary: "Give a project quotas; those that are not named stay", status: http.StatusOK,
		accepts: envelopeOf("quota", limits), answers: one,
		run: a.setQuota})
	a.handle("DELETE /v2.0/quotas/{project}", operation{summary: "Give a project the default quotas back", status: http.StatusNoContent,
		run: func(r *http.Request, who l3.Caller) ([]byte, error) {
			return nil, a.service.DeleteQuota(r.Context(), who, r.PathValue("project"))
		}})
}

// quotaLimit is how many a project may have; -1 is any number.
var quotaLimit = integer(-1, math.MaxInt32)

func quotaOf[Q any](get func(context.Context, l3.Caller, string) (Q, error)) func(*http.Request, l3.Caller) ([]byte, error) {
	return func(r *http.Request, who l3.Caller) ([]byte, error) {
		quota, err := get(r.Context(), who, r.PathValue("project"))
		if err != nil {
			return nil, err
		}
		return marshal(schema{"quota": quota}), nil
	}
}

func (a *api) setQuota(r *http.Request, who l3.Caller) ([]byte, error) {
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	object, err := member(body, "quota")
	if err != nil {
		return nil, err
	}
	set := a.service.SetQuota
	limits := map[string]int{}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		switch name {
		case "check_limit": // refuse a limit below what is used
			check, err := boolean.read(object[name])
			if err != nil {
				return nil, invalid(name, err)
			}
			if check {
				set = a.service.SetQuotaAboveUsage
			}
		case "force": // do not, which is the default
			if _, err := boolean.read(object[name]); err != nil {
				return nil, invalid(name, err)
			}
		default:
			if limits[name], err = quotaLimit.read(object[name]); err != nil {
				return nil, invalid(name, err)
			}
		}
	}
	all, err := set(r.Context(), who, r.PathValue("project"), limits)
	if err != nil {
		return nil, err
	}
	return marshal(schema{"quota": all}), nil
}
