package rest_test

import (
	"net/http"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/external"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/networkipavailabilities"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/provider"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/rbacpolicies"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/groups"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/rules"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"
	"github.com/stretchr/testify/require"
)

func TestNetworkLife(t *testing.T) {
	onClouds(t, func(c *cloud) {
		n := c.network(c.member, "n")
		require.Equal(c, "ACTIVE", n.Status)
		var seen struct {
			networks.Network
			provider.NetworkProviderExt
			external.NetworkExternalExt
		}
		require.NoError(c, networks.Get(c.Context(), c.admin, n.ID).ExtractInto(&seen))
		require.Equal(c, "vxlan", seen.NetworkType)
		require.NotEmpty(c, seen.SegmentationID)
		require.False(c, seen.External)
		_, body := c.raw(c.member, "GET", "networks/"+n.ID, "")
		require.NotContains(c, body, "provider:")
		sub := c.subnet(c.member, n.ID, "10.0.0.0/24")
		require.Equal(c, []string{sub.ID}, ok(networks.Get(c.Context(), c.member, n.ID).Extract())(c).Subnets)

		for _, keep := range []string{`"shared": true`, `"router:external": true`, `"provider:network_type": "vxlan"`, `"is_default": true`} {
			status, body := c.raw(c.member, "POST", "networks", `{"network": {`+keep+`}}`)
			require.Equal(c, http.StatusForbidden, status, "%s: %s", keep, body)
		}
		_, err := networks.Get(c.Context(), c.other, n.ID).Extract()
		c.refused(err, http.StatusNotFound, "NetworkNotFound")
		c.refused(networks.Delete(c.Context(), c.other, n.ID).Err, http.StatusNotFound, "NetworkNotFound")
		p := c.port(c.member, n.ID)
		c.refused(networks.Delete(c.Context(), c.member, n.ID).Err, http.StatusConflict, "NetworkInUse")
		c.refused(subnets.Delete(c.Context(), c.member, sub.ID).Err, http.StatusConflict, "SubnetInUse")
		require.NoError(c, ports.Delete(c.Context(), c.member, p.ID).Err)
		require.NoError(c, networks.Delete(c.Context(), c.member, n.ID).Err)
	})
}

func TestExternalNetworks(t *testing.T) {
	onClouds(t, func(c *cloud) {
		public, _ := c.external("public", "203.0.113.0/24")
		ok(networks.Get(c.Context(), c.other, public.ID).Extract())(c)
		c.router(public.ID)
		err := networks.Update(c.Context(), c.admin, public.ID, external.UpdateOptsExt{UpdateOptsBuilder: networks.UpdateOpts{}, External: new(false)}).Err
		c.refused(err, http.StatusConflict, "ExternalNetworkInUse")
		_, body := c.raw(c.other, "GET", "networks?router:external=true&fields=name", "")
		require.JSONEq(c, `{"networks": [{"name": "public"}]}`, body)
	})
}

func TestSharingByPolicy(t *testing.T) {
	onClouds(t, func(c *cloud) {
		n := c.network(c.member, "n")
		policy := ok(rbacpolicies.Create(c.Context(), c.member, rbacpolicies.CreateOpts{
			Action: rbacpolicies.ActionAccessShared, ObjectType: "network", ObjectID: n.ID, TargetTenant: "p2"}).Extract())(c)
		require.Equal(c, "p2", policy.TargetTenant)
		ok(networks.Get(c.Context(), c.other, n.ID).Extract())(c)
		require.NoError(c, rbacpolicies.Delete(c.Context(), c.member, policy.ID).ExtractErr())
		_, err := networks.Get(c.Context(), c.other, n.ID).Extract()
		c.refused(err, http.StatusNotFound, "NetworkNotFound")
	})
}

func TestSubnets(t *testing.T) {
	onClouds(t, func(c *cloud) {
		n := c.network(c.member, "n")
		sub := ok(subnets.Create(c.Context(), c.member, subnets.CreateOpts{NetworkID: n.ID, CIDR: "10.0.0.0/24", IPVersion: gophercloud.IPv4,
			DNSNameservers: []string{"9.9.9.9"}, HostRoutes: []subnets.HostRoute{{DestinationCIDR: "10.9.0.0/16", NextHop: "10.0.0.9"}}}).Extract())(c)
		require.Equal(c, "10.0.0.1", sub.GatewayIP)
		require.Equal(c, []subnets.AllocationPool{{Start: "10.0.0.2", End: "10.0.0.254"}}, sub.AllocationPools)
		require.True(c, sub.EnableDHCP)
		create := func(cidr string) error {
			return subnets.Create(c.Context(), c.member, subnets.CreateOpts{NetworkID: n.ID, CIDR: cidr, IPVersion: gophercloud.IPv4}).Err
		}
		c.refused(create("10.0.0.128/25"), http.StatusBadRequest, "InvalidInput")
		require.Error(c, create("fd00::/64"), "not of this version")
		changed := ok(subnets.Update(c.Context(), c.member, sub.ID, subnets.UpdateOpts{GatewayIP: new("")}).Extract())(c)
		require.Empty(c, changed.GatewayIP)
		six := ok(subnets.Create(c.Context(), c.member, subnets.CreateOpts{NetworkID: n.ID, CIDR: "fd00::/64", IPVersion: gophercloud.IPv6,
			IPv6AddressMode: "slaac", IPv6RAMode: "slaac"}).Extract())(c)
		require.Equal(c, "slaac", six.IPv6AddressMode)

		p := c.port(c.member, n.ID)
		require.Len(c, p.FixedIPs, 2, "one of each family")
		a := ok(networkipavailabilities.Get(c.Context(), c.admin, n.ID).Extract())(c)
		require.Equal(c, "2", a.UsedIPs)
		require.Len(c, a.SubnetIPAvailabilities, 2)
		require.Empty(c, all(c, networkipavailabilities.List(c.member, nil), networkipavailabilities.ExtractNetworkIPAvailabilities))
	})
}

func TestPorts(t *testing.T) {
	onClouds(t, func(c *cloud) {
		n := c.network(c.member, "n")
		c.subnet(c.member, n.ID, "10.0.0.0/24")
		p := c.port(c.member, n.ID)
		require.Regexp(c, `^fa:16:3e:`, p.MACAddress)
		require.Len(c, p.SecurityGroups, 1)
		c.refused(ports.Create(c.Context(), c.member, ports.CreateOpts{NetworkID: n.ID, FixedIPs: []ports.IP{{IPAddress: p.FixedIPs[0].IPAddress}}}).Err,
			http.StatusConflict, "IpAddressInUse")
		_, body := c.raw(c.member, "GET", "ports/"+p.ID, "")
		require.Contains(c, body, `"binding:vnic_type":"normal"`)
		require.NotContains(c, body, "binding:host_id")
		_, body = c.raw(c.admin, "GET", "ports/"+p.ID, "")
		require.Contains(c, body, `"binding:host_id":`)
		status, body := c.raw(c.member, "PUT", "ports/"+p.ID, `{"port": {"binding:host_id": "h"}}`)
		require.Equal(c, http.StatusForbidden, status, body)

		status, body = c.raw(c.admin, "PUT", "ports/"+p.ID, `{"port": {"mac_address": null}}`)
		require.Equal(c, http.StatusOK, status, body)
		require.NotContains(c, body, p.MACAddress)
		moved := ok(ports.Update(c.Context(), c.member, p.ID, ports.UpdateOpts{FixedIPs: []ports.IP{{IPAddress: "10.0.0.77"}},
			AllowedAddressPairs: &[]ports.AddressPair{{IPAddress: "10.0.0.99"}}}).Extract())(c)
		require.Equal(c, "10.0.0.77", moved.FixedIPs[0].IPAddress)
		require.Equal(c, "10.0.0.99", moved.AllowedAddressPairs[0].IPAddress)
		_, err := ports.Get(c.Context(), c.other, p.ID).Extract()
		c.refused(err, http.StatusNotFound, "PortNotFound")
		require.NoError(c, ports.Delete(c.Context(), c.member, p.ID).Err)
	})
}

func TestSecurityGroupsAreKept(t *testing.T) {
	onClouds(t, func(c *cloud) {
		require.Len(c, all(c, groups.List(c.member, groups.ListOpts{Name: "default"}), groups.ExtractGroups), 1)
		g := ok(groups.Create(c.Context(), c.member, groups.CreateOpts{Name: "web"}).Extract())(c)
		require.Len(c, g.Rules, 2, "what goes out may go out")
		r := ok(rules.Create(c.Context(), c.member, rules.CreateOpts{SecGroupID: g.ID, Direction: rules.DirIngress, EtherType: rules.EtherType4,
			Protocol: rules.ProtocolTCP, PortRangeMin: 443, PortRangeMax: 443, RemoteIPPrefix: "10.0.0.0/8"}).Extract())(c)
		require.Equal(c, 443, r.PortRangeMin)
		require.Equal(c, "10.0.0.0/8", r.RemoteIPPrefix)
		require.Len(c, ok(groups.Get(c.Context(), c.member, g.ID).Extract())(c).Rules, 3)
		require.Error(c, rules.Create(c.Context(), c.member, rules.CreateOpts{SecGroupID: g.ID, Direction: rules.DirIngress, EtherType: rules.EtherType4,
			Protocol: rules.ProtocolTCP, PortRangeMin: 443, PortRangeMax: 443, RemoteIPPrefix: "10.0.0.0/8"}).Err, "the same again")
		_, err := groups.Get(c.Context(), c.other, g.ID).Extract()
		c.refused(err, http.StatusNotFound, "SecurityGroupNotFound")
		require.NoError(c, rules.Delete(c.Context(), c.member, r.ID).Err)
		require.NoError(c, groups.Delete(c.Context(), c.member, g.ID).Err)
	})
}
