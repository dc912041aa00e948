package service

import (
	"context"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

// maxTags is Neutron's limit for a resource.
const maxTags = 50

// GetTags answers with the tags of a resource, sorted.
func (s *Service) GetTags(ctx context.Context, who l3.Caller, kind l3.Kind, id string) ([]string, error) {
	k, err := taggableKind(kind, id)
	if err != nil {
		return nil, err
	}
	return k.tags(ctx, s, who, id)
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
	k, err := taggableKind(kind, id)
	if err != nil {
		return err
	}
	return k.changeTags(ctx, s, who, id, change)
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

// taggable is a [kind] of resources that have tags.
type taggable interface {
	tags(ctx context.Context, s *Service, who l3.Caller, id string) ([]string, error)
	changeTags(ctx context.Context, s *Service, who l3.Caller, id string, change func([]string) ([]string, error)) error
}

func taggableKind(kind l3.Kind, id string) (taggable, error) {
	k, ok := map[l3.Kind]taggable{
		l3.KindNetwork: networkKind(), l3.KindSubnet: subnetKind(), l3.KindPort: portKind(), l3.KindRouter: routerKind(),
		l3.KindFloatingIP: floatingIPKind(), l3.KindSecurityGroup: groupKind(), l3.KindSecurityGroupRule: ruleKind(), l3.KindRBACPolicy: policyKind(),
		l3.KindSubnetPool: subnetPoolKind(),
		l3.KindQoSPolicy:  qosPolicyKind(),
	}[kind]
	if !ok {
		return nil, notFound("TagResourceNotFound", "Resource %s %s could not be found.", kind, id)
	}
	return k, nil
}

func (k kind[R, P]) tags(ctx context.Context, s *Service, who l3.Caller, id string) ([]string, error) {
	r, err := k.get(ctx, s, who, id)
	return P(&r).Base().Tags, err
}

func (k kind[R, P]) changeTags(ctx context.Context, s *Service, who l3.Caller, id string, change func([]string) ([]string, error)) error {
	may := func(to l3.Relation) error { return s.may(who, "update_"+k.name+":tags", to) }
	_, err := k.change(ctx, s, who, id, l3.If{}, may, func(w *work, r *R) error {
		before, m := *r, P(r).Base()
		tags, err := change(m.Tags)
		if err != nil {
			return err
		}
		if err := checkTags(tags); err != nil {
			return err
		}
		m.Tags = tags
		_, err = put(ctx, k.table(w), before, P(r), s.now())
		return err
	})
	return err
}
