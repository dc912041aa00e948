package rest_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/routers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/qos/policies"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/qos/rules"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/qos/ruletypes"
	"github.com/stretchr/testify/require"
)

func TestQoSByItsClient(t *testing.T) {
	onClouds(t, func(c *cloud) {
		at := c.tiers()
		p := ok(policies.Create(c.Context(), c.admin, policies.CreateOpts{Name: "gold", Shared: true, Description: "fast"}).Extract())(c)
		require.Equal(c, "gold", p.Name)
		require.True(c, p.Shared)
		limit := ok(rules.CreateBandwidthLimitRule(c.Context(), c.admin, p.ID, rules.CreateBandwidthLimitRuleOpts{MaxKBps: 3000, MaxBurstKBps: 300}).
			ExtractBandwidthLimitRule())(c)
		require.Equal(c, rules.BandwidthLimitRule{ID: limit.ID, MaxKBps: 3000, MaxBurstKBps: 300, Direction: "egress"}, *limit)
		mark := ok(rules.CreateDSCPMarkingRule(c.Context(), c.admin, p.ID, rules.CreateDSCPMarkingRuleOpts{DSCPMark: 26}).ExtractDSCPMarkingRule())(c)
		least := ok(rules.CreateMinimumBandwidthRule(c.Context(), c.admin, p.ID, rules.CreateMinimumBandwidthRuleOpts{MinKBps: 2000}).ExtractMinimumBandwidthRule())(c)
		require.Equal(c, 26, mark.DSCPMark)
		require.Equal(c, "egress", least.Direction)

		seen := ok(policies.Get(c.Context(), c.member, p.ID).Extract())(c)
		require.Len(c, seen.Rules, 3)
		require.Contains(c, seen.Rules, map[string]any{
			"id": limit.ID, "qos_policy_id": p.ID, "type": "bandwidth_limit", "direction": "egress", "max_kbps": 3000.0, "max_burst_kbps": 300.0,
		})
		require.Contains(c, seen.Rules, map[string]any{"id": mark.ID, "qos_policy_id": p.ID, "type": "dscp_marking", "dscp_mark": 26.0})
		require.Greater(c, seen.RevisionNumber, p.RevisionNumber)
		require.Len(c, all(c, policies.List(c.member, policies.ListOpts{Name: "gold"}), policies.ExtractPolicies), 1)
		require.Len(c, all(c, rules.ListBandwidthLimitRules(c.member, p.ID, rules.BandwidthLimitRulesListOpts{MaxKBps: 3000}), rules.ExtractBandwidthLimitRules), 1)
		require.Empty(c, all(c, rules.ListBandwidthLimitRules(c.member, p.ID, rules.BandwidthLimitRulesListOpts{MaxKBps: 1}), rules.ExtractBandwidthLimitRules))
		require.Len(c, all(c, ruletypes.ListRuleTypes(c.member), ruletypes.ExtractRuleTypes), 3)

		faster := ok(rules.UpdateBandwidthLimitRule(c.Context(), c.admin, p.ID, limit.ID, rules.UpdateBandwidthLimitRuleOpts{MaxKBps: new(4000), Direction: "ingress"}).
			ExtractBandwidthLimitRule())(c)
		require.Equal(c, rules.BandwidthLimitRule{ID: limit.ID, MaxKBps: 4000, MaxBurstKBps: 300, Direction: "ingress"}, *faster)
		status, body := c.raw(c.admin, "PUT", "qos/alias_bandwidth_limit_rules/"+limit.ID, `{"alias_bandwidth_limit_rule": {"max_kbps": 5000}}`)
		require.Equal(c, http.StatusOK, status, body)
		require.Contains(c, body, `"max_kbps":5000`)

		// On a floating IP, a gateway and the external network.
		f := c.floatingIP(at.public.ID, at.port.ID)
		status, body = c.raw(c.member, "PUT", "floatingips/"+f.ID, `{"floatingip": {"qos_policy_id": "`+p.ID+`"}}`)
		require.Equal(c, http.StatusOK, status, body)
		require.Contains(c, body, `"qos_policy_id":"`+p.ID+`"`)
		require.Contains(c, body, `"port_id":"`+at.port.ID+`"`)
		r := ok(routers.Update(c.Context(), c.member, at.router.ID, routers.UpdateOpts{
			GatewayInfo: &routers.GatewayInfo{NetworkID: at.public.ID, QoSPolicyID: p.ID},
		}).Extract())(c)
		require.Equal(c, p.ID, r.GatewayInfo.QoSPolicyID)
		status, body = c.raw(c.admin, "PUT", "networks/"+at.public.ID, `{"network": {"qos_policy_id": "`+p.ID+`"}}`)
		require.Equal(c, http.StatusOK, status, body)
		_, body = c.raw(c.member, "GET", "floatingips/"+f.ID, "")
		require.Contains(c, body, `"qos_network_policy_id":"`+p.ID+`"`)
		c.refused(policies.Delete(c.Context(), c.admin, p.ID).Err, http.StatusConflict, "QosPolicyInUse")
		_, body = c.raw(c.member, "GET", "floatingips?qos_policy_id="+p.ID, "")
		require.Contains(c, body, f.ID)

		for where, text := range map[string]string{
			"networks/" + at.public.ID: `{"network": {"qos_policy_id": null}}`, "floatingips/" + f.ID: `{"floatingip": {"qos_policy_id": null}}`,
			"routers/" + at.router.ID: `{"router": {"external_gateway_info": {"network_id": "` + at.public.ID + `", "qos_policy_id": null}}}`,
		} {
			status, body := c.raw(c.admin, "PUT", where, text)
			require.Equal(c, http.StatusOK, status, body)
		}
		require.NoError(c, rules.DeleteBandwidthLimitRule(c.Context(), c.admin, p.ID, limit.ID).Err)
		require.NoError(c, policies.Delete(c.Context(), c.admin, p.ID).Err)
		c.refused(policies.Get(c.Context(), c.admin, p.ID).Err, http.StatusNotFound, "QosPolicyNotFound")
	})
}

// TestQoSValues: what makes no sense is refused by name.
func TestQoSValues(t *testing.T) {
	onClouds(t, func(c *cloud) {
		p := ok(policies.Create(c.Context(), c.admin, policies.CreateOpts{Name: "p"}).Extract())(c)
		for text, says := range map[string]string{
			`bandwidth_limit_rule {"max_burst_kbps": 1}`:                  "max_kbps",
			`bandwidth_limit_rule {"max_kbps": -1}`:                       "max_kbps",
			`bandwidth_limit_rule {"max_kbps": 2147483648}`:               "max_kbps",
			`bandwidth_limit_rule {"max_kbps": 1, "max_burst_kbps": "x"}`: "max_burst_kbps",
			`bandwidth_limit_rule {"max_kbps": 1, "direction": "any"}`:    "direction",
			`bandwidth_limit_rule {"max_kbps": 1, "min_kbps": 1}`:         "min_kbps",
			`dscp_marking_rule {"dscp_mark": 27}`:                         "dscp_mark",
			`dscp_marking_rule {"dscp_mark": 64}`:                         "dscp_mark",
			`minimum_bandwidth_rule {"direction": "egress"}`:              "min_kbps",
		} {
			one, body, _ := strings.Cut(text, " ")
			status, answer := c.raw(c.admin, "POST", "qos/policies/"+p.ID+"/"+one+"s", `{"`+one+`": `+body+`}`)
			require.Equal(c, http.StatusBadRequest, status, "%s: %s", text, answer)
			require.Contains(c, answer, says, text)
		}
		status, answer := c.raw(c.admin, "POST", "qos/policies", `{"policy": {"description": "nameless"}}`)
		require.Equal(c, http.StatusBadRequest, status, answer)
		status, _ = c.raw(c.admin, "GET", "qos/policies/"+p.ID+"/bandwidth_rules", "")
		require.Equal(c, http.StatusNotFound, status)
	})
}

// TestQoSByOpenstack: the commands of the openstack client.
func TestQoSByOpenstack(t *testing.T) {
	onClouds(t, func(c *cloud) {
		at := c.tiers()
		f := c.floatingIP(at.public.ID, at.port.ID)
		p := ok(policies.Create(c.Context(), c.admin, policies.CreateOpts{Name: "gold", Shared: true}).Extract())(c)
		ok(rules.CreateBandwidthLimitRule(c.Context(), c.admin, p.ID, rules.CreateBandwidthLimitRuleOpts{MaxKBps: 3000}).ExtractBandwidthLimitRule())(c)
		said := c.openstack(
			"network qos policy list -f csv",
			"network qos policy show gold -f shell",
			"network qos rule list gold -f csv",
			"network qos rule type list -f csv",
			"floating ip set --qos-policy gold "+f.FloatingIP,
			"floating ip show "+f.FloatingIP+" -f shell",
			"floating ip unset --qos-policy "+f.FloatingIP,
			"router set --external-gateway "+at.public.ID+" --qos-policy gold "+at.router.ID,
			"router show "+at.router.ID+" -f json",
			"network qos policy create mine",
		)
		for _, want := range []string{
			`"gold",True,False`, `name="gold"`, `"bandwidth_limit",3000,`, `"minimum_bandwidth"`, `qos_policy_id="` + p.ID + `"`, `"qos_policy_id": "` + p.ID + `"`,
			"disallowed by policy",
		} {
			require.Contains(c, said, want)
		}
	})
}
