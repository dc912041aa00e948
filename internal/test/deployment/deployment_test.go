package deployment_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/test/deployment"
	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/internal/test/needs"
)

func TestMain(m *testing.M) {
	deployment.Main(map[string]func(){"witness": witness, "keeper": keeper})
	os.Exit(m.Run())
}

// witness leaves a file, and a namespace, in /run, and serves until it is told to end.
func witness() {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM)
	l, err := net.Listen("tcp", os.Args[1])
	if err == nil {
		_, err = netns.Create("/run/netns", "of-"+os.Args[2], "", nil)
	}
	if err == nil {
		err = os.WriteFile("/run/witness", []byte(os.Args[2]), 0o600)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot:", err)
		os.Exit(3)
	}
	go func() { _ = http.Serve(l, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})) }()
	<-told
	fmt.Println("told to end")
}

// keeper has a machine with a witness, until it is killed.
func keeper() {
	m, err := deployment.NewMachine("kept", true)
	if err == nil {
		err = m.NewProgram("/tmp", "kept", deployment.Self("witness"), "127.0.0.1:1000", "kept").Start()
	}
	fmt.Println("keeps:", err)
	select {}
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), lab.Patience(20*time.Second))
	t.Cleanup(cancel)
	return ctx
}

func newMachine(t *testing.T, name string) *deployment.Machine {
	t.Helper()
	needs.Root(t)
	m, err := deployment.NewMachine(name, true)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// TestMachinesHaveFilesAndNetworksOfTheirOwn: two programs that do the same on two machines do not
// meet, and leave nothing on this one.
func TestMachinesHaveFilesAndNetworksOfTheirOwn(t *testing.T) {
	for i := range 2 {
		name := fmt.Sprint("m", i)
		m := newMachine(t, name)
		p := m.NewProgram(t.TempDir(), name, deployment.Self("witness"), "127.0.0.1:1000", name)
		require.NoError(t, p.Start())
		t.Cleanup(func() { require.NoError(t, p.Kill()) })
		require.NoError(t, p.Ready(soon(t), "http://127.0.0.1:1000/"))
		require.NoError(t, m.Do(func() error {
			text, err := os.ReadFile("/run/witness")
			require.Equal(t, name, string(text))
			entries, _ := filepath.Glob("/run/netns/*")
			require.Equal(t, []string{"/run/netns/of-" + name}, entries)
			return err
		}))
		require.NoFileExists(t, "/run/witness")
		require.NoFileExists(t, "/run/netns/of-"+name)
	}
}

func TestProgramsEndAndBegin(t *testing.T) {
	m := newMachine(t, "m")
	p := m.NewProgram(t.TempDir(), "p", deployment.Self("witness"), "127.0.0.1:1000", "a")
	require.NoError(t, p.Start())
	require.Error(t, p.Start(), "it runs already")
	require.NoError(t, p.Ready(soon(t), "http://127.0.0.1:1000/"))
	require.True(t, p.Running())
	require.NoError(t, p.Terminate(soon(t)))
	require.False(t, p.Running())
	require.Contains(t, p.Said(), "told to end")
	require.Error(t, p.Terminate(soon(t)), "it does not run")

	_, status, err := p.Run(soon(t))
	require.NoError(t, err)
	require.Equal(t, 3, status, "the namespace is there from before")

	p.Args[1] = "b"
	require.NoError(t, p.Start())
	require.NoError(t, p.Ready(soon(t), "http://127.0.0.1:1000/"))
	require.NoError(t, p.Kill())
	require.NoError(t, p.Kill(), "again is fine")
	require.Equal(t, 1, strings.Count(p.Said(), "told to end"))
	require.ErrorContains(t, p.Ready(soon(t), "http://127.0.0.1:1000/"), "told to end", "its last words are shown")
}

// TestNothingOutlivesUs: a process with a machine and a program on it is killed.
func TestNothingOutlivesUs(t *testing.T) {
	m := newMachine(t, "m") // whose /tmp ends with it
	p := m.NewProgram(t.TempDir(), "keeper", deployment.Self("keeper"))
	require.NoError(t, p.Start())
	var pid string
	require.Eventually(t, func() bool {
		pid = processOf("kept")
		return pid != ""
	}, lab.Patience(20*time.Second), 10*time.Millisecond, p.LastWords())
	require.NoError(t, p.Kill())
	require.Eventually(t, func() bool {
		_, err := os.Stat("/proc/" + pid)
		return errors.Is(err, os.ErrNotExist)
	}, lab.Patience(10*time.Second), 10*time.Millisecond)
}

// processOf finds a witness by what it was told.
func processOf(name string) string {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		text, _ := os.ReadFile(path)
		if strings.HasPrefix(string(text), name+"\x00127.0.0.1:1000\x00") {
			return filepath.Base(filepath.Dir(path))
		}
	}
	return ""
}

func TestCablesAreCutAndMended(t *testing.T) {
	site := newMachine(t, "site")
	ethernet, err := site.NewEthernet("e")
	require.NoError(t, err)
	var far string
	var hosts [2]*lab.Host
	for i := range hosts {
		m := newMachine(t, fmt.Sprint("m", i))
		far, err = ethernet.Connect(m.Lab, "eth0", netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i)}), 24))
		require.NoError(t, err)
		hosts[i], err = m.Enter(m.HostNS)
		require.NoError(t, err)
	}
	reach := func(within time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		c, err := hosts[0].Dial(ctx, "icmp", netip.AddrPort{}, netip.MustParseAddrPort("192.0.2.2:0"))
		require.NoError(t, err)
		defer c.Close()
		_, err = c.Exchange(ctx, 0)
		return err
	}
	require.NoError(t, reach(lab.Patience(10*time.Second)))
	require.NoError(t, ethernet.Cut(far, true))
	require.ErrorIs(t, reach(300*time.Millisecond), context.DeadlineExceeded)
	require.NoError(t, ethernet.Cut(far, false))
	require.NoError(t, reach(lab.Patience(10*time.Second)))
}
