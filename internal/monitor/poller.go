package monitor

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Poller waits for notifications on many sockets at once. However many they are, it takes one
// goroutine, no thread, and a few hundred bytes of the kernel's memory for each.
type Poller struct {
	epoll  *os.File
	raw    syscall.RawConn
	events [64]unix.EpollEvent // of the goroutine that waits
}

// NewPoller makes a Poller that waits for nothing yet.
func NewPoller() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // so that the Go runtime waits for it
		return nil, errors.Join(os.NewSyscallError("fcntl", err), unix.Close(fd))
	}
	p := &Poller{epoll: os.NewFile(uintptr(fd), "epoll")}
	if p.raw, err = p.epoll.SyscallConn(); err != nil {
		return nil, errors.Join(err, p.epoll.Close())
	}
	return p, nil
}

// Arm makes [Poller.Wait] return fd once, as soon as there is something to read: at once, if there
// is something already. Closing fd ends that.
func (p *Poller) Arm(fd int) error {
	e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(fd)}
	var armed error
	err := p.raw.Control(func(epoll uintptr) {
		armed = unix.EpollCtl(int(epoll), unix.EPOLL_CTL_MOD, fd, &e)
		if errors.Is(armed, unix.ENOENT) {
			armed = unix.EpollCtl(int(epoll), unix.EPOLL_CTL_ADD, fd, &e)
		}
	})
	return errors.Join(err, os.NewSyscallError("epoll_ctl", armed))
}

// Arm makes p wait for the next notification.
func (m *Monitor) Arm(p *Poller) (fd int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fd < 0 {
		return m.fd, os.ErrClosed
	}
	return m.fd, p.Arm(m.fd)
}

// Wait returns descriptors that were armed and have something to read. It blocks until there are
// any, or until Close, which makes it return [os.ErrClosed]. It must not be called concurrently.
func (p *Poller) Wait() ([]int, error) {
	n, err := 0, error(nil)
	readErr := p.raw.Read(func(epoll uintptr) bool {
		for {
			n, err = unix.EpollWait(int(epoll), p.events[:], 0)
			if !errors.Is(err, unix.EINTR) {
				return n > 0 || err != nil
			}
		}
	})
	switch {
	case readErr != nil: // there is no other reason
		return nil, os.ErrClosed
	case err != nil:
		return nil, fmt.Errorf("wait for kernel notifications: %w", os.NewSyscallError("epoll_wait", err))
	}
	fds := make([]int, n)
	for i, e := range p.events[:n] {
		fds[i] = int(e.Fd)
	}
	return fds, nil
}

// Close makes Wait return. A second Close is [os.ErrClosed].
func (p *Poller) Close() error { return p.epoll.Close() }
