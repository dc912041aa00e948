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
		return tagsOf(ctx, s, tx, who, id, networkKind())
	case l3.KindSubnet:
		return tagsOf(ctx, s, tx, who, id, subnetKind())
	case l3.KindPort:
		return tagsOf(ctx, s, tx, who, id, portKind())
	case l3.KindRouter:
		return tagsOf(ctx, s, tx, who, id, routerKind())
	case l3.KindFloatingIP:
		return tagsOf(ctx, s, tx, who, id, floatingIPKind())
	case l3.KindSecurityGroup:
		return tagsOf(ctx, s, tx, who, id, groupKind())
	case l3.KindSecurityGroupRule:
		return tagsOf(ctx, s, tx, who, id, ruleKind())
	case l3.KindRBACPolicy:
		return tagsOf(ctx, s, tx, who, id, policyKind())
	}
	return taggable{}, notFound("TagResourceNotFound", "Resource %s %s could not be found.", kind, id)
}

func tagsOf[R any](ctx context.Context, s *Service, tx l3.Tx, who l3.Caller, id string, k kind[R]) (taggable, error) {
	r, to, err := k.find(ctx, s, tx, who, id)
	m := k.meta(&r)
	return taggable{k.name, *m, to, func(ctx context.Context, w *work, tags []string, now time.Time) error {
		m.Tags, m.UpdatedAt = tags, now
		return k.table(w).Update(ctx, &r)
	}}, err
}
