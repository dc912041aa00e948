package rest_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane/agent"
)

// TestSortingByListsAndObjects: the lists and objects that Neutron sorts by are sorted by as the
// JSON that they are, over pages too.
func TestSortingByListsAndObjects(t *testing.T) {
	onClouds(t, func(c *cloud) {
		for host, zone := range map[string]string{"h1": "east", "h2": "west"} {
			_, err := c.service.Heartbeat(t.Context(), agent.Heartbeat{Host: host, AvailabilityZone: zone, Capabilities: agent.Capabilities{Other: map[string]any{"zone": zone}}})
			require.NoError(c, err)
		}
		for name, hints := range map[string]string{"w": `["west"]`, "none": `[]`, "e": `["east"]`} {
			status, answer := c.raw(c.member, "POST", "networks", `{"network": {"name": "`+name+`", "availability_zone_hints": `+hints+`}}`)
			require.Equal(c, http.StatusCreated, status, answer)
		}
		listed := func(path, many, attribute string) (names []string) {
			status, answer := c.raw(c.admin, "GET", path, "")
			require.Equal(c, http.StatusOK, status, answer)
			var said map[string]any
			require.NoError(c, json.Unmarshal([]byte(answer), &said))
			for _, one := range said[many].([]any) {
				names = append(names, dig(one, attribute).(string))
			}
			return names
		}
		asc := listed("networks?sort_key=availability_zone_hints&sort_dir=asc", "networks", "name")
		require.ElementsMatch(c, []string{"e", "none", "w"}, asc)
		require.Less(c, slices.Index(asc, "e"), slices.Index(asc, "w"))
		desc := listed("networks?sort_key=availability_zone_hints&sort_dir=desc", "networks", "name")
		require.Equal(c, []string{asc[2], asc[1], asc[0]}, desc)
		var paged []string
		marker := ""
		for range 3 {
			page := "networks?sort_key=availability_zone_hints&sort_dir=asc&limit=1&marker=" + marker
			paged = append(paged, listed(page, "networks", "name")...)
			marker = listed(page, "networks", "id")[0]
		}
		require.Equal(c, asc, paged)

		for _, who := range []*client{c.member, c.admin} {
			status, answer := c.raw(who, "GET", "agents?sort_key=configurations&sort_dir=asc", "")
			require.Equal(c, http.StatusOK, status, answer)
		}
		require.Equal(c, []string{"h1", "h2"}, listed("agents?sort_key=configurations&sort_dir=asc", "agents", "host"))
		require.Equal(c, []string{"h2", "h1"}, listed("agents?sort_key=configurations&sort_dir=desc", "agents", "host"))

		status, answer := c.raw(c.member, "GET", "extensions?sort_key=alias&sort_dir=asc", "")
		require.Equal(c, http.StatusBadRequest, status, answer)
		require.Contains(c, answer, "['alias'] is invalid attribute for sort_keys")
	})
}

// TestFiltersForWhatCannotBe: values that an attribute cannot have are refused, where Neutron does
// so.
func TestFiltersForWhatCannotBe(t *testing.T) {
	onClouds(t, func(c *cloud) {
		group := idOf(c.T, second(c.raw(c.member, "POST", "security-groups", `{"security_group": {"name": "g"}}`)))
		of := "security-group-rules?security_group_id=" + group
		status, answer := c.raw(c.member, "POST", "security-group-rules",
			`{"security_group_rule": {"security_group_id": "`+group+`", "direction": "ingress", "protocol": "tcp"}}`)
		require.Equal(c, http.StatusCreated, status, answer)
		id := idOf(c.T, answer)
		for path, says := range map[string]string{
			"rbac-policies?object_type=x":                   "Invalid input for operation: 'x' is not a valid RBAC object type.",
			"rbac-policies?object_type=network&object_type": "Invalid input for operation: '' is not a valid RBAC object type.",
			of + "&ethertype=x":                             "Security group rule for ethertype 'x' not supported. Allowed values are ['IPv4', 'IPv6'].",
			of + "&protocol=x":                              "Security group rule protocol x not supported. Only protocol values [None, 'ah',",
			of + "&protocol=tcp&protocol=256":               "Security group rule protocol 256 not supported.",
		} {
			status, answer := c.raw(c.member, "GET", path, "")
			require.Equal(c, http.StatusBadRequest, status, "%s: %s", path, answer)
			require.Contains(c, messageOf(c.T, answer), says)
		}
		for filter, found := range map[string]bool{
			"&protocol=TCP&ethertype=ipv4": true, "&protocol=udp": false, "&protocol=255": false, "&protocol=tcp&ethertype=IPv6": false,
			"&protocol=": false, "&protocol=&protocol=tcp": true,
		} {
			status, answer := c.raw(c.member, "GET", of+filter, "")
			require.Equal(c, http.StatusOK, status, "%s: %s", filter, answer)
			if found {
				require.Contains(c, answer, id, filter)
			} else {
				require.NotContains(c, answer, id, filter)
			}
		}
		status, answer = c.raw(c.member, "GET", "rbac-policies?object_type=network", "")
		require.Equal(c, http.StatusOK, status, answer)
	})
}
