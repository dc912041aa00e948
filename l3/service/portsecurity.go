package service

import (
	"context"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

// groupsAtCreation gives a new port the groups that are asked for, or else the default group of its
// project, unless port security is off or the port is the network service's own.
func (s *Service) groupsAtCreation(ctx context.Context, w *work, who l3.Caller, p *l3.Port, asked *[]string) error {
	switch {
	case asked != nil:
		return s.changeGroups(ctx, w, who, p, asked)
	case !p.PortSecurityEnabled || trusted(p.DeviceOwner) || p.ProjectID == "":
		return nil
	}
	p.SecurityGroups = []string{defaultGroup(p.ProjectID)}
	return nil
}

// changeGroups gives a port the groups that are asked for.
func (s *Service) changeGroups(ctx context.Context, w *work, who l3.Caller, p *l3.Port, asked *[]string) error {
	if asked != nil {
		groups := append([]string{}, *asked...)
		slices.Sort(groups)
		for i, id := range groups {
			if i > 0 && id == groups[i-1] {
				return badRequest("HTTPBadRequest", "Invalid input for security_groups. Reason: Duplicate items in the list: '%s'.", id)
			}
			if _, _, err := s.securityGroup(ctx, w, who, id); err != nil && !slices.Contains(p.SecurityGroups, id) {
				return err
			}
		}
		p.SecurityGroups = groups
		if len(groups) > 0 && !p.PortSecurityEnabled {
			return badRequest("PortSecurityAndIPRequiredForSecurityGroups",
				"Port security must be enabled and port must have an IP address in order to use security groups.")
		}
	}
	return secured(*p)
}

// secured refuses groups and address pairs on a port without port security.
func secured(p l3.Port) error {
	switch {
	case p.PortSecurityEnabled:
	case len(p.SecurityGroups) > 0:
		return conflict("PortSecurityPortHasSecurityGroup",
			"Port has security group associated. Cannot disable port security or IP address until security group is removed.")
	case len(p.AllowedAddressPairs) > 0:
		return conflict("AddressPairAndPortSecurityRequired",
			"Port Security must be enabled in order to have allowed address pairs on a port.")
	}
	return nil
}
