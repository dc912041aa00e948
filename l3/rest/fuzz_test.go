package rest

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/l3kit/l3kit/l3"
)

// FuzzBody gives the decoder of every resource what clients could send. Whatever it does not take
// is refused with 4xx, and nothing panics.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{
		`{"router": {"name": "r", "external_gateway_info": {"network_id": "6b6b1a5e-5f4a-4b9e-9d0a-0f5f3a1c2d3e", "external_fixed_ips": [{}]}}}`,
		`{"networks": [{"mtu": "1400", "provider:segmentation_id": 5, "segments": [{"provider:network_type": "vlan"}]}]}`,
		`{"subnet": {"cidr": "10.0.0.0/24", "gateway_ip": null, "allocation_pools": [{"start": "::", "end": "::1"}]}}`,
		`{"port": {"fixed_ips": [{"ip_address": "::ffff:1.2.3.4"}], "mac_address": "fa:16:3e:00:00:01", "binding:profile": {"a": [{}]}}}`,
		`{"floatingip": {"port_id": null}}`, `{"security_group_rule": {"protocol": 6, "port_range_min": -1, "remote_ip_prefix": "::/0"}}`,
		`{"rbac_policy": {"target_tenant": "*"}}`, `{"agent": {"admin_state_up": 1}}`, `[`, `{"router": 1e999}`, `{"router": {"name": "\ud800"}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		object, err := parseBody(body)
		if err != nil {
			refused(t, err)
			return
		}
		for _, in := range []use{inPost, inPut} {
			decode(t, networkTable(), object, in)
			decode(t, subnetTable(), object, in)
			decode(t, portTable(), object, in)
			decode(t, routerTable(), object, in)
			decode(t, floatingIPTable(), object, in)
			decode(t, securityGroupTable(), object, in)
			decode(t, securityGroupRuleTable(), object, in)
			decode(t, rbacPolicyTable(), object, in)
			decode(t, agentTable(), object, in)
		}
	})
}

// decode reads every object in a body as a resource.
func decode[R, S any](t *testing.T, attributes table[R, S], body any, in use) {
	switch body := body.(type) {
	case []any:
		for _, v := range body {
			decode(t, attributes, v, in)
		}
	case map[string]any:
		if _, err := attributes.read(body, in); err != nil {
			refused(t, err)
		}
		for _, v := range body {
			decode(t, attributes, v, in)
		}
	}
}

// FuzzQuery gives the parser of lists what clients could ask.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{
		"name=x&name=&fields=id&sort_key=name&sort_dir=asc&limit=5&marker=m&page_reverse=True", "fixed_ips=ip_address%3D10.0.0.1&fixed_ips=subnet_id=",
		"tags=a,b&not-tags-any=,&tags-any=", "router:external=True&mtu=1e3&shared=", "limit=-1", "%00=%ff", "a;b", "mac_address=FA-16-3E-00-00-01",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		r := &http.Request{URL: &url.URL{RawQuery: raw}}
		params, err := parameters(r)
		if err != nil {
			refused(t, err)
			return
		}
		for _, who := range []sight{everything, func(string) bool { return false }} {
			parse(t, networkTable(), params, who)
			parse(t, subnetTable(), params, who)
			parse(t, portTable(), params, who)
			parse(t, routerTable(), params, who)
			parse(t, floatingIPTable(), params, who)
			parse(t, securityGroupRuleTable(), params, who)
			parse(t, agentTable(), params, who)
		}
	})
}

func parse[R, S any](t *testing.T, attributes table[R, S], params url.Values, sees sight) {
	q, err := attributes.query(params, sees)
	if err != nil {
		refused(t, err)
		return
	}
	for _, filter := range q.Filters {
		for _, v := range filter.Values {
			switch v.(type) {
			case string, bool, int:
			default:
				t.Errorf("filter %s has a %T", filter.Field, v)
			}
		}
	}
	links("http://h/v2.0/x", params, q, 1, "a", "b")
}

// refused requires a refusal with a message, which is well-formed JSON once it is an answer.
func refused(t *testing.T, err error) {
	t.Helper()
	var refusal *l3.Error
	if !errors.As(err, &refusal) || statusOf(refusal) < 400 || statusOf(refusal) > 499 || refusal.Message == "" {
		t.Errorf("%v is not a refusal with 4xx", err)
	}
	w := httptest.NewRecorder()
	(&api{}).fail(w, nil, err)
	if !json.Valid(w.Body.Bytes()) {
		t.Errorf("%s is not JSON", w.Body)
	}
}
