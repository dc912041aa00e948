package service

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

// checkQuota refuses one more of a resource, which is named as in [DefaultQuotas], if the project
// may not have it. What is nobody's is not bounded.
func (s *Service) checkQuota(ctx context.Context, w *work, project, resource string) error {
	return s.checkQuotaFor(ctx, w, project, resource, 1)
}

// checkQuotaFor is checkQuota for several of a resource at once.
func (s *Service) checkQuotaFor(ctx context.Context, w *work, project, resource string, more int) error {
	if project == "" {
		return nil
	}
	limits, err := s.limits(ctx, w, project)
	if err != nil {
		return err
	}
	limit := limits[resource]
	if limit < 0 {
		return nil
	}
	used, err := usage(ctx, w, project, resource)
	if err != nil {
		return err
	}
	if used+more > limit {
		return overQuota(resource)
	}
	return nil
}

func overQuota(resource string) error {
	return l3.Refuse(l3.ErrOverQuota, "OverQuota", "Quota exceeded for resources: ['%s'].", resource)
}

// limits are the defaults and what the project was given instead.
func (s *Service) limits(ctx context.Context, tx l3.Tx, project string) (map[string]int, error) {
	given, err := tx.Quotas().Get(ctx, project)
	return s.withDefaults(given), err
}

func (s *Service) withDefaults(given map[string]int) map[string]int {
	limits := maps.Clone(s.config.Quotas)
	maps.Copy(limits, given)
	return limits
}

// usage counts what a project has of a resource.
func usage(ctx context.Context, tx l3.Tx, project, resource string) (int, error) {
	own := oneOf("project_id", project)
	switch resource {
	case "network":
		return tx.Networks().Count(ctx, own)
	case "subnet":
		return tx.Subnets().Count(ctx, own)
	case "port":
		return tx.Ports().Count(ctx, own)
	case "router":
		return tx.Routers().Count(ctx, own)
	case "floatingip":
		return tx.FloatingIPs().Count(ctx, own)
	case "port_forwarding":
		return tx.PortForwardings().Count(ctx, own)
	case "security_group":
		return tx.SecurityGroups().Count(ctx, own)
	case "security_group_rule":
		return tx.SecurityGroupRules().Count(ctx, own)
	case "rbac_policy":
		return tx.RBACPolicies().Count(ctx, own)
	case "subnetpool":
		return tx.SubnetPools().Count(ctx, own)
	case "address_scope":
		return tx.AddressScopes().Count(ctx, own)
	case quotaRoutes: // counted per router
		return 0, nil
	}
	return 0, fmt.Errorf("nothing counts the quota %q", resource)
}

// GetQuota answers with the limits of a project: its own or the defaults. Members see their
// project's.
func (s *Service) GetQuota(ctx context.Context, who l3.Caller, project string) (limits map[string]int, err error) {
	if err := s.maySeeQuota(who, project); err != nil {
		return nil, err
	}
	err = s.config.Store.View(ctx, func(tx l3.Tx) error {
		limits, err = s.limits(ctx, tx, project)
		return err
	})
	return limits, err
}

// DefaultQuota answers with the limits of a project that was given none.
func (s *Service) DefaultQuota(_ context.Context, who l3.Caller, project string) (map[string]int, error) {
	return s.withDefaults(nil), s.maySeeQuota(who, project)
}

// QuotaDetails answers with the limits of a project and how much of them is used.
func (s *Service) QuotaDetails(ctx context.Context, who l3.Caller, project string) (map[string]l3.QuotaDetail, error) {
	if err := s.maySeeQuota(who, project); err != nil {
		return nil, err
	}
	details := map[string]l3.QuotaDetail{}
	err := s.config.Store.View(ctx, func(tx l3.Tx) error {
		limits, err := s.limits(ctx, tx, project)
		if err != nil {
			return err
		}
		for resource, limit := range limits {
			used, err := usage(ctx, tx, project, resource)
			if err != nil {
				return err
			}
			details[resource] = l3.QuotaDetail{Limit: limit, Used: used}
		}
		return nil
	})
	return details, err
}

// ListQuotas answers administrators with the limits of every project that was given some.
func (s *Service) ListQuotas(ctx context.Context, who l3.Caller) (map[string]map[string]int, error) {
	if err := s.may(who, "get_quota", 0); err != nil {
		return nil, err
	}
	all := map[string]map[string]int{}
	err := s.config.Store.View(ctx, func(tx l3.Tx) error {
		given, err := tx.Quotas().List(ctx)
		for project, limits := range given {
			all[project] = s.withDefaults(limits)
		}
		return err
	})
	return all, err
}

// SetQuota gives a project the limits that are named, and leaves the others. A limit below what is
// used takes nothing away.
func (s *Service) SetQuota(ctx context.Context, who l3.Caller, project string, limits map[string]int) (map[string]int, error) {
	return s.setQuota(ctx, who, project, limits, false)
}

// SetQuotaAboveUsage is SetQuota that refuses a limit below what the project uses: Neutron's
// check_limit.
func (s *Service) SetQuotaAboveUsage(ctx context.Context, who l3.Caller, project string, limits map[string]int) (map[string]int, error) {
	return s.setQuota(ctx, who, project, limits, true)
}

func (s *Service) setQuota(ctx context.Context, who l3.Caller, project string, limits map[string]int, aboveUsage bool) (all map[string]int, err error) {
	if err := s.checkLimits(who, project, limits); err != nil {
		return nil, err
	}
	err = s.update(ctx, func(w *work) error {
		if aboveUsage {
			if err := checkUsage(ctx, w, project, limits); err != nil {
				return err
			}
		}
		if err := w.Quotas().Set(ctx, project, limits); err != nil {
			return err
		}
		all, err = s.limits(ctx, w, project)
		return err
	})
	return all, err
}

func (s *Service) checkLimits(who l3.Caller, project string, limits map[string]int) error {
	if err := s.may(who, "update_quota", relationToProject(who, project)); err != nil {
		return err
	}
	switch {
	case project == "":
		return invalid("Invalid input for project_id. Reason: it is missing.")
	}
	for _, resource := range slices.Sorted(maps.Keys(limits)) {
		if _, known := s.config.Quotas[resource]; !known {
			return badRequest("HTTPBadRequest", "Unrecognized attribute(s) '%s'", resource)
		}
		if limit := limits[resource]; limit < -1 || limit > math.MaxInt32 {
			return invalid("Invalid input for %s. Reason: %d is not between -1 (unlimited) and %d.", resource, limit, math.MaxInt32)
		}
	}
	return text("project_id", &project)
}

func checkUsage(ctx context.Context, w *work, project string, limits map[string]int) error {
	for _, resource := range slices.Sorted(maps.Keys(limits)) {
		used, err := usage(ctx, w, project, resource)
		if err != nil {
			return err
		}
		if limit := limits[resource]; limit >= 0 && limit < used {
			return badRequest("HTTPBadRequest", "Quota limit %d for %s must be greater than or equal to already used %d", limit, resource, used)
		}
	}
	return nil
}

// DeleteQuota gives a project the defaults back.
func (s *Service) DeleteQuota(ctx context.Context, who l3.Caller, project string) error {
	if err := s.may(who, "delete_quota", relationToProject(who, project)); err != nil {
		return err
	}
	return s.update(ctx, func(w *work) error {
		given, err := w.Quotas().Get(ctx, project)
		if err != nil {
			return err
		}
		if len(given) == 0 {
			return notFound("TenantQuotaNotFound", "Quota for tenant %s could not be found.", project)
		}
		return w.Quotas().Delete(ctx, project)
	})
}

// maySeeQuota answers alike for a project of others and for one that does not exist.
func (s *Service) maySeeQuota(who l3.Caller, project string) error {
	return s.may(who, "get_quota", relationToProject(who, project))
}
