package rest

import (
	"net/http"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

// topologies registers the topologies of projects, which are made by being asked for.
func (a *api) topologies() {
	const one, path = "auto_allocated_topology", "/v2.0/auto-allocated-topology/{project}"
	a.resources = append(a.resources, resource{"auto-allocated-topology", one, "auto_allocated_topologies"})
	a.schemas[one] = schema{"type": "object", "properties": schema{
		"id": schema{"type": "string"}, "project_id": schema{"type": "string"}, "tenant_id": schema{"type": "string"},
	}}
	a.handle("GET "+path, operation{summary: "Show the network of a project, which is made, with a router, if there is none",
		query: []string{"fields"}, status: http.StatusOK, answers: envelopeOf(one, ref(one)),
		run: func(r *http.Request, who l3.Caller) ([]byte, error) {
			params, err := parameters(r)
			if err != nil {
				return nil, err
			}
			project := projectOf(r, who)
			id := "dry-run=pass"
			switch fields := params["fields"]; {
			case slices.Contains(fields, "dry-run"):
				err = a.service.CheckAutoAllocation(r.Context(), who, project)
			case len(fields) > 0:
				err = badForm("Bad auto_allocate request: Unrecognized field.")
			default:
				var t l3.AutoAllocatedTopology
				t, err = a.service.AutoAllocatedTopology(r.Context(), who, project)
				id = t.NetworkID
			}
			if err != nil {
				return nil, err
			}
			return marshal(schema{one: schema{"id": id, "project_id": project, "tenant_id": project}}), nil
		}})
	a.handle("DELETE "+path, operation{summary: "Delete the network and the router that a project was given", status: http.StatusNoContent,
		run: func(r *http.Request, who l3.Caller) ([]byte, error) {
			return nil, a.service.DeleteAutoAllocatedTopology(r.Context(), who, projectOf(r, who))
		}})
}

// projectOf is the project in a path. Clients that do not know theirs say None.
func projectOf(r *http.Request, who l3.Caller) string {
	if project := r.PathValue("project"); project != "None" {
		return project
	}
	return who.Project
}
