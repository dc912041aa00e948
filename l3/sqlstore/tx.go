package sqlstore

import (
	"context"
	"errors"

	"github.com/l3kit/l3kit/l3"
)

// tx is a transaction. It notes what the function that works in it might not pass on.
type tx struct {
	on     session // nil after the end
	kinds  *kinds
	broken error // after which the transaction is of no use
	stale  error
}

func (t *tx) end() { t.on = nil }

func (t *tx) Networks() l3.Table[l3.Network] { return table[l3.Network]{t, t.kinds.networks} }
func (t *tx) Subnets() l3.Table[l3.Subnet]   { return table[l3.Subnet]{t, t.kinds.subnets} }
func (t *tx) Ports() l3.Table[l3.Port]       { return ports{table[l3.Port]{t, t.kinds.ports}} }
func (t *tx) Routers() l3.Table[l3.Router]   { return table[l3.Router]{t, t.kinds.routers} }
func (t *tx) RouterStates() l3.RouterStates {
	return routerStates{table[l3.RouterState]{t, t.kinds.routerStates}}
}
func (t *tx) FloatingIPs() l3.Table[l3.FloatingIP] {
	return table[l3.FloatingIP]{t, t.kinds.floatingIPs}
}
func (t *tx) PortForwardings() l3.Table[l3.PortForwarding] {
	return table[l3.PortForwarding]{t, t.kinds.portForwardings}
}
func (t *tx) QoSPolicies() l3.Table[l3.QoSPolicy] {
	return table[l3.QoSPolicy]{t, t.kinds.qosPolicies}
}
func (t *tx) QoSRules() l3.Table[l3.QoSRule] { return table[l3.QoSRule]{t, t.kinds.qosRules} }
func (t *tx) RBACPolicies() l3.Table[l3.RBACPolicy] {
	return table[l3.RBACPolicy]{t, t.kinds.rbacPolicies}
}
func (t *tx) SubnetPools() l3.Table[l3.SubnetPool] {
	return table[l3.SubnetPool]{t, t.kinds.subnetPools}
}
func (t *tx) AddressScopes() l3.Table[l3.AddressScope] {
	return table[l3.AddressScope]{t, t.kinds.addressScopes}
}
func (t *tx) Topologies() l3.Table[l3.AutoAllocatedTopology] {
	return table[l3.AutoAllocatedTopology]{t, t.kinds.topologies}
}
func (t *tx) Agents() l3.Table[l3.Agent] { return table[l3.Agent]{t, t.kinds.agents} }
func (t *tx) SecurityGroups() l3.Table[l3.SecurityGroup] {
	return table[l3.SecurityGroup]{t, t.kinds.securityGroups}
}
func (t *tx) SecurityGroupRules() l3.Table[l3.SecurityGroupRule] {
	return table[l3.SecurityGroupRule]{t, t.kinds.securityGroupRules}
}

func (t *tx) Departures() l3.Table[l3.Departure] {
	return table[l3.Departure]{t, t.kinds.departures}
}
func (t *tx) Orphans() l3.Table[l3.Orphan] {
	return orphans{table[l3.Orphan]{t, t.kinds.orphans}}
}

func (t *tx) Sightings() l3.Table[l3.Sighting] {
	return table[l3.Sighting]{t, t.kinds.sightings}
}

func (t *tx) Deployment() l3.DeploymentRow { return deployment{t} }
func (t *tx) Addresses() l3.Addresses      { return addresses{t} }
func (t *tx) Segments() l3.Segments        { return segments{t} }
func (t *tx) Quotas() l3.QuotaStore        { return quotas{t} }
func (t *tx) Outbox() l3.Outbox            { return outbox{t} }

func (t *tx) exec(ctx context.Context, query string, args ...any) (n int64, err error) {
	err = t.guard(ctx, func() error {
		n, err = t.on.exec(ctx, query, args...)
		return err
	})
	return n, err
}

func (t *tx) try(ctx context.Context, query string, args ...[]any) (n int64, err error) {
	err = t.guard(ctx, func() error {
		n, err = t.on.try(ctx, query, args...)
		return err
	})
	return n, err
}

func (t *tx) query(ctx context.Context, each func(row) error, query string, args ...any) error {
	return t.guard(ctx, func() error { return t.on.query(ctx, each, query, args...) })
}

// guard runs a statement, unless it is too late.
func (t *tx) guard(ctx context.Context, statement func() error) error {
	switch {
	case t.on == nil:
		return errEnded
	case t.broken != nil:
		return t.broken
	case ctx.Err() != nil:
		return ctx.Err()
	}
	err := statement()
	if err != nil && !errors.Is(err, l3.ErrTaken) {
		t.broken = err
	}
	return err
}
