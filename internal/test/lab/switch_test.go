package lab_test

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/netdev"
	"github.com/l3kit/l3kit/internal/test/lab"
)

func newSwitch(t *testing.T) (*lab.Lab, *lab.Switch) {
	t.Helper()
	l := newLab(t)
	s, err := l.Switch(soon(t))
	require.NoError(t, err)
	return l, s
}

func vsctl(t *testing.T, s *lab.Switch, command string) {
	t.Helper()
	_, err := s.Vsctl(strings.Fields(command)...)
	require.NoError(t, err)
}

const addBridge = "add-br br0 -- set bridge br0 datapath_type=netdev"

// switched puts cables of a patch into a bridge of Open vSwitch instead of one of Linux.
type switched struct {
	namespace.InterfaceDriver
	host string
	s    *lab.Switch
}

func (w switched) Plug(_ context.Context, ns namespace.NS, what ...namespace.Attachment) error {
	for _, a := range what {
		if err := w.plug(ns, a.Device, a.Port); err != nil {
			return err
		}
	}
	return nil
}

func (w switched) plug(ns namespace.NS, dev string, port dataplane.Port) error {
	if err := (patch{host: w.host}).plug(ns, dev, port); err != nil {
		return err
	}
	near := "t" + port.ID[:11]
	err := netdev.At(w.host, func(nl *netlink.Handle) error {
		link, err := nl.LinkByName(near)
		if err != nil {
			return err
		}
		return nl.LinkSetNoMaster(link)
	})
	if err != nil {
		return err
	}
	_, err = w.s.Vsctl("add-port", "br0", near)
	return err
}

// pair makes two workloads on br0 and returns what the first asks of the second.
func pair(t *testing.T, l *lab.Lab, s *lab.Switch) (ask func() error) {
	t.Helper()
	var hosts [2]*lab.Host
	for i := range hosts {
		spec := lab.Spec{Name: fmt.Sprintf("w%d", i), Ports: []dataplane.Port{port("n", fmt.Sprintf("10.0.0.%d/24", 1+i))}}
		var err error
		hosts[i], err = l.Attach(soon(t), switched{host: l.HostNS, s: s}, spec)
		require.NoError(t, err)
	}
	return func() error {
		c, err := hosts[0].Dial(soon(t), dataplane.ICMP, netip.AddrPort{}, netip.MustParseAddrPort("10.0.0.2:0"))
		require.NoError(t, err)
		defer c.Close()
		_, err = c.Exchange(soon(t), 0)
		return err
	}
}

func TestSwitchForwardsUntilItsDaemonIsKilled(t *testing.T) {
	l, s := newSwitch(t)
	vsctl(t, s, addBridge)
	ask := pair(t, l, s)
	require.NoError(t, ask())

	require.NoError(t, s.StopDatabase())
	require.NoError(t, s.StartDatabase(soon(t)))
	require.NoError(t, ask())

	require.NoError(t, s.KillDaemon())
	_, err := s.Ofctl("dump-flows", "br0")
	require.Error(t, err)
	require.NoError(t, s.StartDaemon(soon(t)))
	flows, err := s.Ofctl("dump-flows", "br0")
	require.NoError(t, err, "the bridge is there when the daemon is said to have started")
	require.Contains(t, flows, "NORMAL")
	require.NoError(t, ask())
	require.NoError(t, s.RestartDaemon(soon(t)))
	require.NoError(t, ask())
}

func TestSwitchesOfTwoMachinesAreTwo(t *testing.T) {
	l1, s1 := newSwitch(t)
	l2, s2 := newSwitch(t)
	vsctl(t, s1, addBridge)
	vsctl(t, s2, addBridge)
	require.NoError(t, pair(t, l1, s1)())
	require.NoError(t, pair(t, l2, s2)())
	vsctl(t, s1, "del-br br0")
	state, err := s2.State()
	require.NoError(t, err)
	require.Contains(t, state, "bridge br0 ")
}

func TestSwitchCountsTransactionsOfClients(t *testing.T) {
	_, s := newSwitch(t)
	counts := func(command string) int {
		before, err := s.Transactions()
		require.NoError(t, err)
		vsctl(t, s, command)
		after, err := s.Transactions()
		require.NoError(t, err)
		return after - before
	}
	require.Equal(t, 1, counts(addBridge), "what the daemon reports of it is not a client's")
	require.Equal(t, 1, counts("add-port br0 p0 tag=7 -- set interface p0 type=internal"))
	require.Equal(t, 0, counts("list interface"))
	require.Equal(t, 0, counts("set port p0 tag=7"))
	require.Equal(t, 1, counts("set port p0 tag=8"))
	require.Equal(t, 0, counts("--no-wait set interface br0 link_state=up"), "a column that is not kept")
	require.Equal(t, 1, counts("del-port p0"))
}

func TestSwitchTellsStatesApart(t *testing.T) {
	_, s := newSwitch(t)
	state := func() string {
		text, err := s.State()
		require.NoError(t, err)
		return text
	}
	empty := state()
	vsctl(t, s, addBridge)
	const add = "add-port br0 p0 tag=7 -- set interface p0 type=internal external_ids={b=2,a=1} -- set port p0 external_ids:c=3"
	vsctl(t, s, add)
	first := state()
	for _, want := range []string{"bridge br0 ", " ports=br0,p0", "tag=7", "external_ids=a:1,b:2", "external_ids=c:3", "flow br0 ", "actions=NORMAL"} {
		require.Contains(t, first, want)
	}
	vsctl(t, s, "del-port p0")
	require.NotEqual(t, first, state())
	vsctl(t, s, add)
	require.Equal(t, first, state(), "a port that has another number now")
	for _, change := range []string{"set port p0 tag=8", "set interface p0 external_ids:a=2", "set bridge br0 fail_mode=secure"} {
		before := state()
		vsctl(t, s, change)
		require.NotEqual(t, before, state(), change)
	}
	vsctl(t, s, "del-br br0")
	require.Equal(t, empty, state())
}

func TestSwitchTellsWrites(t *testing.T) {
	_, s := newSwitch(t)
	vsctl(t, s, addBridge)
	_, err := s.Ofctl("add-flow", "br0", "table=1,priority=7,actions=drop")
	require.NoError(t, err)
	writes := func(fn func() (string, error)) []string {
		w, err := s.Writes(func() error { _, err := fn(); return err })
		require.NoError(t, err)
		return w
	}
	ofctl := func(args ...string) []string { return writes(func() (string, error) { return s.Ofctl(args...) }) }
	require.Empty(t, ofctl("dump-flows", "br0"))
	require.Len(t, ofctl("add-flow", "br0", "table=1,priority=7,actions=drop"), 1, "the same flow, written anew")
	require.Len(t, ofctl("add-flow", "br0", "table=1,priority=7,actions=NORMAL"), 2)
	require.Len(t, ofctl("add-flow", "br0", "table=1,priority=8,actions=drop"), 1)
	require.Len(t, ofctl("del-flows", "br0", "table=1"), 2)
	require.Empty(t, ofctl("add-flow", "br0", "table=2,hard_timeout=100,actions=drop"), "as traffic makes by learning")
	require.Len(t, writes(func() (string, error) {
		return s.Vsctl("add-port", "br0", "p0", "--", "set", "interface", "p0", "type=internal")
	}), 1)
}

func TestSwitchSaysWhyItDoesNotStart(t *testing.T) {
	_, s := newSwitch(t)
	require.ErrorContains(t, s.StartDatabase(soon(t)), "runs already")
	require.NoError(t, s.StopDatabase())
	require.NoError(t, os.WriteFile(filepath.Join(s.RunDir, "conf.db"), []byte("OVSDB JSON nonsense\n"), 0o600))
	require.ErrorContains(t, s.StartDatabase(soon(t)), "conf.db: ", "what the process itself said")

	l := newLab(t)
	t.Setenv("PATH", t.TempDir())
	_, err := l.Switch(soon(t))
	require.ErrorContains(t, err, "openvswitch-switch")
}

// TestSwitchDiesWithItsProcess kills a process that has a switch. All of them have a pipe's end,
// which is at its end when the last of them is.
func TestSwitchDiesWithItsProcess(t *testing.T) {
	const child = "L3KIT_TEST_SWITCH_CHILD"
	if os.Getenv(child) != "" {
		l, _ := newSwitch(t)
		fmt.Println("started", l.Dir)
		select {}
	}
	newLab(t) // asks for root
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^TestSwitchDiesWithItsProcess$")
	temp := t.TempDir()
	cmd.Env = append(os.Environ(), child+"=1", "TMPDIR="+temp)
	cmd.ExtraFiles = []*os.File{w}
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	require.NoError(t, w.Close())
	var dir string
	_, err = fmt.Fscanf(out, "started %s", &dir)
	require.NoError(t, err)
	require.NoError(t, r.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	_, err = r.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "everybody lives")
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	require.NoError(t, r.SetReadDeadline(time.Now().Add(time.Minute)))
	_, err = r.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF, "nobody is left")

	hosts := filepath.Join(filepath.Dir(dir), "hosts") // what the child could not clean up
	require.NoError(t, lab.Sweep(hosts, ""))
	require.NoError(t, unix.Unmount(hosts, unix.MNT_DETACH))
}
