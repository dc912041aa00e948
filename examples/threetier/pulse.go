package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/l3kit/l3kit/internal/test/lab"
)

// echoPort is that of RFC 862. Tiers answer there at once, so that the time of a first packet can
// be told to the millisecond.
const echoPort = 7

// echo answers every datagram until the connection is closed.
func echo(c *net.UDPConn) {
	buf := make([]byte, 64)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		_, _ = c.WriteToUDPAddrPort(buf[:n], from) // whoever asked asks again
	}
}

// firstAnswer sends a datagram a millisecond, and returns when the first has come back.
func firstAnswer(ctx context.Context, from *lab.Host, source, to string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, answerTime, fmt.Errorf("no answer from %s within %s", to, answerTime))
	defer cancel()
	var c *net.UDPConn
	err := from.Do(func() (err error) {
		c, err = net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr(source), 0)), net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr(to), echoPort)))
		return err
	})
	if err != nil {
		return err
	}
	var sender sync.WaitGroup
	defer sender.Wait()
	defer cancel()
	defer c.Close()
	sender.Go(func() {
		for tick := time.NewTicker(time.Millisecond); ctx.Err() == nil; <-tick.C {
			_, _ = c.Write([]byte("?")) // an ICMP error about an earlier one is reported here, or below
		}
	})
	defer context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })()
	for buf := make([]byte, 64); ; {
		if _, err := c.Read(buf); err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}
