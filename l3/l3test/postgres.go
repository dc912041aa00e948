package l3test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Postgres is a PostgreSQL server of one's own, which nothing outside of this machine can reach. It
// ends with the process that has started it, however that ends, and leaves nothing behind.
type Postgres struct {
	dir  string // of the socket, and of the data
	life io.Closer
	cmd  *exec.Cmd
	made atomic.Int64 // schemas
}

// ErrNoPostgres says that the server's programs are not installed.
var ErrNoPostgres = errors.New("PostgreSQL is not installed (Debian: apt install postgresql-15)")

// postgresScript is what runs for as long as somebody holds the other end of its standard input.
// Its arguments are the directory and the server's options. The order of strings is that of a
// language, not of bytes, so that code that relies on the server's is noticed.
const postgresScript = `
dir=$1; shift
trap '' INT HUP TERM
initdb --no-sync --wal-segsize=1 --auth=trust --username=postgres --encoding=UTF8 --locale=C.UTF-8 --locale-provider=icu --icu-locale=en \
	--pgdata="$dir/data" >"$dir/log" 2>&1 &&
{ postgres -D "$dir/data" -k "$dir" -c listen_addresses= "$@" >>"$dir/log" 2>&1 & }
cat >/dev/null
kill -QUIT $! 2>/dev/null
wait
rm -rf "$dir"
`

// StartPostgres starts a server, with options such as fsync=off, and waits until it answers.
func StartPostgres(ctx context.Context, options ...string) (_ *Postgres, err error) {
	bin, err := postgresBin()
	if err != nil {
		return nil, err
	}
	// The path of a socket has at most 107 bytes (unix(7)), so the directory is not one of a
	// test's.
	dir, err := os.MkdirTemp("/tmp", "l3pg")
	if err != nil {
		return nil, err
	}
	p := &Postgres{dir: dir}
	args := []string{"-c", postgresScript, "sh", dir}
	for _, o := range options {
		args = append(args, "-c", o)
	}
	p.cmd = exec.Command("/bin/sh", args...)
	p.cmd.Env = []string{"PATH=" + bin + ":/usr/bin:/bin", "TZ=UTC"}
	p.cmd.Dir = dir
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if os.Getuid() == 0 {
		if p.cmd.SysProcAttr.Credential, err = ordinary(dir); err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
	}
	if p.life, err = p.cmd.StdinPipe(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := p.wait(ctx); err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "log"))
		return nil, errors.Join(fmt.Errorf("start PostgreSQL: %w: %s", err, log), p.Close())
	}
	return p, nil
}

// postgresBin is the newest version's directory.
func postgresBin() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil || len(found) == 0 {
		return "", ErrNoPostgres
	}
	return filepath.Dir(found[len(found)-1]), nil
}

// ordinary gives a directory to the user postgres: the server refuses to run as root.
func ordinary(dir string) (*syscall.Credential, error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, os.Chown(dir, int(uid), int(gid))
}

func (p *Postgres) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, p.url(""))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Close stops the server at once and removes its data.
func (p *Postgres) Close() error {
	err := p.life.Close()
	return errors.Join(err, p.cmd.Wait())
}

// Database makes an empty schema, which is as good as a database and made much faster, and returns
// its URL.
func (p *Postgres) Database(ctx context.Context) (string, error) {
	conn, err := pgx.Connect(ctx, p.url(""))
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	name := "l3_" + strconv.FormatInt(p.made.Add(1), 10)
	_, err = conn.Exec(ctx, "CREATE SCHEMA "+name)
	return p.url(name), err
}

func (p *Postgres) url(schema string) string {
	query := url.Values{"host": {p.dir}}
	if schema != "" {
		query.Set("search_path", schema)
	}
	u := url.URL{Scheme: "postgres", User: url.User("postgres"), Path: "/postgres", RawQuery: query.Encode()}
	return u.String()
}
