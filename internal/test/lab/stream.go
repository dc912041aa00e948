package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/l3kit/l3kit/dataplane"
)

// Stream is a steady flow of small datagrams to a [Service] and back, that counts what does not
// return.
type Stream struct {
	conn     *net.UDPConn
	stop     context.CancelFunc
	sender   sync.WaitGroup
	receiver sync.WaitGroup
	unsent   error // the sender's, until it ends

	mu       sync.Mutex
	sent     uint64
	returned map[uint64]bool
	sources  map[netip.AddrPort]bool
	arrived  chan struct{} // holds a value when something has come since it was last empty
}

// ofStream tells the stream's datagrams from the exchange that opened it.
var ofStream = []byte("stream")

// Flow is what a stream has done.
type Flow struct {
	Sent, Lost int
	Sources    []netip.AddrPort // every source that the service saw it come from
	Unsent     error            // why a datagram could not even be sent, if one could not
}

func (f Flow) String() string {
	s := fmt.Sprintf("%d of %d datagrams lost, sources seen: %v", f.Lost, f.Sent, f.Sources)
	if f.Unsent != nil {
		s += ", not sent: " + f.Unsent.Error()
	}
	return s
}

// Stream begins to send a datagram every interval. It waits for the first to come back.
func (h *Host) Stream(ctx context.Context, from, to netip.AddrPort, interval time.Duration) (*Stream, error) {
	c, err := h.Dial(ctx, dataplane.UDP, from, to)
	if err != nil {
		return nil, err
	}
	if _, err := c.Exchange(ctx, 0); err != nil {
		return nil, errors.Join(fmt.Errorf("stream from %s to %s: %w", h.Name, to, err), c.Close())
	}
	conn := c.x.(*datagrams).UDPConn
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(context.Background())
	s := &Stream{conn: conn, stop: stop, returned: map[uint64]bool{}, sources: map[netip.AddrPort]bool{}, arrived: make(chan struct{}, 1)}
	s.sender.Go(func() { s.send(running, interval) })
	s.receiver.Go(s.receive)
	return s, nil
}

func (s *Stream) send(ctx context.Context, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.mu.Lock()
		seq := s.sent
		s.sent++
		s.mu.Unlock()
		b, _ := json.Marshal(message{Seq: seq, Payload: ofStream})
		if _, err := s.conn.Write(b); err != nil { // an ICMP error that came meanwhile: what was not sent counts as lost
			s.unsent = err
		}
	}
}

func (s *Stream) receive() {
	buf := make([]byte, maxDatagram)
	for {
		n, err := s.conn.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		var m message
		if err != nil || json.Unmarshal(buf[:n], &m) != nil || len(m.Payload) != len(ofStream) {
			continue
		}
		s.mu.Lock()
		s.returned[m.Seq] = true
		s.sources[m.Src] = true
		s.mu.Unlock()
		select {
		case s.arrived <- struct{}{}:
		default:
		}
	}
}

// Stop ends the stream and says how it went. It waits for stragglers as long as ctx allows.
func (s *Stream) Stop(ctx context.Context) Flow {
	s.stop()
	s.sender.Wait()
	for {
		s.mu.Lock()
		missing := int(s.sent) - len(s.returned)
		s.mu.Unlock()
		if missing == 0 {
			break
		}
		select {
		case <-s.arrived:
			continue
		case <-ctx.Done():
		}
		break
	}
	s.conn.Close()
	s.receiver.Wait()
	f := Flow{Sent: int(s.sent), Lost: int(s.sent) - len(s.returned), Unsent: s.unsent}
	for src := range s.sources {
		f.Sources = append(f.Sources, src)
	}
	return f
}

// Pause waits until so many datagrams more have come back, or ctx ends: a measure of time in
// traffic, for a change to happen amid it.
func (s *Stream) Pause(ctx context.Context, datagrams int) error {
	s.mu.Lock()
	goal := len(s.returned) + datagrams
	s.mu.Unlock()
	for {
		s.mu.Lock()
		n := len(s.returned)
		s.mu.Unlock()
		if n >= goal {
			return nil
		}
		select {
		case <-s.arrived:
		case <-ctx.Done():
			return fmt.Errorf("the stream stands still: %w", ctx.Err())
		}
	}
}
