package namespace

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/backoff"
	"github.com/l3kit/l3kit/internal/monitor"
)

const (
	// settleTime is how long changes gather before routers are examined. So a process that writes
	// all the time costs a bounded number of examinations, and most of what Apply writes is
	// accounted for by Apply itself.
	settleTime = 50 * time.Millisecond
	// retryTime is how long a router waits that cannot be examined.
	retryTime = time.Second
	// pollEvery is the time between two looks at rules of which the kernel sends no notifications.
	// It grows so that looking takes no more than one part in pollShare of a processor.
	pollEvery = 400 * time.Millisecond
	pollShare = 50
)

// suspicion says what of a router may have been changed by somebody else.
type suspicion uint8

const (
	suspectLinks  suspicion = 1 << iota // and addresses, routes, and settings of devices
	suspectRules                        // translation and filtering
	suspectWiring                       // the host's side
	suspectName                         // of the namespace
	suspectAll    = suspectLinks | suspectRules | suspectWiring | suspectName
)

// watcher is one Watch. Sockets, directories and wiring tell it which routers to suspect; it
// examines those, in a turn of their own, and announces the ones that it cannot prove to be as they
// were applied.
type watcher struct {
	dataplane *Dataplane
	poller    *monitor.Poller
	names     *os.File // inotify(7) on the directory with the names of namespaces
	stop      context.CancelFunc
	ended     chan struct{}

	suspected chan struct{} // a wake-up
	announced chan struct{} // likewise

	mu        sync.Mutex
	routers   map[int]descriptor // by socket
	suspects  map[string]suspicion
	polled    map[string]struct{}       // routers whose rules have to be polled
	pending   map[string]dataplane.Kind // of what differs, by the router to announce
	directory int                       // the inotify watch; -1: none yet
}

// descriptor is what a socket of a router is for.
type descriptor struct {
	router string
	why    suspicion
}

// Watch implements [dataplane.Watcher].
func (d *Dataplane) Watch(ctx context.Context) (<-chan dataplane.Drift, error) {
	if err := errors.Join(ctx.Err(), d.registry.open()); err != nil {
		return nil, err
	}
	w, err := newWatcher(d)
	if err != nil {
		return nil, opError("watch routers", "", err)
	}
	ctx, w.stop = context.WithCancel(ctx)
	if !d.watcher.CompareAndSwap(nil, w) {
		w.stop()
		return nil, opError("watch routers", "", errors.Join(errors.New("they are watched already"), w.close()))
	}
	if err := d.registry.open(); err != nil { // Close may have looked for a watcher before there was this one
		d.watcher.Store(nil)
		w.stop()
		close(w.ended)
		return nil, errors.Join(err, w.close())
	}
	w.suspectEvery(suspectAll)
	out := make(chan dataplane.Drift)
	go w.run(ctx, out)
	return out, nil
}

func newWatcher(d *Dataplane) (*watcher, error) {
	p, err := monitor.NewPoller()
	if err != nil {
		return nil, err
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, errors.Join(os.NewSyscallError("inotify_init1", err), p.Close())
	}
	w := &watcher{
		dataplane: d, poller: p, names: os.NewFile(uintptr(fd), "inotify"), ended: make(chan struct{}),
		suspected: make(chan struct{}, 1), announced: make(chan struct{}, 1),
		routers: map[int]descriptor{}, suspects: map[string]suspicion{},
		polled: map[string]struct{}{}, pending: map[string]dataplane.Kind{}, directory: -1,
	}
	w.watchNames()
	return w, nil
}

func (w *watcher) close() error { return errors.Join(w.poller.Close(), w.names.Close()) }

// run works until ctx ends.
func (w *watcher) run(ctx context.Context, out chan<- dataplane.Drift) {
	defer close(w.ended)
	defer close(out)
	defer w.dataplane.watcher.Store(nil)
	var working errgroup.Group
	working.Go(func() error { w.wait(ctx); return nil })
	working.Go(func() error { w.examineSuspects(ctx); return nil })
	working.Go(func() error { w.poll(ctx); return nil })
	working.Go(func() error { return w.readNames() })
	if wiring, ok := w.dataplane.cfg.Wiring.(WatchedWiring); ok {
		working.Go(func() error {
			w.watchWiring(ctx, wiring)
			return nil
		})
	}
	w.deliver(ctx, out)
	w.stop()
	err := w.close()
	err = errors.Join(err, working.Wait())
	if err != nil && !errors.Is(err, os.ErrClosed) {
		w.dataplane.cfg.Logger.Error("watching routers ended", "err", err)
	}
}

// suspect has a router examined soon.
func (w *watcher) suspect(router string, why suspicion) {
	w.mu.Lock()
	w.suspects[router] |= why
	w.mu.Unlock()
	wake(w.suspected)
}

func (w *watcher) suspectEvery(why suspicion) {
	for _, id := range w.dataplane.registry.routers() {
		w.suspect(id, why)
	}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// follow waits for notifications about a router, whose turn the caller has.
func (w *watcher) follow(router string, s *site) {
	if s.last == nil || s.told {
		return
	}
	if !s.trusted { // there was a change which may be somebody else's, and its notification has been read
		w.suspect(router, suspectAll)
		return
	}
	w.arm(router, s)
}

func (w *watcher) arm(router string, s *site) {
	w.watchNames()
	err := w.armOne(s.events, descriptor{router, suspectLinks})
	if rules, ok := s.rules.(ProvenRules); ok {
		switch {
		case !rules.Notified():
			w.mu.Lock()
			w.polled[router] = struct{}{}
			w.mu.Unlock()
		case s.generations != nil:
			err = errors.Join(err, w.armOne(s.generations, descriptor{router, suspectRules}))
		default:
			var openErr error
			if s.generations, openErr = monitor.OpenRules(s.FD); openErr != nil {
				s.generations = nil
				err = errors.Join(err, openErr)
				break
			}
			err = errors.Join(err, w.armOne(s.generations, descriptor{router, suspectRules}))
			w.suspect(router, suspectRules) // what happened before is not in the queue
		}
	}
	if err != nil && !errors.Is(err, os.ErrClosed) {
		w.dataplane.cfg.Logger.Warn("cannot watch a router", "router", router, "err", err)
	}
}

func (w *watcher) armOne(m *monitor.Monitor, d descriptor) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	fd, err := m.Arm(w.poller) // before mu is free: wait must find what it is for
	if err == nil {
		w.routers[fd] = d // an old one of that number has been closed
	}
	return err
}

// wait turns notifications into suspicions.
func (w *watcher) wait(ctx context.Context) {
	for ctx.Err() == nil {
		fds, err := w.poller.Wait()
		if err != nil {
			if !errors.Is(err, os.ErrClosed) {
				w.dataplane.cfg.Logger.Error("cannot watch routers any longer", "err", err)
				w.stop()
			}
			return
		}
		for _, fd := range fds {
			w.mu.Lock()
			d := w.routers[fd]
			w.mu.Unlock()
			w.suspect(d.router, d.why)
		}
	}
}

// watchWiring suspects routers as wiring says.
func (w *watcher) watchWiring(ctx context.Context, wiring WatchedWiring) {
	for ctx.Err() == nil {
		err := wiring.Watch(ctx, func(router string) {
			if router == "" {
				w.suspectEvery(suspectWiring)
				return
			}
			w.suspect(router, suspectWiring)
		})
		if ctx.Err() != nil {
			return
		}
		w.dataplane.cfg.Logger.Warn("cannot watch the wiring, will be tried again", "err", err)
		_ = backoff.Sleep(ctx, retryTime) // the loop looks at ctx
	}
}

// watchNames begins to watch the directory of names, once there is one.
func (w *watcher) watchNames() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.directory >= 0 {
		return
	}
	const kinds = unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_CREATE | unix.IN_ONLYDIR
	raw, err := w.names.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		if id, err := unix.InotifyAddWatch(int(fd), w.dataplane.cfg.Dir, kinds); err == nil {
			w.directory = id
		}
	})
}

// readNames suspects routers whose namespaces get or lose their names.
func (w *watcher) readNames() error {
	b := make([]byte, 64<<10)
	for {
		n, err := w.names.Read(b)
		if err != nil {
			return err
		}
		for e := b[:n]; len(e) >= unix.SizeofInotifyEvent; {
			mask := binary.NativeEndian.Uint32(e[4:])
			end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(e[12:]))
			name := unix.ByteSliceToString(e[unix.SizeofInotifyEvent:end])
			e = e[end:]
			switch id, ours := routerNamed(name); {
			case mask&unix.IN_Q_OVERFLOW != 0:
				w.suspectEvery(suspectName)
			case mask&unix.IN_IGNORED != 0: // the directory has gone
				w.mu.Lock()
				w.directory = -1
				w.mu.Unlock()
				w.suspectEvery(suspectName)
			case ours:
				w.suspect(id, suspectName)
			}
		}
	}
}

// poll looks at rules of which the kernel sends no notifications.
func (w *watcher) poll(ctx context.Context) {
	for interval := pollEvery; backoff.Sleep(ctx, interval) == nil; {
		w.mu.Lock()
		routers := make([]string, 0, len(w.polled))
		for id := range w.polled {
			routers = append(routers, id)
		}
		w.mu.Unlock()
		begin := time.Now()
		for _, id := range routers {
			if known, _ := w.examine(ctx, id, suspectRules); !known {
				w.mu.Lock()
				delete(w.polled, id)
				w.mu.Unlock()
			}
			if ctx.Err() != nil {
				return
			}
		}
		interval = max(pollEvery, pollShare*time.Since(begin))
	}
}

func (w *watcher) examineSuspects(ctx context.Context) {
	for {
		select {
		case <-w.suspected:
		case <-ctx.Done():
			return
		}
		if backoff.Sleep(ctx, settleTime) != nil {
			return
		}
		w.mu.Lock()
		suspects := w.suspects
		w.suspects = map[string]suspicion{}
		w.mu.Unlock()
		for id, why := range suspects {
			if _, examined := w.examine(ctx, id, why); !examined {
				w.suspect(id, why)
			}
			if ctx.Err() != nil {
				return
			}
		}
	}
}

// examine announces a router that cannot be proved to be as it was applied. Of one that is not
// known there is nothing to say; one that somebody works on is not examined.
func (w *watcher) examine(ctx context.Context, router string, why suspicion) (known, examined bool) {
	k, busy := w.dataplane.registry.try(router)
	if k == nil {
		return busy, !busy
	}
	defer w.dataplane.registry.leave(k)
	s := k.site
	if s == nil || s.last == nil {
		return false, true
	}
	if s.told {
		return true, true
	}
	proved := s.trusted
	var differs dataplane.Kind
	var err error
	if !proved {
		// Of our own changes not all can be told from those of others, and of those that could not
		// be told there will be no notification.
		proved, differs, err = w.dataplane.unchanged(ctx, s)
	}
	if proved && err == nil {
		proved, differs, err = s.stillProved(ctx, w.dataplane.cfg.Wiring, why)
	}
	switch {
	case ctx.Err() != nil:
	case err != nil:
		time.AfterFunc(retryTime, func() { w.suspect(router, why) })
	case proved:
		w.arm(router, s)
	default:
		s.told = true
		w.announce(router, differs)
	}
	return true, true
}

// unchanged looks whether the router is as it was applied, and trusts it again if so. Else it
// returns the kind of something that differs, as far as that is known.
func (d *Dataplane) unchanged(ctx context.Context, s *site) (bool, dataplane.Kind, error) {
	j, err := d.longJob(ctx, s, s.last.router, false, true)
	if err != nil {
		return false, "", err
	}
	for _, a := range j.actions {
		if len(a.steps) > 0 && !a.around {
			return false, a.steps[0].Kind, nil
		}
	}
	j.learn()
	return s.trusted, "", nil
}

// stillProved reports whether what is suspected is as it was when the router was applied, and else
// the kind of something that is not, as far as that is known.
func (s *site) stillProved(ctx context.Context, wiring InterfaceDriver, why suspicion) (bool, dataplane.Kind, error) {
	if why&suspectName != 0 && !s.current() {
		return false, dataplane.KindNamespace, nil
	}
	if why&suspectLinks != 0 {
		var differs dataplane.Kind
		if s.trusted, differs = s.look(s.last.links, false); !s.trusted {
			return false, differs, nil
		}
		if s.trusted = s.sysctlsHold(); !s.trusted {
			return false, dataplane.KindSysctl, nil
		}
		why |= suspectWiring // the other end of a link may have changed, too
	}
	if why&suspectWiring != 0 {
		if plugged, err := s.plugged(ctx, wiring); !plugged || err != nil {
			return false, dataplane.KindWiring, err
		}
	}
	rules, ok := s.rules.(ProvenRules)
	if !ok || why&suspectRules == 0 {
		return true, "", nil
	}
	if s.generations != nil {
		// The generation is the proof, not the queue.
		if err := s.generations.Drain(func(unix.NlMsghdr, []byte) {}); err != nil && !errors.Is(err, monitor.ErrOverrun) {
			return false, "", err
		}
	}
	unchanged, err := rules.Unchanged()
	return unchanged, dataplane.KindRules, err
}

func (w *watcher) announce(router string, differs dataplane.Kind) {
	w.mu.Lock()
	w.pending[router] = differs
	w.mu.Unlock()
	wake(w.announced)
}

// deliver hands announcements out, until ctx ends.
func (w *watcher) deliver(ctx context.Context, out chan<- dataplane.Drift) {
	for {
		select {
		case <-w.announced:
		case <-ctx.Done():
			return
		}
		for {
			drift, any := w.take()
			if !any {
				break
			}
			select {
			case out <- drift:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (w *watcher) take() (d dataplane.Drift, any bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for d.Router, d.Kind = range w.pending {
		delete(w.pending, d.Router)
		return d, true
	}
	return d, false
}
