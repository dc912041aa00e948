package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/test/lab"
)

// attachSensor attaches a machine that is told nothing: neither an address nor a route.
func (s *site) attachSensor(ctx context.Context) (err error) {
	var port dataplane.Port
	if port, s.sensorAddr, err = s.cloud.selfConfigured(ctx, "www", s.place("sensor")); err != nil {
		return err
	}
	wiring, err := s.machines.wiring(ctx, "sensor")
	if err != nil {
		return err
	}
	s.sensor, err = s.machines.router.Attach(ctx, wiring, lab.Spec{Name: "sensor", Ports: []dataplane.Port{port}})
	return err
}

// switchOn shows the sensor configure itself by what the router advertises, and reach the client.
func switchOn(ctx context.Context, s *site, out *report) {
	began := time.Now()
	err := s.sensor.Do(solicit)
	if err == nil {
		err = s.sensor.Do(func() error { return hasAddress(ctx, s.sensorAddr) })
	}
	out.check("it has the address that the API shows for it", "after "+brief(time.Since(began)), err)
	p, err := get(ctx, s.sensor, "", "http://["+client6Addr+"]")
	out.equal("it reaches the client by IPv6, untranslated", s.sensorAddr, saw(p, 0), err)
}

// solicit has Linux do on eth0 what it does when a machine starts: ask for a router.
func solicit() error {
	for _, s := range [][2]string{{"accept_ra", "1"}, {"autoconf", "1"}, {"router_solicitations", "-1"}, {"router_solicitation_delay", "0"}} {
		if err := os.WriteFile(filepath.Join("/proc/sys/net/ipv6/conf/eth0", s[0]), []byte(s[1]), 0o644); err != nil {
			return err
		}
	}
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetDown(link); err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

// hasAddress waits until eth0 has an address that it may use.
func hasAddress(ctx context.Context, want string) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	for {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		addrs, err := netlink.AddrList(link, unix.AF_INET6)
		if err != nil {
			return err
		}
		for _, a := range addrs {
			if a.IP.String() == want && a.Flags&unix.IFA_F_TENTATIVE == 0 {
				return nil
			}
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("eth0 has %v, want %s", addrs, want)
		}
	}
}
