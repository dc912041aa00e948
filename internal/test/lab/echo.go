package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
)

// Seen is what a service says about a request.
type Seen struct {
	Host string         `json:"host"` // who answered
	Src  netip.AddrPort `json:"src"`  // where the request came from, as the service saw it
	Dst  netip.AddrPort `json:"dst"`  // which address of the service it was sent to
}

// message is a request, and with Seen its answer. It is one datagram of UDP, or one JSON value in a
// stream of TCP.
type message struct {
	Seq     uint64 `json:"seq"`
	Payload []byte `json:"payload,omitempty"`
	Seen
}

const maxDatagram = 64 << 10

// Service echoes what it is sent on one port number, by TCP and UDP, IPv4 and IPv6.
type Service struct {
	name string
	wg   sync.WaitGroup

	mu      sync.Mutex
	sockets map[interface{ Close() error }]bool // nil when closed
	seen    []Seen
}

// Serve starts an echo service on the addresses that the host has now.
func (h *Host) Serve(port uint16) (*Service, error) {
	s := &Service{name: h.Name, sockets: map[interface{ Close() error }]bool{}}
	err := h.Do(func() error {
		addrs, err := net.InterfaceAddrs()
		if err != nil {
			return err
		}
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err != nil || p.Addr().IsLinkLocalUnicast() {
				continue
			}
			if err := s.listen(netip.AddrPortFrom(p.Addr(), port)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("host %s: serve: %w", h.Name, err), s.Close())
	}
	return s, nil
}

// ServeAt is Serve on one address only.
func (h *Host) ServeAt(at netip.AddrPort) (*Service, error) {
	s := &Service{name: h.Name, sockets: map[interface{ Close() error }]bool{}}
	if err := h.Do(func() error { return s.listen(at) }); err != nil {
		return nil, errors.Join(fmt.Errorf("host %s: serve %s: %w", h.Name, at, err), s.Close())
	}
	return s, nil
}

// listen opens the two sockets of one address in the calling thread's namespace. Each address has
// its own, so that answers leave from the address that was asked.
func (s *Service) listen(at netip.AddrPort) error {
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
	if err != nil {
		return err
	}
	s.track(l)
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return err
	}
	s.track(u)
	s.wg.Go(func() { s.serveTCP(l) })
	s.wg.Go(func() { s.serveUDP(u, at) })
	return nil
}

func (s *Service) serveTCP(l *net.TCPListener) {
	for {
		c, err := l.AcceptTCP()
		if err != nil {
			return
		}
		if !s.track(c) {
			c.Close()
			return
		}
		s.wg.Go(func() {
			defer s.forget(c)
			seen := Seen{Host: s.name, Src: addrPort(c.RemoteAddr()), Dst: addrPort(c.LocalAddr())}
			in, out := json.NewDecoder(c), json.NewEncoder(c)
			for {
				var m message
				if in.Decode(&m) != nil {
					return
				}
				m.Seen = seen
				s.record(seen)
				if out.Encode(m) != nil {
					return
				}
			}
		})
	}
}

func (s *Service) serveUDP(u *net.UDPConn, at netip.AddrPort) {
	buf := make([]byte, maxDatagram)
	for {
		n, from, err := u.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		var m message
		if err != nil || json.Unmarshal(buf[:n], &m) != nil {
			continue // an ICMP error about an earlier answer, or no request
		}
		m.Seen = Seen{Host: s.name, Src: unmap(from), Dst: at}
		s.record(m.Seen)
		if b, err := json.Marshal(m); err == nil {
			_, _ = u.WriteToUDPAddrPort(b, from)
		}
	}
}

// Requests returns what has arrived since the last call.
func (s *Service) Requests() []Seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.seen
	s.seen = nil
	return seen
}

const maxRecorded = 1 << 12 // a stream that nobody asks about must not fill the memory

func (s *Service) record(seen Seen) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.seen) < maxRecorded {
		s.seen = append(s.seen, seen)
	}
}

func (s *Service) track(c interface{ Close() error }) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sockets == nil {
		return false
	}
	s.sockets[c] = true
	return true
}

func (s *Service) forget(c interface{ Close() error }) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sockets, c)
	c.Close()
}

// Close ends the service and its connections.
func (s *Service) Close() error {
	s.mu.Lock()
	sockets := s.sockets
	s.sockets = nil
	s.mu.Unlock()
	for c := range sockets {
		c.Close()
	}
	s.wg.Wait()
	return nil
}

func addrPort(a net.Addr) netip.AddrPort {
	switch a := a.(type) {
	case *net.TCPAddr:
		return unmap(a.AddrPort())
	case *net.UDPAddr:
		return unmap(a.AddrPort())
	}
	return netip.AddrPort{}
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
