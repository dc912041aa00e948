package rest_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3/rest"
)

// What can be done with an attribute that a request gives. Nothing may be accepted and have no
// effect in silence.
const (
	realised = "realised" // hosts, addresses, permissions or quotas follow from it, or it is a label that people look for
	stored   = "stored"   // accepted and shown, and nothing acts on it: the OpenAPI document says so
	refused  = "refused"  // a value that would need something that does not exist is 400 or 404: TestWhatIsNotRealisedIsRefused
)

// classes is every attribute of every request. Whoever adds one decides here what it is.
var classes = map[string]string{
	"network.name": realised, "network.description": realised, "network.project_id": realised, "network.tenant_id": realised,
	"network.tags": realised, "network.shared": realised, "network.router:external": realised, "network.mtu": realised,
	"network.provider:network_type": realised, "network.provider:physical_network": realised, "network.provider:segmentation_id": realised,
	"network.segments.provider:network_type": realised, "network.segments.provider:physical_network": realised,
	"network.segments.provider:segmentation_id": realised,
	"network.admin_state_up":                    stored, "network.availability_zone_hints": stored, "network.is_default": realised, "network.port_security_enabled": stored,

	"subnet.name": realised, "subnet.description": realised, "subnet.project_id": realised, "subnet.tenant_id": realised,
	"subnet.tags": realised, "subnet.network_id": realised, "subnet.ip_version": realised, "subnet.cidr": realised, "subnet.gateway_ip": realised,
	"subnet.allocation_pools.start": realised, "subnet.allocation_pools.end": realised, "subnet.service_types": realised,
	"subnet.ipv6_address_mode": realised, "subnet.ipv6_ra_mode": realised, "subnet.subnetpool_id": realised, "subnet.use_default_subnetpool": realised,
	"subnet.prefixlen":   realised,
	"subnet.enable_dhcp": stored, "subnet.dns_nameservers": stored, "subnet.host_routes.destination": stored, "subnet.host_routes.nexthop": stored,

	"subnetpool.name": realised, "subnetpool.description": realised, "subnetpool.project_id": realised, "subnetpool.tenant_id": realised,
	"subnetpool.tags": realised, "subnetpool.prefixes": realised, "subnetpool.min_prefixlen": realised, "subnetpool.max_prefixlen": realised,
	"subnetpool.default_prefixlen": realised, "subnetpool.default_quota": realised, "subnetpool.is_default": realised, "subnetpool.shared": realised,
	"subnetpool.address_scope_id": realised, "add_prefixes.prefixes": realised, "remove_prefixes.prefixes": realised, "onboard_network_subnets.network_id": realised,
	"address_scope.name": realised, "address_scope.project_id": realised, "address_scope.tenant_id": realised, "address_scope.ip_version": realised,
	"address_scope.shared": realised,

	"port.name": realised, "port.description": realised, "port.project_id": realised, "port.tenant_id": realised,
	"port.tags": realised, "port.network_id": realised, "port.admin_state_up": realised, "port.mac_address": realised,
	"port.fixed_ips.subnet_id": realised, "port.fixed_ips.ip_address": realised, "port.device_id": realised, "port.device_owner": realised,
	"port.binding:host_id": realised, "port.binding:vnic_type": stored, "port.binding:profile": realised, // by migrating_to
	"port.port_security_enabled": stored, "port.security_groups": stored, "port.qos_policy_id": stored,
	"port.dns_name": stored, "port.dns_domain": stored, "network.dns_domain": stored, "floatingip.dns_name": stored, "floatingip.dns_domain": stored,
	"port.allowed_address_pairs.ip_address": stored, "port.allowed_address_pairs.mac_address": stored,
	"port.extra_dhcp_opts.opt_name": stored, "port.extra_dhcp_opts.opt_value": stored, "port.extra_dhcp_opts.ip_version": stored,

	"router.name": realised, "router.description": realised, "router.project_id": realised, "router.tenant_id": realised,
	"router.tags": realised, "router.admin_state_up": realised, "router.external_gateway_info.network_id": realised, "router.external_gateway_info.enable_snat": realised,
	"router.external_gateway_info.external_fixed_ips.subnet_id":  realised,
	"router.external_gateway_info.external_fixed_ips.ip_address": realised,
	"router.routes.destination":                                  realised, "router.routes.nexthop": realised, "router.availability_zone_hints": realised,
	"router.distributed": realised, "router.flavor_id": refused, "router.ha": refused,
	"router_interface.subnet_id": realised, "router_interface.port_id": realised,

	"floatingip.description": realised, "floatingip.project_id": realised, "floatingip.tenant_id": realised,
	"floatingip.tags": realised, "floatingip.floating_network_id": realised, "floatingip.subnet_id": realised, "floatingip.floating_ip_address": realised,
	"network.qos_policy_id": realised, "router.external_gateway_info.qos_policy_id": realised, "floatingip.qos_policy_id": realised,
	"floatingip.port_id": realised, "floatingip.fixed_ip_address": realised, "floatingip.distributed": realised,

	"port_forwarding.project_id": realised, "port_forwarding.tenant_id": realised, // or refused: it is the floating IP's
	"port_forwarding.description": realised, "port_forwarding.internal_port_id": realised, "port_forwarding.internal_ip_address": realised,
	"port_forwarding.protocol": realised, "port_forwarding.internal_port": realised, "port_forwarding.internal_port_range": realised,
	"port_forwarding.external_port": realised, "port_forwarding.external_port_range": realised,

	"policy.name": realised, "policy.description": realised, "policy.project_id": realised, "policy.tenant_id": realised, "policy.tags": realised,
	"policy.shared": realised, "policy.is_default": realised,
	"bandwidth_limit_rule.max_kbps": realised, "bandwidth_limit_rule.max_burst_kbps": realised, "bandwidth_limit_rule.direction": realised,
	"alias_bandwidth_limit_rule.max_kbps": realised, "alias_bandwidth_limit_rule.max_burst_kbps": realised, "alias_bandwidth_limit_rule.direction": realised,
	"dscp_marking_rule.dscp_mark": stored, "alias_dscp_marking_rule.dscp_mark": stored,
	"minimum_bandwidth_rule.min_kbps": stored, "minimum_bandwidth_rule.direction": stored,
	"alias_minimum_bandwidth_rule.min_kbps": stored, "alias_minimum_bandwidth_rule.direction": stored,

	"security_group.name": realised, "security_group.description": realised, "security_group.project_id": realised,
	"security_group.tags": realised, "security_group.tenant_id": realised, "security_group.stateful": stored,
	"security_group_rule.description": realised, "security_group_rule.project_id": realised, "security_group_rule.tenant_id": realised,
	"security_group_rule.tags": realised, "security_group_rule.security_group_id": realised, "security_group_rule.direction": stored, "security_group_rule.ethertype": stored,
	"security_group_rule.protocol": stored, "security_group_rule.port_range_min": stored, "security_group_rule.port_range_max": stored,
	"security_group_rule.remote_ip_prefix": stored, "security_group_rule.remote_group_id": stored,
	"security_group_rule.remote_address_group_id": refused,

	"rbac_policy.project_id": realised, "rbac_policy.tenant_id": realised, "rbac_policy.object_type": realised, "rbac_policy.object_id": realised,
	"rbac_policy.action": realised, "rbac_policy.target_tenant": realised,

	"agent.admin_state_up": realised, "agent.description": realised, "l3-routers.router_id": realised, "tags.tags": realised,
	"quota.*": realised, // a limit of each resource
}

// TestEveryAttributeIsClassified takes the attributes of all requests from the OpenAPI document. A
// new one fails it, until it is decided what it does.
func TestEveryAttributeIsClassified(t *testing.T) {
	w := httptest.NewRecorder()
	rest.New(rest.Config{Service: &fake{}, Auth: rest.None{}}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
	var document struct {
		Paths map[string]map[string]struct {
			RequestBody struct {
				Content map[string]struct{ Schema described }
			}
		}
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &document))
	found := map[string]string{} // with its description
	for path, operations := range document.Paths {
		for _, o := range operations {
			for _, media := range o.RequestBody.Content {
				media.Schema.requests(path, found)
			}
		}
	}
	require.Equal(t, slices.Sorted(maps.Keys(classes)), slices.Sorted(maps.Keys(found)), "attributes that are classified, and that requests have")
	for name, description := range found {
		require.Equal(t, classes[name] == stored, strings.HasPrefix(description, "Stored only: "), "%s: %q", name, description)
	}
}

// described is a schema of the document.
type described struct {
	Type                 string
	Description          string
	Properties           map[string]described
	Items                *described
	OneOf                []described
	AdditionalProperties any
}

// requests adds the attributes of a request to a path.
func (s described) requests(path string, found map[string]string) {
	for _, either := range s.OneOf {
		either.requests(path, found)
	}
	steps := strings.Split(path, "/")
	for name, inner := range s.Properties {
		switch {
		case inner.Items != nil && (!strings.Contains(path, "{") || strings.Contains(path, "{parent}")): // several resources at once, each by itself or wrapped
			resource := strings.TrimSuffix(strings.Replace(name, "policies", "policy", 1), "s")
			for _, form := range append(inner.Items.OneOf, *inner.Items) {
				if wrapped, ok := form.Properties[resource]; ok {
					form = wrapped
				}
				if form.Properties != nil {
					form.attributes(resource, "", found)
				}
			}
		case inner.Type == "object" && inner.Properties == nil && inner.AdditionalProperties != nil:
			found[name+".*"] = inner.Description
		case inner.Type == "object" && (len(s.Properties) == 1):
			inner.attributes(name, "", found)
		case strings.HasSuffix(path, "_router_interface"):
			s.attributes("router_interface", "", found)
		default:
			s.attributes(steps[len(steps)-1], "", found)
		}
	}
}

func (s described) attributes(at, description string, found map[string]string) {
	if s.Items != nil {
		s = *s.Items
	}
	if s.Properties == nil {
		found[at] = description
		return
	}
	for name, inner := range s.Properties {
		why := description
		if inner.Description != "" {
			why = inner.Description
		}
		inner.attributes(at+"."+name, why, found)
	}
}

// TestWhatIsNotRealisedIsRefused: no value is accepted that would need what does not exist.
func TestWhatIsNotRealisedIsRefused(t *testing.T) {
	onClouds(t, func(c *cloud) {
		_, body := c.raw(c.admin, "POST", "routers", `{"router": {"name": "r", "ha": false, "distributed": false, "flavor_id": null}}`)
		require.Contains(c, body, `"distributed":false`)
		id := body[strings.Index(body, `"id":"`)+6:][:36]
		_, group := c.raw(c.admin, "POST", "security-groups", `{"security_group": {"name": "g"}}`)
		groupID := group[strings.Index(group, `{"id":"`)+7:][:36]
		requests := map[string]struct {
			method, path, body, says string
			status                   int
		}{
			"router.ha":        {"POST", "routers", `{"router": {"ha": true}}`, "HA routers are not supported", 400},
			"router.ha ":       {"PUT", "routers/" + id, `{"router": {"ha": true}}`, "HA routers are not supported", 400},
			"router.flavor_id": {"POST", "routers", `{"router": {"flavor_id": "` + id + `"}}`, "Flavor", 404},
			"security_group_rule.remote_address_group_id": {"POST", "security-group-rules", `{"security_group_rule": {"security_group_id": "` + groupID +
				`", "direction": "ingress", "remote_address_group_id": "` + id + `"}}`, "Address group", 404},
		}
		for attribute, request := range requests {
			status, body := c.raw(c.admin, request.method, request.path, request.body)
			require.Equal(c, request.status, status, "%s: %s", attribute, body)
			require.Contains(c, body, request.says)
			require.Equal(c, refused, classes[strings.TrimSpace(attribute)])
		}
		for attribute, class := range classes {
			_, tried := requests[attribute]
			require.Equal(c, class == refused, tried, "%s is %s", attribute, class)
		}
		status, _ := c.raw(c.member, "POST", "routers", `{"router": {"ha": true}}`)
		require.Equal(c, http.StatusForbidden, status, "members may not say")
	})
}
