package rest

import (
	"net/http"

	"github.com/l3kit/l3kit/l3"
)

// extension is a part of the API beyond its core, under the alias and the date that Neutron knows
// it by. A client that finds the alias relies on all of it, so one stands here only when nothing of
// it is missing.
type extension struct {
	Alias       string   `json:"alias"`
	Name        string   `json:"name"`
	Updated     string   `json:"updated"`
	Description string   `json:"description"`
	Links       []string `json:"links"` // always empty
}

var extensions = []extension{
	{"address-scope", "Address scope", "2015-07-26T10:00:00-00:00",
		"Subnets of subnet pools in one address scope are routed to each other without NAT.", nil},
	{"agent", "agent", "2013-02-03T10:00:00-00:00", "The processes that realise routers on hosts.", nil},
	{"agent-resources-synced", "Agent's Resource View Synced to Placement", "2018-12-19T00:00:00-00:00",
		"Agents show resources_synced.", nil},
	{"allowed-address-pairs", "Allowed Address Pairs", "2013-07-23T10:00:00-00:00",
		"Ports keep the further addresses that they may use.", nil},
	{"auto-allocated-topology", "Auto Allocated Topology Services", "2016-01-01T00:00:00-00:00",
		"A project can be given a network behind a router.", nil},
	{"availability_zone", "Availability Zone", "2015-01-01T10:00:00-00:00", "Groups of agents.", nil},
	{"availability_zone_filter", "Availability Zone Filter Extension", "2018-06-22T10:00:00-00:00",
		"Availability zones can be filtered by each of their attributes.", nil},
	{"binding", "Port Binding", "2014-02-03T10:00:00-00:00", "Ports keep where they are plugged in, for administrators.", nil},
	{"default-subnetpools", "Default Subnetpools", "2016-02-18T18:00:00-00:00",
		"A subnet pool can be the default of an IP version, and a subnet be of that.", nil},
	{"dns-domain-ports", "dns_domain for ports", "2017-06-25T18:00:00-00:00", "A port has a DNS domain of its own.", nil},
	{"dns-integration", "DNS Integration", "2015-08-15T18:00:00-00:00",
		"Ports, networks and floating IPs keep names for whoever serves DNS.", nil},
	{"dvr", "Distributed Virtual Router", "2014-06-1T10:00:00-00:00",
		"A router can route on each host that has workloads of its networks.", nil},
	{"empty-string-filtering", "Empty String Filtering Extension", "2018-05-01T10:00:00-00:00",
		"An empty value of a filter finds resources whose attribute is empty.", nil},
	{"expose-port-forwarding-in-fip", "Expose Floating IP port forwardings", "2018-06-28T16:00:00-00:00",
		"Floating IPs show their port forwardings.", nil},
	{"ext-gw-mode", "Neutron L3 Configurable external gateway mode", "2013-03-28T10:00:00-00:00",
		"Source NAT of a router can be switched off.", nil},
	{"external-net", "Neutron external network", "2013-01-14T10:00:00-00:00", "Networks that router gateways attach to.", nil},
	{"extra_dhcp_opt", "Neutron Extra DHCP options", "2013-03-17T12:00:00-00:00", "Ports keep DHCP options.", nil},
	{"extraroute", "Neutron Extra Route", "2013-02-01T10:00:00-00:00", "Routers have static routes.", nil},
	{"extraroute-atomic", "Atomically add/remove extra routes", "2019-07-10T00:00:00+00:00",
		"Static routes can be added and removed without naming the others.", nil},
	{"filter-validation", "Filter parameters validation", "2018-07-04T10:00:00-00:00", "Unknown filters are refused.", nil},
	{"fip-port-details", "Floating IP Port Details Extension", "2018-04-09T10:00:00-00:00",
		"A floating IP shows the port that it is bound to.", nil},
	{"floating-ip-distributed", "Floating IP Distributed Extension", "2022-08-30T10:00:00-00:00",
		"A floating IP can be kept at the centre of a distributed router.", nil},
	{"floating-ip-port-forwarding", "Floating IP Port Forwarding", "2018-01-19T10:00:00-00:00",
		"Ports of a floating IP lead to ports of internal addresses.", nil},
	{"floating-ip-port-forwarding-description", "Floating IP Port Forwarding new attribute description", "2019-11-01T10:00:00-00:00",
		"Port forwardings have descriptions.", nil},
	{"floating-ip-port-forwarding-detail", "Floating IP port forwarding detail", "2022-05-06T10:00:00-00:00",
		"Floating IPs show the IDs and the internal ports of their port forwardings.", nil},
	{"floating-ip-port-forwarding-port-ranges", "Floating IP Port Forwarding support port ranges", "2020-07-01T10:00:00-00:00",
		"Port forwardings can have ranges of ports.", nil},
	{"floatingip-pools", "Floating IP Pools Extension", "2018-03-21T10:00:00-00:00", "The subnets that floating IPs are of.", nil},
	{"ip-substring-filtering", "IP address substring filtering", "2017-11-28T09:00:00-00:00",
		"Ports can be filtered by a part of an address.", nil},
	{"l3-port-ip-change-not-allowed", "Prevent L3 router ports IP address change extension", "2018-10-09T10:00:00-00:00",
		"The addresses of a router's ports cannot be changed behind its back.", nil},
	{"l3_agent_scheduler", "L3 Agent Scheduler", "2013-02-07T10:00:00-00:00", "Which agent hosts a router can be seen and set.", nil},
	{"multi-provider", "Multi Provider Network", "2013-06-27T10:00:00-00:00", "A network may have several segments.", nil},
	{"net-mtu", "Network MTU", "2015-03-25T10:00:00-00:00", "Networks show their MTU.", nil},
	{"net-mtu-writable", "Network MTU (writable)", "2017-07-12T00:00:00-00:00", "The MTU of a network can be set.", nil},
	{"network-ip-availability", "Network IP Availability", "2015-09-24T00:00:00-00:00",
		"How many addresses networks have, and how many are in use.", nil},
	{"network_availability_zone", "Network Availability Zone", "2015-01-01T10:00:00-00:00", "Networks have availability zones.", nil},
	{"pagination", "Pagination support", "2016-06-12T00:00:00-00:00", "Lists come in pages, with links between them.", nil},
	{"port-mac-address-regenerate", "Neutron Port MAC address regenerate", "2018-05-03T10:00:00-00:00",
		"A port whose MAC address is set to null gets a new one.", nil},
	{"port-security", "Port Security", "2012-07-23T10:00:00-00:00", "Networks and ports keep whether their traffic is to be filtered.", nil},
	{"project-id", "project_id field enabled", "2016-09-09T09:09:09-09:09", "project_id stands beside tenant_id everywhere.", nil},
	{"provider", "Provider Network", "2012-09-07T10:00:00-00:00", "How a network is carried between hosts, for administrators.", nil},
	{"qos", "Quality of Service", "2015-06-08T10:00:00-00:00",
		"QoS policies and their rules. Floating IPs and gateways are limited; other rules, and the policies of ports, are kept.", nil},
	{"qos-bw-limit-direction", "Direction for QoS bandwidth limit rule", "2017-04-10T10:00:00-00:00",
		"Bandwidth limits have a direction.", nil},
	{"qos-default", "QoS default policy", "2017-04-06T10:00:00-00:00", "A project's new networks have its default QoS policy.", nil},
	{"qos-fip", "Floating IP QoS", "2017-07-20T00:00:00-00:00", "The bandwidth of a floating IP is limited by a QoS policy.", nil},
	{"qos-fip-network-policy", "QoS floating IP network policy ID", "2021-11-15T10:00:00-00:00",
		"Floating IPs show the QoS policy of their network.", nil},
	{"qos-gateway-ip", "Gateway IP QoS", "2018-08-08T08:30:00-00:00", "The bandwidth of a router's gateway is limited by a QoS policy.", nil},
	{"qos-port-network-policy", "QoS port network policy ID", "2019-11-01T10:00:00-00:00",
		"Ports show the QoS policy of their network.", nil},
	{"qos-rules-alias", "Ability to show, update and delete QoS rules without specifying the policy ID", "2018-10-07T10:00:00-00:00",
		"Rules of QoS policies are found by their own ID.", nil},
	{"quota-check-limit", "Quota engine limit check", "2021-09-08T16:00:00-00:00",
		"A quota can be refused when it is below what is used.", nil},
	{"quota_details", "Quota details management support", "2017-02-10T10:00:00-00:00", "Quotas show what is used of them.", nil},
	{"quotas", "Quota management support", "2012-07-29T10:00:00-00:00", "What a project may have is bounded.", nil},
	{"rbac-address-scope", "Add address_scope type to RBAC", "2020-02-12T00:00:00-00:00",
		"An address scope can be shared with single projects.", nil},
	{"rbac-policies", "RBAC Policies", "2015-06-17T12:15:12-00:00", "A network can be shared with single projects.", nil},
	{"rbac-subnetpool", "Add subnetpool type to RBAC", "2020-02-05T00:00:00-00:00",
		"A subnet pool can be shared with single projects.", nil},
	{"revision-if-match", "If-Match constraints based on revision_number", "2016-12-11T00:00:00-00:00",
		"A change can be made to depend on the revision that the client has seen.", nil},
	{"router", "Neutron L3 Router", "2012-07-20T10:00:00-00:00", "Routers and floating IPs.", nil},
	{"router-admin-state-down-before-update", "Enforce Router's Admin State Down Before Update Extension", "2019-07-02T15:56:00",
		"A router becomes distributed, or central, only while it is down and stays so.", nil},
	{"router_availability_zone", "Router Availability Zone", "2015-01-01T10:00:00-00:00", "Routers have availability zones.", nil},
	{"security-group", "security-group", "2012-10-05T10:00:00-00:00", "Security groups and their rules are kept; nothing here enforces them.", nil},
	{"security-groups-normalized-cidr", "Normalized CIDR field for security group rules", "2020-07-28T10:00:00-00:00",
		"Rules show the network that remote_ip_prefix stands for.", nil},
	{"security-groups-shared-filtering", "Security group filtering on the shared field", "2021-10-05T09:00:00-00:00",
		"Security groups can be filtered by shared.", nil},
	{"sort-key-validation", "Sort keys validation", "2018-07-04T10:00:00-00:00", "Sort keys that are no attributes are refused.", nil},
	{"sorting", "Sorting support", "2016-06-12T00:00:00-00:00", "Lists can be sorted by attributes.", nil},
	{"standard-attr-description", "standard-attr-description", "2016-02-10T10:00:00-00:00", "Resources have descriptions.", nil},
	{"standard-attr-revisions", "Resource revision numbers", "2016-04-11T10:00:00-00:00", "Resources count their changes.", nil},
	{"standard-attr-tag", "Tag support for resources with standard attributes", "2017-01-01T00:00:00-00:00", "Resources have tags.", nil},
	{"standard-attr-timestamp", "Resource timestamps", "2016-09-12T10:00:00-00:00",
		"Resources show when they were made and changed.", nil},
	{"stateful-security-group", "Stateful security group", "2019-11-26T09:00:00-00:00",
		"Security groups keep whether replies are let in.", nil},
	{"subnet-external-network", "Subnet belongs to an external network", "2024-02-05T18:00:00-00:00",
		"Subnets show whether their network is external.", nil},
	{"subnet-service-types", "Subnet service types", "2016-03-15T18:00:00-00:00", "A subnet can be kept for ports of certain owners.", nil},
	{"subnet_allocation", "Subnet Allocation", "2015-03-30T10:00:00-00:00", "Subnets can be allocated from subnet pools.", nil},
	{"subnet_onboard", "Subnet Onboard", "2018-12-18T09:00:00-00:00",
		"The subnets of a network can become subnets of a subnet pool.", nil},
	{"subnetpool-prefix-ops", "Subnet Pool Prefix Operations", "2019-02-08T10:00:00-00:00",
		"Prefixes can be added to a subnet pool, and removed, without naming the others.", nil},
}

func (a *api) extensions() {
	a.schemas["extension"] = schema{"type": "object", "properties": schema{
		"alias": schema{"type": "string"}, "name": schema{"type": "string"}, "description": schema{"type": "string"},
		"updated": schema{"type": "string"}, "links": schema{"type": "array", "items": schema{"type": "string"}},
	}}
	list := make([]extension, len(extensions))
	byAlias := make(map[string][]byte, len(extensions))
	for i, e := range extensions {
		e.Links = []string{}
		list[i] = e
		byAlias[e.Alias] = marshal(schema{"extension": e})
	}
	all := marshal(schema{"extensions": list})

	a.handle("GET /v2.0/extensions", operation{summary: "List the extensions of the API that are fulfilled", status: http.StatusOK,
		answers: envelopeOf("extensions", schema{"type": "array", "items": ref("extension")}),
		run: func(r *http.Request, _ l3.Caller) ([]byte, error) {
			params, err := parameters(r)
			if err != nil {
				return nil, err
			}
			if keys := params["sort_key"]; len(keys) > 0 { // they have one order
				return nil, badRequest("['%s'] is invalid attribute for sort_keys", show(keys[0]))
			}
			return all, nil
		}})
	a.handle("GET /v2.0/extensions/{alias}", operation{summary: "Show an extension", status: http.StatusOK,
		answers: envelopeOf("extension", ref("extension")),
		run: func(r *http.Request, _ l3.Caller) ([]byte, error) {
			one, ok := byAlias[r.PathValue("alias")]
			if !ok {
				return nil, &l3.Error{Kind: l3.ErrNotFound, Name: "HTTPNotFound",
					Message: "Extension with alias " + show(r.PathValue("alias")) + " does not exist"}
			}
			return one, nil
		}})
}
