package rest_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/agents"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/floatingips"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/routers"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane/agent"
)

func TestAgentsHostRouters(t *testing.T) {
	onClouds(t, func(c *cloud) {
		beat(c.T, c.service, "host-1")
		list := all(c, agents.List(c.admin, agents.ListOpts{AgentType: "L3 agent", Alive: new(true)}), agents.ExtractAgents)
		require.Len(c, list, 1)
		one := list[0]
		require.Equal(c, "host-1", one.Host)
		require.Equal(c, "nova", one.AvailabilityZone)
		require.Equal(c, *c.now, one.HeartbeatTimestamp)
		require.True(c, one.AdminStateUp)
		require.Empty(c, all(c, agents.List(c.member, agents.ListOpts{}), agents.ExtractAgents), "a member sees none")

		at := c.tiers()
		f := c.floatingIP(at.public.ID, at.port.ID)
		hosted := ok(agents.ListL3Routers(c.Context(), c.admin, one.ID).Extract())(c)
		require.Len(c, hosted, 1)
		require.Equal(c, at.router.ID, hosted[0].ID)
		hosts := all(c, routers.ListL3Agents(c.admin, at.router.ID), routers.ExtractL3Agents)
		require.Len(c, hosts, 1)
		require.Equal(c, one.ID, hosts[0].ID)

		settle(c.T, c.service, "host-1")
		require.Equal(c, "ACTIVE", ok(routers.Get(c.Context(), c.member, at.router.ID).Extract())(c).Status)
		require.Equal(c, "ACTIVE", ok(floatingips.Get(c.Context(), c.member, f.ID).Extract())(c).Status)

		beat(c.T, c.service, "host-2")
		two := all(c, agents.List(c.admin, agents.ListOpts{Host: "host-2"}), agents.ExtractAgents)[0]
		schedule := func(agent, router string) error {
			return agents.ScheduleL3Router(c.Context(), c.admin, agent, agents.ScheduleL3RouterOpts{RouterID: router}).ExtractErr()
		}
		c.refused(schedule(two.ID, at.router.ID), http.StatusConflict, "RouterHostedByL3Agent")
		c.refused(agents.RemoveL3Router(c.Context(), c.admin, two.ID, at.router.ID).ExtractErr(), http.StatusConflict, "RouterNotHostedByL3Agent")
		require.NoError(c, agents.RemoveL3Router(c.Context(), c.admin, one.ID, at.router.ID).ExtractErr())
		require.Equal(c, "DOWN", ok(routers.Get(c.Context(), c.member, at.router.ID).Extract())(c).Status, "it waits for an agent that is named")
		require.NoError(c, schedule(two.ID, at.router.ID))
		c.refused(schedule(networkID, at.router.ID), http.StatusNotFound, "AgentNotFound")

		off := ok(agents.Update(c.Context(), c.admin, one.ID, agents.UpdateOpts{AdminStateUp: new(false), Description: new("mend")}).Extract())(c)
		require.False(c, off.AdminStateUp)
		other := c.router(at.public.ID)
		require.Len(c, all(c, routers.ListL3Agents(c.admin, other.ID), routers.ExtractL3Agents), 1)
		require.NoError(c, agents.RemoveL3Router(c.Context(), c.admin, two.ID, other.ID).ExtractErr())
		c.refused(schedule(one.ID, other.ID), http.StatusConflict, "InvalidL3Agent")

		*c.now = c.now.Add(time.Hour)
		require.Empty(c, all(c, agents.List(c.admin, agents.ListOpts{Alive: new(true)}), agents.ExtractAgents))
		require.Equal(c, "DOWN", ok(routers.Get(c.Context(), c.member, at.router.ID).Extract())(c).Status, "nobody alive hosts it")
		require.NoError(c, agents.Delete(c.Context(), c.admin, one.ID).ExtractErr())
		_, err := agents.Get(c.Context(), c.admin, one.ID).Extract()
		c.refused(err, http.StatusNotFound, "AgentNotFound")

		status, body := c.raw(c.member, "GET", "availability_zones?resource=router", "")
		require.Equal(c, http.StatusOK, status)
		require.Contains(c, body, `"name":"nova"`)
	})
}

// TestNumbersThatAgentsReportKeepTheirDigits: though they do not fit a float64.
func TestNumbersThatAgentsReportKeepTheirDigits(t *testing.T) {
	onClouds(t, func(c *cloud) {
		h := agent.Heartbeat{Host: "host-1"}
		require.NoError(c, json.Unmarshal([]byte(`{"serial": 9007199254740993, "deep": [{"ratio": 0.12345678901234567890123}]}`), &h.Capabilities))
		_, err := c.service.Heartbeat(c.Context(), h)
		require.NoError(c, err)
		status, body := c.raw(c.admin, "GET", "agents?fields=configurations", "")
		require.Equal(c, http.StatusOK, status)
		require.Contains(c, body, `"serial":9007199254740993`)
		require.Contains(c, body, `"ratio":0.12345678901234567890123`)
	})
}
