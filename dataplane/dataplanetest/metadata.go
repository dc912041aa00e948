package dataplanetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
)

// MetadataClient is a [Host] that asks for its metadata.
type MetadataClient interface {
	// AskMetadata asks at a metadata address, on the link of the host's eth0 if it is link-local,
	// and sends these headers. It returns what [Metadata] was asked; the error is
	// [context.DeadlineExceeded], or that of a connection which is refused.
	AskMetadata(ctx context.Context, from, at netip.Addr, header http.Header) (MetadataRequest, error)
}

// MetadataRequest is a request for metadata as the service gets it.
type MetadataRequest struct {
	Path   string
	Header http.Header
}

// Metadata is a metadata service that answers with the request which it got. Dataplanes under test
// are opened with it.
func Metadata() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(MetadataRequest{r.URL.Path, r.Header})
	})
}

func metadataClauses() []clause {
	return []clause{{
		name: "P18-metadata",
		why: "A router that has a metadata proxy answers at the metadata addresses, at TCP port 80 alone, and tells the service by X-Forwarded-For and " +
			"X-Neutron-Router-ID who asks; no client can set these, or any that the service takes for a proxy's. Who is outside, or says so, gets nothing: " +
			"metadata has passwords and keys. A process that has just started goes on, and without the proxy the addresses are refused.",
		test: metadataProxy,
	}, {
		name: "P18-edge-metadata",
		why: "Each instance of a distributed router serves the hosts on its own links, by their own addresses, wherever their floating IPs are. What " +
			"another instance sends is never answered: that instance answers its own.",
		test: metadataEdge,
	}}
}

// proxied switches a router's metadata proxy.
func proxied(on bool) func(*dataplane.Router) {
	return func(r *dataplane.Router) { r.Metadata = on }
}

func metadataProxy(s *scene) {
	edge, err := s.host("edge").Watch()
	s.must(err)
	s.closeLater(edge)
	s.attach(Workload{
		Name: "seeker", NextHops: addrs("10.0.1.1", "fd00:1::1"), Local: []netip.Addr{unrouted},
		Ports:  []dataplane.Port{{Network: dataplane.Network{ID: "web-net"}, Addrs: prefixes("10.0.1.30/24", "fd00:1::30/64")}},
		Routes: []dataplane.Route{{Dest: netip.PrefixFrom(metadata6, 128), NextHop: addr("fd00:1::1")}},
	})
	s.attach(Workload{
		Name: "stranger", Ports: []dataplane.Port{{Network: dataplane.Network{ID: "ext-net"}, Addrs: prefixes("203.0.113.60/24")}},
		Routes: []dataplane.Route{{Dest: netip.PrefixFrom(metadata, 32), NextHop: gatewayAddr}},
	})
	s.cast("web1", "db1")
	for _, on := range []bool{true, false} {
		s.during("SNAT %t", on)
		s.apply(with(busy(), proxied(true), snat(on)))
		s.metadata("web1", netip.Addr{}, metadata, web1Addr)
		s.metadata("db1", netip.Addr{}, metadata, db1Addr)
		s.metadata("seeker", addr("fd00:1::30"), metadata6, addr("fd00:1::30"))
		s.check(
			probe{from: "web1", to: metadata, proto: dataplane.ICMP, at: "r1"},
			probe{from: "web1", to: metadata, proto: dataplane.TCP, refused: true, near: "edge"},
			probe{from: "web1", to: metadata, proto: dataplane.UDP, refused: true, near: "edge"},
			probe{from: "seeker", to: metadata6.WithZone("eth0"), proto: dataplane.UDP, refused: true},
			probe{from: "web1", to: addr("169.254.7.7"), refused: true, near: "edge"},
			probe{from: "stranger", to: metadata, near: "edge"},
			probe{from: "stranger", to: metadata, proto: dataplane.TCP, port: dataplane.MetadataPort},
			probe{from: "seeker", src: unrouted, to: metadata, proto: dataplane.TCP, port: dataplane.MetadataPort},
		)
	}

	s.during("a process that has just started")
	r := with(busy(), proxied(true), snat(false))
	fresh, err := s.h.Reopen()
	s.must(err)
	s.closeLater(fresh)
	plan, err := fresh.Apply(s.ctx, r)
	s.must(err)
	if !plan.Empty() {
		s.failf("there was something to do: %s", plan)
	}
	s.must(s.h.Dataplane().Close())
	s.metadata("web1", netip.Addr{}, metadata, web1Addr)
	s.metadata("seeker", addr("fd00:1::30"), metadata6, addr("fd00:1::30"))

	s.during("without the proxy")
	_, err = fresh.Apply(s.ctx, with(r, proxied(false)))
	s.must(err)
	s.routers["r1"] = with(r, proxied(false))
	s.check(probe{from: "web1", to: metadata, refused: true, near: "edge"}, probe{from: "seeker", to: metadata6.WithZone("eth0"), refused: true})
	s.never(edge, "is of the metadata proxy", func(p Packet) bool { return p.Src.Addr() == metadata || p.Dst.Addr() == metadata })
}

func metadataEdge(s *scene) {
	outside := stranger("stranger", "203.0.113.60", "2001:db8:1::60")
	outside.Routes = append(outside.Routes, to(fip1.String(), metadata.String()+"/32")...)
	s.attach(outside)
	s.apply(with(edge(), proxied(true)))
	s.cast("peer", "hub")
	for name, client := range map[string]netip.Addr{"web1": web1Addr, "web2": web2Addr, "web3": web3Addr, "app1": app1Addr} {
		s.metadata(name, netip.Addr{}, metadata, client)
	}
	s.metadata("web1", web1Addr6, metadata6, web1Addr6)
	s.check(
		probe{from: "web2", to: metadata, proto: dataplane.UDP, refused: true, near: "hub"},
		probe{from: "peer", src: remoteApp, to: metadata, proto: dataplane.TCP, port: dataplane.MetadataPort},
		probe{from: "stranger", to: metadata, proto: dataplane.TCP, port: dataplane.MetadataPort},
	)
}

// metadata has a workload ask, which pretends to be another and to be a proxy.
func (s *scene) metadata(from string, src, at, client netip.Addr) {
	asker, ok := s.host(from).(MetadataClient)
	if !ok {
		panic(abort{notApplicable("the harness's workloads cannot ask for metadata")})
	}
	forged := http.Header{"User-Agent": {"cloud"}, "Connection": {"X-Forwarded-For, X-Neutron-Router-ID"}}
	for _, name := range []string{
		"X-Forwarded-For", "X-Neutron-Router-ID", "X-Neutron-Network-ID", "X-Instance-ID", "X-Tenant-ID", "X-Instance-ID-Signature",
		"X-Metadata-Provider", "X-OVN-Network-ID", "X_Forwarded_For", "Forwarded",
	} {
		forged[http.CanonicalHeaderKey(name)] = []string{"10.0.9.9"}
	}
	ctx, cancel := s.soon()
	defer cancel()
	got, err := asker.AskMetadata(ctx, src, at, forged)
	if err != nil {
		s.failf("%s asks at %s: %w", from, at, err)
		return
	}
	who := [][]string{got.Header["X-Forwarded-For"], got.Header["X-Neutron-Router-Id"]}
	if want := [][]string{{client.String()}, {"r1"}}; !slices.EqualFunc(who, want, slices.Equal) {
		s.failf("%s asks at %s: the service takes it for %v, not %v", from, at, who, want)
	}
	for name, values := range got.Header {
		if slices.Contains(values, "10.0.9.9") {
			s.failf("%s asks at %s: its own %s reaches the service", from, at, name)
		}
	}
	if got.Path != metadataPath || !slices.Equal(got.Header["User-Agent"], forged["User-Agent"]) {
		s.failf("%s asks at %s: the service gets another request: %+v", from, at, got)
	}
}

const metadataPath = "/openstack/latest/meta_data.json"

// AskMetadata implements [MetadataClient].
func (h kernelHost) AskMetadata(ctx context.Context, from, at netip.Addr, header http.Header) (got MetadataRequest, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+netip.AddrPortFrom(at, dataplane.MetadataPort).String()+metadataPath, nil)
	if err != nil {
		return got, err
	}
	req.Header = header
	resp, err := h.h.HTTP(from).Do(req)
	if err != nil {
		return got, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return got, fmt.Errorf("status %s", resp.Status)
	}
	return got, json.NewDecoder(resp.Body).Decode(&got)
}

// AskMetadata implements [MetadataClient]. The proxy of the fake host is here.
func (n *fakeNode) AskMetadata(ctx context.Context, from, at netip.Addr, header http.Header) (got MetadataRequest, err error) {
	if !from.IsValid() {
		from = n.source(at)
	}
	const anyPort = 40000
	f := n.net.walk(place{node: n}, datagram{
		proto: dataplane.TCP, src: netip.AddrPortFrom(from, anyPort), dst: netip.AddrPortFrom(at, dataplane.MetadataPort), ttl: 64, size: 60,
	})
	switch {
	case f.error != "":
		return got, errors.New("refused")
	case !f.reply || f.end.node != nil:
		return got, errSilence()
	}
	return MetadataRequest{metadataPath, http.Header{
		"User-Agent": header["User-Agent"], "X-Forwarded-For": {f.packet.src.Addr().String()}, "X-Neutron-Router-Id": {f.end.router},
	}}, ctx.Err()
}
