package rest_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3/l3test"
	"github.com/l3kit/l3kit/l3/rest"
	"github.com/l3kit/l3kit/l3/service"
)

// world is a cloud of two projects, p1 and p2, which see nothing of each other. Two worlds that
// were asked the same things differ in IDs, MAC addresses and request IDs only.
type world struct {
	*estate
	foreign map[string]string // IDs of what p2 has, by what they are of
	named   map[string]string // what is asked for: that, or as many IDs of nothing
}

func newWorld(t *testing.T) *world {
	t.Helper()
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	svc, err := service.New(service.Config{Store: l3test.Open(t, l3test.SQLiteURL(t)), Now: func() time.Time { return now },
		Quotas: map[string]int{"network": -1, "subnet": -1, "port": -1, "router": -1, "floatingip": -1, "security_group": -1, "security_group_rule": -1, "rbac_policy": -1}})
	require.NoError(t, err)
	beat(t, svc, "host-1")
	w := &world{foreign: map[string]string{}}
	w.estate = &estate{T: t, ids: map[string]string{}, handler: rest.New(rest.Config{Service: svc, Auth: rest.None{}, Logger: logger(t)}),
		headers: func(person string) []string {
			project := map[string]string{"admin": "operators", "theirs": "p2"}[person]
			if project == "" {
				project = "p1"
			}
			role := map[string]string{"theirs": "member", "none": ""}
			if _, ok := role[person]; !ok {
				role[person] = person
			}
			return []string{"X-Project-Id", project, "X-Roles", role[person]}
		}}
	w.ids["outside"] = w.make("networks", `{"network": {"router:external": true, "shared": true}}`)
	w.make("subnets", `{"subnet": {"network_id": "$outside", "ip_version": 4, "cidr": "203.0.113.0/24"}}`)
	for _, project := range []string{"p2", "p1"} {
		own := func(kind, body string) string {
			return w.make(kind, strings.Replace(body, ": {", `: {"project_id": "`+project+`", `, 1))
		}
		own("networks", `{"network": {"name": "`+project+`", "availability_zone_hints": []}}`)
		own("subnets", `{"subnet": {"network_id": "$networks", "ip_version": 4, "cidr": "10.0.0.0/24"}}`)
		own("routers", `{"router": {"name": "`+project+`", "external_gateway_info": {"network_id": "$outside"}}}`)
		require.Equal(t, 200, w.as("admin", "PUT", "/v2.0/routers/"+w.ids["routers"]+"/add_router_interface", `{"subnet_id": "$subnets"}`).Code)
		own("ports", `{"port": {"network_id": "$networks", "name": "`+project+`"}}`)
		own("floatingips", `{"floatingip": {"floating_network_id": "$outside", "port_id": "$ports"}}`)
		own("security-groups", `{"security_group": {"name": "`+project+`"}}`)
		own("security-group-rules", `{"security_group_rule": {"security_group_id": "$security-groups", "direction": "ingress"}}`)
		own("rbac-policies", `{"rbac_policy": {"object_type": "network", "object_id": "$networks", "action": "access_as_shared", "target_tenant": "p3"}}`)
		if project == "p2" {
			maps.Copy(w.foreign, w.ids)
			delete(w.foreign, "outside")
			w.foreign["default group"] = w.find("security_groups", "security-groups?name=default&project_id=p2", "id")
			w.foreign["gateway port"] = w.find("ports", "ports?device_id="+w.ids["routers"]+"&device_owner=network:router_gateway", "id")
			w.foreign["interface port"] = w.find("ports", "ports?device_id="+w.ids["routers"]+"&device_owner=network:router_interface", "id")
			w.foreign["floating port"] = w.find("ports", "ports?device_id="+w.ids["floatingips"], "id")
			w.foreign["agent"] = w.find("agents", "agents", "id")
		}
	}
	w.foreign["own gateway port"] = w.find("ports", "ports?device_id="+w.ids["routers"]+"&device_owner=network:router_gateway", "id")
	w.ids["agents"], w.ids["project"] = networkID, "p1"
	return w
}

// find is an attribute of the only resource that a list has.
func (w *world) find(many, list, attribute string) string {
	w.Helper()
	var said map[string][]map[string]any
	body := w.as("admin", "GET", "/v2.0/"+list, "").Body
	require.NoError(w, json.Unmarshal(body.Bytes(), &said), body)
	require.Len(w, said[many], 1, list)
	return said[many][0][attribute].(string)
}

var (
	anyID  = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	anyMAC = regexp.MustCompile(`fa:16:3e(:[0-9a-f]{2}){3}`)
)

// plainly is an answer without what differs from world to world: what can be asked for and the
// world's own IDs go by their names, others by none, and lists have no order.
func (w *world) plainly(answer *httptest.ResponseRecorder) string {
	header := answer.Header().Clone()
	header.Del("X-Openstack-Request-Id")
	header.Del("Content-Length") // with the body
	names := map[string]string{}
	for name, id := range w.ids {
		names[id] = "<" + name + ">"
	}
	for name, id := range w.named {
		names[id] = "<X: " + name + ">"
	}
	text := anyID.ReplaceAllStringFunc(answer.Body.String(), func(id string) string {
		if names[id] == "" {
			return "<another>"
		}
		return names[id]
	})
	text = anyMAC.ReplaceAllString(text, "<MAC>")
	var body any
	if text != "" {
		require.NoError(w, json.Unmarshal([]byte(text), &body), text)
	}
	return fmt.Sprint(answer.Code, " ", header, "\n", ordered(body))
}

// ordered is JSON whose lists have an order that does not depend on IDs.
func ordered(v any) string {
	switch v := v.(type) {
	case []any:
		texts := make([]string, len(v))
		for i := range v {
			texts[i] = ordered(v[i])
		}
		slices.Sort(texts)
		return "[" + strings.Join(texts, ", ") + "]"
	case map[string]any:
		var texts []string
		for _, name := range slices.Sorted(maps.Keys(v)) {
			texts = append(texts, name+": "+ordered(v[name]))
		}
		return "{" + strings.Join(texts, ", ") + "}"
	}
	return fmt.Sprintf("%#v", v)
}

// theirs is all that p2 sees, and what the administrator sees of its hidden ports.
func (w *world) theirs() string {
	var all strings.Builder
	for _, kind := range []string{"networks", "subnets", "ports", "routers", "floatingips", "security-groups", "security-group-rules", "rbac-policies", "quotas/p2/details"} {
		all.Write(w.as("theirs", "GET", "/v2.0/"+kind, "").Body.Bytes())
	}
	for _, port := range []string{"gateway port", "floating port"} {
		all.Write(w.as("admin", "GET", "/v2.0/ports/"+w.foreign[port], "").Body.Bytes())
	}
	return all.String()
}

// question is a request that names something.
type question struct {
	person, method, target, body string // with X for what is named
}

// asked has a world answer a question, and takes back what it made.
func (w *world) asked(q question, x string) string {
	w.Helper()
	answer := w.as(q.person, q.method, strings.ReplaceAll(q.target, "X", url.QueryEscape(x)), strings.ReplaceAll(q.body, "X", x))
	text := w.plainly(answer)
	if q.method == "POST" && answer.Code == http.StatusCreated {
		var said map[string]struct{ ID string }
		require.NoError(w, json.Unmarshal(answer.Body.Bytes(), &said))
		for _, v := range said {
			require.Equal(w, http.StatusNoContent, w.as("admin", "DELETE", q.target+"/"+v.ID, "").Code, "%s", q)
		}
	}
	return text
}

// questions are all that can be asked of the API with an ID in it: every path, every parameter of
// every list, and every string in every body, taken from the OpenAPI document.
func (w *world) questions() []question {
	w.Helper()
	answer := ask(w.handler, "GET", "/openapi.json", "")
	var document struct {
		Paths map[string]map[string]struct {
			Parameters  []struct{ Name, In string }
			RequestBody struct {
				Content map[string]struct{ Schema node }
			}
		}
	}
	require.NoError(w, json.Unmarshal(answer.Body.Bytes(), &document))
	var all []question
	for _, path := range slices.Sorted(maps.Keys(document.Paths)) {
		kind, _, _ := strings.Cut(strings.TrimPrefix(path, "/v2.0/"), "/")
		own := strings.NewReplacer("{id}", w.ids[kind], "{router}", w.ids["routers"], "{project}", "p1", "{tag}", "t", "{alias}", "router").Replace(path)
		for _, method := range slices.Sorted(maps.Keys(document.Paths[path])) {
			o := document.Paths[path][method]
			method = strings.ToUpper(method)
			base := ""
			for _, b := range bodies {
				if b.operation == method+" "+path {
					base = b.body
				}
			}
			for _, name := range []string{"{id}", "{router}", "{project}"} {
				if strings.Contains(path, name) {
					before, after, _ := strings.Cut(path, name)
					fill := strings.NewReplacer("{id}", w.ids[kind], "{router}", w.ids["routers"], "{tag}", "t")
					all = append(all, question{method: method, target: fill.Replace(before) + "X" + fill.Replace(after), body: base})
				}
			}
			for _, p := range o.Parameters {
				switch {
				case p.In != "query":
				case p.Name == "marker":
					for _, more := range []string{"", "&limit=1", "&limit=1&page_reverse=True", "&limit=1&sort_key=name&sort_dir=asc", "&limit=1&sort_key=project_id&sort_dir=desc",
						"&limit=1&sort_key=status&sort_dir=asc"} {
						all = append(all, question{method: method, target: own + "?marker=X" + more})
					}
				case p.Name == "fixed_ips":
					for _, value := range []string{"X", "subnet_id=X", "ip_address=X", "ip_address_substr=X"} {
						all = append(all, question{method: method, target: own + "?" + p.Name + "=" + value})
					}
				default:
					all = append(all, question{method: method, target: own + "?" + p.Name + "=X"})
				}
			}
			for _, leaf := range o.RequestBody.Content["application/json"].Schema.leaves(base) {
				all = append(all, question{method: method, target: own, body: leaf})
			}
		}
	}
	return all
}

// node is a part of a schema.
type node struct {
	Type       string
	OneOf      []node
	Items      *node
	Properties map[string]node
	Required   []string
}

// leaves are bodies in which one string each is X, and all else is as in the body that is given.
func (n node) leaves(base string) []string {
	var value map[string]any
	if json.Unmarshal([]byte(base), &value) != nil {
		value = map[string]any{}
	}
	var all []string
	n.each(value, func(v any) {
		text, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		all = append(all, string(text))
	})
	return all
}

// each calls fn with value, each time with X in another place.
func (n node) each(value any, fn func(any)) {
	switch {
	case len(n.OneOf) > 0:
		n.OneOf[0].each(value, fn)
	case n.Type == "string":
		fn("X")
	case n.Type == "array":
		n.Items.each(nil, func(v any) { fn([]any{v}) })
	case n.Type == "object":
		have, _ := value.(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(n.Properties)) {
			n.Properties[name].each(have[name], func(v any) {
				changed := maps.Clone(have)
				if changed == nil {
					changed = map[string]any{}
				}
				for _, need := range n.Required {
					if changed[need] == nil {
						changed[need] = "$outside"
					}
				}
				changed[name] = v
				fn(changed)
			})
		}
	}
}

// TestUnseenIsAbsent asks every question about every kind of thing that the caller does not see,
// and about one that does not exist. Nothing in the answers tells which is which, and nothing that
// is not the caller's changes.
func TestUnseenIsAbsent(t *testing.T) {
	t.Parallel()
	there, elsewhere := newWorld(t), newWorld(t)
	there.named, elsewhere.named = there.foreign, map[string]string{}
	for kind := range there.foreign {
		elsewhere.named[kind] = uuid.NewString()
	}
	before := there.theirs()
	questions, same := there.questions(), elsewhere.questions()
	require.Len(t, same, len(questions))
	count := 0
	for i := range questions {
		for _, kind := range slices.Sorted(maps.Keys(there.foreign)) {
			for _, person := range []string{"member", "reader", "none"} {
				if person != "member" && i%7 != len(kind)%7 { // a sample of them
					continue
				}
				count++
				questions[i].person, same[i].person = person, person
				require.Equal(t, elsewhere.asked(same[i], elsewhere.named[kind]), there.asked(questions[i], there.named[kind]),
					"%s as %s instead of a thing that does not exist, in %+v", kind, person, questions[i])
			}
		}
	}
	t.Logf("%d questions, asked %d times", len(questions), count)
	require.Greater(t, len(questions), 500, "the document has lost its attributes")
	require.Equal(t, before, there.theirs(), "what is not the caller's has changed")
}

// TestConflictsTellNothing: on a shared network, whether an address or a MAC address is in use by
// others is not found out by asking for it.
func TestConflictsTellNothing(t *testing.T) {
	w := newWorld(t)
	subnet := w.find("subnets", "subnets?network_id="+w.ids["outside"], "id")
	w.make("ports", `{"port": {"project_id": "p2", "network_id": "$outside", "mac_address": "fa:16:3e:00:00:01",
		"fixed_ips": [{"ip_address": "203.0.113.99"}], "device_owner": "compute:x"}}`)
	own := w.make("ports", `{"port": {"project_id": "p1", "network_id": "$outside"}}`)
	for _, c := range []struct{ method, target, body, used, free string }{
		{"POST", "ports", `{"port": {"network_id": "$outside", "mac_address": "X"}}`, "fa:16:3e:00:00:01", "fa:16:3e:00:00:02"},
		{"PUT", "ports/" + own, `{"port": {"mac_address": "X"}}`, "fa:16:3e:00:00:01", "fa:16:3e:00:00:02"},
		{"POST", "ports", `{"port": {"network_id": "$outside", "fixed_ips": [{"ip_address": "X"}]}}`, "203.0.113.99", "203.0.113.98"},
		{"POST", "ports", `{"port": {"network_id": "$outside", "fixed_ips": [{"subnet_id": "` + subnet + `", "ip_address": "X"}]}}`, "203.0.113.99", "203.0.113.98"},
		{"PUT", "ports/" + own, `{"port": {"fixed_ips": [{"ip_address": "X"}]}}`, "203.0.113.99", "203.0.113.98"},
		{"POST", "floatingips", `{"floatingip": {"floating_network_id": "$outside", "floating_ip_address": "X"}}`, "203.0.113.99", "203.0.113.98"},
		{"POST", "routers", `{"router": {"external_gateway_info": {"network_id": "$outside", "external_fixed_ips": [{"ip_address": "X"}]}}}`, "203.0.113.99", "203.0.113.98"},
		{"GET", "ports?mac_address=X", "", "fa:16:3e:00:00:01", "fa:16:3e:00:00:02"},
		{"GET", "ports?fixed_ips=ip_address=X", "", "203.0.113.99", "203.0.113.98"},
		{"GET", "floatingips?floating_ip_address=X", "", "203.0.113.99", "203.0.113.98"},
		{"GET", "networks?provider:segmentation_id=X", "", "1", "7777"},
		{"POST", "networks", `{"network": {"provider:network_type": "vxlan", "provider:segmentation_id": "X"}}`, "1", "7777"},
		{"POST", "networks", `{"network": {"name": "X"}}`, "p2", "pX"},
		{"GET", "quotas/X", "", "p2", "pX"},
		{"GET", "quotas/X/details", "", "p2", "pX"},
		{"POST", "networks", `{"network": {"project_id": "X"}}`, "p2", "pX"},
		{"GET", "networks?project_id=X", "", "p2", "pX"},
	} {
		answers := map[string]string{}
		for _, x := range []string{c.used, c.free} {
			answers[x] = strings.ReplaceAll(w.asked(question{"member", c.method, "/v2.0/" + c.target, c.body}, x), x, "X")
		}
		require.Equal(t, answers[c.free], answers[c.used], "%+v", c)
	}
}
