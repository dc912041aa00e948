package l3test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

// RunStore holds a store to the contract of [l3.Store], clause by clause. Open gives an empty one
// for each.
func RunStore(t *testing.T, open func(*testing.T) l3.Store) {
	for _, c := range []struct {
		clause string
		test   func(*testing.T, l3.Store)
	}{
		{"a resource is stored as it is given", storedAsGiven},
		{"what is not there is ErrAbsent", absent},
		{"a failed function changes nothing", failedChangesNothing},
		{"a panic changes nothing and blocks nobody", panicChangesNothing},
		{"the transaction goes on after ErrTaken", goesOnAfterTaken},
		{"insert adds all or none", insertAllOrNone},
		{"unique keys", uniqueKeys},
		{"an update grows the revision by one", revisionGrows},
		{"a stale update is run again, and not for ever", staleUpdate},
		{"views see one state", viewsSeeOneState},
		{"changes have an effect as if one ran after another", oneAfterAnother},
		{"a context that ends is obeyed", obeysContext},
		{"a transaction is of no use when it has ended", noUseAfterEnd},
		{"a store is of no use when it is closed", noUseAfterClose},
		{"strings that not every database could keep are refused", refusesNUL},
		{"filters", filters},
		{"sorting and pages", pages},
		{"markers and scope", scopedMarker},
		{"unknown attributes are refused", unknownAttributes},
		{"addresses", addressClaims},
		{"an address that two want goes to one", addressWantedByTwo},
		{"addresses go with their port", addressesGoWithPort},
		{"segments", segmentClaims},
		{"epochs", epochs},
		{"routers are counted by agent", hosted},
		{"quotas", quotaLimits},
		{"the outbox", outboxOrder},
	} {
		t.Run(c.clause, func(t *testing.T) { c.test(t, open(t)) })
	}
}

// update is a transaction that must succeed.
func update(t *testing.T, s l3.Store, fn func(l3.Tx) error) {
	t.Helper()
	require.NoError(t, s.Update(t.Context(), fn))
}

func view(t *testing.T, s l3.Store, fn func(l3.Tx) error) {
	t.Helper()
	require.NoError(t, s.View(t.Context(), fn))
}

// meta is that of a new resource.
func meta(project, name string) l3.Meta {
	now := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	return l3.Meta{ID: uuid.NewString(), ProjectID: project, Name: name, Tags: []string{}, Revision: 1, CreatedAt: now, UpdatedAt: now}
}

func routerNames(t *testing.T, s l3.Store, q l3.Query) (names []string) {
	t.Helper()
	view(t, s, func(tx l3.Tx) error {
		list, err := tx.Routers().List(t.Context(), q)
		names = []string{}
		for _, r := range list {
			names = append(names, r.Name)
		}
		return err
	})
	return names
}

func storedAsGiven(t *testing.T, s l3.Store) {
	ctx := t.Context()
	port := l3.Port{
		Meta: meta("p", `<&> "quoted" \u0000 \ / 日本 🛰`), NetworkID: "n", AdminStateUp: true, MAC: [6]byte{0xfa, 0x16, 0x3e, 0, 0, 1},
		FixedIPs: []l3.FixedIP{
			{SubnetID: "s", IPAddress: netip.MustParseAddr("10.0.0.1")}, {SubnetID: "s6", IPAddress: netip.MustParseAddr("2001:db8::1")},
		},
		SecurityGroups:      nil, // as this is not an empty list,
		AllowedAddressPairs: []l3.AddressPair{},
		Binding:             l3.Binding{Profile: []byte(`{"b":1,"a":[null,1.50]}`)},
	}
	router := l3.Router{Meta: meta("p", ""), Gateway: &l3.GatewayInfo{NetworkID: "x", FixedIPs: []l3.FixedIP{}}}
	router.Description = "line\nline"
	host := l3.Agent{ID: "a", Host: "h", Capabilities: agent.Capabilities{
		PhysicalNetworks: []string{"one"}, Routers: new(0), Other: map[string]any{"n": json.Number("1.5"), "none": nil},
	}}
	host.HeartbeatAt = time.Date(2026, 1, 1, 0, 0, 0, 123456789, time.UTC)
	two := 2
	rule := l3.SecurityGroupRule{Meta: meta("p", ""), PortRangeMin: &two}
	state := l3.RouterState{ID: "r", Revision: 1 << 60, Inside: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}}
	sighting := l3.Sighting{
		ID: "n/2001:db8::1", NetworkID: "n", Addr: netip.MustParseAddr("2001:db8::1"), Host: "h", SeenAt: host.HeartbeatAt,
	}
	update(t, s, func(tx l3.Tx) error {
		return errors.Join(tx.Ports().Insert(ctx, port), tx.Routers().Insert(ctx, router), tx.Agents().Insert(ctx, host),
			tx.SecurityGroupRules().Insert(ctx, rule), tx.RouterStates().Insert(ctx, state), tx.Sightings().Insert(ctx, sighting))
	})
	view(t, s, func(tx l3.Tx) error {
		gotPort, err := tx.Ports().Get(ctx, port.ID)
		require.NoError(t, err)
		require.Equal(t, port, gotPort)
		gotRouter, err := tx.Routers().Get(ctx, router.ID)
		require.NoError(t, err)
		require.Equal(t, router, gotRouter)
		gotAgent, err := tx.Agents().Get(ctx, host.ID)
		require.NoError(t, err)
		require.Equal(t, host, gotAgent)
		gotRule, err := tx.SecurityGroupRules().Get(ctx, rule.ID)
		require.NoError(t, err)
		require.Equal(t, rule, gotRule)
		gotState, err := tx.RouterStates().Get(ctx, state.ID)
		require.NoError(t, err)
		require.Equal(t, state, gotState)
		gotSighting, err := tx.Sightings().Get(ctx, sighting.ID)
		require.NoError(t, err)
		require.Equal(t, sighting, gotSighting)
		return nil
	})
}

func absent(t *testing.T, s l3.Store) {
	ctx := t.Context()
	update(t, s, func(tx l3.Tx) error {
		_, err := tx.Networks().Get(ctx, "x")
		require.ErrorIs(t, err, l3.ErrAbsent)
		require.ErrorIs(t, tx.Networks().Update(ctx, &l3.Network{Meta: meta("p", "")}), l3.ErrAbsent)
		require.ErrorIs(t, tx.Agents().Update(ctx, &l3.Agent{ID: "x"}), l3.ErrAbsent)
		require.ErrorIs(t, tx.Networks().Delete(ctx, "x"), l3.ErrAbsent)
		_, err = tx.Networks().List(ctx, l3.Query{Marker: "x"})
		require.ErrorIs(t, err, l3.ErrAbsent)
		require.ErrorIs(t, tx.Addresses().Release(ctx, "s", netip.MustParseAddr("10.0.0.1")), l3.ErrAbsent)
		list, err := tx.Networks().List(ctx, l3.Query{})
		require.NoError(t, err)
		require.Empty(t, list)
		return nil
	})
}

func insertAllOrNone(t *testing.T, s l3.Store) {
	ctx := t.Context()
	twice := l3.Router{Meta: meta("p", "twice")}
	update(t, s, func(tx l3.Tx) error {
		require.NoError(t, tx.Routers().Insert(ctx))
		require.ErrorIs(t, tx.Routers().Insert(ctx, l3.Router{Meta: meta("p", "one")}, twice, twice), l3.ErrTaken)
		n, err := tx.Routers().Count(ctx)
		require.NoError(t, err)
		require.Zero(t, n)
		return tx.Routers().Insert(ctx, twice, l3.Router{Meta: meta("p", "three")})
	})
	require.ElementsMatch(t, []string{"twice", "three"}, routerNames(t, s, l3.Query{}))
}

func uniqueKeys(t *testing.T, s l3.Store) {
	ctx := t.Context()
	port := func(network string, last byte) l3.Port {
		return l3.Port{Meta: meta("p", ""), NetworkID: network, MAC: [6]byte{0xfa, 0x16, 0x3e, 0, 0, last}}
	}
	bound := func(fixed, network string) l3.FloatingIP {
		return l3.FloatingIP{Meta: meta("p", ""), PortID: "p", FixedIP: netip.MustParseAddr(fixed), NetworkID: network}
	}
	taken := func(err error, what string) {
		t.Helper()
		var key *l3.TakenError
		require.ErrorAs(t, err, &key)
		require.ErrorIs(t, err, l3.ErrTaken)
		require.Equal(t, what, key.What)
	}
	update(t, s, func(tx l3.Tx) error {
		other := port("n", 2)
		require.NoError(t, tx.Ports().Insert(ctx, port("n", 1), other, port("m", 1)))
		taken(tx.Ports().Insert(ctx, port("n", 1)), "ports_mac")
		other.MAC[5] = 1
		taken(tx.Ports().Update(ctx, &other), "ports_mac")
		require.Equal(t, 1, other.Revision, "what was not changed does not grow")

		b := bound("10.0.0.2", "x")
		require.NoError(t, tx.FloatingIPs().Insert(ctx, bound("10.0.0.1", "x"), bound("10.0.0.1", "y"), b,
			l3.FloatingIP{Meta: meta("p", ""), NetworkID: "x"}, l3.FloatingIP{Meta: meta("p", ""), NetworkID: "x"}))
		taken(tx.FloatingIPs().Insert(ctx, bound("10.0.0.1", "x")), "floatingips_bound")
		b.FixedIP = netip.MustParseAddr("10.0.0.1")
		taken(tx.FloatingIPs().Update(ctx, &b), "floatingips_bound")

		forwarded := func(floatingIP, port string, external, internal uint16) l3.PortForwarding {
			f := l3.PortForwarding{Meta: meta("p", ""), FloatingIPID: floatingIP, PortID: port, Protocol: dataplane.TCP}
			f.SetRanges(l3.PortRange{First: external, Last: external}, l3.PortRange{First: internal, Last: internal})
			return f
		}
		pf := forwarded("f", "p", 82, 82)
		require.NoError(t, tx.PortForwardings().Insert(ctx, pf, forwarded("f", "p", 80, 80), forwarded("g", "q", 80, 80), forwarded("f", "p", 81, 81)))
		taken(tx.PortForwardings().Insert(ctx, forwarded("f", "r", 80, 80)), "port_forwardings_external")
		taken(tx.PortForwardings().Insert(ctx, forwarded("h", "p", 80, 80)), "port_forwardings_internal")
		pf.SetRanges(l3.PortRange{First: 81, Last: 81}, l3.PortRange{First: 82, Last: 82})
		taken(tx.PortForwardings().Update(ctx, &pf), "port_forwardings_external")

		rule := func(policy string, kind l3.QoSRuleType, direction string) l3.QoSRule {
			return l3.QoSRule{Meta: meta("p", ""), PolicyID: policy, Type: kind, Direction: direction}
		}
		require.NoError(t, tx.QoSRules().Insert(ctx, rule("p", l3.QoSBandwidthLimit, "egress"), rule("p", l3.QoSBandwidthLimit, "ingress"),
			rule("q", l3.QoSBandwidthLimit, "egress"), rule("p", l3.QoSMinimumBandwidth, "egress"), rule("p", l3.QoSDSCPMarking, "")))
		taken(tx.QoSRules().Insert(ctx, rule("p", l3.QoSBandwidthLimit, "egress")), "qos_rules_type")
		taken(tx.QoSRules().Insert(ctx, rule("p", l3.QoSDSCPMarking, "")), "qos_rules_type")

		require.NoError(t, tx.Agents().Insert(ctx, l3.Agent{ID: "a", Host: "h"}))
		taken(tx.Agents().Insert(ctx, l3.Agent{ID: "b", Host: "h"}), "agents_host")
		taken(tx.Agents().Insert(ctx, l3.Agent{ID: "a", Host: "i"}), "agents_pkey")

		vlan := l3.Segment{Type: "vlan", Physical: "one", ID: 7}
		require.NoError(t, tx.Segments().Claim(ctx, vlan, "n"))
		taken(tx.Segments().Claim(ctx, vlan, "m"), "segments_pkey")
		require.NoError(t, tx.Addresses().Claim(ctx, "s", b.FixedIP, "p"))
		taken(tx.Addresses().Claim(ctx, "s", b.FixedIP, "q"), "addresses_pkey")
		return nil
	})
}

func revisionGrows(t *testing.T, s l3.Store) {
	ctx := t.Context()
	r := l3.Router{Meta: meta("p", "one")}
	update(t, s, func(tx l3.Tx) error { return tx.Routers().Insert(ctx, r) })
	for want := 2; want < 5; want++ {
		update(t, s, func(tx l3.Tx) error {
			got, err := tx.Routers().Get(ctx, r.ID)
			require.NoError(t, err)
			got.Name += "+"
			require.NoError(t, tx.Routers().Update(ctx, &got))
			require.Equal(t, want, got.Revision)
			return nil
		})
	}
	update(t, s, func(tx l3.Tx) error {
		got, err := tx.Routers().Get(ctx, r.ID)
		require.NoError(t, err)
		got.Status = l3.StatusError
		require.NoError(t, tx.Routers().Refresh(ctx, &got))
		require.Equal(t, 4, got.Revision, "Refresh leaves the revision as it is")
		again, err := tx.Routers().Get(ctx, r.ID)
		require.NoError(t, err)
		require.Equal(t, got, again)
		return nil
	})
	absent := l3.Router{Meta: meta("p", "absent")}
	update(t, s, func(tx l3.Tx) error {
		require.ErrorIs(t, tx.Routers().Refresh(ctx, &absent), l3.ErrAbsent)
		return nil
	})
	require.Equal(t, []string{"one+++"}, routerNames(t, s, l3.Query{Filters: []l3.Filter{{Field: "revision_number", Values: []any{4}}}}))
}

func refusesNUL(t *testing.T, s l3.Store) {
	ctx := t.Context()
	require.Error(t, s.Update(ctx, func(tx l3.Tx) error {
		return tx.Routers().Insert(ctx, l3.Router{Meta: meta("p", "a\x00b")})
	}))
	require.Error(t, s.Update(ctx, func(tx l3.Tx) error {
		return tx.Routers().Insert(ctx, l3.Router{Meta: meta("p", "a\xffb")})
	}))
	for _, op := range []l3.Op{l3.In, l3.Contains} {
		require.Empty(t, routerNames(t, s, l3.Query{Filters: []l3.Filter{{Field: "name", Op: op, Values: []any{"\x00", "\xff"}}}}))
	}
}
