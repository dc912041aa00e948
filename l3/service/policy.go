package service

import (
	"github.com/l3kit/l3kit/l3"
)

const anyRelation = l3.RelationOwner | l3.RelationNetworkOwner | l3.RelationShared | l3.RelationExternal

// Allows reports whether the service's policy lets a caller do what a rule names.
func (s *Service) Allows(who l3.Caller, rule string, to l3.Relation) bool {
	return who.Admin || s.config.Policy.Allows(who, rule, to)
}

// may refuses what the policy does not allow.
func (s *Service) may(who l3.Caller, rule string, to l3.Relation) error {
	if s.Allows(who, rule, to) {
		return nil
	}
	return forbidden("(rule:%s) is disallowed by policy", rule)
}

// givenAttribute is an attribute that has a rule of its own, and whether a request gives it.
type givenAttribute struct {
	name  string
	given bool
}

// mayGive refuses attributes that the policy does not let a caller give.
func (s *Service) mayGive(who l3.Caller, rule string, to l3.Relation, attributes ...givenAttribute) error {
	for _, a := range attributes {
		if !a.given {
			continue
		}
		if err := s.may(who, rule+":"+a.name, to); err != nil {
			return err
		}
	}
	return nil
}

// project returns the owner of a resource that a caller is about to create: its own project, or the
// one that it names, if it may. A caller who could create none, whatever it is related to, is
// refused here, before anything that the request names is looked for.
func (s *Service) project(who l3.Caller, rule string, given *string) (string, error) {
	if err := s.may(who, rule, anyRelation); err != nil {
		return "", err
	}
	other := s.Allows(who, rule+":project_id", 0)
	switch {
	case given == nil || *given == "" || *given == who.Project:
		if who.Project == "" && !other {
			return "", s.may(who, rule, 0)
		}
		return who.Project, nil
	case !other:
		return "", badRequest("HTTPBadRequest",
			"Specifying 'project_id' or 'tenant_id' other than the authenticated project in request requires admin privileges")
	}
	return *given, text("project_id", given)
}
