package differential

import (
	"slices"

	"pgregory.net/rapid"

	"github.com/l3kit/l3kit/dataplane"
)

// drawScopes puts the ports of a router into address scopes.
func drawScopes(t *rapid.T, r dataplane.Router) dataplane.Router {
	draw := func(p *dataplane.Port) {
		names := rapid.SampledFrom([]string{"red", "red", "green", ""})
		p.Scopes = dataplane.Scopes{IPv4: names.Draw(t, "IPv4 scope of "+p.ID), IPv6: names.Draw(t, "IPv6 scope of "+p.ID)}
	}
	for i := range r.Ports {
		draw(&r.Ports[i])
	}
	if r.Gateway != nil {
		draw(&r.Gateway.Port)
	}
	return r
}

func drawScopedScenario(t *rapid.T) scenario {
	r := drawScopes(t, drawClamping(t, drawRouter(t)))
	return scenario{r, rapid.SliceOfN(drawTrials(r), 16, 24).Draw(t, "trials")}
}

// unconfined4 is a router without IPv4 scopes, as it treats what belongs to a connection.
func unconfined4(r dataplane.Router) dataplane.Router {
	r = r.Clone()
	for i := range r.Ports {
		r.Ports[i].Scopes.IPv4 = ""
	}
	if r.Gateway != nil {
		r.Gateway.Scopes.IPv4 = ""
	}
	return r
}

func (e expectation) port(id string) dataplane.Port {
	all := allPorts(e.router)
	if i := slices.IndexFunc(all, func(p dataplane.Port) bool { return p.ID == id }); i >= 0 {
		return all[i]
	}
	return dataplane.Port{}
}

// shares says that one of two ports is the gateway, and both are in one IPv4 scope.
func (e expectation) shares(a, b string) bool {
	return (a == gatewayID) != (b == gatewayID) && a != "" && b != "" && e.router.Gateway.SharesScope4(e.port(a)) && e.router.Gateway.SharesScope4(e.port(b))
}

// leaves says that a stray IPv4 packet would get from one scope into another.
func (e expectation) leaves(out string) bool {
	return e.In != "" && e.Dst.Is4() && e.port(e.In).Scopes.IPv4 != e.port(out).Scopes.IPv4
}

// crosses4 and crosses6: ports are in several scopes.
func crosses4(r dataplane.Router) bool {
	return slices.ContainsFunc(allPorts(r), func(p dataplane.Port) bool { return p.Scopes.IPv4 != allPorts(r)[0].Scopes.IPv4 })
}

func crosses6(r dataplane.Router) bool {
	return speaks6(r) && slices.ContainsFunc(allPorts(r), func(p dataplane.Port) bool { return p.Scopes.IPv6 != allPorts(r)[0].Scopes.IPv6 })
}

// passesAsItIs: a port shares the scope of a gateway that translates.
func passesAsItIs(r dataplane.Router) bool {
	return translates(r) && slices.ContainsFunc(r.Ports, r.Gateway.SharesScope4)
}

func confinedWithSNAT(r dataplane.Router) bool {
	return crosses4(r) && translates(r) && !passesAsItIs(r)
}

func confinedWithoutSNAT(r dataplane.Router) bool {
	return crosses4(r) && !r.Gateway.SNATAddr().IsValid() && floats(r)
}

// scopeMutations are mistakes with address scopes.
var scopeMutations = []mutation{
	{"floating IPs do not lead across", both(confinedWithSNAT, floats), dropRule("forward", 9)},
	{"SNAT does not lead across", confinedWithSNAT, dropRule("forward", 10)},
	{"the first scope is open", confinedWithSNAT, dropRule("forward", 11)},
	{"the second scope is open", confinedWithSNAT, dropRule("forward", 12)},
	{"floating IPs do not lead out", confinedWithoutSNAT, dropRule("forward", 10)},
	{"what leaves in one scope is guarded", passesAsItIs, dropRule("forward", 1)},
	{"what comes in one scope is guarded", passesAsItIs, dropRule("forward", 2)},
	{"what leaves in one scope is translated", passesAsItIs, dropRule("postrouting", 1)},
	{"the first scope of IPv6 is open", crosses6, dropRule6("forward", 1)},
	{"the second scope of IPv6 is open", crosses6, dropRule6("forward", 2)},
}
