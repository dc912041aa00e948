package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/test/lab"
)

// unanswered is how long is waited for an answer that must not come.
const unanswered = 300 * time.Millisecond

const publicURL = "http://" + publicAddr

var forwardedURL = fmt.Sprintf("http://%s:%d", forwardAddr, forwardPort)

// requests follows requests through the router, in every direction.
func requests(ctx context.Context, s *site, out *report) {
	p, err := get(ctx, s.provider, clientAddr, publicURL)
	out.equal("the client gets the page of "+publicAddr, "www, app, db", tiers(p), err)
	out.equal("  www was asked by the client itself", clientAddr, saw(p, 0), err)
	out.equal("  app was asked by www, untranslated", wwwAddr, saw(p, 1), err)
	out.equal("  db was asked by app, untranslated", appAddr, saw(p, 2), err)

	for _, c := range []struct {
		claim string
		from  *lab.Host
		url   string
		want  string
	}{
		{"db goes out as the router (SNAT)", s.db, "http://" + clientAddr, routerAddr},
		{"archive, behind the appliance, goes out so too", s.archive, "http://" + clientAddr, routerAddr},
		{"www goes out as its floating IP", s.www, "http://" + clientAddr, publicAddr},
		{"db reaches www by its floating IP, as the router", s.db, publicURL, routerAddr},
		{"www reaches itself so, as its floating IP", s.www, publicURL, publicAddr},
		{"www reaches archive by the extra route", s.www, "http://" + archiveAddr, wwwAddr},
	} {
		p, err := get(ctx, c.from, "", c.url)
		out.equal(c.claim, c.want, saw(p, 0), err)
	}

	p, err = get(ctx, s.provider, clientAddr, forwardedURL)
	out.equal("the client gets db's page by a forwarded port", "db", tiers(p), err)
	out.equal("  db was asked by the client itself", clientAddr, saw(p, 0), err)
	_, err = get(ctx, s.provider, clientAddr, "http://"+forwardAddr)
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		err = nil
	case err == nil:
		err = errors.New("it answered")
	}
	out.check("  the other ports of that address are closed", "connection refused", err)

	seen, err := refused(ctx, s.intruder, "http://"+dbAddr)
	if err == nil && s.servers["db"].heard(intruderAddr) {
		err = errors.New("no answer, but db was reached")
	}
	out.check("the intruder does not reach db", seen, err)
}

// tiers names the tiers that answered.
func tiers(p *page) string {
	var names string
	for ; p != nil; p = p.Next {
		if names != "" {
			names += ", "
		}
		names += p.Tier
	}
	return names
}

// saw is whom the nth of the tiers that answered saw.
func saw(p *page, n int) string {
	for ; p != nil; p = p.Next {
		if n == 0 {
			return p.Saw.String()
		}
		n--
	}
	return "nobody"
}

// refused checks that nothing answers.
func refused(ctx context.Context, from *lab.Host, url string) (seen string, err error) {
	ctx, cancel := context.WithTimeout(ctx, unanswered)
	defer cancel()
	p, err := get(ctx, from, "", url)
	switch {
	case err == nil:
		return "", fmt.Errorf("%s answered", p.Tier)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "no answer", nil
	default:
		return "", err
	}
}
