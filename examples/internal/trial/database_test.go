package trial_test

import (
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/internal/test/needs"
	"github.com/l3kit/l3kit/l3/l3test"
)

// database is a PostgreSQL server that can be stopped.
type database struct {
	*testing.T
	URL    string
	server *l3test.Postgres
	data   string // directory
}

func newDatabase(t *testing.T) *database {
	needs.Program(t, "pg_ctlcluster", "postgresql")
	p, err := l3test.StartPostgres(within(t, time.Minute), "fsync=off", "shared_buffers=32MB")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	d := &database{T: t, server: p}
	d.URL, err = p.Database(within(t, time.Minute))
	require.NoError(t, err)
	u, err := url.Parse(d.URL)
	require.NoError(t, err)
	d.data = filepath.Join(u.Query().Get("host"), "data")
	return d
}

// pid is the server's first process.
func (d *database) pid() int {
	d.Helper()
	text, err := os.ReadFile(filepath.Join(d.data, "postmaster.pid"))
	require.NoError(d, err)
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	require.NoError(d, err)
	return pid
}

// freeze stops all of the server's processes where they are, so that nobody hears of it and
// everybody waits. It returns what lets them go on.
func (d *database) freeze() (thaw func()) {
	d.Helper()
	pid := d.pid()
	all := append(children(pid), pid)
	signal := func(s syscall.Signal) {
		for _, p := range all {
			_ = syscall.Kill(p, s) // some end meanwhile
		}
	}
	d.Cleanup(func() { signal(syscall.SIGCONT) })
	signal(syscall.SIGSTOP)
	return func() { signal(syscall.SIGCONT) }
}

func children(pid int) (all []int) {
	lists, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	for _, list := range lists {
		text, _ := os.ReadFile(list)
		for _, word := range strings.Fields(string(text)) {
			child, _ := strconv.Atoi(word)
			all = append(all, child)
		}
	}
	return all
}

// crash ends the server at once. It returns what starts it again.
func (d *database) crash() (restart func()) {
	d.Helper()
	restart = d.restart()
	require.NoError(d, syscall.Kill(d.pid(), syscall.SIGQUIT))
	require.Eventually(d, d.dead, lab.Patience(20*time.Second), 10*time.Millisecond)
	return restart
}

// dead says whether the server has ended.
func (d *database) dead() bool {
	_, err := os.Stat(filepath.Join(d.data, "postmaster.pid"))
	return errors.Is(err, os.ErrNotExist)
}

// restart returns what starts the server as it was started the last time.
func (d *database) restart() func() {
	d.Helper()
	opts, err := os.ReadFile(filepath.Join(d.data, "postmaster.opts"))
	require.NoError(d, err)
	info, err := os.Stat(d.data)
	require.NoError(d, err)
	return func() {
		var args []string
		for _, word := range strings.Fields(string(opts)) {
			args = append(args, strings.Trim(word, `"`))
		}
		owner := info.Sys().(*syscall.Stat_t)
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = d.data
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}, Setsid: true}
		require.NoError(d, cmd.Start())
		d.Cleanup(func() {
			_ = cmd.Process.Signal(syscall.SIGQUIT)
			_ = cmd.Wait()
		})
	}
}
