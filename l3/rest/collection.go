package rest

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/l3kit/l3kit/l3"
)

// collection is the resources of one kind. Operations that are nil do not exist.
type collection[R, S any] struct {
	path      string // below /v2.0/
	one, many string // in bodies
	table     table[R, S]
	kind      l3.Kind                         // that has tags; empty: it has none
	ids       func(r *R) string               // for links between pages
	check     func(spec map[string]any) error // what no single attribute can say of a request; nil: nothing
	revisions bool                            // changes may be conditional
	sees      func(who l3.Caller) sight       // which attributes a caller sees; set by serve

	list   func(ctx context.Context, who l3.Caller, q l3.Query) ([]R, error)
	get    func(ctx context.Context, who l3.Caller, id string) (R, error)
	create func(ctx context.Context, who l3.Caller, specs ...S) ([]R, error)
	update func(ctx context.Context, who l3.Caller, id string, spec S, cond l3.If) (R, error)
	delete func(ctx context.Context, who l3.Caller, id string, cond l3.If) error
}

// resource is a collection, as discovery shows it.
type resource struct{ path, one, many string }

// serve registers the operations of a collection.
func serve[R, S any](a *api, c collection[R, S]) {
	a.resources = append(a.resources, resource{c.path, c.one, c.many})
	serveParts(a, func(string) collection[R, S] { return c })
}

// serveParts registers the operations of the collections that the resources of another one have,
// by the ID of such a resource, which is {parent} in the path.
func serveParts[R, S any](a *api, of func(parent string) collection[R, S]) {
	c := of("")
	at := func(r *http.Request) *collection[R, S] {
		c := of(r.PathValue("parent"))
		c.sees = func(who l3.Caller) sight { return a.sightOf(who, c.one) }
		return &c
	}
	root, item := "/v2.0/"+c.path, "/v2.0/"+c.path+"/{id}"
	a.schemas[c.one] = c.table.schema(0)
	thing := strings.ReplaceAll(c.one, "_", " ")
	single := envelopeOf(c.one, ref(c.one))
	several := listOf(c.many, ref(c.one))

	if c.list != nil {
		a.handle("GET "+root, operation{summary: "List " + c.many, query: c.table.parameters(), sortKeys: c.table.names(sorted),
			status: http.StatusOK, answers: several,
			run: func(r *http.Request, who l3.Caller) ([]byte, error) { return at(r).serveList(a, r, who) }})
	}
	if c.get != nil {
		a.handle("GET "+item, operation{summary: "Show a " + thing, query: []string{"fields"}, status: http.StatusOK, answers: single,
			run: func(r *http.Request, who l3.Caller) ([]byte, error) { return at(r).serveGet(r, who) }})
	}
	if c.create != nil {
		spec := c.table.schema(inPost)
		each := either(spec, schema{"type": "object", "required": []string{c.one}, "properties": schema{c.one: spec}, "additionalProperties": false})
		a.handle("POST "+root, operation{summary: "Make a " + thing + ", or several: all or none", status: http.StatusCreated,
			accepts: either(envelopeOf(c.one, spec), envelopeOf(c.many, schema{"type": "array", "minItems": 1, "items": each})),
			answers: either(single, several),
			run:     func(r *http.Request, who l3.Caller) ([]byte, error) { return at(r).serveCreate(r, who) }})
	}
	if c.update != nil {
		a.handle("PUT "+item, operation{summary: "Change a " + thing, accepts: envelopeOf(c.one, c.table.schema(inPut)), status: http.StatusOK,
			answers: single, ifMatch: c.revisions,
			run: func(r *http.Request, who l3.Caller) ([]byte, error) { return at(r).serveUpdate(r, who) }})
	}
	if c.delete != nil {
		a.handle("DELETE "+item, operation{summary: "Delete a " + thing, status: http.StatusNoContent, ifMatch: c.revisions,
			run: func(r *http.Request, who l3.Caller) ([]byte, error) {
				cond, err := condition(r)
				if err != nil {
					return nil, err
				}
				return nil, at(r).delete(r.Context(), who, r.PathValue("id"), cond)
			}})
	}
	if c.kind != "" {
		a.tags(item, thing, c.kind)
	}
}

func (c *collection[R, S]) serveList(a *api, r *http.Request, who l3.Caller) ([]byte, error) {
	params, err := parameters(r)
	if err != nil {
		return nil, err
	}
	q, err := c.table.query(params, c.sees(who))
	if err != nil {
		return nil, err
	}
	found, err := c.list(r.Context(), who, q)
	if q.Marker != "" && errors.Is(err, l3.ErrAbsent) {
		err = &l3.Error{Kind: l3.ErrNotFound, Name: "HTTPNotFound", Message: "Marker " + show(q.Marker) + " could not be found"}
	}
	if err != nil {
		return nil, err
	}
	seen := c.table.seen(c.sees(who), params["fields"])
	b := seen.writeAll([]byte{'{'}, c.many, found)
	if q.Limit > 0 && c.ids != nil {
		var first, last string
		if len(found) > 0 {
			first, last = c.ids(&found[0]), c.ids(&found[len(found)-1])
		}
		b = append(b, `,"`+c.many+`_links":`...)
		b = append(b, marshal(links(a.root(r)+r.URL.Path, params, q, len(found), first, last))...)
	}
	return append(b, '}'), nil
}

func (c *collection[R, S]) serveGet(r *http.Request, who l3.Caller) ([]byte, error) {
	params, err := parameters(r)
	if err != nil {
		return nil, err
	}
	found, err := c.get(r.Context(), who, r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return c.table.seen(c.sees(who), params["fields"]).writeOne(c.one, &found), nil
}

func (c *collection[R, S]) serveCreate(r *http.Request, who l3.Caller) ([]byte, error) {
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	specs, bulk, err := c.readNew(body)
	if err != nil {
		return nil, err
	}
	made, err := c.create(r.Context(), who, specs...)
	if err != nil {
		return nil, err
	}
	seen := c.table.seen(c.sees(who), nil)
	if bulk {
		return append(seen.writeAll([]byte{'{'}, c.many, made), '}'), nil
	}
	return seen.writeOne(c.one, &made[0]), nil
}

// readNew reads what is to be made: one resource, or a list of them.
func (c *collection[R, S]) readNew(body map[string]any) (specs []S, bulk bool, err error) {
	v, bulk := body[c.many]
	if !bulk {
		object, err := member(body, c.one)
		if err != nil {
			return nil, false, err
		}
		s, err := c.read(object, inPost)
		return []S{s}, false, err
	}
	objects, ok := v.([]any)
	if !ok || len(objects) == 0 {
		return nil, true, badRequest("Resources required: '%s' must be a list that is not empty", c.many)
	}
	for _, v := range objects {
		object, ok := v.(map[string]any)
		if !ok {
			return nil, true, notAnObject(c.one)
		}
		if _, wrapped := object[c.one]; wrapped { // as clients of Neutron's first release send it
			if object, err = member(object, c.one); err != nil {
				return nil, true, err
			}
		}
		s, err := c.read(object, inPost)
		if err != nil {
			return nil, true, err
		}
		specs = append(specs, s)
	}
	return specs, true, nil
}

func (c *collection[R, S]) serveUpdate(r *http.Request, who l3.Caller) ([]byte, error) {
	cond, err := condition(r)
	if err != nil {
		return nil, err
	}
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	object, err := member(body, c.one)
	if err != nil {
		return nil, err
	}
	spec, err := c.read(object, inPut)
	if err != nil {
		return nil, err
	}
	changed, err := c.update(r.Context(), who, r.PathValue("id"), spec, cond)
	if err != nil {
		return nil, err
	}
	return c.table.seen(c.sees(who), nil).writeOne(c.one, &changed), nil
}

func (c *collection[R, S]) read(object map[string]any, in use) (S, error) {
	if project, ok := object["project_id"]; ok {
		if tenant, ok := object["tenant_id"]; ok && show(tenant) != show(project) {
			var none S
			return none, badRequest("'project_id' and 'tenant_id' do not match")
		}
	}
	if c.check != nil {
		if err := c.check(object); err != nil {
			var none S
			return none, err
		}
	}
	return c.table.read(object, in)
}

// condition is what must hold of the resource, by the header If-Match: revision_number=7.
func condition(r *http.Request) (l3.If, error) {
	header := r.Header.Get("If-Match")
	if header == "" || header == "*" { // whatever its revision is (RFC 9110 13.1.1)
		return l3.If{}, nil
	}
	digits, ok := strings.CutPrefix(header, "revision_number=")
	n, err := strconv.Atoi(digits)
	if !ok || err != nil || len(r.Header.Values("If-Match")) > 1 {
		return l3.If{}, badForm("Bad if-match request: Revision number etag must be in the format of revision_number=<int>.")
	}
	return l3.If{Revision: &n}, nil
}

func (t table[R, S]) writeOne(name string, r *R) []byte {
	b := make([]byte, 0, 1024)
	return append(t.write(append(b, `{"`+name+`":`...), r), '}')
}

// writeAll appends a member of a JSON object.
func (t table[R, S]) writeAll(b []byte, name string, all []R) []byte {
	b = append(b, `"`+name+`":[`...)
	before := len(b)
	for i := range all {
		switch i {
		case 0:
		case 1: // The others will be about as long as the first, so that the list is copied once or not at all.
			b = slices.Grow(b, (len(b)-before)*len(all)*9/8)
			fallthrough
		default:
			b = append(b, ',')
		}
		b = t.write(b, &all[i])
	}
	return append(b, ']')
}
