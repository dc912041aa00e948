package namespace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/netns"
)

// What workloads can hold on to when they ask for metadata. Connections beyond those of a router,
// or of all routers, wait in the kernel; those of a client beyond its share are closed.
const (
	maxMetadataConns      = 128
	maxMetadataConnsTotal = 2048
	maxMetadataConnsEach  = 16
	maxMetadataHeader     = 16 << 10
	maxMetadataBody       = 64 << 10

	metadataHeaderTime = 10 * time.Second // to send the header of a request
	metadataReadTime   = 20 * time.Second // to send all of it
	metadataTime       = time.Minute      // from then until the answer is taken
	metadataIdleTime   = 10 * time.Second // between requests
)

// The headers that tell the metadata service who asks, as Neutron's proxies set them.
const (
	headerClient = "X-Forwarded-For"
	headerRouter = "X-Neutron-Router-Id"
)

// metadata6 is the IPv6 metadata address on a device.
var metadata6 = func() netip.Prefix { _, six := dataplane.MetadataAddrs(); return host(six) }()

// wantLo returns what the router answers for on lo. There it is nobody's answer to an ARP request:
// several routers may be on one network.
func wantLo(r dataplane.Router) map[netip.Prefix]form {
	if !r.Metadata {
		return nil
	}
	four, _ := dataplane.MetadataAddrs()
	return map[netip.Prefix]form{host(four): {scope: unix.RT_SCOPE_HOST}}
}

func isMetadata(a netip.Addr) bool {
	four, _ := dataplane.MetadataAddrs()
	return a == four
}

func hasIPv6(addrs map[netip.Prefix]form) bool {
	for a := range addrs {
		if a.Addr().Is6() {
			return true
		}
	}
	return false
}

// announced leaves out the metadata address, which all routers on a network have.
func announced(addrs []address) []address {
	return slices.DeleteFunc(addrs, func(a address) bool { return a.Prefix == metadata6 })
}

// metadataServer serves the metadata of one router's workloads.
type metadataServer struct {
	ns        NS
	log       *slog.Logger
	server    *http.Server
	places    *places
	listeners map[int]*metadataListener // by the index of the device; 0: IPv4
	serving   sync.WaitGroup
}

func newMetadataServer(ns NS, cfg Config) *metadataServer {
	return &metadataServer{
		ns: ns, log: cfg.Logger, listeners: map[int]*metadataListener{},
		places: &places{own: make(chan struct{}, maxMetadataConns), all: cfg.metadataConns, each: map[netip.Addr]int{}, closed: make(chan struct{})},
		server: &http.Server{
			Handler:  identified(ns.Router, cfg.Metadata),
			ErrorLog: slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelWarn), MaxHeaderBytes: maxMetadataHeader,
			ReadHeaderTimeout: metadataHeaderTime, ReadTimeout: metadataReadTime, WriteTimeout: metadataReadTime + metadataTime, IdleTimeout: metadataIdleTime,
		},
	}
}

// identified tells a handler who asks, whatever the client says of that.
func identified(router string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil {
			http.Error(w, "unknown client", http.StatusBadRequest)
			return
		}
		if r.ContentLength > maxMetadataBody {
			http.Error(w, "the body is too large", http.StatusRequestEntityTooLarge)
			return
		}
		maps.DeleteFunc(r.Header, func(name string, _ []string) bool { return !clientMaySet(name) })
		r.Trailer = nil
		r.Header.Set(headerClient, client.Addr().Unmap().WithZone("").String())
		r.Header.Set(headerRouter, router)
		r.Body = http.MaxBytesReader(w, r.Body, maxMetadataBody)
		ctx, cancel := context.WithTimeout(r.Context(), metadataTime)
		defer cancel()
		h.ServeHTTP(w, r.WithContext(ctx))
	})
}

// clientMaySet reports whether a header of a client is passed on. One that begins with X- may tell
// the metadata service who asks, or that somebody else has checked it; those of the EC2 protocol do
// not. An underscore is a hyphen to some servers (RFC 3875 §4.1.18), and what a client calls a
// header of the connection, a proxy would remove.
func clientMaySet(name string) bool {
	switch {
	case strings.HasPrefix(name, "X-"):
		return strings.HasPrefix(name, "X-Aws-Ec2-Metadata-")
	case strings.Contains(name, "_"), name == "Connection", name == "Upgrade", name == "Forwarded", name == "Trailer":
		return false
	}
	return true
}

// set listens at the metadata addresses of the devices with these indexes alone.
func (m *metadataServer) set(indexes []int) error {
	for i, l := range m.listeners {
		if !slices.Contains(indexes, i) {
			delete(m.listeners, i)
			_ = l.Close()
		}
	}
	for _, i := range indexes {
		if m.listeners[i] != nil {
			continue
		}
		l, err := m.listen(i)
		if err != nil {
			return err
		}
		m.listeners[i] = l
		m.serving.Go(func() {
			if err := m.server.Serve(l); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
				m.log.Error("metadata of a router is no longer served", "router", m.ns.Router, "err", err)
			}
		})
	}
	return nil
}

// close ends it, and requests under way.
func (m *metadataServer) close() error {
	close(m.places.closed)
	err := m.server.Close()
	m.serving.Wait()
	return err
}

// listen listens at the metadata address of a device, or at that of IPv4. The socket need not wait
// for the address; that of a device answers by it alone.
func (m *metadataServer) listen(index int) (*metadataListener, error) {
	four, six := dataplane.MetadataAddrs()
	family, at := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: dataplane.MetadataPort, Addr: four.As4()})
	if index != 0 {
		family, at = unix.AF_INET6, &unix.SockaddrInet6{Port: dataplane.MetadataPort, Addr: six.As16(), ZoneId: uint32(index)}
	}
	fd := -1
	err := netns.Do(m.ns.FD, func() (err error) {
		fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		return os.NewSyscallError("socket", err)
	})
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)),
		os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)), // with a process that is to end
		os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_FREEBIND, 1)),
	)
	if err == nil {
		err = os.NewSyscallError("bind", unix.Bind(fd, at))
	}
	if err == nil {
		err = os.NewSyscallError("listen", unix.Listen(fd, maxMetadataConns))
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	l := &metadataListener{file: os.NewFile(uintptr(fd), "metadata"), places: m.places, addr: four}
	if index != 0 {
		l.addr = six
	}
	return l, nil
}

// metadataListener is a listener that package net has no part in: for each link-local address of a
// client, that would list the host's devices to find the name of one which is not there.
type metadataListener struct {
	file   *os.File
	places *places
	addr   netip.Addr
}

func (l *metadataListener) Addr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(l.addr, dataplane.MetadataPort))
}

func (l *metadataListener) Close() error { return l.file.Close() }

func (l *metadataListener) Accept() (net.Conn, error) {
	for {
		if err := l.wait(); err != nil {
			return nil, err
		}
		if !l.places.take() {
			return nil, net.ErrClosed
		}
		c, err := l.accept()
		if c == nil || err != nil {
			l.places.leave()
		}
		switch {
		case err != nil:
			return nil, err
		case c == nil: // it has gone
		case !l.places.share(c.client.Addr()):
			_ = c.file.Close()
			l.places.leave()
		default:
			return c, nil
		}
	}
}

// wait waits until somebody connects.
func (l *metadataListener) wait() error {
	socket, err := l.file.SyscallConn()
	if err != nil {
		return errors.Join(net.ErrClosed, err)
	}
	var failed error
	err = socket.Read(func(fd uintptr) bool {
		var n int
		n, failed = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return n > 0 || failed != nil && !errors.Is(failed, unix.EINTR)
	})
	if err != nil {
		return errors.Join(net.ErrClosed, err)
	}
	return os.NewSyscallError("poll", failed)
}

// accept is nil if nobody connects.
func (l *metadataListener) accept() (c *metadataConn, err error) {
	socket, err := l.file.SyscallConn()
	if err != nil {
		return nil, errors.Join(net.ErrClosed, err)
	}
	fd, from, failed := -1, unix.Sockaddr(nil), error(nil)
	if err := socket.Control(func(listening uintptr) {
		fd, from, failed = unix.Accept4(int(listening), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	}); err != nil {
		return nil, errors.Join(net.ErrClosed, err)
	}
	is := func(e unix.Errno) bool { return errors.Is(failed, e) }
	switch {
	case failed == nil:
	case slices.ContainsFunc([]unix.Errno{unix.EAGAIN, unix.EINTR, unix.ECONNABORTED}, is):
		return nil, nil
	case slices.ContainsFunc([]unix.Errno{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM}, is): // the client waits
		time.Sleep(100 * time.Millisecond)
		return nil, nil
	default:
		return nil, os.NewSyscallError("accept", failed)
	}
	c = &metadataConn{file: os.NewFile(uintptr(fd), "metadata"), listener: l}
	switch a := from.(type) {
	case *unix.SockaddrInet4:
		c.client = netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		c.client = netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
	}
	return c, nil
}

// metadataConn is the connection of a client.
type metadataConn struct {
	file     *os.File
	listener *metadataListener
	client   netip.AddrPort
	closing  sync.Once
}

func (c *metadataConn) Read(b []byte) (int, error)         { return c.file.Read(b) }
func (c *metadataConn) Write(b []byte) (int, error)        { return c.file.Write(b) }
func (c *metadataConn) LocalAddr() net.Addr                { return c.listener.Addr() }
func (c *metadataConn) RemoteAddr() net.Addr               { return net.TCPAddrFromAddrPort(c.client) }
func (c *metadataConn) SetDeadline(t time.Time) error      { return c.file.SetDeadline(t) }
func (c *metadataConn) SetReadDeadline(t time.Time) error  { return c.file.SetReadDeadline(t) }
func (c *metadataConn) SetWriteDeadline(t time.Time) error { return c.file.SetWriteDeadline(t) }

func (c *metadataConn) Close() error {
	err := c.file.Close()
	c.closing.Do(func() {
		c.listener.places.unshare(c.client.Addr())
		c.listener.places.leave()
	})
	return err
}

// CloseWrite ends what is written, so that a client which still writes gets an answer before the
// connection is closed.
func (c *metadataConn) CloseWrite() error {
	socket, err := c.file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = socket.Control(func(fd uintptr) { failed = unix.Shutdown(int(fd), unix.SHUT_WR) })
	return errors.Join(err, os.NewSyscallError("shutdown", failed))
}

// places bounds the connections of a router: of its own, of all routers, and of each client.
type places struct {
	own    chan struct{}
	all    chan struct{} // shared by all routers
	closed chan struct{}

	mu   sync.Mutex
	each map[netip.Addr]int
}

// take waits for a place. It is false if there is none any more.
func (p *places) take() bool {
	select {
	case p.own <- struct{}{}:
	case <-p.closed:
		return false
	}
	select {
	case p.all <- struct{}{}:
		return true
	case <-p.closed:
		<-p.own
		return false
	}
}

func (p *places) leave() {
	<-p.all
	<-p.own
}

// share counts a connection of a client, unless it has its share.
func (p *places) share(client netip.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.each[client] >= maxMetadataConnsEach {
		return false
	}
	p.each[client]++
	return true
}

func (p *places) unshare(client netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.each[client]--; p.each[client] == 0 {
		delete(p.each, client)
	}
}

// serveMetadata has the router serve metadata where it is to, once the addresses are there. A
// process that has just started begins anew; requests during a change go on.
func (l *long) serveMetadata(context.Context) error {
	if !l.router.Metadata && l.metadata == nil {
		return nil
	}
	l.add(action{
		do: func(context.Context) error { return l.site.serveMetadata(l.cfg, l.router) },
		undo: func(context.Context) error {
			if l.last == nil {
				return nil // nobody knows what was served
			}
			return errors.Join(l.locate(), l.site.serveMetadata(l.cfg, l.last.router))
		},
	})
	return nil
}

func (s *site) serveMetadata(cfg Config, r dataplane.Router) error {
	if !r.Metadata {
		return s.endMetadata()
	}
	if s.metadata == nil {
		s.metadata = newMetadataServer(s.NS, cfg)
	}
	indexes := []int{0}
	for _, p := range r.Ports {
		dev := dataplane.PortDevice(p.ID)
		if i := s.index[dev]; i != 0 && slices.ContainsFunc(p.Addrs, func(a netip.Prefix) bool { return a.Addr().Is6() }) {
			indexes = append(indexes, i)
		}
	}
	return opError("serve metadata of", "router "+s.Router, s.metadata.set(indexes))
}

func (s *site) endMetadata() error {
	if s.metadata == nil {
		return nil
	}
	err := s.metadata.close()
	s.metadata = nil
	return err
}

// metadataSupported returns an error for a router whose metadata nobody would serve.
func (c Config) metadataSupported(r dataplane.Router) error {
	if !r.Metadata || c.Metadata != nil {
		return nil
	}
	return &dataplane.OpError{Op: "apply router", Object: r.ID, Err: fmt.Errorf("%w: this host serves no metadata", dataplane.ErrUnsupported)}
}
