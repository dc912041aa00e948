package service_test

import (
	"errors"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
)

func (c *cloud) groups(who l3.Caller) []l3.SecurityGroup {
	c.t.Helper()
	list, err := c.ListSecurityGroups(c.t.Context(), who, l3.Query{})
	require.NoError(c.t, err)
	return list
}

func TestSecurityGroupDefaultFromTheFirstUseOn(t *testing.T) {
	uses := map[string]func(*testing.T, *cloud) error{
		"list": func(t *testing.T, c *cloud) error {
			_, err := c.ListSecurityGroups(t.Context(), alice, l3.Query{})
			return err
		},
		"list of rules": func(t *testing.T, c *cloud) error {
			_, err := c.ListSecurityGroupRules(t.Context(), alice, l3.Query{})
			return err
		},
		"another group": func(t *testing.T, c *cloud) error {
			_, err := c.CreateSecurityGroups(t.Context(), alice, l3.SecurityGroupSpec{})
			return err
		},
		"port": func(t *testing.T, c *cloud) error {
			_, err := c.tryPort(alice, c.network(alice, l3.NetworkSpec{}))
			return err
		},
	}
	onStores(t, func(t *testing.T, c *cloud) {
		for name, use := range uses {
			t.Run(name, func(t *testing.T) {
				require.NoError(t, use(t, c))
				var g l3.SecurityGroup
				for _, o := range c.groups(alice) {
					if o.Name == "default" {
						require.Empty(t, g.ID, "there is one")
						g = o
					}
				}
				var rules []string
				for _, r := range g.Rules {
					require.Equal(t, r.Direction == "ingress", r.RemoteGroupID == g.ID)
					rules = append(rules, r.Direction+" "+r.EtherType)
				}
				require.ElementsMatch(t, []string{"egress IPv4", "egress IPv6", "ingress IPv4", "ingress IPv6"}, rules)

				ports, err := c.ListPorts(t.Context(), alice, l3.Query{})
				require.NoError(t, err)
				for _, p := range ports {
					require.Equal(t, []string{g.ID}, p.SecurityGroups)
					require.NoError(t, c.DeletePort(t.Context(), alice, p.ID, l3.If{}))
				}
				refused(t, c.DeleteSecurityGroup(t.Context(), alice, g.ID, l3.If{}), l3.ErrConflict, "SecurityGroupCannotRemoveDefault")
				require.NoError(t, c.DeleteSecurityGroup(t.Context(), admin, g.ID, l3.If{}), "so that the next use is a first one")
			})
		}
	})
}

// TestSecurityGroupDefaultIsOne: many first uses at the same time make one default group.
func TestSecurityGroupDefaultIsOne(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		n := c.network(alice, l3.NetworkSpec{})
		var all sync.WaitGroup
		for i := range 16 {
			all.Go(func() {
				var err error
				if i%2 == 0 {
					_, err = c.CreatePorts(t.Context(), alice, l3.PortSpec{NetworkID: &n.ID})
				} else {
					_, err = c.ListSecurityGroups(t.Context(), alice, l3.Query{})
				}
				assert.NoError(t, err)
			})
		}
		all.Wait()
		groups := c.groups(alice)
		require.Len(t, groups, 1)
		require.Len(t, groups[0].Rules, 4)
	})
}

func TestSecurityGroupName(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		_, err := c.CreateSecurityGroups(t.Context(), alice, l3.SecurityGroupSpec{Name: new("Default")})
		refused(t, err, l3.ErrConflict, "SecurityGroupDefaultAlreadyExists")
		g := c.groups(alice)[0]
		_, err = c.UpdateSecurityGroup(t.Context(), alice, g.ID, l3.SecurityGroupSpec{Name: new("mine")}, l3.If{})
		refused(t, err, l3.ErrConflict, "SecurityGroupCannotUpdateDefault")
		g, err = c.UpdateSecurityGroup(t.Context(), alice, g.ID, l3.SecurityGroupSpec{Name: new("default"), Description: new("x")}, l3.If{})
		require.NoError(t, err)
		require.Equal(t, 2, g.Revision)

		other, err := c.CreateSecurityGroups(t.Context(), alice, l3.SecurityGroupSpec{Name: new("web")})
		require.NoError(t, err)
		require.Len(t, other[0].Rules, 2, "out goes everything")
		_, err = c.UpdateSecurityGroup(t.Context(), alice, other[0].ID, l3.SecurityGroupSpec{Name: new("default")}, l3.If{})
		refused(t, err, l3.ErrConflict, "SecurityGroupDefaultAlreadyExists")
		_, err = c.GetSecurityGroup(t.Context(), bob, other[0].ID)
		refused(t, err, l3.ErrNotFound, "SecurityGroupNotFound")
	})
}

func TestSecurityGroupInUse(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		made, err := c.CreateSecurityGroups(t.Context(), alice, l3.SecurityGroupSpec{Name: new("web")}, l3.SecurityGroupSpec{Name: new("db")})
		require.NoError(t, err)
		web, db := made[0], made[1]
		_, err = c.CreateSecurityGroupRules(t.Context(), alice, l3.SecurityGroupRuleSpec{SecurityGroupID: db.ID, Direction: "ingress", RemoteGroupID: web.ID})
		require.NoError(t, err)
		p := c.port(alice, c.network(alice, l3.NetworkSpec{}), func(s *l3.PortSpec) { s.SecurityGroups = &[]string{db.ID, web.ID} })
		refused(t, c.DeleteSecurityGroup(t.Context(), alice, web.ID, l3.If{}), l3.ErrConflict, "SecurityGroupInUse")
		_, err = c.UpdateSecurityGroup(t.Context(), alice, web.ID, l3.SecurityGroupSpec{Stateful: new(false)}, l3.If{})
		refused(t, err, l3.ErrConflict, "SecurityGroupInUse")
		require.NoError(t, c.DeletePort(t.Context(), alice, p.ID, l3.If{}))
		require.NoError(t, c.DeleteSecurityGroup(t.Context(), alice, web.ID, l3.If{}))
		db, err = c.GetSecurityGroup(t.Context(), alice, db.ID)
		require.NoError(t, err)
		require.Len(t, db.Rules, 2, "the rule about the other group went with it")
	})
}

func TestSecurityGroupRules(t *testing.T) {
	tests := []struct {
		name    string
		rule    l3.SecurityGroupRuleSpec
		kind    error
		refusal string
	}{
		{"HTTP", l3.SecurityGroupRuleSpec{Direction: "ingress", Protocol: "tcp", PortRangeMin: new(80), PortRangeMax: new(80)}, nil, ""},
		{"HTTP by number", l3.SecurityGroupRuleSpec{Direction: "ingress", Protocol: "6", PortRangeMin: new(80), PortRangeMax: new(80)}, l3.ErrConflict, "SecurityGroupRuleExists"},
		{"echo", l3.SecurityGroupRuleSpec{Direction: "ingress", Protocol: "icmp", PortRangeMin: new(8), PortRangeMax: new(0)}, nil, ""},
		{"all of IPv6", l3.SecurityGroupRuleSpec{Direction: "ingress", EtherType: "ipv6"}, nil, ""},
		{"what is there from the beginning", l3.SecurityGroupRuleSpec{Direction: "egress"}, l3.ErrConflict, "SecurityGroupRuleExists"},
		{"the same by a prefix of everything", l3.SecurityGroupRuleSpec{Direction: "egress", RemoteIPPrefix: netip.MustParsePrefix("0.0.0.0/0")},
			l3.ErrConflict, "SecurityGroupRuleExists"},
		{"any", l3.SecurityGroupRuleSpec{Direction: "egress", Protocol: "any"}, l3.ErrInvalid, "SecurityGroupRuleInvalidProtocol"},
		{"from a prefix", l3.SecurityGroupRuleSpec{Direction: "ingress", RemoteIPPrefix: netip.MustParsePrefix("10.0.0.1/24")}, nil, ""},
		{"from the same prefix", l3.SecurityGroupRuleSpec{Direction: "ingress", RemoteIPPrefix: netip.MustParsePrefix("10.0.0.0/24")}, l3.ErrConflict, "SecurityGroupRuleExists"},
		{"no direction", l3.SecurityGroupRuleSpec{}, l3.ErrInvalid, "InvalidInput"},
		{"ethertype", l3.SecurityGroupRuleSpec{Direction: "ingress", EtherType: "IPX"}, l3.ErrInvalid, "SecurityGroupRuleInvalidEtherType"},
		{"protocol", l3.SecurityGroupRuleSpec{Direction: "ingress", Protocol: "http"}, l3.ErrInvalid, "SecurityGroupRuleInvalidProtocol"},
		{"protocol number", l3.SecurityGroupRuleSpec{Direction: "ingress", Protocol: "256"}, l3.ErrInvalid, "SecurityGroupRuleInvalidProtocol"},
		{"protocol of the other family", l3.SecurityGroupRuleSpec{Direction: "ingress", Protocol: "ipv6-icmp"}, l3.ErrInvalid, "SecurityGroupEthertypeConflictWithProtocol"},
		{"its number", l3.SecurityGroupRuleSpec{Direction: "ingress", Protocol: "58"}, l3.ErrInvalid, "SecurityGroupEthertypeConflictWithProtocol"},
		{"its number in its own", l3.SecurityGroupRuleSpec{Direction: "ingress", EtherType: "IPv6", Protocol: "58"}, nil, ""},
		{"its name in IPv4", l3.SecurityGroupRuleSpec{Direction: "ingress", EtherType: "IPv6", Protocol: "icmp"}, l3.ErrConflict, "SecurityGroupRuleExists"},
		{"prefix of the other family", l3.SecurityGroupRuleSpec{Direction: "ingress", RemoteIPPrefix: netip.MustParsePrefix("2001:db8::/64")},
			l3.ErrInvalid, "SecurityGroupRuleParameterConflict"},
		{"ports without a protocol", l3.SecurityGroupRuleSpec{Direction: "ingress", PortRangeMin: new(1), PortRangeMax: new(2)},
			l3.ErrInvalid, "SecurityGroupProtocolRequiredWithPorts"},
		{"ports of a protocol without", l3.SecurityGroupRuleSpec{Direction: "ingress", Protocol: "gre", PortRangeMin: new(1), PortRangeMax: new(2)},
			l3.ErrInvalid, "SecurityGroupInvalidProtocolForPort"},
		{"port 0", l3.SecurityGroupRuleSpec{Direction: "ingress", Protocol: "udp", PortRangeMin: new(0), PortRangeMax: new(2)}, l3.ErrInvalid, "SecurityGroupInvalidPortValue"},
		{"port 65536", l3.SecurityGroupRuleSpec{Direction: "ingress", Protocol: "udp", PortRangeMin: new(1), PortRangeMax: new(65536)},
			l3.ErrInvalid, "SecurityGroupInvalidPortValue"},
		{"ports backwards", l3.SecurityGroupRuleSpec{Direction: "ingress", Protocol: "udp", PortRangeMin: new(2), PortRangeMax: new(1)},
			l3.ErrInvalid, "SecurityGroupInvalidPortRange"},
		{"half a range", l3.SecurityGroupRuleSpec{Direction: "ingress", Protocol: "udp", PortRangeMin: new(2)}, l3.ErrInvalid, "SecurityGroupInvalidPortRange"},
		{"ICMP type", l3.SecurityGroupRuleSpec{Direction: "ingress", Protocol: "icmp", PortRangeMin: new(256)}, l3.ErrInvalid, "SecurityGroupInvalidIcmpValue"},
		{"ICMP code alone", l3.SecurityGroupRuleSpec{Direction: "ingress", Protocol: "icmp", PortRangeMax: new(1)}, l3.ErrInvalid, "SecurityGroupMissingIcmpType"},
		{"unknown remote group", l3.SecurityGroupRuleSpec{Direction: "ingress", RemoteGroupID: "4f0c2b38-4a67-4b5c-a8a2-6a3b3f5ab0ff"}, l3.ErrNotFound, "SecurityGroupNotFound"},
		{"two remotes", l3.SecurityGroupRuleSpec{Direction: "ingress", RemoteGroupID: "x", RemoteIPPrefix: netip.MustParsePrefix("10.0.0.0/24")},
			l3.ErrInvalid, "SecurityGroupMultipleRemoteEntites"},
	}
	onStores(t, func(t *testing.T, c *cloud) {
		made, err := c.CreateSecurityGroups(t.Context(), alice, l3.SecurityGroupSpec{})
		require.NoError(t, err)
		g := made[0]
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				test.rule.SecurityGroupID = g.ID
				_, err := c.CreateSecurityGroupRules(t.Context(), bob, test.rule)
				if test.refusal != "" && errors.Is(test.kind, l3.ErrInvalid) {
					require.Error(t, err)
				} else {
					refused(t, err, l3.ErrNotFound, "SecurityGroupNotFound")
				}
				_, err = c.CreateSecurityGroupRules(t.Context(), alice, test.rule)
				if test.refusal != "" {
					refused(t, err, test.kind, test.refusal)
					return
				}
				require.NoError(t, err)
			})
		}
		after, err := c.GetSecurityGroup(t.Context(), alice, g.ID)
		require.NoError(t, err)
		require.Len(t, after.Rules, 2+5)
		require.Equal(t, 1+5, after.Revision, "a group's rules are part of it")
		require.NoError(t, c.DeleteSecurityGroupRule(t.Context(), alice, after.Rules[0].ID, l3.If{}))
		refused(t, c.DeleteSecurityGroupRule(t.Context(), alice, after.Rules[0].ID, l3.If{}), l3.ErrNotFound, "SecurityGroupRuleNotFound")
		_, err = c.GetSecurityGroupRule(t.Context(), bob, after.Rules[1].ID)
		unseen(t, err)
	})
}
