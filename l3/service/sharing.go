package service

import (
	"context"
	"slices"
	"strings"

	"github.com/l3kit/l3kit/l3"
)

// That a network is shared, or external, is a matter of RBAC policies, as in Neutron: shared stands
// for an access_as_shared policy whose target is everyone, external for any access_as_external
// policy. Subnet pools, address scopes and QoS policies can be shared
// alike. Both attributes are stored with the network too, so that lists can be filtered by them, and
// change in the same transaction as the policies. Whoever sets an attribute makes the policy for
// everyone; whoever clears it takes that away (shared), or all of them (external).

// shareAtCreation makes the policies that a new network's attributes stand for.
func (s *Service) shareAtCreation(ctx context.Context, w *work, n l3.Network) error {
	if n.Shared {
		if err := s.shareWithEveryone(ctx, w, l3.ObjectNetwork, n.Meta, l3.AccessAsShared); err != nil {
			return err
		}
	}
	if n.External {
		return s.shareWithEveryone(ctx, w, l3.ObjectNetwork, n.Meta, l3.AccessAsExternal)
	}
	return nil
}

// changeSharing makes and takes away policies, so that they are what the attributes say.
func (s *Service) changeSharing(ctx context.Context, w *work, before, n l3.Network) error {
	if n.Shared && !before.Shared {
		if err := s.shareWithEveryone(ctx, w, l3.ObjectNetwork, n.Meta, l3.AccessAsShared); err != nil {
			return err
		}
	}
	if n.External && !before.External {
		if err := s.shareWithEveryone(ctx, w, l3.ObjectNetwork, n.Meta, l3.AccessAsExternal); err != nil {
			return err
		}
	}
	if !n.External && before.External {
		if err := s.networkMayCeaseExternal(ctx, w, n.ID); err != nil {
			return err
		}
		if err := unshare(ctx, w, n.ID, l3.AccessAsExternal); err != nil {
			return err
		}
	}
	if !n.Shared && before.Shared {
		return stopSharing(ctx, w, &sharedNetwork{s, n}, "network "+n.Name)
	}
	return nil
}

func (s *Service) shareWithEveryone(ctx context.Context, w *work, objectType string, m l3.Meta, action string) error {
	return w.RBACPolicies().Insert(ctx, l3.RBACPolicy{
		Meta:       s.newMeta(m.ProjectID, "", ""),
		ObjectType: objectType, ObjectID: m.ID, Action: action, TargetProject: everyone,
	})
}

// stopSharing takes away the policy that shares a resource with everyone.
func stopSharing(ctx context.Context, w *work, object shareable, called string) error {
	policies, err := policiesOf(ctx, w, object.base().ID)
	if err != nil {
		return err
	}
	users, err := object.users(ctx, w, l3.AccessAsShared)
	if err != nil {
		return err
	}
	if len(uncovered(users, l3.AccessAsShared, slices.DeleteFunc(slices.Clone(policies), isForEveryone))) > 0 {
		return conflict("InvalidSharedSetting", "Unable to reconfigure sharing settings for %s. Multiple tenants are using it.", called)
	}
	for _, p := range policies {
		if !isForEveryone(p) {
			continue
		}
		if err := w.RBACPolicies().Delete(ctx, p.ID); err != nil {
			return err
		}
	}
	return nil
}

// unshare takes away all policies of a resource that are for some of the actions.
func unshare(ctx context.Context, w *work, id string, actions ...string) error {
	policies, err := policiesOf(ctx, w, id)
	if err != nil {
		return err
	}
	for _, p := range policies {
		if !slices.Contains(actions, p.Action) {
			continue
		}
		if err := w.RBACPolicies().Delete(ctx, p.ID); err != nil {
			return err
		}
	}
	return nil
}

func policiesOf(ctx context.Context, tx l3.Tx, object string) ([]l3.RBACPolicy, error) {
	return tx.RBACPolicies().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("object_id", object)}})
}

// usersOfShared are the projects, beside the owner, that have ports or subnets on a network.
func usersOfShared(ctx context.Context, tx l3.Tx, n l3.Network) ([]string, error) {
	here := l3.Query{Filters: []l3.Filter{oneOf("network_id", n.ID)}}
	ports, err := tx.Ports().List(ctx, here)
	if err != nil {
		return nil, err
	}
	subnets, err := tx.Subnets().List(ctx, here)
	if err != nil {
		return nil, err
	}
	var users []string
	for _, p := range ports {
		if !strings.HasPrefix(p.DeviceOwner, "network:") {
			users = append(users, p.ProjectID)
		}
	}
	for _, sub := range subnets {
		users = append(users, sub.ProjectID)
	}
	return strangers(users, n.ProjectID), nil
}

// usersOfExternal are the projects, beside the owner, whose routers have their gateway on a
// network.
func usersOfExternal(ctx context.Context, tx l3.Tx, n l3.Network) ([]string, error) {
	gateways, err := tx.Ports().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("network_id", n.ID), oneOf("device_owner", l3.OwnerRouterGateway)}})
	if err != nil {
		return nil, err
	}
	routers, err := listOf(ctx, tx.Routers(), "id", routersOf(gateways))
	users := make([]string, len(routers))
	for i, r := range routers {
		users[i] = r.ProjectID
	}
	return strangers(users, n.ProjectID), err
}

func strangers(projects []string, owner string) []string {
	slices.Sort(projects)
	return slices.DeleteFunc(slices.Compact(projects), func(p string) bool { return p == "" || p == owner })
}

// uncovered are the projects that no policy lets use a resource by that action.
func uncovered(projects []string, action string, policies []l3.RBACPolicy) []string {
	return slices.DeleteFunc(slices.Clone(projects), func(project string) bool {
		return slices.ContainsFunc(policies, func(p l3.RBACPolicy) bool {
			return p.Action == action && (p.TargetProject == everyone || p.TargetProject == project)
		})
	})
}
