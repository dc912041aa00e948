package dataplanetest

import (
	"fmt"
	"net/netip"

	"github.com/l3kit/l3kit/dataplane"
)

func readinessClauses() []clause {
	return []clause{{
		name: "P20-the-next-packet-passes",
		why: "When Apply has returned, the next packet passes: both ends of every new port are up and forwarding. Whoever waits for Apply, and then begins to " +
			"work, would otherwise meet losses that nobody can explain.",
		test: readiness,
	}}
}

// question is a datagram that must be answered.
type question struct {
	from string
	to   netip.Addr
}

// readiness sends single datagrams as soon as Apply has returned. Hosts know the router's MACs from
// before, so that they need not ask for them: a datagram that meets a port which does not forward
// yet is lost.
func readiness(s *scene) {
	s.cast("web1", "app1", "db1", "outside")
	all := []question{{"web1", outsideAddr}, {"outside", fip1}, {"db1", outsideAddr}, {"app1", web1Addr}, {"web1", outsideAddr6}, {"outside", app1Addr6}}
	s.apply(busy())
	s.acquaint(append(all, question{"app1", db1Addr}))
	const rounds = 10
	for i := range rounds {
		s.remove("r1")
		s.apply(busy())
		s.answered("a new router, round %d", i, all...)

		s.apply(with(busy(), without("db")))
		s.apply(busy())
		s.answered("a new port, round %d", i, question{"db1", outsideAddr}, question{"app1", db1Addr})

		s.apply(with(busy(), func(r *dataplane.Router) { r.Ports[0].Network.ID = "other-net" }))
		s.apply(busy())
		s.answered("a port on another network, round %d", i, question{"web1", outsideAddr}, question{"outside", fip1})
	}
}

// acquaint lets hosts learn where the router is.
func (s *scene) acquaint(list []question) {
	s.must(s.concurrently(len(list), func(i int) error {
		ctx, cancel := s.soon()
		defer cancel()
		c, err := s.hosts[list[i].from].Dial(ctx, dataplane.UDP, netip.AddrPort{}, netip.AddrPortFrom(list[i].to, servicePort))
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Exchange(ctx, 0)
		return err
	}))
}

// answered wants each question to be answered although it is asked but once.
func (s *scene) answered(when string, round int, list ...question) {
	s.must(s.concurrently(len(list), func(i int) error {
		ctx, cancel := s.soon()
		defer cancel()
		q := list[i]
		if _, err := s.hosts[q.from].Ask(ctx, netip.AddrPortFrom(q.to, servicePort)); err != nil {
			return fmt.Errorf(when+": the first packet from %s to %s is lost: %w", round, q.from, q.to, err)
		}
		return nil
	}))
}
