package dataplanetest

import (
	"fmt"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
)

func damageClauses() []clause {
	return []clause{{
		name: "damage-is-named-and-mended",
		why: "Whatever another process breaks, Plan names and Apply mends, in this process and in a fresh one; and what is not ours stays. On a shared host, " +
			"somebody always flushes the rules.",
		test: damage,
	}}
}

func damage(s *scene) {
	d, ok := s.h.(Damager)
	if !ok {
		panic(abort{notApplicable("nothing can be damaged on this host")})
	}
	s.cast("web1", "web2", "app1", "outside")
	s.apply(busy())
	want := s.steady(s.snapshot)
	for i, blow := range d.Damages() {
		s.during("%s", blow.Name)
		s.must(blow.Do(s.ctx, "r1"))
		dp := s.dp
		if i%2 == 1 {
			fresh, err := s.h.Reopen()
			s.must(err)
			dp = fresh
			s.closeLater(fresh)
		}
		plan, err := dp.Plan(s.ctx, busy())
		s.must(err)
		if blow.Mentions == "" {
			if !plan.Empty() {
				s.failf("Plan is concerned with what is not ours: %s", plan)
			}
			before := s.steady(s.snapshot)
			s.apply(busy())
			s.settled("what is not ours", before, s.snapshot)
			want = before // it stays
			continue
		}
		if !strings.Contains(plan.String(), blow.Mentions) {
			s.failf("Plan does not mention %q: %s", blow.Mentions, plan)
		}
		done, err := dp.Apply(s.ctx, busy())
		if err != nil {
			s.must(fmt.Errorf("Apply: %w", err))
		}
		if len(done.Steps) == 0 {
			s.failf("Apply has done nothing")
		}
		s.settled("the host, after Apply,", want, s.snapshot)
		s.check(
			probe{from: "outside", proto: dataplane.TCP, to: fip1, at: "web1", sees: outsideAddr, as: web1Addr},
			probe{from: "outside", proto: dataplane.TCP, to: forwardAddr, port: 8080, at: "web2", sees: outsideAddr, as: web2Addr},
			probe{from: "web1", proto: dataplane.TCP, to: app1Addr, at: "app1", sees: web1Addr},
			probe{from: "web1", proto: dataplane.UDP, to: outsideAddr6, at: "outside", sees: web1Addr6},
		)
	}
}
