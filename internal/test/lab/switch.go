package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Switch is Open vSwitch on the machine: a database and a daemon of its own, both in the machine's
// namespace. Bridges that are to work without the kernel's module need datapath_type=netdev. Its
// methods may be called concurrently, but for those that start and stop a process.
type Switch struct {
	Endpoint string // of the database, as in ovs-vsctl --db
	RunDir   string // where the daemon keeps its bridges' OpenFlow sockets

	database process
	daemon   process
}

// niceness is that of ovs-ctl(8), which starts Open vSwitch when a machine boots. While ovs-vswitchd
// waits for a processor, its userspace datapath passes nothing, and what does not fit into the sockets
// of its ports is lost: at 250 packets per second, whatever comes after a second.
const niceness = -10

// schema is where the package openvswitch-switch keeps what a database is made from.
const schema = "/usr/share/openvswitch/vswitch.ovsschema"

// Switch starts Open vSwitch, which ends with the lab, or with the calling process if that is
// killed. A machine has one. Any number of machines can have theirs at once.
func (l *Lab) Switch(ctx context.Context) (*Switch, error) {
	dir, err := os.MkdirTemp("", "l3kit-ovs-")
	if err != nil {
		return nil, err
	}
	s := newSwitch(dir, l.HostNS)
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start Open vSwitch: %w", err), s.close())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.switches = append(l.switches, s)
	return s, nil
}

func newSwitch(dir, ns string) *Switch {
	socket := filepath.Join(dir, "db.sock")
	s := &Switch{Endpoint: "unix:" + socket, RunDir: dir}
	process := func(name string, args ...string) process {
		args = append(args, "--unixctl="+filepath.Join(dir, name+".ctl"), "-vconsole:info", "-vsyslog:off", "-vfile:off")
		return process{name: name, args: args, nice: niceness, env: s.environment(), ns: ns, log: filepath.Join(dir, name+".log")}
	}
	s.database = process("ovsdb-server", s.file(), "--remote=p"+s.Endpoint)
	s.daemon = process("ovs-vswitchd", s.Endpoint)
	return s
}

// file is the database itself.
func (s *Switch) file() string { return filepath.Join(s.RunDir, "conf.db") }

// environment moves everything that Open vSwitch reads or writes into the run directory
// (ovs-vswitchd(8)).
func (s *Switch) environment() []string {
	env := os.Environ()
	for _, name := range []string{"OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR"} {
		env = append(env, name+"="+s.RunDir)
	}
	return env
}

func (s *Switch) start(ctx context.Context) error {
	for _, name := range []string{"ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "ovs-vsctl", "ovs-ofctl"} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("%w (it is in the package openvswitch-switch)", err)
		}
	}
	if _, err := s.tool(ctx, "ovsdb-tool", "create", s.file(), schema); err != nil {
		return err
	}
	if err := s.StartDatabase(ctx); err != nil {
		return err
	}
	if _, err := s.vsctl(ctx, "--no-wait", "init"); err != nil {
		return err
	}
	return s.StartDaemon(ctx)
}

// StartDatabase starts ovsdb-server and returns when it listens.
func (s *Switch) StartDatabase(ctx context.Context) error {
	return s.database.start(ctx, func() bool {
		c, err := net.Dial("unix", strings.TrimPrefix(s.Endpoint, "unix:"))
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
}

// StopDatabase ends ovsdb-server. What was committed stays, and so does what ovs-vswitchd has made
// of it. But until the database is back, ovs-vswitchd waits for its lock and does little else: it
// answers no OpenFlow, and its userspace datapath forwards nothing (Open vSwitch 3.1).
func (s *Switch) StopDatabase() error { return s.database.kill() }

// StartDaemon starts ovs-vswitchd and returns when it has brought in what the database holds.
func (s *Switch) StartDaemon(ctx context.Context) error {
	const configured = "|INFO|ovs-vswitchd (Open vSwitch)" // what it says then, and at no other time
	return s.daemon.start(ctx, func() bool { return strings.Contains(s.daemon.said(), configured) })
}

// KillDaemon ends ovs-vswitchd at once, as a crash would: devices of its ports stay as they are,
// and flows are lost.
func (s *Switch) KillDaemon() error { return s.daemon.kill() }

// RestartDaemon is [Switch.KillDaemon] and [Switch.StartDaemon].
func (s *Switch) RestartDaemon(ctx context.Context) error {
	if err := s.KillDaemon(); err != nil {
		return err
	}
	return s.StartDaemon(ctx)
}

// close ends everything. The files go last, because a daemon that cannot write them says so.
func (s *Switch) close() error {
	return errors.Join(s.daemon.kill(), s.database.kill(), os.RemoveAll(s.RunDir))
}

// toolTime is far more than any tool needs, when the processes run that it asks.
const toolTime = time.Minute

// Vsctl runs ovs-vsctl(8) on the database. After a change, that waits until ovs-vswitchd has made
// it; with --no-wait it does not.
func (s *Switch) Vsctl(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), toolTime)
	defer cancel()
	return s.vsctl(ctx, args...)
}

func (s *Switch) vsctl(ctx context.Context, args ...string) (string, error) {
	return s.tool(ctx, "ovs-vsctl", append([]string{"--db=" + s.Endpoint}, args...)...)
}

// Ofctl runs ovs-ofctl(8), where a bridge's name is one of this switch's.
func (s *Switch) Ofctl(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), toolTime)
	defer cancel()
	return s.tool(ctx, "ovs-ofctl", args...)
}

func (s *Switch) tool(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = s.environment()
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), errors.Join(err, ctx.Err()), strings.TrimSpace(said.String()))
	}
	return string(out), err
}
