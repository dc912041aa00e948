package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
)

// resend is after what time without an answer a request in a datagram is sent again.
const resend = 500 * time.Millisecond

// Conn is a conversation with a [Service], or with any host's ICMP echo. Exchanges happen one at a
// time.
type Conn struct {
	mu  sync.Mutex
	seq uint64
	x   exchanger
}

// exchanger sends one request, and waits for its answer until its deadline, which setDeadline may
// shorten meanwhile.
type exchanger interface {
	exchange(m message) (message, error)
	setDeadline(t time.Time) error
	local() netip.AddrPort
	control(fn func(fd int) error) error
	Close() error
}

// Dial begins a conversation, from the address and port given, or those that the kernel chooses
// where they are zero. The port of an ICMP conversation is its echo identifier. Only TCP sends
// anything yet.
func (h *Host) Dial(ctx context.Context, proto dataplane.Proto, from, to netip.AddrPort) (*Conn, error) {
	c := &Conn{seq: rand.Uint64N(1 << 15)}
	err := h.Do(func() (err error) {
		switch proto {
		case dataplane.TCP:
			var d net.Dialer
			conn, err := d.DialTCP(ctx, "tcp", from, to)
			if err != nil {
				return err
			}
			c.x = &stream{TCPConn: conn, in: json.NewDecoder(conn), out: json.NewEncoder(conn)}
		case dataplane.UDP:
			var d net.Dialer
			conn, err := d.DialUDP(ctx, "udp", from, to)
			if err != nil {
				return err
			}
			c.x = &datagrams{UDPConn: conn}
		case dataplane.ICMP:
			c.x, err = dialEcho(from, to.Addr())
		default:
			err = fmt.Errorf("no protocol %q", proto)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s from %s to %s: %w", proto, h.Name, to, err)
	}
	return c, nil
}

// Local is the conversation's own address and port, or echo identifier.
func (c *Conn) Local() netip.AddrPort { return c.x.local() }

// Exchange sends a request with so many bytes of payload and waits for its answer. It says what the
// service saw; for ICMP, Seen.Dst is where the answer came from, and the rest is not known. It
// sends a datagram again when nothing comes for a while, as any client would: [Host.Stream] is for
// counting losses. When ctx ends first, the error is [context.DeadlineExceeded] or
// [context.Canceled].
func (c *Conn) Exchange(ctx context.Context, payload int) (Seen, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	deadline, _ := ctx.Deadline()
	if err := c.x.setDeadline(deadline); err != nil {
		return Seen{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.x.setDeadline(time.Unix(1, 0)) })
	defer stop()
	c.seq++
	answer, err := c.x.exchange(message{Seq: c.seq, Payload: make([]byte, payload)})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		<-ctx.Done() // the socket's clock may be the faster one
		err = fmt.Errorf("no answer: %w", ctx.Err())
	}
	if err == nil && len(answer.Payload) != payload {
		err = fmt.Errorf("%d of %d bytes came back", len(answer.Payload), payload)
	}
	return answer.Seen, err
}

// Ask sends one datagram to a [Service] and waits for its answer until ctx ends. It never sends it
// again.
func (h *Host) Ask(ctx context.Context, to netip.AddrPort) (Seen, error) {
	c, err := h.Dial(ctx, dataplane.UDP, netip.AddrPort{}, to)
	if err != nil {
		return Seen{}, err
	}
	defer c.Close()
	c.x.(*datagrams).once = true
	return c.Exchange(ctx, 0)
}

// Ping sends echo requests until one is answered, for half a minute at most ([Patience]).
func (h *Host) Ping(ctx context.Context, to string) error {
	addr, err := netip.ParseAddr(to)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, Patience(30*time.Second))
	defer cancel()
	c, err := h.Dial(ctx, dataplane.ICMP, netip.AddrPort{}, netip.AddrPortFrom(addr, 0))
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Exchange(ctx, 0); err != nil {
		return fmt.Errorf("ping %s from %s: %w", to, h.Name, err)
	}
	return nil
}

// SetTTL sets the time to live (hop limit) of what is sent from now on.
func (c *Conn) SetTTL(hops int) error {
	return c.x.control(func(fd int) error {
		if c.Local().Addr().Is4() {
			return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, hops)
		}
		return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, hops)
	})
}

// Close ends the conversation. TCP is reset, so that nothing of it lingers.
func (c *Conn) Close() error { return c.x.Close() }

// stream is a conversation by TCP.
type stream struct {
	*net.TCPConn
	in  *json.Decoder
	out *json.Encoder
}

func (s *stream) setDeadline(t time.Time) error       { return s.SetDeadline(t) }
func (s *stream) local() netip.AddrPort               { return addrPort(s.LocalAddr()) }
func (s *stream) control(fn func(fd int) error) error { return control(s.TCPConn, fn) }

func (s *stream) Close() error {
	_ = s.SetLinger(0)
	return s.TCPConn.Close()
}

func (s *stream) exchange(m message) (answer message, err error) {
	if err := s.out.Encode(m); err != nil {
		return answer, err
	}
	for answer.Seq != m.Seq { // an exchange that was given up may be answered still
		answer = message{}
		if err := s.in.Decode(&answer); err != nil {
			return answer, err
		}
	}
	return answer, nil
}

// datagrams is a conversation by UDP. Its socket is connected: it hears nobody but the one it asks,
// and ICMP errors are its errors.
type datagrams struct {
	*net.UDPConn
	patience
}

func (d *datagrams) setDeadline(t time.Time) error       { return d.set(d.UDPConn, t) }
func (d *datagrams) local() netip.AddrPort               { return addrPort(d.LocalAddr()) }
func (d *datagrams) control(fn func(fd int) error) error { return control(d.UDPConn, fn) }

func (d *datagrams) exchange(m message) (answer message, err error) {
	request, err := json.Marshal(m)
	if err != nil {
		return answer, err
	}
	buf := make([]byte, maxDatagram)
	return answer, d.retry(d.UDPConn, func() error {
		_, err := d.Write(request)
		return err
	}, func() (bool, error) {
		n, err := d.Read(buf)
		if err != nil {
			return false, err
		}
		answer = message{}
		err = json.Unmarshal(buf[:n], &answer)
		return answer.Seq == m.Seq, err
	})
}

// echo is a conversation by ICMP echo, through a raw socket so that it works wherever root is.
type echo struct {
	*icmp.PacketConn
	patience
	from netip.AddrPort // the identifier is the port
	to   netip.Addr
}

func dialEcho(from netip.AddrPort, to netip.Addr) (*echo, error) {
	network := "ip6:ipv6-icmp"
	if to.Is4() {
		network = "ip4:icmp"
	}
	if !from.Addr().IsValid() { // bound, so that no other socket's answers come here and Local has an answer
		src, err := sourceFor(to)
		if err != nil {
			return nil, err
		}
		from = netip.AddrPortFrom(src, from.Port())
	}
	if from.Port() == 0 {
		from = netip.AddrPortFrom(from.Addr(), uint16(1+rand.Uint32N(65535)))
	}
	c, err := icmp.ListenPacket(network, from.Addr().String())
	if err != nil {
		return nil, err
	}
	return &echo{PacketConn: c, from: from, to: to}, nil
}

// sourceFor asks the kernel what source address it would choose, in the calling thread's namespace.
// Nothing is sent.
func sourceFor(to netip.Addr) (netip.Addr, error) {
	var d net.Dialer
	c, err := d.DialUDP(context.Background(), "udp", netip.AddrPort{}, netip.AddrPortFrom(to, 9))
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	return addrPort(c.LocalAddr()).Addr(), nil
}

func (e *echo) setDeadline(t time.Time) error { return e.set(e.PacketConn, t) }
func (e *echo) local() netip.AddrPort         { return e.from }

func (e *echo) control(fn func(fd int) error) error {
	if e.to.Is4() {
		return control(e.IPv4PacketConn().PacketConn.(*net.IPConn), fn)
	}
	return control(e.IPv6PacketConn().PacketConn.(*net.IPConn), fn)
}

func (e *echo) exchange(m message) (answer message, err error) {
	var request, reply icmp.Type = ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply
	if !e.to.Is4() {
		request, reply = ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply
	}
	body := &icmp.Echo{ID: int(e.from.Port()), Seq: int(uint16(m.Seq)), Data: m.Payload}
	packet, err := (&icmp.Message{Type: request, Body: body}).Marshal(nil)
	if err != nil {
		return answer, err
	}
	buf := make([]byte, maxDatagram)
	return answer, e.retry(e.PacketConn, func() error {
		_, err := e.WriteTo(packet, &net.IPAddr{IP: e.to.AsSlice(), Zone: e.to.Zone()})
		return err
	}, func() (bool, error) {
		n, from, err := e.ReadFrom(buf)
		if err != nil {
			return false, err
		}
		data := echoOf(reply, buf[:n])
		if data == nil || data.ID != body.ID || data.Seq != body.Seq {
			return false, nil
		}
		src, _ := netip.AddrFromSlice(from.(*net.IPAddr).IP)
		answer = message{Payload: data.Data, Seen: Seen{Dst: netip.AddrPortFrom(src.Unmap(), 0)}}
		return true, nil
	})
}

// echoOf reads an echo message of a type; nil if it is something else.
func echoOf(kind icmp.Type, b []byte) *icmp.Echo {
	m, err := icmp.ParseMessage(kind.Protocol(), b)
	if err != nil || m.Type != kind {
		return nil
	}
	data, _ := m.Body.(*icmp.Echo)
	return data
}

// patience is a deadline for a whole exchange, within which single reads have shorter ones.
type patience struct {
	mu   sync.Mutex
	end  time.Time
	once bool // nothing is sent again
}

type deadliner interface{ SetReadDeadline(t time.Time) error }

func (p *patience) set(c deadliner, end time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end = end
	return c.SetReadDeadline(end)
}

// next sets the read deadline of the next try, and says whether it is the last.
func (p *patience) next(c deadliner) (last bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	until := time.Now().Add(resend)
	if p.once || !p.end.IsZero() && p.end.Before(until) {
		until, last = p.end, true
	}
	return last, c.SetReadDeadline(until)
}

// retry sends until receive is content or the time is over.
func (p *patience) retry(c deadliner, send func() error, receive func() (bool, error)) error {
	for {
		last, err := p.next(c)
		if err != nil {
			return err
		}
		if err := send(); err != nil {
			return err
		}
		for {
			ok, err := receive()
			if ok {
				return nil
			}
			if errors.Is(err, os.ErrDeadlineExceeded) && !last {
				break
			}
			if err != nil {
				return err
			}
		}
	}
}

func control(c syscall.Conn, fn func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = fn(int(fd)) })
	return errors.Join(err, inner)
}
