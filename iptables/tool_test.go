package iptables

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/test/firewalltest"
)

// path makes a PATH of a directory with these programs: shell scripts by name. In them $real is the
// program of that name that is installed.
func path(t *testing.T, programs map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, script := range programs {
		real, err := exec.LookPath(name)
		require.NoError(t, err)
		text := fmt.Sprintf("#!/bin/sh\nPATH=%s\nreal=%s\nhere=%s\n%s\n", os.Getenv("PATH"), real, dir, script)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755))
	}
	t.Setenv("PATH", dir)
}

// instead replaces the tools of a variant by a script that is run for all but questions for the
// version.
func instead(t *testing.T, v Variant, script string) {
	name := "iptables-" + string(v)
	path(t, map[string]string{
		name + "-restore": `case "$*" in *--version*) exec $real "$@";; esac` + "\n" + script,
		name + "-save":    `exec $real "$@"`,
	})
}

func TestMissingTool(t *testing.T) {
	eachVariant(t, func(t *testing.T, v Variant) {
		p := newPlace(t, v)
		t.Setenv("PATH", t.TempDir())
		_, err := p.rules.Apply(t.Context(), namespace.Change{Want: example()})
		require.ErrorIs(t, err, dataplane.ErrUnsupported)
		require.ErrorContains(t, err, "iptables-"+string(v)+"-restore is not installed, or not in PATH (package iptables)")
		firewalltest.RequirePresent(t, p.rules, false)
		require.NoError(t, p.rules.Clear(t.Context()), "there is nothing that the tool would be needed for")
	})
}

// A program is what it says that it is, whatever its name.
func TestFind(t *testing.T) {
	needRootAndBothVariants(t)
	const asNFT, asLegacy = `exec iptables-nft-${0##*-} "$@"`, `exec iptables-legacy-${0##*-} "$@"`
	for name, c := range map[string]struct {
		restore, save string
		want, found   Variant
		err           string
	}{
		"automatic: nft":        {asNFT, asNFT, Auto, NFT, ""},
		"automatic: legacy":     {asLegacy, asLegacy, Auto, Legacy, ""},
		"wanted: nft":           {asNFT, asNFT, NFT, NFT, ""},
		"wanted: legacy":        {asLegacy, asLegacy, Legacy, Legacy, ""},
		"other variant":         {asLegacy, asLegacy, NFT, "", "iptables-restore is iptables-legacy"},
		"and the other way":     {asNFT, asNFT, Legacy, "", "iptables-restore is iptables-nft"},
		"two variants":          {asNFT, asLegacy, NFT, "", "it is iptables-legacy, while"},
		"older than variants":   {"echo iptables-restore v1.4.21", asNFT, Auto, "", `its version is "iptables-restore v1.4.21"`},
		"no such variant":       {asNFT, asNFT, "ebtables", "", `no such variant of iptables: "ebtables"`},
		"broken":                {"echo broken >&2; exit 3", asNFT, Auto, "", "broken (exit status 3)"},
		"does not say anything": {"", asNFT, Auto, "", `its version is ""`},
	} {
		t.Run(name, func(t *testing.T) {
			path(t, map[string]string{"iptables-restore": c.restore, "iptables-save": c.save})
			found, err := find(t.Context(), c.want, time.Minute)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.found, found.variant)
			require.Equal(t, " --random-fully", found.random)
		})
	}
}

// The tool under the name of one variant is the other one, but the right one is there under the
// common name.
func TestFindByAnotherName(t *testing.T) {
	needRootAndBothVariants(t)
	const asLegacy = `exec iptables-legacy-${0##*-} "$@"`
	path(t, map[string]string{
		"iptables-nft-restore": asLegacy, "iptables-nft-save": asLegacy,
		"iptables-restore": `exec iptables-nft-restore "$@"`, "iptables-save": `exec iptables-nft-save "$@"`,
	})
	found, err := find(t.Context(), NFT, time.Minute)
	require.NoError(t, err)
	require.Equal(t, "iptables-restore", filepath.Base(found.path))
}

// A tool that hangs is killed with all that it has started, and what it is asked for later works.
func TestHanging(t *testing.T) {
	eachVariant(t, func(t *testing.T, v Variant) {
		const sleep = `sleep 1000 & echo $! >$here/pid.new; mv $here/pid.new $here/pid; wait`
		for name, hang := range map[string]string{
			"at once":         sleep,
			"after one table": `case "$*" in *--test*) exec $real "$@";; esac; awk '{print} /COMMIT/ {exit}' | $real "$@"; ` + sleep,
		} {
			t.Run(name, func(t *testing.T) {
				p := newPlace(t, v)
				p.apply(example(fip(5)))
				before := p.Listing()
				after := without(example(fip(5), fip(6)), func(r *dataplane.Router) { r.Gateway.SNAT = false })

				instead(t, v, `[ -e $here/pid ] && exec $real "$@"; `+hang)
				pid := filepath.Join(os.Getenv("PATH"), "pid")
				p.open(&Firewall{Variant: v, Timeout: 600 * time.Millisecond})
				_, err := p.rules.Apply(t.Context(), namespace.Change{Want: after})
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.ErrorContains(t, err, "took longer than 600ms, and was killed")
				requireKilled(t, pid)
				require.Equal(t, before, p.restored(t))
				p.apply(after)
				require.Empty(t, p.plan(after, nil))

				require.NoError(t, os.Remove(pid))
				ctx, cancel := context.WithCancel(t.Context())
				go func() {
					for {
						if _, err := os.Stat(pid); err == nil {
							cancel()
							return
						}
						time.Sleep(time.Millisecond)
					}
				}()
				p.open(&Firewall{Variant: v})
				_, err = p.rules.Apply(ctx, namespace.Change{Want: example(fip(5))})
				require.ErrorIs(t, err, context.Canceled)
				requireKilled(t, pid)
			})
		}
	})
}

// restored is the listing by the tools that are installed, whatever PATH is.
func (p *place) restored(t *testing.T) string {
	t.Helper()
	defer os.Setenv("PATH", os.Getenv("PATH"))
	os.Setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	return p.Listing()
}

func requireKilled(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return errors.Is(unix.Kill(pid, 0), unix.ESRCH) || zombie(pid) }, 5*time.Second, time.Millisecond)
}

// zombie says that a process has ended, and waits for whoever adopts orphans to take note.
func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(stat), ") Z ")
}

// The tool stops after any table: what it had done is taken back; and the next Apply does it.
func TestStopBetweenTables(t *testing.T) {
	eachVariant(t, func(t *testing.T, v Variant) {
		on := example(fip(5), fip(6))
		off := without(example(fip(5), fip(7)), func(r *dataplane.Router) { r.Gateway.SNAT = false })
		none := dataplane.Router{ID: on.ID}
		for _, c := range []struct{ before, after dataplane.Router }{{on, off}, {off, on}, {none, on}, {on, none}} {
			for tables := range 4 {
				t.Run(strconv.Itoa(tables), func(t *testing.T) {
					p := newPlace(t, v)
					p.apply(c.before)
					before := p.Listing()
					instead(t, v, cut(tables))
					p.Reopen()
					_, err := p.rules.Apply(t.Context(), namespace.Change{Want: c.after})
					require.ErrorContains(t, err, "cut")
					require.Equal(t, before, p.restored(t))
					p.apply(c.after)
					require.Empty(t, p.plan(c.after, nil))
				})
			}
		}
	})
}

// cut is a tool that fails once, after so many tables; its tests pass.
func cut(tables int) string {
	return fmt.Sprintf(`case "$*" in *--test*) exec $real "$@";; esac
[ -e $here/cut ] && exec $real "$@"
: >$here/cut
awk 'n < %d {print} /COMMIT/ {n++}' | $real "$@" && echo "cut" >&2
exit 1`, tables)
}

// A delta is in two tables, and is taken back as well; Apply then tries the long way.
func TestStopInDelta(t *testing.T) {
	eachVariant(t, func(t *testing.T, v Variant) {
		p := newPlace(t, v)
		instead(t, v, `cat >$here/input
if [ -e $here/arm ]; then rm $here/arm; awk '{print} /COMMIT/ {exit}' $here/input | $real "$@"; echo cut >&2; exit 1; fi
exec $real "$@" <$here/input`)
		arm := func() { require.NoError(t, os.WriteFile(filepath.Join(os.Getenv("PATH"), "arm"), nil, 0o600)) }
		p.Reopen()
		p.apply(example(fip(5)))
		before := p.restored(t)
		change := namespace.Change{Want: example(fip(5), fip(6)), Since: added(fip(6))}

		arm()
		proven, err := p.side().applyDelta(t.Context(), delta(change), &undoer{})
		require.ErrorContains(t, err, "cut")
		require.False(t, proven)
		require.Equal(t, before, p.restored(t))

		p.Reopen()
		p.apply(example(fip(5)))
		arm()
		_, err = p.rules.Apply(t.Context(), change)
		require.NoError(t, err)
		require.Empty(t, p.plan(change.Want, nil))
	})
}

// What the kernel refuses, or the tool, leaves the old rules in force, and the error shows the
// line.
func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		nft, legacy, line string
	}{
		"by the kernel": {"CHAIN_DEL failed (Device or resource busy)", "refused", "-X l3kit-src"},
		"no such rule":  {"Bad rule", "refused", "-D l3kit-src -j RETURN"},
		"no such match": {"Couldn't load match `nosuch'", "Couldn't load match `nosuch'", "-A l3kit-src -m nosuch -j DROP"},
	} {
		t.Run(name, func(t *testing.T) {
			eachVariant(t, func(t *testing.T, v Variant) {
				p := newPlace(t, v)
				p.apply(example(fip(5)))
				before := p.Listing()
				found, err := p.side().tool(t.Context())
				require.NoError(t, err)
				err = found.restore(t.Context(), p.side().ns, "*nat\n-A l3kit-dst -p tcp -j RETURN\n"+c.line+"\nCOMMIT\n", nil)
				words := map[Variant]string{NFT: c.nft, Legacy: c.legacy}[v]
				require.ErrorContains(t, err, words)
				require.ErrorContains(t, err, fmt.Sprintf("line 3: %q", c.line))
				require.Equal(t, before, p.Listing())
			})
		})
	}
}

func TestRefusal(t *testing.T) {
	exit := &exec.ExitError{ProcessState: &os.ProcessState{}}
	const input = "*nat\n-A x -j y\nCOMMIT\n"
	for _, c := range []struct {
		stderr, want string
		is           error
	}{
		{"iptables-restore: line 2 failed\n", `line 2: "-A x -j y": refused (exit status 0)`, nil},
		{"iptables-restore: line 3 failed\n", `line 3: "COMMIT of table nat": refused (exit status 0)`, nil},
		{"iptables-nft-restore: line 2 failed: Bad rule (does a matching rule exist in that chain?).\n",
			`line 2: "-A x -j y": Bad rule (does a matching rule exist in that chain?). (exit status 0)`, nil},
		{"iptables-nft-restore v1.8.9 (nf_tables): \nline 2: RULE_APPEND failed (No such file or directory): rule in chain x\n",
			`line 2: "-A x -j y": RULE_APPEND failed (No such file or directory): rule in chain x (exit status 0)`, nil},
		{"iptables-restore v1.8.9 (legacy): Couldn't load match `z':No such file or directory\n\nError occurred at line: 2\n" +
			"Try `iptables-restore -h' or 'iptables-restore --help' for more information.\n",
			"not supported on this host: line 2: \"-A x -j y\": Couldn't load match `z':No such file or directory (exit status 0)",
			dataplane.ErrUnsupported},
		{"iptables-nft-restore: line 1 failed: Permission denied (you must be root).\n",
			`needs root (CAP_NET_ADMIN and CAP_SYS_ADMIN): line 1: "*nat": Permission denied (you must be root). (exit status 0)`,
			dataplane.ErrPermission},
		{"Another app is currently holding the xtables lock. Stopped waiting after 1s.\n",
			"Another app is currently holding the xtables lock. Stopped waiting after 1s. (exit status 0)", nil},
		{"", "refused (exit status 0)", nil},
		{"line 99 failed", `line 99: "": refused (exit status 0)`, nil},
	} {
		err := refusal(exit, c.stderr, input)
		require.EqualError(t, err, c.want)
		require.ErrorIs(t, err, exit)
		if c.is != nil {
			require.ErrorIs(t, err, c.is)
		}
	}
}

// Somebody else holds the lock of iptables-legacy, which is one for all namespaces.
func TestLock(t *testing.T) {
	needRootAndBothVariants(t)
	file := filepath.Join(t.TempDir(), "xtables.lock")
	t.Setenv(lockVariable, file)
	hold := func() *os.File {
		f, err := os.OpenFile(file, os.O_CREATE|os.O_RDONLY, 0o600)
		require.NoError(t, err)
		require.NoError(t, unix.Flock(int(f.Fd()), unix.LOCK_EX))
		return f
	}
	p := newPlace(t, Legacy)
	p.apply(example(fip(5)))
	before := p.Listing()

	t.Run("for too long", func(t *testing.T) {
		defer hold().Close()
		p.open(&Firewall{Variant: Legacy, Timeout: 200 * time.Millisecond})
		_, err := p.rules.Apply(t.Context(), namespace.Change{Want: example(fip(6))})
		require.ErrorContains(t, err, "another process has held it for 200ms")
		require.ErrorContains(t, err, file)
		require.Equal(t, before, p.Listing())
	})
	t.Run("until the context ends", func(t *testing.T) {
		defer hold().Close()
		p.Reopen()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := p.rules.Apply(ctx, namespace.Change{Want: example(fip(6))})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, before, p.Listing())
	})
	t.Run("for a while", func(t *testing.T) {
		f := hold()
		go func() {
			time.Sleep(100 * time.Millisecond)
			f.Close()
		}()
		p.Reopen()
		p.apply(example(fip(6)))
	})
	t.Run("iptables-nft does not mind", func(t *testing.T) {
		defer hold().Close()
		newPlace(t, NFT).apply(example(fip(6)))
	})
	t.Run("we hold it together", func(t *testing.T) {
		p.Reopen()
		l, err := p.side().store.hold(t.Context())
		require.NoError(t, err)
		defer l.release()
		newPlace(t, Legacy).apply(example(fip(6)))
		f, err := os.Open(file)
		require.NoError(t, err)
		defer f.Close()
		require.ErrorIs(t, unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK, "another program can write meanwhile")
		p.open(&Firewall{Variant: Legacy, Timeout: 100 * time.Millisecond})
		_, err = p.rules.Apply(t.Context(), namespace.Change{Want: example(fip(7))})
		require.ErrorContains(t, err, "lock namespace of router test", "two of us write into the same namespace")
	})
	t.Run("what we have started holds it after us", func(t *testing.T) {
		p.Reopen()
		l, err := p.side().store.hold(t.Context())
		require.NoError(t, err)
		orphan := exec.Command("sleep", "1000")
		orphan.ExtraFiles = l
		require.NoError(t, orphan.Start())
		l.release()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err = p.side().store.hold(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, orphan.Process.Kill())
		_ = orphan.Wait()
		l, err = p.side().store.hold(t.Context())
		require.NoError(t, err)
		l.release()
	})
}

// Two routers do not wait for each other: one's tool hangs, the other's changes pass.
func TestRoutersDoNotWait(t *testing.T) {
	eachVariant(t, func(t *testing.T, v Variant) {
		slow, quick := newPlace(t, v), newPlace(t, v)
		slow.apply(example(fip(5)))
		instead(t, v, `cat >$here/input.$$
if grep -q 203.0.0.6 $here/input.$$; then : >$here/slow; sleep 1000; fi
exec $real "$@" <$here/input.$$`)
		f := &Firewall{Variant: v}
		slow.open(f)
		quick.open(f)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			_, err := slow.rules.Apply(ctx, namespace.Change{Want: example(fip(6))})
			done <- err
		}()
		require.Eventually(t, func() bool {
			_, err := os.Stat(filepath.Join(os.Getenv("PATH"), "slow"))
			return err == nil
		}, 5*time.Second, time.Millisecond)
		quick.apply(example(fip(7)))
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	})
}

// What the other variant wrote is replaced, and comes back by undoing.
func TestOtherVariant(t *testing.T) {
	eachVariant(t, func(t *testing.T, v Variant) {
		r := example(fip(5), fip(6))
		p := newPlace(t, v.other())
		p.apply(r)
		old := p.Listing()
		p.variant = v
		p.Reopen()
		steps := p.plan(r, nil)
		require.Equal(t, "- rules "+v.other().String()+": replaced by "+v.String(), steps[len(steps)-1])
		undo := p.apply(r)
		require.Empty(t, p.plan(r, nil))
		require.NotContains(t, p.counted(v.other()), prefix)
		require.Equal(t, old, p.Listing(), "the same rules")
		require.NoError(t, undo(t.Context()))
		require.NotContains(t, p.counted(v), prefix)
		require.Equal(t, old, ruleCounters.ReplaceAllString(p.counted(v.other()), ""))

		p.apply(r)
		firewalltest.RequirePresent(t, p.rules, true)
		require.NoError(t, p.rules.Clear(t.Context()))
		firewalltest.RequirePresent(t, p.rules, false)
	})
}

// Without the other variant's tool its rules cannot be replaced; nothing is begun then.
func TestOtherVariantMissing(t *testing.T) {
	eachVariant(t, func(t *testing.T, v Variant) {
		p := newPlace(t, v.other())
		p.apply(example(fip(5)))
		old := p.Listing()
		instead(t, v, `exec $real "$@"`)
		p.variant = v
		p.Reopen()
		_, err := p.rules.Apply(t.Context(), namespace.Change{Want: example(fip(5))})
		require.ErrorIs(t, err, dataplane.ErrUnsupported)
		require.ErrorContains(t, err, "iptables-"+string(v.other())+"-restore")
		p.variant = v.other()
		require.Equal(t, old, p.restored(t))
		p.variant = v
		require.NotContains(t, p.restored(t), prefix)
	})
}

// ip6tables is needed for routers with IPv6, and by nobody else; one of the other variant will not
// do.
func TestIPv6ToolMissing(t *testing.T) {
	eachVariant(t, func(t *testing.T, v Variant) {
		p := newPlace(t, v)
		instead(t, v, `exec $real "$@"`)
		real, err := exec.Command("/bin/sh", "-c", "PATH=/usr/sbin:/sbin command -v ip6tables-"+string(v.other())+"-restore").Output()
		require.NoError(t, err)
		other := filepath.Join(os.Getenv("PATH"), "ip6tables-restore")
		require.NoError(t, os.WriteFile(other, []byte("#!/bin/sh\nexec "+strings.TrimSpace(string(real))+" \"$@\"\n"), 0o755))
		p.Reopen()
		four := example(fip(5))
		p.apply(four)
		before := p.restored(t)
		six := without(four, func(r *dataplane.Router) {
			r.Ports[0].Addrs = append(slices.Clone(r.Ports[0].Addrs), netip.MustParsePrefix("fd00::1/64"))
		})
		_, err = p.rules.Apply(t.Context(), namespace.Change{Want: six})
		require.ErrorIs(t, err, dataplane.ErrUnsupported)
		require.ErrorContains(t, err, "ip6tables-"+string(v)+"-restore is not installed")
		require.ErrorContains(t, err, other+" is "+v.other().String())
		require.Equal(t, before, p.restored(t))
		require.Empty(t, p.plan(four, nil))
	})
}
