package openflow_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/test/needs"
	"github.com/l3kit/l3kit/ovs/internal/openflow"
)

type flow = openflow.Flow

// some are flows with every kind of match and action that the ovs wiring uses, in forms that
// ovs-ofctl prints differently in different versions of OpenFlow.
func some() []flow {
	return []flow{
		{0, 1, "in_port=1", "resubmit(,2)"},
		{0, 3, "in_port=1,dl_vlan=7", "set_field:4101->vlan_vid,NORMAL"},
		{0, 3, "in_port=1,vlan_tci=0x0000/0x1fff", "push_vlan:0x8100,set_field:4102->vlan_vid,NORMAL"},
		{0, 1, "in_port=2", "set_field:0x20010db8000000000000000000000001->xxreg0,resubmit(,4)"},
		{4, 1, "tun_id=0x64", "push_vlan:0x8100,set_field:4101->vlan_vid,resubmit(,10)"},
		{10, 1, "dl_vlan=5", "learn(table=20,hard_timeout=300,priority=1,delete_learned,cookie=" + openflow.LearnedCookie("five") +
			",NXM_OF_VLAN_TCI[0..11],NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:NXM_NX_XXREG0[]->NXM_NX_XXREG0[]),output:1"},
		{21, 1, "arp,dl_vlan=5,arp_op=1,arp_tpa=10.0.0.1", "move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],set_field:2->arp_op,IN_PORT"},
		{24, 1, "xxreg0=0xc0000202", "output:2"},
		{0, 0, "", "drop"},
	}
}

func TestReplaceBringsFlowsInAndPlanProvesIt(t *testing.T) {
	s := newSwitch(t)
	b, runs := bridge(t, s)
	add, remove, err := b.Plan(soon(t), some())
	require.NoError(t, err)
	require.Equal(t, some(), add)
	require.Empty(t, remove)
	require.Zero(t, runs(), "looking starts no process")

	require.NoError(t, b.Replace(soon(t), some()))
	require.Equal(t, 1, runs())
	untold(t, b)
	require.NoError(t, b.Replace(soon(t), some()))
	requireSame(t, b, some())
	require.Equal(t, 1, runs())

	changed := some()
	changed[1].Actions = "drop"
	changed = changed[:len(changed)-1]
	add, remove, err = b.Plan(soon(t), changed)
	require.NoError(t, err)
	require.Equal(t, []flow{changed[1]}, add)
	require.Len(t, remove, 2)
	require.NoError(t, b.Replace(soon(t), changed))
	requireSame(t, b, changed)
	require.Len(t, dump(t, s.Ofctl), len(changed))

	require.NoError(t, b.Replace(soon(t), nil))
	requireSame(t, b, nil)
	require.Empty(t, dump(t, s.Ofctl))
}

// dump is what br0 has, whoever put it there.
func dump(t *testing.T, ofctl func(...string) (string, error)) (flows []string) {
	t.Helper()
	text, err := ofctl("-O", "OpenFlow14", "--no-stats", "dump-flows", "br0")
	require.NoError(t, err)
	for l := range strings.Lines(text) {
		if strings.Contains(l, "actions=") {
			flows = append(flows, strings.TrimSpace(l))
		}
	}
	return flows
}

// A process that is frozen answers nobody. The proof does not need it.
func TestPlanOfNothingAsksNobody(t *testing.T) {
	s := newSwitch(t)
	b, runs := bridge(t, s)
	require.NoError(t, b.Replace(soon(t), some()))
	thaw := freeze(t, s)
	defer thaw()
	for range 100 {
		requireSame(t, b, some())
		require.NoError(t, b.Replace(soon(t), some()))
	}
	require.Equal(t, 1, runs())
}

// What is there when a process starts is compared once, and never written again.
func TestFreshProcessKnowsItsFlows(t *testing.T) {
	s := newSwitch(t)
	first, _ := bridge(t, s)
	require.NoError(t, first.Replace(soon(t), some()))
	require.NoError(t, first.Close())
	send(t, s, 7, 1)

	b, runs := bridge(t, s)
	require.NoError(t, b.Replace(soon(t), some()))
	require.Equal(t, 1, runs(), "one comparison")
	requireSame(t, b, some())
	require.Equal(t, 1, runs())
	require.Equal(t, 1, sum(t, s, "in_port=1,dl_vlan=7"))
}

func TestFlowsThatStayKeepTheirCounters(t *testing.T) {
	s := newSwitch(t)
	b, _ := bridge(t, s)
	require.NoError(t, b.Replace(soon(t), some()))
	send(t, s, 7, 1)
	send(t, s, 7, 1)
	more := append(some(), flow{Priority: 9, Match: "in_port=2,dl_vlan=9", Actions: "drop"})
	require.NoError(t, b.Replace(soon(t), more[1:]))
	require.Equal(t, 2, sum(t, s, "in_port=1,dl_vlan=7"))
}

func TestFlowsOfOthersStay(t *testing.T) {
	s := newSwitch(t)
	ofctl(t, s, "add-flow", "br0", "cookie=0x1234,priority=77,in_port=2,actions=drop")
	ofctl(t, s, "add-flow", "br0", "priority=78,in_port=2,actions=drop")
	b, _ := bridge(t, s)
	require.NoError(t, b.Replace(soon(t), some()))
	ofctl(t, s, "add-flow", "br0", "table=4,priority=79,in_port=2,actions=drop")
	untold(t, b)
	requireSame(t, b, some())
	require.NoError(t, b.Replace(soon(t), nil))
	foreign := dump(t, s.Ofctl)
	require.Len(t, foreign, 3)
	for _, p := range []string{"priority=77", "priority=78", "priority=79"} {
		require.True(t, slices.ContainsFunc(foreign, func(f string) bool { return strings.Contains(f, p) }), p)
	}
}

// What a neighbour does to a flow of ours is told at once, named by Plan and mended by Replace.
func TestDamageIsNamedAndMended(t *testing.T) {
	victim := some()[1]
	for name, damage := range map[string][]string{
		"removed":              {"--strict", "del-flows", "br0", "priority=3,in_port=1,dl_vlan=7"},
		"overwritten":          {"add-flow", "br0", "priority=3,in_port=1,dl_vlan=7,actions=drop"},
		"actions changed":      {"--strict", "mod-flows", "br0", "priority=3,in_port=1,dl_vlan=7,actions=drop"},
		"under its own cookie": {"add-flow", "br0", "cookie=COOKIE,priority=3,in_port=1,dl_vlan=7,actions=drop"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSwitch(t)
			b, runs := bridge(t, s)
			require.NoError(t, b.Replace(soon(t), some()))
			for i, arg := range damage {
				damage[i] = strings.Replace(arg, "COOKIE", cookieOf(t, dump(t, s.Ofctl), "dl_vlan=7"), 1)
			}
			for _, fresh := range []bool{false, true} {
				ofctl(t, s, damage...)
				if fresh {
					b, runs = bridge(t, s)
				} else {
					told(t, b)
				}
				add, _, err := b.Plan(soon(t), some())
				require.NoError(t, err)
				require.Equal(t, []flow{victim}, add)

				require.NoError(t, b.Replace(soon(t), some()))
				before := runs()
				requireSame(t, b, some())
				require.Equal(t, before, runs(), "what we wrote ourselves is not doubted")
				untold(t, b)
				require.Contains(t, strings.Join(dump(t, s.Ofctl), "\n"), "dl_vlan=7 actions=set_field:4101->vlan_vid,NORMAL")
				require.Len(t, dump(t, s.Ofctl), len(some()))
			}
		})
	}
}

func cookieOf(t *testing.T, flows []string, match string) string {
	t.Helper()
	for _, f := range flows {
		if strings.Contains(f, match) {
			cookie, _, _ := strings.Cut(strings.TrimPrefix(f, "cookie="), ",")
			return cookie
		}
	}
	t.Fatalf("no flow with %s", match)
	return ""
}

func TestFlowsThatWereAddedUnderOurMarkGo(t *testing.T) {
	s := newSwitch(t)
	b, _ := bridge(t, s)
	require.NoError(t, b.Replace(soon(t), some()))
	cookie := strings.TrimPrefix(cookieWord.FindString(dump(t, s.Ofctl)[0]), "cookie=")[:len("0x6c330000")] + "00000001"
	ofctl(t, s, "add-flow", "br0", "cookie="+cookie+",table=200,priority=5,in_port=1,actions=drop")
	told(t, b)
	add, remove, err := b.Plan(soon(t), some())
	require.NoError(t, err)
	require.Empty(t, add)
	require.Equal(t, []flow{{Table: 200, Priority: 5, Match: "cookie=" + cookie + "/-1"}}, remove)
	require.NoError(t, b.Replace(soon(t), some()))
	require.Len(t, dump(t, s.Ofctl), len(some()))
}

var cookieWord = regexp.MustCompile(`cookie=0x6c33[0-9a-f]{12}`)

// Two owners on one bridge neither see nor touch each other's flows.
func TestTwoOwnersShareABridge(t *testing.T) {
	s := newSwitch(t)
	b, _ := bridge(t, s)
	require.NoError(t, b.Replace(soon(t), some()))
	other, _ := bridgeFor(t, s, "br-other")
	requireSame(t, other, nil)
	theirs := []flow{{0, 7, "in_port=2,dl_vlan=9", "drop"}}
	require.NoError(t, other.Replace(soon(t), theirs))
	untold(t, b)
	requireSame(t, b, some())
	requireSame(t, other, theirs)
	require.NoError(t, b.Replace(soon(t), nil))
	untold(t, other)
	requireSame(t, other, theirs)
	require.Len(t, dump(t, s.Ofctl), 1)
}

// Learned flows are the switch's, until the flow goes that taught them.
func TestLearnedFlowsAreNoStrays(t *testing.T) {
	s := newSwitch(t)
	b, runs := bridge(t, s)
	flows := append(some()[:5:5], some()[5:]...)
	require.NoError(t, b.Replace(soon(t), flows))
	before := runs()
	learn := flow{Table: 0, Priority: 5, Match: "in_port=1,dl_vlan=5", Actions: "resubmit(,10)"}
	flows = append(flows, learn)
	require.NoError(t, b.Replace(soon(t), flows))
	for i := range 5 {
		send(t, s, 5, i)
	}
	require.Equal(t, 5, strings.Count(ofctl(t, s, "dump-flows", "br0", "table=20"), "hard_timeout=300"))
	untold(t, b)
	requireSame(t, b, flows)
	require.Equal(t, before+1, runs())
	fresh, _ := bridge(t, s)
	requireSame(t, fresh, flows)

	require.NoError(t, b.Replace(soon(t), slices.DeleteFunc(slices.Clone(flows), func(f flow) bool { return f.Table == 10 })))
	require.NotContains(t, ofctl(t, s, "dump-flows", "br0", "table=20"), "hard_timeout=300")
}

func TestReplaceIsAllOrNothing(t *testing.T) {
	s := newSwitch(t)
	b, _ := bridge(t, s)
	require.NoError(t, b.Replace(soon(t), some()))
	before := dump(t, s.Ofctl)
	bad := append([]flow{{Priority: 50, Match: "in_port=1", Actions: "drop"}}, some()[2:]...)
	bad = append(bad, flow{Priority: 51, Actions: "group:4711"}) // the switch refuses it, after all the others
	err := b.Replace(soon(t), bad)
	require.ErrorContains(t, err, "write flows of br0: ovs-ofctl: Error OFPBAC_BAD_OUT_GROUP")
	require.NotContains(t, err.Error(), "\n")
	require.Equal(t, before, dump(t, s.Ofctl))
	requireSame(t, b, some())
}

// While two sets of flows take turns, every packet meets one of them, whole.
func TestNoPacketMeetsHalfASet(t *testing.T) {
	const vlans = 50
	s := newSwitch(t)
	b, _ := bridge(t, s)
	set := func(n int) (flows []flow) {
		for i := range vlans {
			flows = append(flows, flow{Table: 0, Priority: 1, Match: fmt.Sprintf("in_port=1,dl_vlan=%d", 1+i), Actions: fmt.Sprintf("set_field:%d->reg1,resubmit(,1)", n)},
				flow{Table: 1, Priority: 1, Match: fmt.Sprintf("dl_vlan=%d,reg1=%d", 1+i, n), Actions: "drop"})
		}
		return append(flows, flow{Table: 1, Priority: 0, Match: "in_port=1", Actions: "drop"})
	}
	require.NoError(t, b.Replace(soon(t), set(2)))
	sent, stop := traffic(t, s, vlans)
	meanwhile := int64(0)
	for i := range 20 {
		from := sent.Load()
		require.NoError(t, b.Replace(soon(t), set(1+i%2)))
		meanwhile += sent.Load() - from
	}
	stop()
	require.Positive(t, meanwhile)
	appctl(t, s, "revalidator/wait") // which brings the datapath's counters to the flows
	require.Positive(t, sum(t, s, "table=1"))
	require.Zero(t, sum(t, s, "table=1,in_port=1"))
}

func TestRestartIsNoticed(t *testing.T) {
	s := newSwitch(t)
	b, _ := bridge(t, s)
	require.NoError(t, b.Replace(soon(t), some()))
	require.NoError(t, s.KillDaemon())
	told(t, b)
	_, _, err := b.Plan(soon(t), some())
	require.ErrorIs(t, err, openflow.ErrAway)
	require.ErrorIs(t, b.Replace(soon(t), some()), openflow.ErrAway)

	require.NoError(t, s.StartDaemon(soon(t)))
	add, _, err := b.Plan(soon(t), some())
	require.NoError(t, err)
	require.Equal(t, some(), add)
	require.NoError(t, b.Replace(soon(t), some()))
	requireSame(t, b, some())
	untold(t, b)
}

func TestBridgeThatIsDeletedIsNoticed(t *testing.T) {
	s := newSwitch(t)
	b, _ := bridge(t, s)
	requireSame(t, b, nil)
	vsctl(t, s, "del-br br0")
	told(t, b)
	_, _, err := b.Plan(soon(t), some())
	require.ErrorIs(t, err, openflow.ErrAway)
}

func TestProtocolsThatLackOurs(t *testing.T) {
	s := newSwitch(t)
	vsctl(t, s, "set bridge br0 protocols=OpenFlow13")
	b, _ := bridge(t, s)
	_, _, err := b.Plan(soon(t), some())
	require.ErrorIs(t, err, dataplane.ErrUnsupported)
	require.ErrorContains(t, err, "OpenFlow10 and OpenFlow14")

	vsctl(t, s, "set bridge br0 protocols=OpenFlow10,OpenFlow13")
	err = b.Replace(soon(t), some())
	require.ErrorIs(t, err, dataplane.ErrUnsupported)
	require.NotContains(t, err.Error(), "\n")
	vsctl(t, s, "set bridge br0 protocols=OpenFlow10,OpenFlow13,OpenFlow14")
	require.NoError(t, b.Replace(soon(t), some()))
}

func TestCancelledContextReturns(t *testing.T) {
	s := newSwitch(t)
	b, _ := bridge(t, s)
	require.NoError(t, b.Replace(soon(t), some()))
	thaw := freeze(t, s)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, b.Replace(ctx, some()[1:]), context.DeadlineExceeded, "ovs-ofctl is killed")
	fresh, _ := bridge(t, s)
	_, _, err := fresh.Plan(ctx, nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	thaw()
	require.NoError(t, b.Replace(soon(t), some()[1:]))
	requireSame(t, b, some()[1:])
}

func TestFlowsForOneMatchAreRefused(t *testing.T) {
	s := newSwitch(t)
	b, _ := bridge(t, s)
	two := []flow{{Priority: 1, Match: "in_port=1", Actions: "drop"}, {Priority: 1, Match: "in_port=1", Actions: "NORMAL"}}
	require.ErrorIs(t, b.Replace(soon(t), two), dataplane.ErrInvalid)
	require.Empty(t, dump(t, s.Ofctl))
	two[0].Match, two[1].Match = "dl_vlan=7", "dl_vlan=0x7"
	require.ErrorContains(t, b.Replace(soon(t), two), "one match in different notations")
}

func TestSyntaxErrorNamesTheFlow(t *testing.T) {
	s := newSwitch(t)
	b, _ := bridge(t, s)
	err := b.Replace(soon(t), []flow{{Priority: 1, Match: "in_port=1", Actions: "drop"}, {Priority: 1, Match: "bogus=1", Actions: "drop"}})
	require.ErrorContains(t, err, "bogus=1,actions=drop")
	require.NotContains(t, err.Error(), "\n")
	require.Empty(t, dump(t, s.Ofctl))
}

func TestManyFlows(t *testing.T) {
	s := newSwitch(t)
	b, runs := bridge(t, s)
	var many []flow
	for i := range 20000 {
		many = append(many, flow{Table: 5, Priority: 1, Match: fmt.Sprintf("reg0=%d", i), Actions: "drop"})
	}
	require.NoError(t, b.Replace(soon(t), many))
	requireSame(t, b, many)
	require.NoError(t, b.Replace(soon(t), many[:10]))
	requireSame(t, b, many[:10])
	require.Equal(t, 2, runs())
	untold(t, b)
}

func TestConcurrentCallers(t *testing.T) {
	s := newSwitch(t)
	b, _ := bridge(t, s)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 5 {
				if err := b.Replace(soon(t), some()[i:]); err != nil {
					t.Error(err)
				}
				if _, _, err := b.Plan(soon(t), some()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, b.Replace(soon(t), some()))
	requireSame(t, b, some())
}

func TestClosedBridge(t *testing.T) {
	s := newSwitch(t)
	b, _ := bridge(t, s)
	require.NoError(t, b.Replace(soon(t), some()))
	require.NoError(t, b.Close())
	require.NoError(t, b.Close())
	require.ErrorIs(t, b.Replace(soon(t), nil), dataplane.ErrClosed)
	require.Len(t, dump(t, s.Ofctl), len(some()), "the flows stay")
}

func TestMissingTool(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := openflow.Open("/run/openvswitch/br0.mgmt", owner)
	require.ErrorIs(t, err, dataplane.ErrUnsupported)
	var op *dataplane.OpError
	require.True(t, errors.As(err, &op))
	require.Equal(t, "br0", op.Object)
}

func TestNobodyThere(t *testing.T) {
	needs.Program(t, "ovs-ofctl", "openvswitch-common")
	b, err := openflow.Open(filepath.Join(t.TempDir(), "br0.mgmt"), owner)
	require.NoError(t, err)
	_, _, err = b.Plan(soon(t), nil)
	require.ErrorIs(t, err, openflow.ErrAway)
	require.NoError(t, b.Close())
}
