package dataplane_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
)

// limited is forwarding with limits of a floating IP, of the gateway and of an address with forwarded
// ports.
func limited() dataplane.Router {
	r := forwarding()
	r.Limits = []dataplane.Limit{
		{Addr: addr("203.0.113.5"), Egress: dataplane.Bandwidth{Rate: 10_000}, Ingress: dataplane.Bandwidth{Rate: 20_000, Burst: 50_000}},
		{Addr: addr("203.0.113.2"), Egress: dataplane.Bandwidth{Rate: 100}},
		{Addr: addr("203.0.113.7"), Ingress: dataplane.Bandwidth{Rate: 3}},
	}
	return r
}

func TestTraceTellsLimits(t *testing.T) {
	r := limited()
	require.NoError(t, r.Validate())
	for _, c := range []struct {
		in, src, dst string
		port         uint16
		want         string // empty: not limited
	}{
		{"ext", outside, "203.0.113.5", 80, "ingress of 203.0.113.5 is limited to 20000 kbit/s, 6250000 bytes at once"},
		{"web", "10.0.0.5", outside, 80, "egress of 203.0.113.5 is limited to 10000 kbit/s, 1250000 bytes at once"},
		{"app", "10.0.1.7", outside, 80, "egress of 203.0.113.2 is limited to 100 kbit/s, 65536 bytes at once"},
		{"", "203.0.113.2", outside, 80, "egress of 203.0.113.2 is limited to 100 kbit/s, 65536 bytes at once"},
		{"ext", outside, "203.0.113.7", 80, "ingress of 203.0.113.7 is limited to 3 kbit/s, 65536 bytes at once"},
		{"ext", outside, "203.0.113.2", 80, ""},
		{"ext", outside, "203.0.113.6", 80, ""},
		{"app", "10.0.1.6", outside, 80, ""},
		{"app", "10.0.1.7", "203.0.113.5", 80, ""}, // a hairpin
		{"app", "10.0.1.7", "10.0.0.5", 80, ""},
	} {
		got := r.Trace(dataplane.Packet{In: c.in, Src: addr(c.src), Dst: addr(c.dst), Proto: dataplane.TCP, SrcPort: 4711, DstPort: c.port})
		var told []string
		for _, s := range got.Steps {
			if s.Stage == "limit" {
				told = append(told, s.Reason)
			}
		}
		if c.want == "" {
			require.Empty(t, told, "%s", got)
		} else {
			require.Equal(t, []string{c.want}, told, "%s", got)
		}
		bare := forwarding()
		without := bare.Trace(got.Packet)
		got.Steps, without.Steps = nil, nil
		require.Equal(t, without, got, "a limit does not change where packets go")
	}
}

func TestFakeLimits(t *testing.T) {
	host := new(dataplane.FakeHost)
	fake := dataplane.NewFake(host)
	mustApply(t, fake, forwarding())
	flow, got := host.Open("r1", dataplane.Packet{In: "ext", Src: addr(outside), Dst: addr("203.0.113.5"), Proto: dataplane.TCP, SrcPort: 4711, DstPort: 80})
	require.True(t, flow.Alive(), "%s", got)
	texts := func(r dataplane.Router) (list []string) {
		plan := mustApply(t, fake, r)
		require.False(t, plan.Disturbs(), "%s", plan)
		for _, s := range plan.Steps {
			require.Equal(t, dataplane.KindLimit, s.Kind)
			list = append(list, s.String())
		}
		return list
	}
	r := limited()
	require.Equal(t, []string{
		"+ limit 203.0.113.2 egress: 100 kbit/s, 65536 bytes at once",
		"+ limit 203.0.113.5 egress: 10000 kbit/s, 1250000 bytes at once",
		"+ limit 203.0.113.5 ingress: 20000 kbit/s, 6250000 bytes at once",
		"+ limit 203.0.113.7 ingress: 3 kbit/s, 65536 bytes at once",
	}, texts(r))
	r = r.Clone()
	r.Limits[0].Egress.Rate++
	require.Equal(t, []string{"~ limit 203.0.113.5 egress: 10001 kbit/s, 1250125 bytes at once, was 10000 kbit/s, 1250000 bytes at once"}, texts(r))
	r.Limits = r.Limits[:1]
	require.Equal(t, []string{
		"- limit 203.0.113.7 ingress: 3 kbit/s, 65536 bytes at once",
		"- limit 203.0.113.2 egress: 100 kbit/s, 65536 bytes at once",
	}, texts(r))
	require.True(t, flow.Alive())
}

func TestValidateNamesTheFaultOfALimit(t *testing.T) {
	set := func(i int, change func(*dataplane.Limit)) func(*dataplane.Router) {
		return func(r *dataplane.Router) { change(&r.Limits[i]) }
	}
	for _, c := range []struct {
		damage func(*dataplane.Router)
		fault  string
	}{
		{set(1, func(l *dataplane.Limit) { l.Addr = addr("203.0.113.5") }), "Limits[1].Addr: 203.0.113.5 is also Limits[0].Addr"},
		{set(1, func(l *dataplane.Limit) { l.Addr = addr("203.0.113.77") }),
			"Limits[1].Addr: 203.0.113.77 is no address of the gateway, no floating IP, and no port of it is forwarded"},
		{set(1, func(l *dataplane.Limit) { l.Addr = addr("10.0.0.5") }),
			"Limits[1].Addr: 10.0.0.5 is no address of the gateway, no floating IP, and no port of it is forwarded"},
		{set(1, func(l *dataplane.Limit) { l.Addr = addr("2001:db8:0:f::2") }), "Limits[1].Addr: 2001:db8:0:f::2 is not an IPv4 address"},
		{set(1, func(l *dataplane.Limit) { l.Egress = dataplane.Bandwidth{} }), "Limits[1]: limits neither direction"},
		{set(1, func(l *dataplane.Limit) { l.Egress.Rate, l.Egress.Burst = 0, 1 }), "Limits[1].Egress.Rate: is missing"},
		{set(1, func(l *dataplane.Limit) { l.Egress.Rate = 100_000_001 }), "Limits[1].Egress.Rate: 100000001 kbit/s is more than 100000000"},
		{set(0, func(l *dataplane.Limit) { l.Ingress.Burst = 32_000_001 }), "Limits[0].Ingress.Burst: 32000001 kbit is more than 32000000"},
	} {
		r := limited()
		c.damage(&r)
		require.EqualError(t, r.Validate(), "invalid router: "+c.fault)
	}
	require.NoError(t, limited().Limits[0].Validate())
	require.EqualError(t, dataplane.Limit{Addr: addr("203.0.113.5")}.Validate(), "invalid router: Limit: limits neither direction")
}

func TestLimitJSON(t *testing.T) {
	text, err := json.Marshal(limited().Limits)
	require.NoError(t, err)
	require.JSONEq(t, `[
		{"addr": "203.0.113.5", "egress": {"rate": 10000}, "ingress": {"rate": 20000, "burst": 50000}},
		{"addr": "203.0.113.2", "egress": {"rate": 100}},
		{"addr": "203.0.113.7", "ingress": {"rate": 3}}
	]`, string(text))
	var back []dataplane.Limit
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, limited().Limits, back)
}
