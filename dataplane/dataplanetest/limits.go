package dataplanetest

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/l3kit/l3kit/dataplane"
)

func limitClauses() []clause {
	return []clause{{
		name: "limits",
		why: "What passes the gateway for an address with a limit is no more than its burst and its rate allow, and no less, in each " +
			"direction by itself. All other traffic passes as before: that of other addresses, and that of the same hosts inside. " +
			"One customer would otherwise take what another has paid for.",
		test: limiting,
	}}
}

// Sender is a [Host] that can send faster than anybody answers.
type Sender interface {
	// Send sends so many datagrams, each an IP packet of so many bytes, without waiting.
	Send(to netip.AddrPort, count, size int) error
}

func limit(a netip.Addr, egress, ingress dataplane.Bandwidth) func(*dataplane.Router) {
	return func(r *dataplane.Router) {
		r.Limits = append(r.Limits, dataplane.Limit{Addr: a, Egress: egress, Ingress: ingress})
	}
}

// unlimited takes the limit of an address away; of all, if it is the zero Addr.
func unlimited(a netip.Addr) func(*dataplane.Router) {
	return func(r *dataplane.Router) {
		r.Limits = slices.DeleteFunc(r.Limits, func(l dataplane.Limit) bool { return !a.IsValid() || l.Addr == a })
	}
}

// flood is more than any limit lets pass at once.
type flood struct {
	from   string
	to     netip.Addr
	at     string // who receives it
	within dataplane.Bandwidth
}

const (
	floodCount = 250
	floodBatch = 50   // fits into the queues on the way, however slow the host is
	floodSize  = 1400 // bytes
)

func limiting(s *scene) {
	if _, ok := s.host("outside").(Sender); !ok {
		panic(abort{notApplicable("hosts here do not send without waiting")})
	}
	out, in := dataplane.Bandwidth{Rate: 1000}, dataplane.Bandwidth{Rate: 1200}
	no := dataplane.Bandwidth{}
	limited := with(busy(), limit(fip1, out, in), limit(gatewayAddr, out, no), limit(forwardAddr, no, in))
	everything := []flood{
		{"outside", fip1, "web1", in},
		{"web1", outsideAddr, "outside", out},
		{"web2", outsideAddr, "outside", out},
		{"outside", forwardAddr, "web2", in},
		{"outside", fip2, "app1", no},
		{"app1", outsideAddr, "outside", no},
		{"web1", app1Addr, "app1", no},
		{"db1", fip1, "web1", no},
	}
	s.during("limits in each direction")
	for _, f := range everything {
		s.apply(busy())
		s.apply(limited) // full again: the errors that answer one flood are of the other direction
		s.flooded(f)
	}
	s.during("other directions")
	s.apply(with(limited, unlimited(fip1), limit(fip1, no, out)))
	s.flooded(flood{"outside", fip1, "web1", out})
	s.flooded(flood{"web1", outsideAddr, "outside", no})
	s.during("another rate")
	s.apply(with(limited, unlimited(fip1), limit(fip1, no, dataplane.Bandwidth{Rate: 1600})))
	s.flooded(flood{"outside", fip1, "web1", dataplane.Bandwidth{Rate: 1600}})
	s.during("the limit goes")
	s.apply(with(limited, unlimited(fip1)))
	s.flooded(flood{"outside", fip1, "web1", no})
}

// acquainted makes sure that nothing has to be resolved any more. The service is asked on the port
// that is forwarded, too.
func (s *scene) acquainted(from string, to netip.Addr) error {
	ctx, cancel := s.soon()
	defer cancel()
	c, err := s.host(from).Dial(ctx, dataplane.UDP, netip.AddrPort{}, netip.AddrPortFrom(to, servicePort))
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Exchange(ctx, 8)
	return err
}

// flooded sends as much as it can, and wants to see as much of it arrive as may pass. A slow host
// lets more time pass, and so more packets: what passes is never wrong because of that.
func (s *scene) flooded(f flood) {
	s.host(f.at)
	to := netip.AddrPortFrom(f.to, servicePort+1) // where nobody listens
	s.must(s.acquainted(f.from, f.to))
	w := s.looks(f.at)
	begin := time.Now()
	arrived := 0
	receive := func() (string, error) {
		packets, err := w.Packets()
		for _, p := range packets {
			if !p.Sent && p.Proto == 17 && p.ICMP == nil {
				arrived++
			}
		}
		return fmt.Sprint(arrived), err
	}
	for sent := floodBatch; sent <= floodCount; sent += floodBatch {
		s.must(s.host(f.from).(Sender).Send(to, floodBatch, floodSize))
		deadline := time.Now().Add(s.patience / 10)
		for s.steady(receive); f.within.IsZero() && arrived < sent && time.Now().Before(deadline); {
			s.steady(receive)
		}
	}
	elapsed := time.Since(begin)
	what := fmt.Sprintf("%s to %s: %d of %d packets have arrived", f.from, f.to, arrived, floodCount)
	if f.within.IsZero() {
		if arrived != floodCount {
			s.failf("%s, and nothing limits them", what)
		}
		return
	}
	bucket := int(f.within.Bucket())
	refilled := int(elapsed.Seconds() * float64(f.within.BytesPerSecond()))
	// A limiter may count a packet for a few bytes more, and leave the first of a connection out.
	const perPacket, first = floodSize + 16, 1
	if least := min(floodCount, bucket/perPacket-1); arrived < least {
		s.failf("%s, and at least %d may pass", what, least)
	}
	if most := (bucket+refilled)/floodSize + 1 + first; arrived > most {
		s.failf("%s in %s, and no more than %d may pass", what, elapsed, most)
	}
}
