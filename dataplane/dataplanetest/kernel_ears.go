package dataplanetest

import (
	"net/netip"

	"github.com/mdlayher/ndp"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/test/lab"
)

// Listen implements [Listener].
func (h kernelHost) Listen() (Ear, error) {
	c, err := h.h.CaptureARP("eth0")
	if err != nil {
		return nil, err
	}
	return kernelEar{c}, nil
}

type kernelEar struct{ *lab.ARPCapture }

func (e kernelEar) Heard() (heard []ARP, err error) {
	requests, err := e.ARPCapture.Requests()
	for _, r := range requests {
		heard = append(heard, ARP(r))
	}
	return heard, err
}

// HearRouters implements [Solicitor].
func (h kernelHost) HearRouters() (RouterEar, error) {
	l, err := h.h.ListenToRouters("eth0")
	if err != nil {
		return nil, err
	}
	return kernelRouterEar{l}, nil
}

type kernelRouterEar struct{ *lab.RouterListener }

func (e kernelRouterEar) Heard() (heard []Advertised, err error) {
	said, err := e.RouterListener.Heard()
	for _, m := range said {
		a := Advertised{From: m.From, Gateway: m.RouterLifetime > 0, Alone: !m.To.IsMulticast()}
		a.Managed, a.Other = m.ManagedConfiguration, m.OtherConfiguration
		for _, o := range m.Options {
			switch o := o.(type) {
			case *ndp.MTU:
				a.MTU = int(o.MTU)
			case *ndp.PrefixInformation:
				p := netip.PrefixFrom(o.Prefix, int(o.PrefixLength))
				if o.ValidLifetime == 0 {
					a.Gone = append(a.Gone, p)
				} else if o.OnLink {
					a.Prefixes = append(a.Prefixes, dataplane.AdvertisedPrefix{Prefix: p, Autonomous: o.AutonomousAddressConfiguration})
				}
			case *ndp.RouteInformation:
				a.Metadata = o.Prefix == metadata6 && o.PrefixLength == 128 && o.RouteLifetime > 0
			case *ndp.RecursiveDNSServer:
				a.DNS = o.Servers
			}
		}
		heard = append(heard, a)
	}
	return heard, err
}
