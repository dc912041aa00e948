package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/test/lab"
)

// pair is two downloads at once: one through the floating IP, one between two tiers.
type pair struct{ outside, inside *fetch }

func (s *site) downloads(ctx context.Context) (pair, error) {
	var p pair
	var err error
	if p.outside, err = startFetch(ctx, s.provider, clientAddr, publicURL); err != nil {
		return p, err
	}
	if p.inside, err = startFetch(ctx, s.app, "", "http://"+dbAddr); err != nil {
		p.outside.close()
	}
	return p, err
}

func (p pair) close() {
	p.outside.close()
	p.inside.close()
}

// goesOn checks that a download still flows, each byte in its place.
func goesOn(ctx context.Context, out *report, claim string, f *fetch) {
	err := f.more(ctx)
	out.check(claim, fmt.Sprintf("every byte, longest pause %s", f.longestPause().Round(100*time.Microsecond)), err)
}

// unbind takes the floating IP away amid downloads.
func unbind(ctx context.Context, s *site, out *report) {
	p, err := s.downloads(ctx)
	if err != nil {
		out.check("downloads flow", "", err)
		return
	}
	defer p.close()
	if err := s.cloud.bind(ctx, ""); err != nil {
		out.check("the API unbinds it", "", err)
		return
	}
	answered := time.Now()
	err = s.cloud.applied(ctx)
	out.check("the router is ACTIVE again", brief(time.Since(answered))+" after the answer", err)

	goesOn(ctx, out, "app's download from db goes on", p.inside) // and what was on its way to the client has arrived
	before := p.outside.total()
	err = p.inside.more(ctx)
	if more := p.outside.total() - before; err == nil && more > 0 {
		err = fmt.Errorf("%d bytes more", more)
	}
	out.check("the client's download from www has ended", "not a byte more", err)

	page, err := get(ctx, s.www, "", "http://"+clientAddr)
	out.equal("www goes out as the router now (SNAT)", routerAddr, saw(page, 0), err)
}

// restart binds the floating IP again, and has a new process find all as it should be.
func restart(ctx context.Context, s *site, out *report) {
	err := s.cloud.bind(ctx, s.cloud.ports[wwwAddr].ID)
	answered := time.Now()
	if err == nil {
		err = firstAnswer(ctx, s.provider, clientAddr, publicAddr)
	}
	out.check("the floating IP is bound again: first packet", brief(time.Since(answered))+" after the answer", err)
	if err == nil {
		err = s.cloud.applied(ctx)
	}
	var p pair
	if err == nil {
		p, err = s.downloads(ctx)
	}
	if err != nil {
		out.check("downloads flow", "", err)
		return
	}
	defer p.close()

	writes, err := lab.Writes([]string{s.machines.router.HostNS, s.routerNS()}, func() error {
		return errors.Join(s.allinone.Kill(), s.run(ctx))
	})
	out.equal("it finds all as it should be", "0 kernel writes", fmt.Sprintf("%d kernel writes", len(writes)), err)
	goesOn(ctx, out, "the client's download goes on", p.outside)
	goesOn(ctx, out, "app's download from db goes on", p.inside)
}

// flush deletes the router's rules behind the agent's back.
func flush(ctx context.Context, s *site, out *report) {
	p, err := s.downloads(ctx)
	if err != nil {
		out.check("downloads flow", "", err)
		return
	}
	defer p.close()

	start := time.Now()
	if err := s.deleteRules(ctx); err != nil {
		out.check("the rules are deleted", "", err)
		return
	}
	err = firstAnswer(ctx, s.provider, clientAddr, publicAddr)
	out.check(fmt.Sprintf("the agent, which looks every %s or less, mends it", checkEvery), "after "+brief(time.Since(start)), err)
	goesOn(ctx, out, "app's download from db went on all the time", p.inside)
	page, err := get(ctx, s.provider, clientAddr, publicURL)
	out.equal("the client gets the page again", "www, app, db", tiers(page), err)
	if err := p.outside.more(ctx); err != nil {
		out.note("the client's download met the router unmended", err.Error())
	} else {
		out.note("the client's download goes on", fmt.Sprintf("longest pause %s", p.outside.longestPause().Round(time.Millisecond)))
	}
}

// deleteRules takes the translation and filtering away behind the agent's back.
func (s *site) deleteRules(ctx context.Context) error {
	ns, err := s.machines.router.Enter(s.routerNS())
	if err != nil {
		return err
	}
	rules, err := s.firewall().Open(namespace.NS{Router: s.cloud.routerID, FD: ns.FD()})
	if err != nil {
		return err
	}
	return errors.Join(rules.Clear(ctx), rules.Close())
}

// remove has the API take all away, and looks whether the hosts have let go.
func remove(ctx context.Context, s *site, out *report) {
	if err := s.cloud.remove(ctx); err != nil {
		out.check("all is deleted", "", err)
		return
	}
	answered := time.Now()
	claim := "the router's namespace is gone"
	if s.cluster != nil {
		claim = "no host has a namespace of the router"
	}
	err := until(ctx, func() (bool, error) {
		left, err := s.namespaces()
		return len(left) == 0, err
	})
	out.check(claim, brief(time.Since(answered))+" after the last answer", err)
}

// until waits for something to become true.
func until(ctx context.Context, is func() (bool, error)) error {
	for {
		if yes, err := is(); yes || err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		time.Sleep(time.Millisecond)
	}
}
