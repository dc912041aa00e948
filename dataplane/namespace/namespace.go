package namespace

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/conntrack"
	"github.com/l3kit/l3kit/internal/monitor"
	"github.com/l3kit/l3kit/internal/netns"
)

// site is the open namespace of one router: sockets in it, and what this process knows about it.
// One goroutine uses it at a time.
type site struct {
	NS
	path       string // the name it was opened by
	file       *os.File
	id         netns.ID
	read       *netlink.Handle // nil until first used: a new namespace is not read
	write      *writer
	rules      Rules
	events     *monitor.Monitor
	announcer  *announcer
	advertiser *advertiser     // nil: no port has ever been to advertise
	metadata   *metadataServer // nil: the router has no metadata proxy
	tracking   *conntrack.Kernel
	index      map[string]int // of devices, by name
	last       *memory        // what this process applied last with success; nil: nothing yet
	trusted    bool           // last is what the namespace holds, as far as notifications go
	ending     sync.WaitGroup // connections that end in the background
	log        *slog.Logger
	late       []sysctl // what the kernel did not have when the namespace was made

	generations *monitor.Monitor // notifications about rules; nil until watched, or if there are none
	told        bool             // the router was announced since it was last applied
	lens        *lens            // nil: there are no anycast ports, or nobody sights
}

// openSite opens sockets in the namespace, and owns file from then on, also when it fails.
func openSite(cfg Config, router string, file *os.File) (*site, error) {
	s := &site{
		NS:       NS{Router: router, FD: int(file.Fd())},
		path:     filepath.Join(cfg.Dir, dataplane.NamespaceName(router)),
		file:     file,
		index:    map[string]int{},
		tracking: cfg.tracking,
		log:      cfg.Logger,
	}
	if err := s.open(cfg); err != nil {
		return nil, errors.Join(opError("open namespace", dataplane.NamespaceName(router), err), s.close())
	}
	return s, nil
}

// foundSite makes a site of the namespace that the calling thread is in, which is new. It is
// claimed while the sockets are opened, for each takes about as long.
func foundSite(cfg Config, router, owner string) (*site, error) {
	file, err := netns.Open("")
	if err != nil {
		return nil, err
	}
	var s *site
	var opening errgroup.Group
	opening.Go(func() (err error) {
		s, err = openSite(cfg, router, file)
		return err
	})
	late, err := claim(router, owner, cfg.owning)
	if err := errors.Join(err, opening.Wait()); err != nil {
		if s != nil {
			err = errors.Join(err, s.close())
		}
		return nil, err
	}
	s.late = late
	return s, nil
}

func (s *site) open(cfg Config) (err error) {
	if s.id, err = netns.IdentifyFD(s.FD); err != nil {
		return err
	}
	if s.events, err = monitor.Open(s.FD, watched...); err != nil {
		return err
	}
	err = netns.Do(s.FD, func() (err error) {
		s.write, err = newWriter()
		return err
	})
	if err != nil {
		return err
	}
	if err := s.events.Ignore(s.write.port); err != nil {
		return err
	}
	s.announcer = newAnnouncer(s.NS, cfg.Logger)
	s.rules, err = cfg.Firewall.Open(s.NS)
	return err
}

func (s *site) close() error {
	s.ending.Wait()
	errs := []error{s.endMetadata()}
	if s.announcer != nil {
		s.announcer.close()
	}
	if s.rules != nil {
		errs = append(errs, s.rules.Close())
	}
	if s.write != nil {
		errs = append(errs, s.write.close())
	}
	if s.read != nil {
		s.read.Close()
	}
	if s.events != nil {
		errs = append(errs, s.events.Close())
	}
	if s.generations != nil {
		errs = append(errs, s.generations.Close())
	}
	if s.advertiser != nil {
		errs = append(errs, s.advertiser.close())
	}
	if s.lens != nil {
		errs = append(errs, s.lens.close())
	}
	return errors.Join(append(errs, s.file.Close())...)
}

func (s *site) reader() (h *netlink.Handle, err error) {
	if s.read == nil {
		s.read, err = netlink.NewHandleAt(vnetns.NsHandle(s.FD), unix.NETLINK_ROUTE)
	}
	return s.read, opError("open netlink socket", "", err)
}

// current reports whether the router's name still refers to this namespace.
func (s *site) current() bool {
	id, err := netns.Identify(s.path)
	return err == nil && id == s.id
}

// locate finds the indexes of devices, after wiring has made some.
func (s *site) locate(devices []string) error {
	clear(s.index)
	for _, dev := range devices {
		i, err := s.write.deviceIndex(dev)
		if err != nil {
			return opError("find link", dev, err)
		}
		if i != 0 {
			s.index[dev] = i
		}
	}
	return nil
}

func (s *site) deviceIndex(dev string) int { return s.index[dev] }

// silence sets the router's links down.
func (s *site) silence(ctx context.Context) error {
	h, err := s.reader()
	if err != nil {
		return err
	}
	links := map[string]link{}
	if _, _, err := observeLinks(h, links); err != nil {
		return err
	}
	var down []request
	for _, l := range links {
		down = append(down, setLink(l.index, false))
	}
	_, err = s.write.send(ctx, down...)
	return opError("set links down of router", s.Router, err)
}

func (s *site) addAddresses(dev string, addrs []address) action {
	return action{
		steps: addressSteps(dataplane.Add, dev, addrs),
		do: func(ctx context.Context) error {
			return s.writeAddresses(ctx, "add address", dev, addrs, addAddress)
		},
		undo: func(ctx context.Context) error {
			return s.writeAddresses(ctx, "remove address", dev, addrs, deleteAddress)
		},
	}
}

func (s *site) removeAddresses(dev string, addrs []address) action {
	return action{
		steps: addressSteps(dataplane.Remove, dev, addrs),
		do: func(ctx context.Context) error {
			s.announcer.withdraw(prefixesOf(addrs))
			return s.writeAddresses(ctx, "remove address", dev, addrs, deleteAddress)
		},
		undo: func(ctx context.Context) error {
			return s.writeAddresses(ctx, "add address", dev, addrs, addAddress)
		},
	}
}

func (s *site) setLink(dev string, up bool) action {
	set := func(up bool) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := s.write.send(ctx, setLink(s.index[dev], up))
			return opError("set link "+upDown(up), dev, err)
		}
	}
	return action{
		steps: []dataplane.Step{{
			Op: dataplane.Change, Kind: dataplane.KindLink, Object: dev, Detail: upDown(up) + ", was " + upDown(!up), Disturbs: !up,
		}},
		do:   set(up),
		undo: set(!up),
	}
}

func upDown(up bool) string {
	if up {
		return "up"
	}
	return "down"
}

// applyRules returns the action that lets the firewall write rules; steps is its plan of that.
func (s *site) applyRules(c Change, steps []dataplane.Step) action {
	var undo func(context.Context) error
	return action{
		steps: steps,
		do: func(ctx context.Context) (err error) {
			undo, err = s.rules.Apply(ctx, c)
			return err
		},
		undo: func(ctx context.Context) error {
			if undo == nil {
				return nil
			}
			return undo(ctx)
		},
	}
}

// announce returns the action that announces addresses to the neighbours, in the background.
func (s *site) announce(dev string, mac dataplane.MAC, addrs []address) action {
	return action{do: func(context.Context) error {
		s.announcer.announce(s.index[dev], mac, prefixesOf(addrs))
		return nil
	}}
}
