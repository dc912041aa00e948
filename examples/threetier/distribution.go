package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/l3kit/l3kit/internal/test/deployment"
	"github.com/l3kit/l3kit/internal/test/lab"
)

// recovery is how long is waited for what takes longer than an answer: until a network node is given
// up, and another has taken over.
const recovery = 20 * time.Second

// carriers counts frames on every host's tunnel and outside cable.
func carriers(ctx context.Context, s *site, out *report) {
	node, err := s.centre()
	if err != nil {
		out.check("a network node has the router", "", err)
		return
	}
	for _, f := range []flow{
		{"www downloads from app", s.www, "", "http://" + appAddr, []string{wwwAddr, appAddr}, []string{"host1", "host2"}},
		{"app downloads from db", s.app, "", "http://" + dbAddr, []string{appAddr, dbAddr}, []string{"host2", "host3"}},
		{"the client from www, by its floating IP", s.provider, clientAddr, publicURL, []string{clientAddr, publicAddr}, []string{"host1"}},
		{"db from the client, by SNAT", s.db, "", "http://" + clientAddr, []string{dbAddr, routerAddr, clientAddr}, []string{"host3", node.Name}},
	} {
		s.carried(ctx, out, f)
	}
}

// loseNode cuts the network node off that has the router's centre, amid downloads that do not need
// it.
func loseNode(ctx context.Context, s *site, out *report) {
	p, err := s.downloads(ctx)
	if err != nil {
		out.check("downloads flow", "", err)
		return
	}
	defer p.close()
	lost, err := s.centre()
	if err == nil {
		err = lost.Unplug(true)
	}
	cut := time.Now()
	if err != nil {
		out.check("all cables of the network node are cut", "", err)
		return
	}
	out.note("all cables are cut", lost.Name)
	seen, err := refused(ctx, s.db, "http://"+clientAddr)
	out.check("db does not get out", seen, err)
	goesOn(ctx, out, "the client's download goes on", p.outside)
	goesOn(ctx, out, "app's download from db goes on", p.inside)
	answer, err := get(ctx, s.provider, clientAddr, publicURL)
	out.equal("the client gets the page of "+publicAddr, "www, app, db", tiers(answer), err)
	err = asks(ctx, s.db, "http://"+clientAddr, func(p *page) bool { return p.Saw == addr(routerAddr) })
	out.check(fmt.Sprintf("db goes out again (a node is given up after %s)", downTime), brief(time.Since(cut))+" after the cut", err)

	mended := time.Now()
	err = lost.Isolate(false)
	if err == nil {
		err = untilGone(ctx, lost)
	}
	out.check("the lost node hears of it, and removes its copy", brief(time.Since(mended)), err)
	if err == nil {
		err = lost.Unplug(false)
	}
	now, missing := s.centre()
	if err = errors.Join(err, missing); err == nil && now == lost {
		err = errors.New("it is still " + lost.Name)
	}
	if err != nil {
		out.check("the other node has the router", "", err)
		return
	}
	s.carried(ctx, out, flow{"db downloads from the client, by the other node", s.db, "", "http://" + clientAddr,
		[]string{dbAddr, routerAddr, clientAddr}, []string{"host3", now.Name}})
	goesOn(ctx, out, "the client's download went on all the time", p.outside)
	goesOn(ctx, out, "app's download from db went on all the time", p.inside)
}

// failOver has db's standby take over the address that both may have.
func failOver(ctx context.Context, s *site, out *report) {
	for _, takes := range []struct {
		claim      string
		name, addr string
		host, from *lab.Host
	}{
		{"db has it, and says so: www reaches db", "db", dbAddr, s.db, s.standby},
		{"standby takes it, and says so: www reaches standby", "standby", standbyAddr, s.standby, s.db},
	} {
		err := errors.Join(takes.from.Hold(addr(virtualAddr), false), takes.host.Hold(addr(virtualAddr), true))
		start := time.Now()
		if err == nil {
			err = takes.host.Announce(addr(virtualAddr), s.cloud.ports[takes.addr].MAC)
		}
		if err == nil {
			err = asks(ctx, s.www, "http://"+virtualAddr, func(p *page) bool { return p.Tier == takes.name })
		}
		took := time.Since(start)
		if err == nil {
			err = s.cloud.applied(ctx) // every host has heard of it
		}
		out.check(takes.claim, brief(took)+" after its gratuitous ARP", err)
	}
}

// migrate moves db to another host, amid a download from it.
func migrate(ctx context.Context, s *site, out *report) {
	download, err := startFetch(ctx, s.app, "", "http://"+dbAddr)
	if err != nil {
		out.check("a download flows", "", err)
		return
	}
	defer download.close()
	from, to := s.cluster.Hosts[2], s.cluster.Hosts[0]
	start := time.Now()
	err = s.cloud.move(ctx, dbAddr, to.Name)
	if err == nil {
		err = s.db.Migrate(ctx, to.Wiring())
	}
	out.check("its port is bound to "+to.Name+", and it is attached there", "in "+brief(time.Since(start)), err)
	goesOn(ctx, out, "app's download from db goes on", download)
	err = s.cloud.applied(ctx)
	out.check("the router is ACTIVE", brief(time.Since(start))+" after the request", err)
	err = untilGone(ctx, from)
	out.check(from.Name+" has no part of the router any more", brief(time.Since(start))+" after the request", err)
	download.close()
	s.carried(ctx, out, flow{"app downloads from db", s.app, "", "http://" + dbAddr, []string{appAddr, dbAddr}, []string{"host1", "host2"}})
	p, err := get(ctx, s.provider, clientAddr, publicURL)
	out.equal("the client gets the page of "+publicAddr, "www, app, db", tiers(p), err)
}

// untilGone waits until a host has no part of a router.
func untilGone(ctx context.Context, h *deployment.Host) error {
	ctx, cancel := context.WithTimeoutCause(ctx, recovery, fmt.Errorf("still there after %s", recovery))
	defer cancel()
	return until(ctx, func() (bool, error) {
		names, err := namespaces(h)
		return len(names) == 0, err
	})
}

// asks asks for pages until one is right.
func asks(ctx context.Context, from *lab.Host, url string, right func(*page) bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, recovery, fmt.Errorf("no right answer within %s", recovery))
	defer cancel()
	return until(ctx, func() (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		p, err := get(ctx, from, "", url)
		return err == nil && right(p), nil
	})
}
