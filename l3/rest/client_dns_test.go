package rest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/dns"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/floatingips"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/stretchr/testify/require"
)

func TestNamesForDNS(t *testing.T) {
	onClouds(t, func(c *cloud) {
		at := c.tiers()
		var n dns.NetworkDNSExt
		network := dns.NetworkCreateOptsExt{CreateOptsBuilder: networks.CreateOpts{Name: "named"}, DNSDomain: "Example.ORG."}
		require.NoError(c, networks.Create(c.Context(), c.member, network).ExtractInto(&n))
		require.Equal(c, "example.org.", n.DNSDomain)

		port := at.port.ID
		var p dns.PortDNSExt
		require.NoError(c, ports.Get(c.Context(), c.member, port).ExtractInto(&p))
		require.Empty(c, p.DNSName)
		assigned := func(hostname, fqdn string) []map[string]string {
			return []map[string]string{{"hostname": hostname, "ip_address": "10.0.0.10", "fqdn": fqdn}}
		}
		require.Equal(c, assigned("host-10-0-0-10", "host-10-0-0-10.openstacklocal."), p.DNSAssignment)
		name := "Web"
		update := dns.PortUpdateOptsExt{UpdateOptsBuilder: ports.UpdateOpts{}, DNSName: &name}
		require.NoError(c, ports.Update(c.Context(), c.member, port, update).ExtractInto(&p))
		require.Equal(c, "web", p.DNSName)
		require.Equal(c, assigned("web", "web.openstacklocal."), p.DNSAssignment)
		_, body := c.raw(c.member, "PUT", "ports/"+port, `{"port": {"dns_domain": "corp.example."}}`)
		require.Contains(c, body, `"fqdn":"web.corp.example."`)
		found := all(c, ports.List(c.member, dns.PortListOptsExt{ListOptsBuilder: ports.ListOpts{}, DNSName: "web"}), ports.ExtractPorts)
		require.Len(c, found, 1)

		var f dns.FloatingIPDNSExt
		create := dns.FloatingIPCreateOptsExt{CreateOptsBuilder: floatingips.CreateOpts{FloatingNetworkID: at.public.ID}, DNSName: "shop", DNSDomain: "example.org."}
		require.NoError(c, floatingips.Create(c.Context(), c.member, create).ExtractInto(&f))
		require.Equal(c, dns.FloatingIPDNSExt{DNSName: "shop", DNSDomain: "example.org."}, f)

		long := strings.Repeat("a.", 125) + "example" // 257 characters
		for _, wrong := range []struct{ method, path, body, says string }{
			{"PUT", "ports/" + port, `{"port": {"dns_name": "a_b"}}`, "each of which can only be alphanumeric or a hyphen"},
			{"PUT", "ports/" + port, `{"port": {"dns_name": "-a"}}`, "Name '-a' must not start or end with a hyphen"},
			{"PUT", "ports/" + port, `{"port": {"dns_name": "a..b"}}`, "Encountered an empty component"},
			{"PUT", "ports/" + port, `{"port": {"dns_name": "a.1"}}`, "TLD '1' must not be all numeric"},
			{"PUT", "ports/" + port, fmt.Sprintf(`{"port": {"dns_name": %q}}`, long), "exceeds maximum length of 255"},
			{"PUT", "ports/" + port, fmt.Sprintf(`{"port": {"dns_name": %q}}`, long[:249]), "with its domain 'corp.example.' it exceeds the 255 character"},
			{"PUT", "ports/" + port, `{"port": {"dns_name": "web.example.org."}}`, "not in the domain 'corp.example.'"},
			{"PUT", "ports/" + port, `{"port": {"dns_domain": "corp"}}`, "'corp' is not a FQDN"},
			{"PUT", "ports/" + port, `{"port": {"dns_assignment": []}}`, "dns_assignment"},
			{"POST", "networks", `{"network": {"dns_domain": "corp"}}`, "'corp' is not a FQDN"},
			{"POST", "floatingips", `{"floatingip": {"floating_network_id": "` + at.public.ID + `", "dns_name": "a"}}`, "dns_name cannot be specified without a dns_domain"},
			{"POST", "floatingips", `{"floatingip": {"floating_network_id": "` + at.public.ID + `", "dns_domain": "a."}}`, "dns_domain cannot be specified without a dns_name"},
			{"POST", "floatingips", `{"floatingip": {"floating_network_id": "` + at.public.ID + `", "dns_name": "a.", "dns_domain": "a."}}`, "It should be a relative domain name"},
		} {
			status, body := c.raw(c.member, wrong.method, wrong.path, wrong.body)
			require.Equal(c, http.StatusBadRequest, status, "%s: %s", wrong.body, body)
			require.Contains(c, body, wrong.says)
		}
		_, body = c.raw(c.member, "PUT", "ports/"+port, `{"port": {"dns_domain": "", "dns_name": "web.openstacklocal."}}`)
		require.Contains(c, body, `"hostname":"web.openstacklocal.","ip_address":"10.0.0.10","fqdn":"web.openstacklocal."`)
	})
}
