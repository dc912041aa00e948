package rest

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/l3kit/l3kit/l3"
)

// parameters are those of a request's URL.
func parameters(r *http.Request) (url.Values, error) {
	params, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, malformed(err)
	}
	for name, values := range params {
		if slices.ContainsFunc(append(values, name), func(s string) bool { return !clean(s) }) {
			return nil, badRequest("The query parameter %q has a character that text cannot have", show(name))
		}
	}
	params["fields"] = slices.DeleteFunc(params["fields"], func(s string) bool { return s == "" })
	return params, nil
}

// malformed refuses a query that cannot be parsed.
func malformed(err error) error {
	if escape := url.EscapeError(""); errors.As(err, &escape) {
		return badRequest("The query is malformed: '%s' is not a percent-encoded byte", show(string(escape)))
	}
	return badRequest("The query is malformed: parameters must be separated by &")
}

// The parameters of lists that are no filters.
var listing = []string{"fields", "limit", "marker", "page_reverse", "sort_dir", "sort_key"}

// query is what the parameters of a list ask for. Filters and sort keys that the caller does not
// see do not exist for it.
func (t table[R, S]) query(params url.Values, sees sight) (l3.Query, error) {
	var (
		q       l3.Query
		unknown []string
		err     error
	)
	for _, name := range slices.Sorted(maps.Keys(params)) {
		if slices.Contains(listing, name) {
			continue
		}
		a := t.usable(name, filtered, sees)
		if a == nil {
			unknown = append(unknown, name)
			continue
		}
		filters, bad := a.filters(params[name])
		if bad != nil {
			return q, unreadable(name, bad)
		}
		q.Filters = append(q.Filters, filters...)
	}
	if unknown != nil {
		return q, badRequest("['%s'] is invalid attribute for filtering", show(strings.Join(unknown, "', '")))
	}
	if q.Sort, err = t.sort(params["sort_key"], params["sort_dir"], sees); err != nil {
		return q, err
	}
	if params.Has("limit") {
		limit := params.Get("limit")
		if q.Limit, err = strconv.Atoi(limit); err != nil || q.Limit < 0 {
			return q, badForm("Bad limit request: Limit must be an integer 0 or greater and not '%s'.", show(limit))
		}
	}
	q.Marker = params.Get("marker")
	q.Reverse = strings.EqualFold(params.Get("page_reverse"), "true")
	return q, nil
}

func (t table[R, S]) sort(keys, dirs []string, sees sight) ([]l3.Sort, error) {
	given := func(texts []string) []string {
		return slices.DeleteFunc(slices.Clone(texts), func(s string) bool { return s == "" })
	}
	keys, dirs = given(keys), given(dirs)
	if len(dirs) != len(keys) {
		return nil, badRequest("The number of sort_keys and sort_dirs must be same")
	}
	var out []l3.Sort
	for i, key := range keys {
		a := t.usable(key, sorted, sees)
		if a == nil {
			return nil, badRequest("['%s'] is invalid attribute for sort_keys", show(key))
		}
		if dirs[i] != "asc" && dirs[i] != "desc" {
			return nil, badRequest("['%s'] is invalid value for sort_dirs, valid value is 'asc' and 'desc'", show(dirs[i]))
		}
		again := func(s l3.Sort) bool { return s.Field == a.stored }
		if a.stored != "" && !slices.ContainsFunc(out, again) { // a key that is given again decides nothing
			out = append(out, l3.Sort{Field: a.stored, Desc: dirs[i] == "desc"})
		}
	}
	return out, nil
}

// usable returns the named attribute, or nil if the caller may not use it like that.
func (t table[R, S]) usable(name string, how use, sees sight) *attribute[R, S] {
	for i := range t {
		if a := &t[i]; a.name == name && a.uses&how != 0 && a.shows(sees) {
			return a
		}
	}
	return nil
}

// parameters are the names of those that a list takes.
func (t table[R, S]) parameters() []string {
	names := slices.Clone(listing)
	return append(names, t.names(filtered)...)
}

// names are those of the attributes that can be used in a way.
func (t table[R, S]) names(how use) []string {
	var names []string
	for _, a := range t {
		if a.uses&how != 0 {
			names = append(names, a.name)
		}
	}
	return names
}

// link is one to another page.
type link struct {
	Rel  string `json:"rel"`
	Href string `json:"href"`
}

// links lead to the pages beside one with n resources, from the first ID to the last. As in
// Neutron, a full page may be followed by an empty one, from which a link leads back to the last.
func links(where string, params url.Values, q l3.Query, n int, first, last string) []link {
	out := []link{}
	add := func(rel, marker string, reverse bool) {
		p := url.Values{}
		for name, values := range params {
			if name != "marker" && name != "page_reverse" && len(values) > 0 {
				p[name] = values
			}
		}
		if marker != "" {
			p.Set("marker", marker)
		}
		if reverse {
			p.Set("page_reverse", "True")
		}
		out = append(out, link{rel, where + "?" + p.Encode()})
	}
	full := n >= q.Limit
	if full || q.Reverse {
		add("next", last, false)
	}
	if full || !q.Reverse {
		add("previous", first, true)
	}
	return out
}

// pairs filters a list of objects by the values of their members: fixed_ips=ip_address=10.0.0.1.
// Members with the ending _substr are found by a part of their value.
func pairs(stored string, members map[string]func(string) (any, error)) func(values []string) ([]l3.Filter, error) {
	return func(values []string) ([]l3.Filter, error) {
		var out []l3.Filter
		for _, pair := range values {
			name, text, ok := strings.Cut(pair, "=")
			parse := members[name]
			if !ok || parse == nil {
				return nil, fmt.Errorf("'%s' is not of the form attribute=value, with one of the attributes %s", show(pair),
					strings.Join(slices.Sorted(maps.Keys(members)), ", "))
			}
			v, err := parse(text)
			if err != nil {
				return nil, err
			}
			f := l3.Filter{Field: stored + "." + strings.TrimSuffix(name, "_substr"), Op: l3.In}
			if strings.HasSuffix(name, "_substr") {
				f.Op = l3.Contains
			}
			same := func(o l3.Filter) bool { return o.Field == f.Field && o.Op == f.Op }
			if i := slices.IndexFunc(out, same); i >= 0 {
				out[i].Values = append(out[i].Values, v)
				if err := tooManyTerms(len(out[i].Values)); err != nil && f.Op == l3.Contains {
					return nil, err
				}
				continue
			}
			f.Values = []any{v}
			out = append(out, f)
		}
		return out, nil
	}
}
