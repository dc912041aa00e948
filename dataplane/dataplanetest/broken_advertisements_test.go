package dataplanetest

import (
	"slices"

	"github.com/l3kit/l3kit/dataplane"
)

func advertisementDefects() []defect {
	const clause = "P22-router-advertisements"
	// spoken changes what ports advertise.
	spoken := func(change func(*dataplane.Port)) func(*broken) {
		return misreads(func(r *dataplane.Router) {
			for i := range r.Ports {
				if r.Ports[i].Advertisement != nil {
					change(&r.Ports[i])
				}
			}
		})
	}
	return []defect{
		{clause, "nothing is advertised", "was not advertised", spoken(func(p *dataplane.Port) { p.Advertisement = nil })},
		{clause, "flags are lost", "Managed:true Other:true", spoken(func(p *dataplane.Port) { p.Advertisement.Managed = false })},
		{clause, "resolvers are lost", "2001:db8::53", spoken(func(p *dataplane.Port) { p.Advertisement.DNS = nil })},
		{clause, "every prefix is for autonomous hosts", "fd00:3::/64", spoken(func(p *dataplane.Port) {
			for i := range p.Advertisement.Prefixes {
				p.Advertisement.Prefixes[i].Autonomous = true
			}
		})},
		{clause, "a change of the MTU is not told", "MTU:1380", quickly(func(have, r *dataplane.Router) { r.Ports[0].MTU = have.Ports[0].MTU })},
		{clause, "solicitations are not answered", "a process that has just started: {", misheard(func(heard []Advertised, solicited bool) []Advertised {
			if solicited {
				return nil
			}
			return heard
		})},
		{clause, "old prefixes are forgotten", "Gone:[fd00:1::/64]", misheard(func(heard []Advertised, _ bool) []Advertised {
			for i := range heard {
				heard[i].Gone = nil
			}
			return heard
		})},
		{clause, "nobody hears of the metadata proxy", "Metadata:true", misheard(func(heard []Advertised, _ bool) []Advertised {
			for i := range heard {
				heard[i].Metadata = false
			}
			return heard
		})},
		{clause, "a gateway says no farewell", "Gateway:false", misheard(func(heard []Advertised, _ bool) []Advertised {
			return slices.DeleteFunc(heard, func(a Advertised) bool { return !a.Gateway })
		})},
		{clause, "other addresses speak", "From:fe80::f816:3eff:fe00:1 ", misheard(func(heard []Advertised, _ bool) []Advertised {
			for i := range heard {
				heard[i].From = anycast6
			}
			return heard
		})},
		{clause, "all ports speak", "it has advertised", misreads(func(r *dataplane.Router) {
			for i := range r.Ports {
				if r.Ports[i].Advertisement == nil && r.Ports[i].ID == "app" {
					r.Ports[i].Advertisement = &dataplane.Advertisement{}
				}
			}
		})},
	}
}

// misheard changes what hosts hear of routers.
func misheard(change func(heard []Advertised, solicited bool) []Advertised) func(*broken) {
	return hosts(func(h Host) Host { return deafHost{h, change} })
}

type deafHost struct {
	Host
	change func([]Advertised, bool) []Advertised
}

func (h deafHost) HearRouters() (RouterEar, error) {
	e, err := h.Host.(Solicitor).HearRouters()
	return &deafEar{RouterEar: e, change: h.change}, err
}

type deafEar struct {
	RouterEar
	change    func([]Advertised, bool) []Advertised
	solicited bool
}

func (e *deafEar) Solicit() error {
	e.solicited = true
	return e.RouterEar.Solicit()
}

func (e *deafEar) Heard() ([]Advertised, error) {
	heard, err := e.RouterEar.Heard()
	return e.change(heard, e.solicited), err
}
