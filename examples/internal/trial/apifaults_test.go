package trial_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/routers"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/test/deployment"
	"github.com/l3kit/l3kit/internal/test/disk"
	"github.com/l3kit/l3kit/internal/test/lab"
)

// readiness is what the server says of its readiness, or an error in place of it.
func (f *lostAndFound) readiness(limit time.Duration) string {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), lab.Patience(limit))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+f.flag("--metrics")+"/readyz", nil)
	require.NoError(f, err)
	answer, err := f.server.HTTP().Do(request)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// clients is what hangs on to the server: hundreds that ask and never read, and hundreds that send
// slowly.
func (f *lostAndFound) clients() {
	const deaf, slow = 300, 200
	var open []net.Conn
	defer func() {
		for _, c := range open {
			_ = c.Close() // most are closed by the server
		}
	}()
	f.lossless("clients", f.tenants, func() {
		ask := strings.Repeat("GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 30)
		half := "POST /v2.0/networks HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{" + strings.Repeat(" ", 50_000)
		small := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error { // so that little of an answer is on its way
			var refused error
			err := c.Control(func(fd uintptr) { refused = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096) })
			return errors.Join(err, refused)
		}}
		require.NoError(f, f.server.Do(func() error {
			for i := range deaf + slow {
				c, err := small.DialContext(f.Context(), "tcp", f.flag("--listen"))
				if err != nil {
					return err
				}
				open = append(open, c)
				text := ask
				if i >= deaf {
					text = half
				}
				if _, err := io.WriteString(c, text); err != nil {
					return err
				}
			}
			return nil
		}))
		for round := range 3 {
			f.changes(f.tenants[20+round])
			require.Equal(f, "ok\n", f.readiness(10*time.Second))
		}
		made := f.stranger("amid-clients")
		require.NoError(f, made.Remove(within(f.T, 20*time.Second), f.api()))
		f.gone(made.Router)
		// The server gets rid of those who do not read.
		for _, c := range open[:deaf] {
			require.Eventually(f, func() bool {
				_ = c.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
				_, err := c.Write([]byte("GET "))
				return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
			}, lab.Patience(30*time.Second), time.Millisecond, "a client that never reads is disconnected")
		}
	})
}

// frozenDatabase stops PostgreSQL where it is, so that nobody hears of it and everybody waits.
// Changes that are asked for meanwhile are answered in bounded time.
func (f *lostAndFound) frozenDatabase() {
	pause := 22 * time.Second // longer than an agent is silent before it is taken for dead
	if text := os.Getenv("TRIAL_DATABASE_PAUSE"); text != "" {
		var err error
		pause, err = time.ParseDuration(text)
		require.NoError(f, err)
	}
	f.lossless("frozen database", f.tenants, func() {
		thaw := f.db.freeze()
		frozen := time.Now()
		for asked := 0; time.Since(frozen) < pause || asked == 0; asked++ {
			began := time.Now()
			err := f.refused(f.tenants[23])
			took := time.Since(began)
			require.Less(f, took, lab.Patience(20*time.Second))
			if asked == 0 {
				f.Logf("refused after %s: %v", took.Round(time.Millisecond), err)
				f.unready("database")
			}
			time.Sleep(time.Second)
		}
		thaw()
		f.ready(f.server)
		f.changes(f.tenants[23])
	})
}

// refused asks for a change that must fail for now.
func (f *lostAndFound) refused(tenant *deployment.Tenant) error {
	f.Helper()
	_, err := routers.Update(within(f.T, 30*time.Second), f.api(), tenant.Router, routers.UpdateOpts{Name: tenant.Name}).Extract()
	require.Error(f, err)
	require.ErrorContains(f, err, "got 503")
	return err
}

// fullDatabase has PostgreSQL on a disk that is full for some seconds, of which PostgreSQL dies or
// not. It is started again by whoever makes room.
func (f *lostAndFound) fullDatabase() {
	f.lossless("full database", f.tenants, func() {
		f.db.onSmallDisk("192m")
		f.ready(f.server)
		ballast := filepath.Join(f.db.data, "ballast")
		var stop atomic.Bool
		var filling sync.WaitGroup
		filling.Go(func() {
			for !stop.Load() { // PostgreSQL makes room by removing old files of its log
				if err := disk.Fill(ballast); err != nil {
					f.Errorf("fill the disk: %v", err)
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
		filling.Go(func() { // its log grows until there is no room for more
			for !stop.Load() {
				_ = f.db.psql("SELECT pg_logical_emit_message(true, 'trial', repeat('x', 900000)) FROM generate_series(1, 200)")
				time.Sleep(10 * time.Millisecond)
			}
		})
		f.unready("database")
		f.Log(f.refused(f.tenants[24]))
		time.Sleep(2 * time.Second)
		stop.Store(true)
		filling.Wait()
		require.NoError(f, os.Remove(ballast))
		f.db.revive()
		f.ready(f.server)
		f.changes(f.tenants[24])
	})
}

// onSmallDisk moves the server's data to a disk of a size, as whoever runs it would.
func (d *database) onSmallDisk(size string) {
	d.Helper()
	restart := d.crash()
	old := d.data + ".old"
	require.NoError(d, os.Rename(d.data, old))
	require.NoError(d, os.Mkdir(d.data, 0o700))
	require.NoError(d, unix.Mount("tmpfs", d.data, "tmpfs", 0, "size="+size+",mode=700"))
	d.Cleanup(func() { _ = unix.Unmount(d.data, unix.MNT_DETACH) }) // which ends with this process otherwise
	info, err := os.Stat(old)
	require.NoError(d, err)
	owner := info.Sys().(*syscall.Stat_t)
	require.NoError(d, os.Chown(d.data, int(owner.Uid), int(owner.Gid)))
	out, err := exec.Command("cp", "-a", old+"/.", d.data).CombinedOutput()
	require.NoError(d, err, "%s", out)
	restart()
}

// revive starts the server again if it has died.
func (d *database) revive() {
	d.Helper()
	require.Eventually(d, func() bool {
		if d.psql("SELECT 1") == nil {
			return true
		}
		if d.dead() {
			d.restart()()
		}
		return false
	}, lab.Patience(30*time.Second), 200*time.Millisecond)
}

func (d *database) psql(statement string) error {
	server, _ := d.parts()
	return exec.Command("psql", "--quiet", "--no-psqlrc", "--output=/dev/null", "--command="+statement, server).Run()
}

// newerSchema has a database that a later version has changed: this version leaves it alone.
func (f *lostAndFound) newerSchema() {
	_, schema := f.db.parts()
	table := `"` + schema + `".goose_db_version`
	f.lossless("newer schema", f.tenants, func() {
		f.stop()
		require.NoError(f, f.db.psql("INSERT INTO "+table+" (version_id, is_applied) VALUES (999, true)"))
		said, status, err := f.server.Process.Run(within(f.T, 30*time.Second))
		require.NoError(f, err)
		require.NotZero(f, status)
		require.Contains(f, said, "the database was made by a newer version: its tables are of version 999")
		require.NoError(f, f.db.psql("DELETE FROM "+table+" WHERE version_id = 999"))
		f.start()
	})
}
