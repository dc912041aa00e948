package service

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/l3kit/l3kit/l3"
)

// defaultGroup is the ID of a project's default security group. It follows from the project, so
// that the store's primary key keeps there from being two, whatever the group is called.
func defaultGroup(project string) string {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte("security-groups/default/"+project)).String()
}

// ensureDefaultGroup makes the default security group of a project that has none yet: it lets out
// everything, and in what comes from its own members. No quota hinders it.
func (s *Service) ensureDefaultGroup(ctx context.Context, w *work, project string) error {
	id := defaultGroup(project)
	if _, err := w.SecurityGroups().Get(ctx, id); !errors.Is(err, l3.ErrAbsent) {
		return err
	}
	g := l3.SecurityGroup{Meta: s.newMeta(project, "default", "Default security group"), Stateful: true}
	g.ID = id
	if err := w.SecurityGroups().Insert(ctx, g); errors.Is(err, l3.ErrTaken) {
		return nil // by a use at the same time, which makes the rules too
	} else if err != nil {
		return err
	}
	rules := s.egressRules(g)
	for _, etherType := range etherTypes {
		rules = append(rules, l3.SecurityGroupRule{
			Meta: s.newMeta(project, "", ""), SecurityGroupID: id, Direction: ingress, EtherType: etherType, RemoteGroupID: id,
		})
	}
	return w.SecurityGroupRules().Insert(ctx, rules...)
}

// usedBy makes the default group of a project that is about to use a network or a port: nobody's
// have none.
func (s *Service) usedBy(ctx context.Context, w *work, project string) error {
	if project == "" {
		return nil
	}
	return s.ensureDefaultGroup(ctx, w, project)
}

// egressRules let out everything: what every new group begins with.
func (s *Service) egressRules(g l3.SecurityGroup) []l3.SecurityGroupRule {
	var rules []l3.SecurityGroupRule
	for _, etherType := range etherTypes {
		rules = append(rules, l3.SecurityGroupRule{Meta: s.newMeta(g.ProjectID, "", ""), SecurityGroupID: g.ID, Direction: egress, EtherType: etherType})
	}
	return rules
}

// firstUse makes the default group of a project before the caller looks at its groups or rules: the
// first project that a list is filtered by, or the caller's own. Another's it makes only if the
// caller sees every project's groups.
func (s *Service) firstUse(ctx context.Context, who l3.Caller, filters ...l3.Filter) error {
	project := who.Project
	if i := slices.IndexFunc(filters, func(f l3.Filter) bool { return f.Field == "project_id" && f.Op == l3.In && len(f.Values) > 0 }); i >= 0 {
		project, _ = filters[i].Values[0].(string)
	}
	if project == "" || !s.Allows(who, "get_security_group", relationToProject(who, project)) {
		return nil
	}
	if err := text("project_id", &project); err != nil {
		return err
	}
	var made bool
	err := s.config.Store.View(ctx, func(tx l3.Tx) error {
		n, err := tx.SecurityGroups().Count(ctx, oneOf("id", defaultGroup(project)))
		made = n > 0
		return err
	})
	if err != nil || made {
		return err
	}
	return s.update(ctx, func(w *work) error { return s.ensureDefaultGroup(ctx, w, project) })
}

// CreateSecurityGroups makes security groups that let out everything and in nothing.
func (s *Service) CreateSecurityGroups(ctx context.Context, who l3.Caller, specs ...l3.SecurityGroupSpec) ([]l3.SecurityGroup, error) {
	return create(ctx, s, who, groupKind(), specs, func(w *work, spec l3.SecurityGroupSpec) (l3.SecurityGroup, error) {
		const rule = "create_security_group"
		owner, err := s.project(who, rule, spec.ProjectID)
		if err != nil {
			return l3.SecurityGroup{}, err
		}
		if err := s.may(who, rule, relationToProject(who, owner)); err != nil {
			return l3.SecurityGroup{}, err
		}
		if err := s.usedBy(ctx, w, owner); err != nil {
			return l3.SecurityGroup{}, err
		}
		g := l3.SecurityGroup{Meta: s.newMeta(owner, or(spec.Name, ""), or(spec.Description, "")), Stateful: or(spec.Stateful, true)}
		if g.Tags, err = newTags(or(spec.Tags, nil)); err != nil {
			return l3.SecurityGroup{}, err
		}
		g.Rules = s.egressRules(g)
		if err := checkGroup(g); err != nil {
			return l3.SecurityGroup{}, err
		}
		if err := s.checkQuota(ctx, w, owner, "security_group"); err != nil {
			return l3.SecurityGroup{}, err
		}
		if err := s.checkQuotaFor(ctx, w, owner, "security_group_rule", len(g.Rules)); err != nil {
			return l3.SecurityGroup{}, err
		}
		if err := w.SecurityGroups().Insert(ctx, g); err != nil {
			return l3.SecurityGroup{}, err
		}
		return g, w.SecurityGroupRules().Insert(ctx, g.Rules...)
	})
}

func byID(a, b l3.SecurityGroupRule) int { return strings.Compare(a.ID, b.ID) }

func checkGroup(g l3.SecurityGroup) error {
	if strings.EqualFold(g.Name, "default") {
		return conflict("SecurityGroupDefaultAlreadyExists", "Default security group already exists.")
	}
	return texts(&g.Name, &g.Description)
}

// GetSecurityGroup finds a group of the caller's project.
func (s *Service) GetSecurityGroup(ctx context.Context, who l3.Caller, id string) (l3.SecurityGroup, error) {
	if err := s.firstUse(ctx, who); err != nil {
		return l3.SecurityGroup{}, err
	}
	return groupKind().get(ctx, s, who, id)
}

// ListSecurityGroups lists the groups of the caller's project.
func (s *Service) ListSecurityGroups(ctx context.Context, who l3.Caller, q l3.Query) ([]l3.SecurityGroup, error) {
	if err := s.firstUse(ctx, who, q.Filters...); err != nil {
		return nil, err
	}
	return groupKind().list(ctx, s, who, q)
}

// showGroups fills in the rules.
func (s *Service) showGroups(ctx context.Context, tx l3.Tx, _ l3.Caller, groups []l3.SecurityGroup) error {
	ids := make([]string, len(groups))
	for i, g := range groups {
		ids[i] = g.ID
	}
	rules, err := listOf(ctx, tx.SecurityGroupRules(), "security_group_id", ids)
	if err != nil {
		return err
	}
	of := map[string][]l3.SecurityGroupRule{}
	for _, r := range rules {
		of[r.SecurityGroupID] = append(of[r.SecurityGroupID], r)
	}
	for i := range groups {
		g := &groups[i]
		g.Rules = notNil(of[g.ID])
		slices.SortFunc(g.Rules, byID)
	}
	return nil
}

// UpdateSecurityGroup changes what is given. The default group keeps its name, and a group that
// ports use the way it treats connections.
func (s *Service) UpdateSecurityGroup(ctx context.Context, who l3.Caller, id string, spec l3.SecurityGroupSpec, cond l3.If) (l3.SecurityGroup, error) {
	return groupKind().change(ctx, s, who, id, cond, nil, func(w *work, g *l3.SecurityGroup) error {
		before := *g
		if err := fixed("project_id", g.ProjectID, spec.ProjectID); err != nil {
			return err
		}
		set(&g.Name, spec.Name)
		set(&g.Description, spec.Description)
		set(&g.Stateful, spec.Stateful)
		if g.Name != before.Name {
			if id == defaultGroup(g.ProjectID) {
				return conflict("SecurityGroupCannotUpdateDefault", "Updating default security group not allowed.")
			}
			if err := checkGroup(*g); err != nil {
				return err
			}
		}
		if err := text("description", &g.Description); err != nil {
			return err
		}
		if g.Stateful != before.Stateful {
			if err := groupUnused(ctx, w, id); err != nil {
				return err
			}
		}
		_, err := put(ctx, w.SecurityGroups(), before, g, s.now())
		return err
	})
}

// DeleteSecurityGroup deletes a group that no port uses, its rules, and the rules of other groups
// that speak of it. The default group is the administrator's to delete; the project's next use
// makes it anew.
func (s *Service) DeleteSecurityGroup(ctx context.Context, who l3.Caller, id string, cond l3.If) error {
	may := func(g l3.SecurityGroup, to l3.Relation) error {
		if id == defaultGroup(g.ProjectID) && !s.Allows(who, "delete_security_group:default", to) {
			return conflict("SecurityGroupCannotRemoveDefault", "Insufficient rights for removing default security group.")
		}
		return nil
	}
	return groupKind().remove(ctx, s, who, id, cond, may, func(w *work, _ l3.SecurityGroup) error {
		if err := groupUnused(ctx, w, id); err != nil {
			return err
		}
		for _, field := range []string{"security_group_id", "remote_group_id"} {
			rules, err := w.SecurityGroupRules().List(ctx, l3.Query{Filters: []l3.Filter{oneOf(field, id)}})
			if err != nil {
				return err
			}
			for _, r := range rules {
				if err := w.SecurityGroupRules().Delete(ctx, r.ID); err != nil {
					return err
				}
			}
		}
		return w.SecurityGroups().Delete(ctx, id)
	})
}

func groupUnused(ctx context.Context, tx l3.Tx, id string) error {
	n, err := tx.Ports().Count(ctx, oneOf("security_groups", id))
	if err == nil && n > 0 {
		err = conflict("SecurityGroupInUse", "Security Group %s in use.", id)
	}
	return err
}
