package dataplanetest

import (
	"context"
	"net/http"
	"net/netip"

	"github.com/l3kit/l3kit/dataplane"
)

func metadataDefects() []defect {
	const clause, atEdge = "P18-metadata", "P18-edge-metadata"
	// answers changes what becomes of requests for metadata, that the router answers or not.
	answers := func(answered bool, which func(dataplane.Packet) bool) func(*broken) {
		return misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			p := t.Packet
			if (p.Dst == metadata || p.Dst == metadata6) && which(p) {
				t.Verdict, t.Answered = dataplane.Local, answered
			}
		})
	}
	asked := func(p dataplane.Packet) bool { return p.Proto == dataplane.TCP && p.DstPort == dataplane.MetadataPort }
	return []defect{
		{clause, "nobody listens", "web1 asks at 169.254.169.254: refused", misreads(proxied(false))},
		{clause, "nobody listens over IPv6", "seeker asks at fe80::a9fe:a9fe: refused", answers(false, func(p dataplane.Packet) bool { return p.Dst.Is6() })},
		{clause, "any port is open", "answered, who must not be reached", answers(true, func(p dataplane.Packet) bool { return p.In == "web" })},
		{clause, "the outside is served", "stranger to 169.254.169.254", answers(true, func(p dataplane.Packet) bool { return p.In == "ext" })},
		{clause, "who says that it is outside is served", "seeker to 169.254.169.254", answers(true, func(p dataplane.Packet) bool { return p.Src == unrouted })},
		{clause, "the proxy stays", "must not be reached", misreads(proxied(true))},
		{clause, "a client says who it is", "the service takes it for [[10.0.9.9]", forges(func(forged, got http.Header) {
			got["X-Forwarded-For"] = forged["X-Forwarded-For"]
		})},
		{clause, "a client says what router it is behind", "[r1 10.0.9.9]", forges(func(forged, got http.Header) {
			got["X-Neutron-Router-Id"] = append(got["X-Neutron-Router-Id"], forged["X-Neutron-Router-Id"]...)
		})},
		{clause, "a client names an instance", "its own X-Instance-Id reaches", forges(func(forged, got http.Header) {
			got["X-Instance-Id"] = forged["X-Instance-Id"]
		})},
		{clause, "the rest is lost", "gets another request", forges(func(_, got http.Header) { delete(got, "User-Agent") })},
		{atEdge, "it knows nobody", "asks at 169.254.169.254: refused", misreads(proxied(false))},
		{atEdge, "clients are translated", "the service takes it for [[203.0.113.101]", forges(func(_, got http.Header) {
			if got.Get("X-Forwarded-For") == web1Addr.String() {
				got.Set("X-Forwarded-For", fip1.String())
			}
		})},
		{atEdge, "other instances are served", "peer to 169.254.169.254", answers(true, func(p dataplane.Packet) bool { return p.In == "transit" })},
		{clause, "answers leave", "is of the metadata proxy", misroutes(func(_ dataplane.Router, t *dataplane.Trace) {
			if asked(t.Packet) && t.Packet.Src == unrouted {
				t.Verdict, t.Answered, t.Out, t.NextHops, t.Src, t.Dst = dataplane.Forwarded, false, "ext", addrs("203.0.113.1"), metadata, addr("203.0.113.1")
			}
		})},
	}
}

// forges changes the headers that the metadata service gets.
func forges(change func(forged, got http.Header)) func(*broken) {
	return hosts(func(h Host) Host { return forger{h, change} })
}

type forger struct {
	Host
	change func(forged, got http.Header)
}

func (f forger) AskMetadata(ctx context.Context, from, at netip.Addr, header http.Header) (MetadataRequest, error) {
	got, err := f.Host.(MetadataClient).AskMetadata(ctx, from, at, header)
	if err == nil {
		f.change(header, got.Header)
	}
	return got, err
}
