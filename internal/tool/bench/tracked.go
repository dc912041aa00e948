package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	mdnetlink "github.com/mdlayher/netlink"
	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/netns"
)

// fipAddTracked measures one floating IP more on a router through which so many unrelated
// connections go; how much memory that takes; and when the outside has heard of the address.
func fipAddTracked(ctx context.Context, limit float64, connections, runs int) ([]row, error) {
	name := fmt.Sprint("nftables/fip-add-conntrack-", connections)
	p, err := newPath(ctx, nft, 100, nil)
	if err != nil {
		return nil, err
	}
	defer p.close()
	if _, err := p.dataplane.Apply(ctx, p.router); err != nil {
		return nil, err
	}
	time.Sleep(3 * time.Second) // announcements are over
	err = p.inside(func(fd int) error { return track(fd, connections) })
	// The kernel has one table: a connection elsewhere has to be passed over, too.
	if err = errors.Join(err, track(p.outside.FD(), 1)); err != nil {
		return nil, err
	}
	var took, heard []time.Duration
	var memory []float64
	for i := range runs + 2 {
		more := p.router
		more.FloatingIPs = append(more.FloatingIPs[:len(more.FloatingIPs):len(more.FloatingIPs)], floatingIP(1000+i))
		ear, err := p.listen(floatingIP(1000 + i).Addr)
		if err != nil {
			return nil, err
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		begun := time.Now()
		if _, err = p.dataplane.Apply(ctx, more); err != nil {
			return nil, err
		}
		d := time.Since(begun)
		runtime.ReadMemStats(&after)
		at, err := ear.heard()
		if err == nil {
			_, err = p.dataplane.Apply(ctx, p.router)
		}
		if err != nil {
			return nil, err
		}
		if i < 2 { // warm-up
			continue
		}
		took, heard = append(took, d), append(heard, at.Sub(begun))
		memory = append(memory, float64(after.TotalAlloc-before.TotalAlloc)/(1<<20))
	}
	note := fmt.Sprintf("%d connections of the router, and one elsewhere", connections)
	return []row{
		atMost(limit, row{Name: name, Value: milliseconds(median(took)), Unit: "ms", Note: note}),
		atMost(2, row{Name: name + "/memory", Value: median(memory), Unit: "MiB", Note: "all that one Apply allocates"}),
		atMost(1.5, row{Name: name + "/announced", Value: milliseconds(median(heard)), Unit: "ms", Note: "the outside has received the first announcement"}),
	}, nil
}

// track makes connections that no packet belongs to, from addresses without a floating IP.
func track(fd, n int) error {
	c, err := conntrack.Dial(&mdnetlink.Config{NetNS: fd})
	if err != nil {
		return err
	}
	var errs []error
	gateway := router("", 0).Gateway.HairpinAddr()
	for i := range n {
		const perHost = 50_000
		host := byte(1 + i/perHost)
		client, server := netip.AddrFrom4([4]byte{10, 1, 200, host}), netip.AddrFrom4([4]byte{203, 0, 200, host})
		f := conntrack.NewFlow(unix.IPPROTO_UDP, 0, client, server, uint16(1024+i%perHost), 53, 3600, 0)
		f.TupleReply.IP.DestinationAddress = gateway
		if err := c.Create(f); err != nil {
			errs = append(errs, err)
			break
		}
	}
	return errors.Join(append(errs, c.Close())...)
}

// ear listens at the outside for the announcement of an address.
type ear struct {
	fd   int
	addr netip.Addr
	done chan heardAt
}

type heardAt struct {
	at  time.Time
	err error
}

func (p *path) listen(a netip.Addr) (*ear, error) {
	e := &ear{addr: a, done: make(chan heardAt, 1)}
	err := netns.Do(p.outside.FD(), func() (err error) {
		const arp = unix.ETH_P_ARP&0xff<<8 | unix.ETH_P_ARP>>8 // in network order
		if e.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, arp); err != nil {
			return err
		}
		return unix.SetsockoptTimeval(e.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5})
	})
	if err != nil {
		return nil, err
	}
	go func() {
		b := make([]byte, 64)
		for {
			n, _, err := unix.Recvfrom(e.fd, b, 0)
			other := err == nil && (n < 28 || netip.AddrFrom4([4]byte(b[14:18])) != e.addr)
			if other || errors.Is(err, unix.EINTR) {
				continue
			}
			e.done <- heardAt{time.Now(), err}
			return
		}
	}()
	return e, nil
}

func (e *ear) heard() (time.Time, error) {
	h := <-e.done
	return h.at, errors.Join(h.err, unix.Close(e.fd))
}
