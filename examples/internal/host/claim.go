package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/internal/netns"
)

// socket is the name of a unix socket in the abstract namespace (unix(7)), which a network
// namespace has of its own, and which goes with the process that listens. So one agent serves a
// host, whatever its cache is, and the commands of the binary find it.
const socket = "@l3kit-agent"

// claim makes this process the agent of the host, and is refused while another is.
func (m *Machine) claim() (l *net.UnixListener, err error) {
	err = m.inHost(func() error {
		l, err = net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
		if !errors.Is(err, unix.EADDRINUSE) {
			return err
		}
		return fmt.Errorf("another agent runs on this host%s: stop it, or give this one another network namespace", holder())
	})
	if err != nil {
		return nil, fmt.Errorf("claim this host: %w", err)
	}
	return l, nil
}

// inHost runs fn in the network namespace that is the host's.
func (m *Machine) inHost(fn func() error) error {
	if m.ns == "" {
		return fn()
	}
	ns, err := netns.Open(m.ns)
	if err != nil {
		return err
	}
	defer ns.Close()
	return netns.Do(int(ns.Fd()), fn)
}

// holder names the process that listens.
func holder() string {
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return ""
	}
	defer c.Close()
	peer, err := credentials(c)
	if err != nil {
		return ""
	}
	if !trusted(peer) {
		return fmt.Sprintf(": the name is held by process %d of user %d, which is no agent", peer.Pid, peer.Uid)
	}
	return fmt.Sprintf(", process %d", peer.Pid)
}

// trusted reports whether a process may be an agent, or ask one: a name in the abstract namespace
// has no permissions of its own.
func trusted(peer *unix.Ucred) bool { return peer.Uid == 0 || int(peer.Uid) == os.Geteuid() }

func credentials(c *net.UnixConn) (cred *unix.Ucred, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	controlErr := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return cred, errors.Join(err, controlErr)
}

// request is what a command asks of the agent of its host.
type request struct {
	Remove   string `json:"remove,omitempty"`   // ID of an orphan
	Settings bool   `json:"settings,omitempty"` // which settings the agent has
	Announce bool   `json:"announce,omitempty"` // a workload was attached: report it now
}

type reply struct {
	Error    string         `json:"error,omitempty"`
	Settings map[string]any `json:"settings,omitempty"` // by the names of their flags
}

// commandTime is for a command that does not go on talking.
const commandTime = 10 * time.Second

// obey does what commands ask until ctx ends. Only processes of root, or of this one's user, may
// ask.
func obey(ctx context.Context, l *net.UnixListener, loop *agent.Agent, settings map[string]any, log *slog.Logger) {
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			peer, err := credentials(c)
			if err != nil {
				log.Warn("refused a command of a process that is not known", "err", err)
				return
			}
			if !trusted(peer) {
				log.Warn("refused a command of a process that is neither root's nor of this user", "process", peer.Pid, "user", peer.Uid)
				return
			}
			_ = c.SetDeadline(time.Now().Add(commandTime))
			var r request
			if err := json.NewDecoder(c).Decode(&r); err != nil {
				return // who only looked who listens
			}
			var a reply
			if r.Settings {
				a.Settings = settings
			} else if r.Announce {
				loop.Announce()
			} else if err := loop.RemoveOrphan(ctx, r.Remove); err != nil {
				a.Error = err.Error()
			} else {
				log.Warn("removed an orphan on demand", "router", r.Remove, "process", peer.Pid)
			}
			_ = json.NewEncoder(c).Encode(a)
		}()
	}
}

// errNoAgent is returned when nobody answers for the host.
var errNoAgent = errors.New("no agent runs on this host")

// ask has the agent of the host do something.
func (m *Machine) ask(r request) (a reply, err error) {
	var c *net.UnixConn
	if err := m.inHost(func() error {
		c, err = net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
		return err
	}); err != nil {
		return a, fmt.Errorf("%w: %w", errNoAgent, err)
	}
	defer c.Close()
	peer, err := credentials(c)
	if err != nil || !trusted(peer) {
		return a, errors.Join(errors.New("ask the agent of this host: another user's process has taken its name"), err)
	}
	if me := os.Geteuid(); me != 0 && me != int(peer.Uid) {
		return a, fmt.Errorf("ask the agent of this host, process %d: %w: run the command as root", peer.Pid, dataplane.ErrPermission)
	}
	_ = c.SetDeadline(time.Now().Add(commandTime))
	if err := json.NewEncoder(c).Encode(r); err != nil {
		return a, fmt.Errorf("ask the agent of this host: %w", err)
	}
	if err := json.NewDecoder(c).Decode(&a); err != nil {
		return a, fmt.Errorf("ask the agent of this host: %w", err)
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}
