package dataplanetest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/internal/test/needs"
)

// Site is a host to open a dataplane on.
type Site struct {
	HostNS string // path of the network namespace that is the host's own
	Dir    string // directory of the names of routers' namespaces

	// Metadata is the service that the dataplane's routers serve workloads' metadata by.
	Metadata http.Handler

	// Switch is Open vSwitch on the host. The first call starts it; from then on it is part of the
	// host's state, and its changes are writes.
	Switch func() (Switch, error)
}

// Switch is a running Open vSwitch.
type Switch struct {
	Endpoint string // of its database, in the notation of ovsdb(7)
	RunDir   string // where ovs-vswitchd keeps its bridges' OpenFlow sockets
}

// Opener opens a dataplane on a site, and the wiring that it is to be made with. The dataplane is
// given wrap(wiring), so that the suite can make wiring fail; the wiring returned is used to attach
// workloads. Closing the dataplane must close the wiring.
type Opener func(site Site, wrap func(namespace.InterfaceDriver) namespace.InterfaceDriver) (dataplane.Dataplane, namespace.InterfaceDriver, error)

// Kernel makes harnesses for a dataplane that realises routers as network namespaces. It needs
// root, and nft for reading back what the host holds: without them tests are skipped, and under
// CI=true they fail. It works in namespaces of its own only.
func Kernel(open Opener) func(testing.TB) Harness {
	return func(tb testing.TB) Harness {
		tb.Helper()
		needs.Root(tb)
		needs.Program(tb, "nft", "nftables")
		k := &kernel{open: open}
		tb.Cleanup(func() {
			if err := k.close(); err != nil {
				tb.Errorf("clean up: %v", err)
			}
		})
		if err := k.start(); err != nil {
			tb.Fatal(err)
		}
		return k
	}
}

type kernel struct {
	open   Opener
	lab    *lab.Lab
	dp     dataplane.Dataplane
	others dataplane.Dataplane // keeps the workloads' wiring open
	wiring namespace.InterfaceDriver
	faults faults

	mu      sync.Mutex
	closers []interface{ Close() error }
	unborn  int         // routers that were half made
	ovs     *lab.Switch // nil if no opener has asked for it
}

func (k *kernel) start() (err error) {
	if k.lab, err = lab.New(); err != nil {
		return err
	}
	if k.dp, _, err = k.open(k.site(), k.faults.wrap); err != nil {
		return err
	}
	k.others, k.wiring, err = k.open(k.site(), func(d namespace.InterfaceDriver) namespace.InterfaceDriver { return d })
	return err
}

func (k *kernel) close() error {
	var errs []error
	for _, c := range k.closers {
		c.Close()
	}
	for _, dp := range []dataplane.Dataplane{k.dp, k.others} {
		if dp == nil {
			continue
		}
		if err := dp.Close(); err != nil && !errors.Is(err, dataplane.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if k.lab != nil {
		errs = append(errs, k.lab.Close())
	}
	return errors.Join(errs...)
}

func (k *kernel) closeLater(c interface{ Close() error }) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closers = append(k.closers, c)
}

func (k *kernel) site() Site {
	return Site{HostNS: k.lab.HostNS, Dir: k.lab.Dir, Switch: k.openSwitch, Metadata: Metadata()}
}

func (k *kernel) Dataplane() dataplane.Dataplane { return k.dp }

func (k *kernel) Reopen() (dataplane.Dataplane, error) {
	dp, _, err := k.open(k.site(), k.faults.wrap)
	return dp, err
}

func (k *kernel) Attach(ctx context.Context, w Workload) (Host, error) {
	h, err := k.lab.Attach(ctx, k.wiring, lab.Spec(w))
	if err != nil {
		return nil, err
	}
	return kernelHost{k, h}, nil
}

// path is where a router's namespace has its name.
func (k *kernel) path(id string) string { return filepath.Join(k.lab.Dir, dataplane.NamespaceName(id)) }

func (k *kernel) Router(_ context.Context, id string) (Host, error) {
	h, err := k.lab.Enter(k.path(id))
	if err != nil {
		return nil, err
	}
	return kernelHost{k, h}, nil
}

func (k *kernel) State(_ context.Context, id string) (string, error) {
	text, err := lab.State(k.path(id))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return text, err
}

// randomMAC is what the kernel makes up for the host's ends of cables, and for bridges from those
// of their ports.
var randomMAC = regexp.MustCompile(` mac [0-9a-f:]+`)

func (k *kernel) HostState(context.Context) (string, error) {
	text, err := lab.State(k.lab.HostNS)
	if err != nil {
		return "", err
	}
	entries, err := os.ReadDir(k.lab.Dir)
	if err != nil {
		return "", err
	}
	var names strings.Builder
	for _, e := range entries {
		fmt.Fprintln(&names, "name", e.Name())
	}
	return k.withSwitch(randomMAC.ReplaceAllString(text, "") + names.String())
}

func (k *kernel) Writes(_ context.Context, fn func() error) ([]string, error) {
	paths := []string{k.lab.HostNS}
	entries, err := os.ReadDir(k.lab.Dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		path := filepath.Join(k.lab.Dir, e.Name())
		if _, err := netns.Mark(path); err == nil {
			paths = append(paths, path)
		}
	}
	var onSwitch []string
	change := fn
	if k.ovs != nil {
		change = func() (err error) {
			onSwitch, err = k.ovs.Writes(fn)
			return err
		}
	}
	writes, err := lab.Writes(paths, change)
	writes = append(writes, onSwitch...)
	after, listErr := os.ReadDir(k.lab.Dir)
	if len(after) != len(entries) {
		writes = append(writes, "a namespace came or went")
	}
	return writes, errors.Join(err, listErr)
}

func (k *kernel) Trespass(_ context.Context, id string) (intact func() error, err error) {
	ns, err := netns.Create(k.lab.Dir, dataplane.NamespaceName(id), "somebody else's", nil)
	if err != nil {
		return nil, err
	}
	k.closeLater(ns)
	before, err := lab.State(k.path(id))
	if err != nil {
		return nil, err
	}
	return func() error {
		now, err := lab.State(k.path(id))
		if err != nil {
			return fmt.Errorf("the intruder's namespace: %w", err)
		}
		return differ("the intruder's namespace", before, now)
	}, nil
}

// HalfMake plugs the first port into a namespace that never gets a name.
func (k *kernel) HalfMake(ctx context.Context, r dataplane.Router) error {
	k.mu.Lock()
	k.unborn++
	name := fmt.Sprintf("unborn-%d", k.unborn)
	k.mu.Unlock()
	h, err := k.lab.Attach(ctx, k.wiring, lab.Spec{Name: name})
	if err != nil {
		return err
	}
	p := r.Ports[0]
	return k.wiring.Plug(ctx, namespace.NS{Router: r.ID, FD: h.FD()}, namespace.Attachment{Device: dataplane.PortDevice(p.ID), Port: p})
}

// kernelHost is a namespace to probe from.
type kernelHost struct {
	k *kernel
	h *lab.Host
}

func (h kernelHost) Serve(port uint16) error {
	s, err := h.h.Serve(port)
	if err == nil {
		h.k.closeLater(s)
	}
	return err
}

func (h kernelHost) Ask(ctx context.Context, to netip.AddrPort) (Seen, error) {
	seen, err := h.h.Ask(ctx, to)
	return Seen(seen), err
}

// These return interfaces, which must be nil when there is nothing in them.

func (h kernelHost) Dial(ctx context.Context, proto dataplane.Proto, from, to netip.AddrPort) (Conn, error) {
	c, err := h.h.Dial(ctx, proto, from, to)
	if err != nil {
		return nil, err
	}
	return kernelConn{c}, nil
}

func (h kernelHost) Stream(ctx context.Context, from, to netip.AddrPort, interval time.Duration) (Stream, error) {
	s, err := h.h.Stream(ctx, from, to, interval)
	if err != nil {
		return nil, err
	}
	return kernelStream{s}, nil
}

func (h kernelHost) Send(to netip.AddrPort, count, size int) error { return h.h.Send(to, count, size) }

func (h kernelHost) Watch() (Watch, error) {
	w, err := h.h.Capture("eth0")
	if err != nil {
		return nil, err
	}
	return kernelWatch{w}, nil
}

type kernelConn struct{ *lab.Conn }

func (c kernelConn) Exchange(ctx context.Context, payload int) (Seen, error) {
	seen, err := c.Conn.Exchange(ctx, payload)
	return Seen(seen), err
}

type kernelStream struct{ *lab.Stream }

func (s kernelStream) Stop(ctx context.Context) Flow { return Flow(s.Stream.Stop(ctx)) }

type kernelWatch struct{ *lab.Capture }

func (w kernelWatch) Packets() (packets []Packet, err error) {
	captured, err := w.Capture.Packets()
	for i := range captured {
		packets = append(packets, *packet(&captured[i]))
	}
	return packets, err
}

func packet(p *lab.Packet) *Packet {
	if p == nil {
		return nil
	}
	out := &Packet{Sent: p.Sent, Src: p.Src, Dst: p.Dst, Proto: p.Proto, MSS: p.MSS}
	if p.ICMP != nil {
		out.ICMP = &ICMP{Type: p.ICMP.Type, MTU: p.ICMP.MTU, About: packet(p.ICMP.About)}
	}
	return out
}
