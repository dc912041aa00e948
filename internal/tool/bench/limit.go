package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/test/lab"
)

// limitedRate is what TCP is limited to, in kilobits per second.
const limitedRate = 100_000

// limitRates measures a TCP stream by a limited floating IP, each way, among so many limited ones.
func limitRates(ctx context.Context, b backend, sizes ...int) (rows []row, err error) {
	for _, n := range sizes {
		for _, d := range []dataplane.Direction{dataplane.Egress, dataplane.Ingress} {
			r, err := limitRate(ctx, b, n, d)
			if err != nil {
				return nil, err
			}
			r.Name = fmt.Sprintf("qos/rate-%s-%d-%s", b.name, n, d)
			rows = append(rows, r)
		}
	}
	return rows, nil
}

func limitRate(ctx context.Context, b backend, n int, d dataplane.Direction) (_ row, err error) {
	s, err := newStage(ctx, b)
	if err != nil {
		return row{}, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	web := dataplane.FloatingIP{ID: "web", Addr: netip.MustParseAddr("203.0.253.1"), Fixed: netip.MustParseAddr("10.1.255.5")}
	r := router("stage", n-1)
	r.FloatingIPs = append(r.FloatingIPs, web)
	each := dataplane.Bandwidth{Rate: limitedRate}
	for _, f := range r.FloatingIPs {
		r.Limits = append(r.Limits, dataplane.Limit{Addr: f.Addr, Egress: each, Ingress: each})
	}
	if _, err := s.dataplane.Apply(ctx, r); err != nil {
		return row{}, err
	}
	from, to, server := s.web, s.outside, netip.MustParseAddr("203.0.0.1")
	if d == dataplane.Ingress {
		from, to, server = s.outside, s.web, web.Addr
	}
	passed, payload, err := stream(ctx, from, to, server)
	if err != nil {
		return row{}, err
	}
	const limit = limitedRate * 1000 / 8
	return between(0.95, 1.05, row{Value: passed / limit, Unit: "x limit", Note: fmt.Sprintf("payload alone %.3f", payload/limit)}), nil
}

// stream sends over a TCP connection as fast as it goes. It returns how many bytes arrive a second
// after the first burst, in whole IP packets, and in what these carry.
func stream(ctx context.Context, from, to *lab.Host, server netip.Addr) (passed, payload float64, err error) {
	const warmUp, measured = 4 * time.Second, 8 * time.Second
	var l net.Listener
	if err := to.Do(func() (err error) { l, err = net.Listen("tcp4", ":7001"); return err }); err != nil {
		return 0, 0, err
	}
	defer l.Close()
	var out net.Conn
	if err := from.Do(func() (err error) {
		out, err = (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp4", netip.AddrPortFrom(server, 7001).String())
		return err
	}); err != nil {
		return 0, 0, err
	}
	in, err := l.Accept()
	if err != nil {
		return 0, 0, errors.Join(err, out.Close())
	}
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(out, zeros{})
		if errors.Is(err, net.ErrClosed) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) {
			err = nil
		}
		sent <- err
	}()
	read := func(until time.Time) (n int64, err error) {
		if err := in.SetReadDeadline(until); err != nil {
			return 0, err
		}
		if n, err = io.Copy(io.Discard, in); errors.Is(err, unix.EAGAIN) || isTimeout(err) {
			err = nil
		}
		return n, err
	}
	begin := time.Now()
	_, err = read(begin.Add(warmUp))
	var before, after, carried int64
	var first time.Time
	if err == nil {
		before, err = arrived(to)
		first = time.Now()
	}
	if err == nil {
		carried, err = read(first.Add(measured))
	}
	seconds := time.Since(first).Seconds()
	if err == nil {
		after, err = arrived(to)
	}
	err = errors.Join(err, out.Close(), in.Close(), <-sent)
	return float64(after-before) / seconds, float64(carried) / seconds, err
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

// arrived counts the bytes of packets that a host has got by its eth0, without those of frames.
func arrived(h *lab.Host) (bytes int64, err error) {
	const header = 14 // of Ethernet
	err = h.Do(func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		s := l.Attrs().Statistics
		bytes = int64(s.RxBytes) - header*int64(s.RxPackets)
		return nil
	})
	return bytes, err
}
