package namespace

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
)

// sabotaged applies a router, and makes the action with a number fail: before it has done anything,
// or after it has done all. It reports false if there are not so many actions.
func (b *bench) sabotaged(t *testing.T, r dataplane.Router, at int, done bool, cause error) (error, bool) {
	t.Helper()
	k, err := b.registry.take(t.Context(), r.ID)
	require.NoError(t, err)
	defer b.registry.leave(k)
	fresh, err := b.open(k, r.ID, r.Owner)
	require.NoError(t, err)
	require.False(t, fresh)
	j, err := b.longJob(t.Context(), k.site, r, false, false)
	require.NoError(t, err)
	k.site.trusted = false
	if at >= len(j.actions) {
		return nil, false
	}
	do := j.actions[at].do
	j.actions[at].do = func(ctx context.Context) error {
		if done {
			require.NoError(t, do(ctx))
		}
		return cause
	}
	return j.run(t.Context()), true
}

func TestAFailureOfAnyActionLeavesTheRouterThatTheErrorNames(t *testing.T) {
	boom := errors.New("boom")
	for i, r := range variants() {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			b := newBench(t)
			for at := 0; ; at++ {
				b.apply(t, threeLegs())
				before := b.observed(t, "r1")
				err, ok := b.sabotaged(t, r, at, (at+i)%2 == 0, boom)
				if !ok {
					break
				}
				require.ErrorIs(t, err, boom)
				now := b.observed(t, "r1")
				if errors.Is(err, dataplane.ErrNewInForce) {
					wanted := want(r)
					for dev, l := range now.links { // what failed may be the unplugging
						if _, stays := wanted.links[dev]; !stays {
							require.False(t, l.up, "action %d: %s", at, dev)
							delete(now.links, dev)
						}
					}
					require.Equal(t, wanted, now, "action %d", at)
				} else {
					require.ErrorIs(t, err, dataplane.ErrOldInForce, "action %d", at)
					require.Equal(t, before, now, "action %d", at)
				}
				b.apply(t, r)
				require.Equal(t, want(r), b.observed(t, "r1"), "action %d", at)
			}
		})
	}
}

// A process that has just started does not know what network a device was on, so it cannot put that
// back.
func TestAPortMovedByAFreshProcessIsFinishedOrAdmittedLost(t *testing.T) {
	r := threeLegs()
	r.Ports[1].Network.ID = "net-other"
	for name, fail := range map[string]bool{"the context ends": false, "the rules fail": true} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.apply(t, threeLegs())
			b.reopen(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			b.wiring.plugging = cancel
			if fail {
				b.wiring.plugging, b.firewall.fail = nil, errors.New("boom")
			}
			_, err := b.Apply(ctx, r)
			if fail {
				require.ErrorIs(t, err, dataplane.ErrNoneInForce)
				b.firewall.fail = nil
				b.apply(t, r)
			} else {
				require.NoError(t, err)
			}
			require.Equal(t, want(r), b.observed(t, "r1"))
		})
	}
}
