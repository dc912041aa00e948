package rest

// storedOnly returns, of a resource's attributes, those that are accepted and shown, and that
// nothing acts on, with the reason, which the OpenAPI document gives.
func storedOnly(resource string) map[string]string {
	const (
		firewall  = "security groups are not enforced"
		dhcp      = "there is no DHCP server"
		elsewhere = "whoever plugs the port in can read it"
	)
	switch resource {
	case "network":
		return map[string]string{
			"admin_state_up":          "routers are attached to a network whether it is up or down, as in Neutron",
			"availability_zone_hints": dhcp,
			"is_default":              "there is no auto-allocated topology",
			"port_security_enabled":   "it is the default of the network's ports, and " + firewall,
		}
	case "subnet":
		return map[string]string{
			"enable_dhcp": dhcp, "dns_nameservers": dhcp, "host_routes": dhcp,
			"ipv6_ra_mode": "routers do not send router advertisements",
		}
	case "port":
		return map[string]string{
			"binding:profile": elsewhere, "binding:vnic_type": elsewhere,
			"port_security_enabled": firewall, "security_groups": firewall, "allowed_address_pairs": firewall,
			"extra_dhcp_opts": dhcp,
			"qos_policy_id":   "there are no QoS policies",
		}
	case "security_group":
		return map[string]string{"stateful": firewall}
	case "security_group_rule":
		notes := map[string]string{}
		for _, name := range []string{
			"direction", "ethertype", "protocol", "port_range_min", "port_range_max", "remote_ip_prefix", "remote_group_id",
		} {
			notes[name] = firewall
		}
		return notes
	}
	return nil
}

// noted returns the table with a description of the attributes that are stored only.
func (t table[R, S]) noted(reasons map[string]string) table[R, S] {
	out := append(table[R, S]{}, t...)
	for i := range out {
		if reason, ok := reasons[out[i].name]; ok {
			text := "Stored only: " + reason
			out[i].schema = out[i].schema.described(text)
			if out[i].takes != nil {
				out[i].takes = out[i].takes.described(text)
			}
		}
	}
	return out
}
