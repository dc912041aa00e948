package service

import (
	"context"
	"slices"
	"time"

	"github.com/l3kit/l3kit/l3"
)

// maxTags is Neutron's limit for a resource.
const maxTags = 50

// GetTags answers with the tags of a resource, sorted.
func (s *Service) GetTags(ctx context.Context, who l3.Caller, kind l3.Kind, id string) (tags []string, err error) {
	err = s.config.Store.View(ctx, func(tx l3.Tx) error {
		t, err := s.tagged(ctx, tx, who, kind, id)
		tags = t.meta.Tags
		return err
	})
	return tags, err
}

// SetTags replaces the tags of a resource.
func (s *Service) SetTags(ctx context.Context, who l3.Caller, kind l3.Kind, id string, tags []string) ([]string, error) {
	tags, err := newTags(tags)
	if err != nil {
		return nil, err
	}
	err = s.changeTags(ctx, who, kind, id, func([]string) ([]string, error) { return tags, nil })
	return tags, err
}

// AddTag adds a tag; one that is there already is fine.
func (s *Service) AddTag(ctx context.Context, who l3.Caller, kind l3.Kind, id, tag string) error {
	return s.changeTags(ctx, who, kind, id, func(tags []string) ([]string, error) {
		i, found := slices.BinarySearch(tags, tag)
		if found {
			return tags, nil
		}
		return slices.Insert(slices.Clone(tags), i, tag), nil
	})
}

// RemoveTag removes a tag that is there.
func (s *Service) RemoveTag(ctx context.Context, who l3.Caller, kind l3.Kind, id, tag string) error {
	return s.changeTags(ctx, who, kind, id, func(tags []string) ([]string, error) {
		i, found := slices.BinarySearch(tags, tag)
		if !found {
			return nil, notFound("TagNotFound", "Tag %s could not be found.", tag)
		}
		return slices.Delete(slices.Clone(tags), i, i+1), nil
	})
}

func (s *Service) changeTags(ctx context.Context, who l3.Caller, kind l3.Kind, id string, change func([]string) ([]string, error)) error {
	return s.update(ctx, func(w *work) error {
		t, err := s.tagged(ctx, w, who, kind, id)
		if err != nil {
			return err
		}
		if err := s.may(who, "update_"+t.name+":tags", t.to); err != nil {
			return err
		}
		tags, err := change(t.meta.Tags)
		if err != nil || slices.Equal(tags, t.meta.Tags) {
			return err
		}
		if err := checkTags(tags); err != nil {
			return err
		}
		return t.put(ctx, w, tags, s.now())
	})
}

// newTags sorts tags that a caller gives, and checks them.
func newTags(given []string) ([]string, error) {
	tags := append([]string{}, given...)
	slices.Sort(tags)
	if len(slices.Compact(slices.Clone(tags))) < len(tags) {
		return nil, invalid("Invalid input for tags. Reason: the list holds duplicates.")
	}
	return tags, checkTags(tags)
}

func checkTags(tags []string) error {
	if len(tags) > maxTags {
		return badRequest("BadRequest", "Bad tags request: The number of tags exceed the per-resource limit of %d.", maxTags)
	}
	for _, tag := range tags {
		if tag == "" {
			return invalid("Invalid input for tags. Reason: a tag is empty.")
		}
		if err := text("tags", &tag); err != nil {
			return err
		}
	}
	return nil
}

// taggable is a resource that has tags, whatever its kind.
type taggable struct {
	name string // as in the policy's rules
	meta l3.Meta
	to   l3.Relation
	put  func(ctx context.Context, w *work, tags []string, now time.Time) error
}

// tagged finds a resource that the caller may see, by its kind.
func (s *Service) tagged(ctx context.Context, tx l3.Tx, who l3.Caller, kind l3.Kind, id string) (taggable, error) {
	switch kind {
	case l3.KindNetwork:
		n, to, err := s.network(ctx, tx, who, id)
		return tagsOf("network", n, to, err, func(n *l3.Network) *l3.Meta { return &n.Meta }, l3.Tx.Networks)
	case l3.KindSubnet:
		n, to, err := s.subnet(ctx, tx, who, id)
		return tagsOf("subnet", n, to, err, func(n *l3.Subnet) *l3.Meta { return &n.Meta }, l3.Tx.Subnets)
	case l3.KindPort:
		p, to, err := s.port(ctx, tx, who, id)
		return tagsOf("port", p, to, err, func(p *l3.Port) *l3.Meta { return &p.Meta }, l3.Tx.Ports)
	case l3.KindRouter:
		r, to, err := s.router(ctx, tx, who, id)
		return tagsOf("router", r, to, err, func(r *l3.Router) *l3.Meta { return &r.Meta }, l3.Tx.Routers)
	case l3.KindFloatingIP:
		f, to, err := s.floatingIP(ctx, tx, who, id)
		return tagsOf("floatingip", f, to, err, func(f *l3.FloatingIP) *l3.Meta { return &f.Meta }, l3.Tx.FloatingIPs)
	case l3.KindSecurityGroup:
		g, to, err := s.securityGroup(ctx, tx, who, id)
		return tagsOf("security_group", g, to, err, func(g *l3.SecurityGroup) *l3.Meta { return &g.Meta }, l3.Tx.SecurityGroups)
	case l3.KindSecurityGroupRule:
		r, to, err := s.securityGroupRule(ctx, tx, who, id)
		return tagsOf("security_group_rule", r, to, err, func(r *l3.SecurityGroupRule) *l3.Meta { return &r.Meta }, l3.Tx.SecurityGroupRules)
	case l3.KindRBACPolicy:
		p, to, err := s.rbacPolicy(ctx, tx, who, id)
		return tagsOf("rbac_policy", p, to, err, func(p *l3.RBACPolicy) *l3.Meta { return &p.Meta }, l3.Tx.RBACPolicies)
	}
	return taggable{}, notFound("TagResourceNotFound", "Resource %s %s could not be found.", kind, id)
}

func tagsOf[R any](
	name string, r R, to l3.Relation, err error, meta func(*R) *l3.Meta, table func(l3.Tx) l3.Table[R],
) (taggable, error) {
	m := meta(&r)
	return taggable{name, *m, to, func(ctx context.Context, w *work, tags []string, now time.Time) error {
		m.Tags, m.UpdatedAt = tags, now
		return table(w).Update(ctx, &r)
	}}, err
}
