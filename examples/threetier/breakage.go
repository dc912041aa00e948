package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/lab"
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

func took(start time.Time) string {
	return "in " + time.Since(start).Round(10*time.Microsecond).String()
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
	start := time.Now()
	plan, err := s.routers.Apply(ctx, s.machines.unbound())
	out.plan(plan)
	out.check("it is applied", took(start), err)

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
	_, err := s.routers.Apply(ctx, s.machines.desired())
	var p pair
	if err == nil {
		p, err = s.downloads(ctx)
	}
	out.check("the floating IP is bound again", "downloads flow", err)
	if err != nil {
		return
	}
	defer p.close()

	var steps int
	writes, err := lab.Writes([]string{s.machines.router.HostNS, s.routerNS()}, func() error {
		if err := s.restart(ctx); err != nil {
			return err
		}
		plan, err := s.routers.Apply(ctx, s.machines.desired())
		steps = len(plan.Steps)
		return err
	})
	out.equal("nothing is to do, nothing is written", "0 steps, 0 writes", fmt.Sprintf("%d steps, %d writes", steps, len(writes)), err)
	goesOn(ctx, out, "the client's download goes on", p.outside)
	goesOn(ctx, out, "app's download from db goes on", p.inside)
}

// flush deletes the router's rules behind the dataplane's back, and applies the router again.
func flush(ctx context.Context, s *site, out *report) {
	p, err := s.downloads(ctx)
	if err != nil {
		out.check("downloads flow", "", err)
		return
	}
	defer p.close()

	if err := deleteRules(ctx, s); err != nil {
		out.check("the rules are deleted", "", err)
		return
	}
	plan, err := s.routers.Plan(ctx, s.machines.desired())
	if err == nil && plan.Empty() {
		err = fmt.Errorf("nothing to do")
	}
	out.plan(plan)
	out.check("Plan names what is missing", fmt.Sprintf("%d steps", len(plan.Steps)), err)

	start := time.Now()
	_, err = s.routers.Apply(ctx, s.machines.desired())
	out.check("the router is applied again", took(start), err)
	goesOn(ctx, out, "app's download from db went on all the time", p.inside)
	page, err := get(ctx, s.provider, clientAddr, publicURL)
	out.equal("the client gets the page again", "www, app, db", tiers(page), err)
	if err := p.outside.more(ctx); err != nil {
		out.note("the client's download met the router unmended", err.Error())
	} else {
		out.note("the client's download goes on", fmt.Sprintf("longest pause %s", p.outside.longestPause().Round(time.Millisecond)))
	}
}

// deleteRules takes the translation and filtering away behind the dataplane's back.
func deleteRules(ctx context.Context, s *site) error {
	ns, err := s.machines.router.Enter(s.routerNS())
	if err != nil {
		return err
	}
	rules, err := s.backend.firewall().Open(namespace.NS{Router: routerID, FD: ns.FD()})
	if err != nil {
		return err
	}
	return errors.Join(rules.Clear(ctx), rules.Close())
}
