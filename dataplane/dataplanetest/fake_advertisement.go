package dataplanetest

import (
	"net/netip"
	"slices"
	"sync"

	"github.com/l3kit/l3kit/dataplane"
)

// fakeRouterEar hears what changes on the fake host from one look to the next.
type fakeRouterEar struct {
	node *fakeNode

	mu        sync.Mutex
	known     map[fakeSpeaker]dataplane.Port // of the link
	solicited bool
}

// fakeSpeaker is a port that advertises.
type fakeSpeaker struct{ router, port string }

// HearRouters implements [Solicitor].
func (n *fakeNode) HearRouters() (RouterEar, error) {
	e := &fakeRouterEar{node: n}
	e.known = e.advertising()
	return e, nil
}

func (e *fakeRouterEar) advertising() map[fakeSpeaker]dataplane.Port {
	all := map[fakeSpeaker]dataplane.Port{}
	ids, _ := dataplane.NewFake(e.node.net.host).List(background)
	for _, id := range ids {
		r, _ := e.node.net.host.Router(id)
		for _, p := range r.Ports {
			if p.Advertisement != nil && p.Network.ID == e.node.spec.Ports[0].Network.ID {
				all[fakeSpeaker{id, p.ID}] = p
			}
		}
	}
	return all
}

func (e *fakeRouterEar) Solicit() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.solicited = true
	return nil
}

func (e *fakeRouterEar) Heard() (heard []Advertised, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.advertising()
	for id, p := range now {
		before, was := e.known[id]
		unchanged := was && before.Advertisement.Equal(p.Advertisement) && before.MTU == p.MTU && before.MAC == p.MAC
		if unchanged && !e.solicited {
			continue
		}
		a := Advertised{From: linkLocalOf(p.MAC), Gateway: true, Alone: unchanged, MTU: p.MTU, Advertisement: *p.Advertisement}
		r, _ := e.node.net.host.Router(id.router)
		a.Metadata = r.Metadata
		if was {
			a.Gone = withdrawn(before.Advertisement.Prefixes, p.Advertisement.Prefixes)
		}
		heard = append(heard, a)
	}
	for id, p := range e.known {
		_, stays := now[id]
		if _, there := e.node.net.host.Router(id.router); there && !stays { // one that is deleted says nothing
			heard = append(heard, Advertised{From: linkLocalOf(p.MAC), MTU: p.MTU, Advertisement: *p.Advertisement})
		}
	}
	e.known, e.solicited = now, false
	return heard, nil
}

func (*fakeRouterEar) Close() error { return nil }

// withdrawn are the prefixes that are no longer advertised.
func withdrawn(before, now []dataplane.AdvertisedPrefix) (gone []netip.Prefix) {
	for _, p := range before {
		if !slices.ContainsFunc(now, func(q dataplane.AdvertisedPrefix) bool { return q.Prefix == p.Prefix }) {
			gone = append(gone, p.Prefix)
		}
	}
	return gone
}
