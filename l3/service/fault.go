package service

import (
	"errors"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
)

// refusal makes the service's refusal of the first fault of a router: its routes' only when it has
// no other. Clients know the API and not the dataplane's types, whose names are replaced.
func (in Intent) refusal(r dataplane.Router, err error) error {
	var faults dataplane.Faults
	if !errors.As(err, &faults) {
		return err
	}
	ofRoute := func(f dataplane.Fault) bool { return strings.HasPrefix(f.Path, "Routes") }
	if i := slices.IndexFunc(faults, func(f dataplane.Fault) bool { return !ofRoute(f) }); i >= 0 {
		return badRequest("BadRequest", "Bad router request: %s", inWords(r, faults[i]))
	}
	return in.invalidRoute(r, faults[0])
}

// invalidRoute refuses routes, in the words of Neutron where it has some.
func (in Intent) invalidRoute(r dataplane.Router, f dataplane.Fault) error {
	i, ok := indexOf(f.Path, len(in.Router.Routes))
	if !ok {
		return badRequest("InvalidRoutes", "Invalid routes of router %s: %s", in.Router.ID, inWords(r, f))
	}
	route, why := in.Router.Routes[i], inWords(r, f)
	switch via := route.NextHop; {
	case !strings.HasSuffix(f.Path, ".NextHop"):
	case holds(r, via):
		why = "the nexthop is used by router"
	case !contains(append(prefixes(r), onLinkOf(r)...), via):
		why = "the nexthop is not connected with router"
	}
	return badRequest("InvalidRoutes", "Invalid format for routes: [%s], %s", inPython(route), why)
}

// holds reports whether an address is one of a router's own.
func holds(r dataplane.Router, a netip.Addr) bool {
	own := func(p netip.Prefix) bool { return p.Addr() == a }
	return slices.ContainsFunc(r.Ports, func(p dataplane.Port) bool { return slices.ContainsFunc(p.Addrs, own) }) ||
		r.Gateway != nil && slices.ContainsFunc(r.Gateway.Addrs, own)
}

func onLinkOf(r dataplane.Router) []netip.Prefix {
	if r.Gateway == nil {
		return nil
	}
	return r.Gateway.OnLink
}

// ofRouter is a path of a [dataplane.Fault], as paths and problems name one.
var ofRouter = regexp.MustCompile(`\b(Ports|Routes|FloatingIPs)(\[\d+\])?(\.[A-Z]\w*(\[\d+\])?)*|\b(Gateway|Transit)(\.[A-Z]\w*(\[\d+\])?)*`)

// inWords says what a fault of a router is without the names of Go's types and fields.
func inWords(r dataplane.Router, f dataplane.Fault) string {
	what := ofRouter.ReplaceAllStringFunc(f.Problem, func(path string) string { return named(r, path) })
	if f.Path == "ID" {
		return "the ID of the router " + what
	}
	return named(r, f.Path) + ": " + what
}

// named says what of a router a path leads to. Floating IPs may be another project's: which one it
// is remains unsaid.
func named(r dataplane.Router, path string) string {
	switch list, _, _ := strings.Cut(path, "["); {
	case strings.HasPrefix(path, "Gateway.NextHops"):
		return "the next hop of the gateway"
	case strings.HasPrefix(path, "Gateway.OnLink"):
		return "a subnet of the external network"
	case strings.HasPrefix(path, "Gateway"):
		return "the gateway"
	case strings.HasPrefix(path, "Transit"):
		return "the network between the hosts of a distributed router"
	case strings.HasPrefix(path, "FloatingIPs"):
		return "a floating IP"
	case list == "Ports":
		if i, ok := indexOf(path, len(r.Ports)); ok {
			return "port " + r.Ports[i].ID
		}
	case list == "Routes":
		if i, ok := indexOf(path, len(r.Routes)); ok {
			return "the route to " + r.Routes[i].Dest.String() + " via " + r.Routes[i].NextHop.String()
		}
		return "the routes"
	}
	return "the router"
}

// indexOf returns the first index in a path, if it is one of a list of that length.
func indexOf(path string, length int) (int, bool) {
	_, rest, _ := strings.Cut(path, "[")
	digits, _, _ := strings.Cut(rest, "]")
	i, err := strconv.Atoi(digits)
	return i, err == nil && i < length
}
