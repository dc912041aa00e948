package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/l3kit/l3kit/internal/test/deployment"
	"github.com/l3kit/l3kit/internal/test/lab"
)

// replyTime is how long is waited for a reply before something is taken to be broken.
const replyTime = 20 * time.Second

// firstReply sends a datagram a millisecond to the echo port of an address, and returns when one
// has come back.
func firstReply(ctx context.Context, from *lab.Host, to netip.Addr) error {
	_, err := replies(ctx, from, []netip.Addr{to}, time.Millisecond)
	return err
}

// lastReply asks all tenants' workloads by their floating IPs, and says how long it took until each
// had answered once.
func lastReply(ctx context.Context, from *lab.Host, tenants []*deployment.Tenant) (time.Duration, error) {
	var all []netip.Addr
	for _, t := range tenants {
		all = append(all, t.Floating)
	}
	return replies(ctx, from, all, 10*time.Millisecond)
}

// replies sends to each address, again and again until it has answered.
func replies(ctx context.Context, from *lab.Host, to []netip.Addr, every time.Duration) (time.Duration, error) {
	start := time.Now()
	waiting := map[netip.Addr]bool{}
	for _, a := range to {
		waiting[a] = true
	}
	var c *net.UDPConn
	if err := from.Do(func() (err error) {
		c, err = net.ListenUDP("udp4", nil)
		return err
	}); err != nil {
		return 0, err
	}
	defer c.Close()
	buf := make([]byte, 2048)
	for next := start; len(waiting) > 0; {
		if ctx.Err() != nil || time.Since(start) > replyTime {
			return 0, errors.Join(fmt.Errorf("%d of %d do not answer", len(waiting), len(to)), ctx.Err())
		}
		if !time.Now().Before(next) {
			for a := range waiting {
				_, _ = c.WriteToUDPAddrPort([]byte("{}"), netip.AddrPortFrom(a, echoPort)) // the kernel reports errors about earlier ones
			}
			next = time.Now().Add(every)
		}
		if err := c.SetReadDeadline(next); err != nil {
			return 0, err
		}
		if _, sender, err := c.ReadFromUDPAddrPort(buf); err == nil {
			delete(waiting, sender.Addr().Unmap())
		}
	}
	return time.Since(start), nil
}
