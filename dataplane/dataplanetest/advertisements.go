package dataplanetest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/l3kit/l3kit/dataplane"
)

func advertisementClauses() []clause {
	return []clause{{
		name: "P22-router-advertisements",
		why: "A port that is to advertise tells its link by itself, and whoever solicits alone, that it is a gateway, its MTU, the flags, prefixes and " +
			"resolvers that it was given (RFC 4861, RFC 8106), and the way to its metadata proxy if it has one (RFC 4191). " +
			"What changes is told at once, also that a prefix is gone, and when the port " +
			"ceases to advertise or goes, that it is no gateway any more: hosts would keep a dead one for half an hour. A process that has " +
			"just started goes on. Other ports say nothing.",
		test: advertisements,
	}}
}

// advertises has a port advertise; nil ends it.
func advertises(port int, a *dataplane.Advertisement) func(*dataplane.Router) {
	return func(r *dataplane.Router) { r.Ports[port].Advertisement = a }
}

func advertisements(s *scene) {
	web := dataplane.Advertisement{
		Prefixes: []dataplane.AdvertisedPrefix{{Prefix: netip.MustParsePrefix("fd00:1::/64"), Autonomous: true}},
		DNS:      addrs("2001:db8::53", "2001:db8::54"),
	}
	db := dataplane.Advertisement{
		Managed: true, Other: true, Prefixes: []dataplane.AdvertisedPrefix{{Prefix: netip.MustParsePrefix("fd00:3::/64")}},
	}
	r := with(plain(), advertises(0, &web), advertises(2, &db), func(r *dataplane.Router) { r.Ports[2].MTU = 1400 })
	s.cast("web1", "app1", "db1")
	ears := map[string]RouterEar{}
	for _, name := range []string{"web1", "app1", "db1"} {
		ears[name] = s.hearsRouters(name)
	}
	says := func(port int, a dataplane.Advertisement) Advertised {
		p := r.Ports[port]
		return Advertised{From: linkLocalOf(p.MAC), Gateway: true, MTU: p.MTU, Advertisement: a}
	}
	s.apply(r)
	s.told(ears["web1"], says(0, web))
	s.told(ears["db1"], says(2, db))

	s.during("a process that has just started")
	fresh, err := s.h.Reopen()
	s.must(err)
	s.closeLater(fresh)
	plan, err := fresh.Apply(s.ctx, r)
	s.must(err)
	if !plan.Empty() {
		s.failf("there was something to do: %s", plan)
	}
	s.must(ears["web1"].Solicit())
	want := says(0, web)
	want.Alone = true // others have no use for it
	s.told(ears["web1"], want)

	s.during("another prefix and MTU, and a metadata proxy")
	moved := dataplane.Advertisement{Other: true, Prefixes: []dataplane.AdvertisedPrefix{{Prefix: netip.MustParsePrefix("fd00:11::/64"), Autonomous: true}}}
	r = with(r, advertises(0, &moved), proxied(true), func(r *dataplane.Router) {
		r.Ports[0].Addrs, r.Ports[0].MTU = prefixes("10.0.1.1/24", "fd00:11::1/64"), 1380
	})
	plan, err = fresh.Apply(s.ctx, r)
	s.must(err)
	if mentions := string(dataplane.KindAdvertisement); !strings.Contains(plan.String(), mentions) {
		s.failf("Apply does not mention %q: %s", mentions, plan)
	}
	want = says(0, moved)
	want.Gone, want.Metadata = []netip.Prefix{netip.MustParsePrefix("fd00:1::/64")}, true
	s.told(ears["web1"], want)

	s.during("a port that ceases")
	_, err = fresh.Apply(s.ctx, with(r, advertises(0, nil)))
	s.must(err)
	want = says(0, moved)
	want.Gateway, want.Gone = false, nil
	s.told(ears["web1"], want)

	s.during("a port that goes")
	_, err = fresh.Apply(s.ctx, with(r, advertises(0, nil), without("db")))
	s.must(err)
	want = says(2, db)
	want.Gateway = false
	s.told(ears["db1"], want)

	s.during("a port that was never to advertise")
	heard, err := ears["app1"].Heard()
	s.must(err)
	if len(heard) > 0 {
		s.failf("it has advertised %+v", heard)
	}
}

func (s *scene) hearsRouters(name string) RouterEar {
	l, ok := s.host(name).(Solicitor)
	if !ok {
		panic(abort{notApplicable("the harness cannot hear router advertisements")})
	}
	e, err := l.HearRouters()
	s.must(err)
	s.closeLater(e)
	return e
}

// told waits until a host has heard what is wanted. What it hears besides, and before, is what was
// true then. Prefixes that are gone are told of for as long as the process remembers them.
func (s *scene) told(e RouterEar, want Advertised) {
	var all []Advertised
	same := func(a Advertised) bool {
		return a.From == want.From && a.Gateway == want.Gateway && a.Alone == want.Alone && a.MTU == want.MTU &&
			a.Metadata == want.Metadata && a.Advertisement.Equal(&want.Advertisement) &&
			(!want.Gateway || slices.Equal(a.Gone, want.Gone))
	}
	ctx, cancel := s.soon()
	defer cancel()
	for {
		heard, err := e.Heard()
		s.must(err)
		all = append(all, heard...)
		if slices.ContainsFunc(heard, same) {
			return
		}
		if ctx.Err() != nil {
			s.fail(fmt.Errorf("%+v was not advertised, but %+v", want, all))
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}
