// Package rest serves an L3 service as the OpenStack Networking API v2.0, which the openstack
// client, gophercloud and Terraform speak.
//
// What there is to know about a resource is a table of its attributes (networks.go, routers.go and
// so on), one attribute a line. The code that reads requests and writes answers is the same for all
// of them, and so is the OpenAPI document at /openapi.json.
package rest

import (
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/l3kit/l3kit/l3"
)

// Service is what is served. [service.Service] fulfils it; whoever wraps a part of one embeds the
// rest.
type Service interface {
	l3.Networks
	l3.Subnets
	l3.Ports
	l3.Routers
	l3.RouterMembers
	l3.FloatingIPs
	l3.PortForwardings
	l3.SubnetPools
	l3.AddressScopes
	l3.Topologies
	l3.SecurityGroups
	l3.SecurityGroupRules
	l3.RBACPolicies
	l3.QoSPolicies
	l3.Agents
	l3.Hosting
	l3.Quotas
	l3.Tags
	l3.Permissions
}

// Config is what the API is made of.
type Config struct {
	Service Service
	Auth    Auth   // nil: nobody is believed, every request is answered with 401
	URL     string // of the API's root as clients see it, for links; empty: each request's own Host
	Limits  Limits
	Logger  *slog.Logger // for failures that are not the client's; nil: nothing is logged
}

// api answers requests. It does not change once New has made it.
type api struct {
	service Service
	auth    Auth
	url     string
	limits  Limits
	bodies  *budget
	answers *budget
	log     *slog.Logger

	mux       *http.ServeMux
	routes    []route
	schemas   schema     // of OpenAPI, by name
	resources []resource // that discovery lists
}

// New makes the API. The handler may be used concurrently.
func New(c Config) http.Handler {
	a := &api{
		service: c.Service, auth: c.Auth, url: strings.TrimSuffix(c.URL, "/"), limits: c.Limits.withDefaults(), log: c.Logger,
		mux: http.NewServeMux(), schemas: schema{},
	}
	if a.auth == nil {
		a.auth = nobody{}
	}
	a.bodies, a.answers = &budget{all: a.limits.Bodies}, &budget{all: a.limits.Answers}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}

	a.networks()
	a.subnets()
	a.subnetPools()
	a.addressScopes()
	a.topologies()
	a.ports()
	a.routers()
	a.floatingIPs()
	a.securityGroups()
	a.rbacPolicies()
	a.qos()
	a.agents()
	a.zones()
	a.quotas()
	a.availability()
	a.extensions()
	a.discovery() // lists what the others have registered
	return a
}

// operation is what is done with the requests of one method and path.
type operation struct {
	summary string   // for people
	open    bool     // nobody needs to say who he is
	query   []string // parameters
	// sortKeys are the values of the parameter sort_key.
	sortKeys []string
	accepts  schema // body; nil: there is none
	status   int    // of a success
	answers  schema // body; nil: there is none
	ifMatch  bool   // a condition on the revision is heeded
	run      func(r *http.Request, who l3.Caller) ([]byte, error)
}

// route is an operation at its place.
type route struct {
	method, path string // as in the patterns of http.ServeMux
	operation
}

// handle puts an operation at its place, from where it cannot be missing in the OpenAPI document.
func (a *api) handle(pattern string, op operation) {
	method, where, _ := strings.Cut(pattern, " ")
	a.routes = append(a.routes, route{method, where, op})
	a.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { a.run(w, r, op) })
}

// ServeHTTP answers a request, whatever is in it, with JSON.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := "req-" + uuid.NewString()
	w.Header().Set("X-Openstack-Request-Id", id)
	w.Header().Set("Content-Type", "application/json")
	defer func() {
		if p := recover(); p != nil {
			a.log.Error("request panicked", "request", id, "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
			a.send(w, http.StatusInternalServerError, internalError)
		}
	}()

	r = r.WithContext(l3.WithRequest(r.Context(), id))
	r.Body = http.MaxBytesReader(w, r.Body, a.limits.Body)
	if !clean(r.URL.Path) || !direct(r.URL.EscapedPath()) {
		a.refuse(w, r, errNoPath)
		return
	}
	r = a.respelled(bare(r))
	if _, pattern := a.mux.Handler(r); pattern == "" {
		a.nowhere(w, r)
		return
	}
	a.mux.ServeHTTP(w, r)
}

// bare returns the request without what Neutron allows at the end of a path: a slash, and .json,
// which clients of its first releases send. A tag may end in .json itself.
func bare(r *http.Request) *http.Request {
	was := r.URL.EscapedPath() // in which a slash that belongs to a name is %2F
	to := was
	if to != "/" && to != "/v2.0/" {
		to = strings.TrimSuffix(to, "/")
	}
	below, ok := strings.CutPrefix(to, "/v2.0/")
	if ok && strings.Count(below, "/") < 3 && !strings.HasSuffix(to, "/details.json") {
		to = strings.TrimSuffix(to, ".json")
	}
	unescaped, err := url.PathUnescape(to)
	if to == was || err != nil {
		return r
	}
	return at(r, unescaped, to)
}

// at returns the request with another path.
func at(r *http.Request, to, raw string) *http.Request {
	out, where := *r, *r.URL
	out.URL = &where
	where.Path, where.RawPath = to, raw
	return &out
}

// respelled returns the request with the collection in its path as it is registered. As in Neutron,
// clients may write - for _ there, and _ for -.
func (a *api) respelled(r *http.Request) *http.Request {
	const root = "/v2.0/"
	rest, ok := strings.CutPrefix(r.URL.Path, root)
	name, _, _ := strings.Cut(rest, "/")
	if !ok || !strings.ContainsAny(name, "-_") {
		return r
	}
	alike := func(c resource) bool {
		return strings.ReplaceAll(c.path, "_", "-") == strings.ReplaceAll(name, "_", "-")
	}
	i := slices.IndexFunc(a.resources, alike)
	if i < 0 || a.resources[i].path == name {
		return r
	}
	to := root + a.resources[i].path
	raw, ok := strings.CutPrefix(r.URL.RawPath, root+name)
	if ok {
		raw = to + raw
	} else {
		raw = ""
	}
	return at(r, to+strings.TrimPrefix(rest, name), raw)
}

func (a *api) run(w http.ResponseWriter, r *http.Request, op operation) {
	var who l3.Caller
	if !op.open {
		if a.crossSite(r) {
			a.fail(w, r, errCrossSite)
			return
		}
		var err error
		if who, err = a.auth.Authenticate(r); err != nil {
			a.fail(w, r, err)
			return
		}
	}
	if match := r.Header.Get("If-Match"); match != "" && match != "*" && r.Method != http.MethodGet && !op.ifMatch {
		a.fail(w, r, badRequest("If-Match is not supported by %s %s", r.Method, show(r.URL.Path)))
		return
	}
	if op.accepts != nil {
		done, err := a.receive(r)
		defer done()
		if err != nil {
			a.fail(w, r, err)
			return
		}
	}
	body, err := op.run(r, who)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	// A request that has changed something is answered at any rate.
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		size := int64(len(body))
		if !a.answers.take(size) {
			a.fail(w, r, errBusy)
			return
		}
		defer a.answers.give(size)
	}
	a.send(w, op.status, body)
}

// nowhere answers requests that no operation is for.
func (a *api) nowhere(w http.ResponseWriter, r *http.Request) {
	told := probe{header: http.Header{}}
	a.mux.ServeHTTP(&told, r)
	if told.status != http.StatusMethodNotAllowed {
		a.refuse(w, r, errNoPath)
		return
	}
	w.Header().Set("Allow", told.header.Get("Allow"))
	a.refuse(w, r, errNoMethod)
}

// refuse fails a request once it is known whose it is: strangers do not learn which paths there
// are.
func (a *api) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if _, stranger := a.auth.Authenticate(r); stranger != nil {
		err = stranger
	}
	a.fail(w, r, err)
}

// probe takes the answer of the mux, whose text is not for our clients.
type probe struct {
	header http.Header
	status int
}

func (p *probe) Header() http.Header         { return p.header }
func (p *probe) Write(b []byte) (int, error) { return len(b), nil }
func (p *probe) WriteHeader(status int)      { p.status = status }

// direct says whether a path is without detours such as // and .., which the mux would answer with
// a redirect.
func direct(escaped string) bool {
	short := path.Clean(escaped)
	return escaped == short || short != "/" && escaped == short+"/"
}

// clean says whether text can be looked for in every store: PostgreSQL refuses a NUL, and bytes
// that are not UTF-8.
func clean(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

var (
	errNoPath   = &l3.Error{Kind: l3.ErrNotFound, Name: "HTTPNotFound", Message: "The resource could not be found."}
	errNoMethod = &l3.Error{Kind: errMethod, Name: "HTTPMethodNotAllowed", Message: "The method is not allowed for this resource."}
)
