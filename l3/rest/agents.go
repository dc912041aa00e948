package rest

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

func (a *api) agents() {
	t := agentTable()
	serve(a, collection[l3.Agent, l3.AgentSpec]{
		path: "agents", one: "agent", many: "agents", table: t, ids: func(g *l3.Agent) string { return g.ID },
		list: a.service.ListAgents, get: a.service.GetAgent,
		update: func(ctx context.Context, who l3.Caller, id string, spec l3.AgentSpec, _ l3.If) (l3.Agent, error) {
			return a.service.UpdateAgent(ctx, who, id, spec)
		},
		delete: func(ctx context.Context, who l3.Caller, id string, _ l3.If) error {
			return a.service.DeleteAgent(ctx, who, id)
		},
	})

	wanted := table[struct{}, string]{
		custom("router_id", anyUUID, given|needed, func(*struct{}) string { return "" }, func(s *string, v string) { *s = v }),
	}
	routers := routerTable()
	a.handle("GET /v2.0/agents/{id}/l3-routers", operation{summary: "List the routers that an agent hosts", query: []string{"fields"},
		status: http.StatusOK, answers: envelopeOf("routers", schema{"type": "array", "items": ref("router")}),
		run: func(r *http.Request, who l3.Caller) ([]byte, error) {
			hosted, err := a.service.RoutersOnAgent(r.Context(), who, r.PathValue("id"))
			if err != nil {
				return nil, err
			}
			return append(routers.seen(a.sightOf(who, "router"), nil).writeAll([]byte{'{'}, "routers", hosted), '}'), nil
		}})
	a.handle("POST /v2.0/agents/{id}/l3-routers", operation{summary: "Have an agent host a router", accepts: wanted.schema(inPost),
		status: http.StatusCreated, answers: schema{"nullable": true},
		run: func(r *http.Request, who l3.Caller) ([]byte, error) {
			body, err := readBody(r)
			if err != nil {
				return nil, err
			}
			router, err := wanted.read(body, inPost)
			if err != nil {
				return nil, err
			}
			return []byte("null"), a.service.AddRouterToAgent(r.Context(), who, r.PathValue("id"), router)
		}})
	a.handle("DELETE /v2.0/agents/{id}/l3-routers/{router}", operation{summary: "Take a router from its agent", status: http.StatusNoContent,
		run: func(r *http.Request, who l3.Caller) ([]byte, error) {
			return nil, a.service.RemoveRouterFromAgent(r.Context(), who, r.PathValue("id"), r.PathValue("router"))
		}})
	a.handle("GET /v2.0/routers/{id}/l3-agents", operation{summary: "List the agents that host a router", query: []string{"fields"},
		status: http.StatusOK, answers: envelopeOf("agents", schema{"type": "array", "items": ref("agent")}),
		run: func(r *http.Request, who l3.Caller) ([]byte, error) {
			hosts, err := a.service.AgentsOfRouter(r.Context(), who, r.PathValue("id"))
			if err != nil {
				return nil, err
			}
			return append(t.seen(a.sightOf(who, "agent"), nil).writeAll([]byte{'{'}, "agents", hosts), '}'), nil
		}})
}

func agentTable() table[l3.Agent, l3.AgentSpec] {
	type R = l3.Agent
	type S = l3.AgentSpec
	return table[R, S]{
		field[R, S]("ID", anyUUID, found),
		field[R, S]("Type", label, found),
		field[R, S]("Binary", label, found),
		field[R, S]("Host", label, found),
		field[R, S]("Topic", label, found),
		shown[R, S]("alive", boolean, found, func(r *R) bool { return r.Alive }),
		field[R, S]("AdminStateUp", boolean, inPut|found),
		field[R, S]("Description", textOrNo, inPut|found),
		field[R, S]("AvailabilityZone", label, found),
		field[R, S]("Capabilities", reported, sorted),
		field[R, S]("CreatedAt", agentStamp, sorted).withinSecond(),
		field[R, S]("StartedAt", agentStamp, sorted).withinSecond(),
		field[R, S]("HeartbeatAt", agentStamp, sorted).withinSecond(),
		field[R, S]("ResourcesSynced", boolean, found),
		shown[R, S]("orphans", orphans, 0, func(r *R) []l3.Orphan { return r.Orphans }),
	}
}

// withinSecond is the attribute, a time that is stored with fractions of the second that it shows.
func (a attribute[R, S]) withinSecond() attribute[R, S] {
	return a.by(func(values []string) ([]l3.Filter, error) {
		f := l3.Filter{Field: a.stored, Op: l3.Contains}
		for _, s := range values {
			t, err := parseTime(s)
			if err != nil {
				return nil, err
			}
			f.Values = append(f.Values, strings.TrimSuffix(t, "Z"))
		}
		return []l3.Filter{f}, tooManyTerms(len(values))
	})
}

var (
	reported = codec[agent.Capabilities, any]{
		schema: schema{"type": "object"},
		write:  func(b []byte, v agent.Capabilities) []byte { return append(b, marshal(v)...) },
	}

	// orphans are an attribute of ours: what runs on the agent's host without a record.
	orphans = codec[[]l3.Orphan, any]{
		schema: schema{"type": "array", "items": schema{"type": "object", "properties": schema{
			"router_id": schema{"type": "string"}, "deployment": schema{"type": "string"}, "epoch": schema{"type": "integer"},
			"revision": schema{"type": "integer"}, "addresses": schema{"type": "array", "items": schema{"type": "string"}},
			"conflicts": schema{"type": "array", "items": schema{"type": "string"}},
		}}},
		write: func(b []byte, all []l3.Orphan) []byte {
			type shown struct {
				RouterID   string       `json:"router_id"`
				Deployment string       `json:"deployment"`
				Epoch      uint64       `json:"epoch"`
				Revision   uint64       `json:"revision"`
				Addresses  []netip.Addr `json:"addresses"`
				Conflicts  []netip.Addr `json:"conflicts"`
			}
			list := make([]shown, len(all))
			for i, o := range all {
				list[i] = shown{o.RouterID, o.Deployment, o.Epoch, o.Revision, []netip.Addr{}, append([]netip.Addr{}, o.Conflicts...)}
				for _, h := range o.Addrs {
					list[i].Addresses = append(list[i].Addresses, h.Addr)
				}
			}
			return append(b, marshal(list)...)
		},
	}

	// agentStamp is a time in the form that Neutron has for agents alone, and that clients read:
	// UTC, without saying so.
	agentStamp = value[time.Time]{
		schema: schema{"type": "string"},
		write: func(b []byte, t time.Time) []byte {
			return append(t.UTC().AppendFormat(append(b, '"'), time.DateTime), '"')
		},
	}
)
