package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	mdnetlink "github.com/mdlayher/netlink"
	"github.com/ti-mo/conntrack"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/test/lab"
)

const rounds = 9

// path is a stage with a router, through which frames are sent.
type path struct {
	*stage
	router dataplane.Router
}

// newPath applies a router whose floating IPs stand for addresses that are all behind the web host,
// so that neighbours play no part.
func newPath(ctx context.Context, b backend, n int, edit func(*dataplane.Router)) (*path, error) {
	s, err := newStage(ctx, b)
	if err != nil {
		return nil, err
	}
	p := &path{s, router("r", n)}
	p.router.Routes = []dataplane.Route{{Dest: netip.MustParsePrefix("10.1.0.0/17"), NextHop: netip.MustParseAddr("10.1.255.5")}}
	if edit != nil {
		edit(&p.router)
	}
	if _, err := s.dataplane.Apply(ctx, p.router); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return p, nil
}

func (p *path) close() error {
	return errors.Join(p.dataplane.Delete(context.Background(), p.router.ID), p.stage.close())
}

// inside runs fn with a file descriptor open on the router's namespace.
func (p *path) inside(fn func(fd int) error) error {
	f, err := netns.Open(filepath.Join(p.lab.Dir, dataplane.NamespaceName(p.router.ID)))
	if err != nil {
		return err
	}
	defer f.Close()
	return fn(int(f.Fd()))
}

// replaceTable takes our table away and puts something else in its place.
func (p *path) replaceTable(write func(c *nftables.Conn) error) error {
	return p.inside(func(fd int) error {
		c, err := nftables.New(nftables.WithNetNSFd(fd), nftables.AsLasting(), nftables.WithSockOptions(bigBuffers))
		if err != nil {
			return err
		}
		c.FlushRuleset()
		return errors.Join(write(c), c.Flush(), c.CloseLasting())
	})
}

func (p *path) forgetConnections() error {
	return p.inside(func(fd int) error {
		c, err := conntrack.Dial(&mdnetlink.Config{NetNS: fd})
		if err != nil {
			return err
		}
		return errors.Join(c.Flush(), c.Close())
	})
}

// newFlows measures connections a second to floating IPs with many present, relative to one
// present, beside the same for a map and nothing else.
func newFlows(ctx context.Context, b backend, limit float64, sizes ...int) ([]row, error) {
	var rows []row
	for _, n := range sizes {
		r, err := newFlowsAt(ctx, b, n)
		if err != nil {
			return nil, err
		}
		rows = append(rows, atLeast(limit, r))
	}
	return rows, nil
}

func newFlowsAt(ctx context.Context, b backend, many int) (row, error) {
	const flows = 40_000
	var paths [4]*path // ours with one, ours with many, bare with one, bare with many
	for i, n := range []int{1, many, 1, many} {
		bare := i >= 2
		with := b
		if bare {
			with = nft // whose rules a map can replace in one go
		}
		p, err := newPath(ctx, with, n, nil)
		if err != nil {
			return row{}, err
		}
		defer p.close()
		paths[i] = p
		if bare {
			if err := p.replaceTable(func(c *nftables.Conn) error { return bareMap(c, p.router) }); err != nil {
				return row{}, err
			}
		}
	}
	time.Sleep(3 * time.Second) // announcements are over
	var ours, bare, rates []float64
	for i := range rounds + 1 {
		if err := ctx.Err(); err != nil {
			return row{}, err
		}
		var rate [len(paths)]float64
		for j, p := range paths {
			var err error
			if rate[j], err = p.newFlowRate(flows); err != nil {
				return row{}, err
			}
		}
		if i > 0 { // after a warm-up
			ours, bare = append(ours, rate[1]/rate[0]), append(bare, rate[3]/rate[2])
			rates = append(rates, rate[1])
		}
	}
	o, m := median(ours), median(bare)
	return row{Name: fmt.Sprint(b.name, "/new-flows-", many), Value: o / m, Unit: "x bare map",
		Note: fmt.Sprintf("%d : 1 present is %.2f, bare map %.2f; %.0f flows/s", many, o, m, median(rates))}, nil
}

func (p *path) newFlowRate(n int) (float64, error) {
	if err := p.forgetConnections(); err != nil {
		return 0, err
	}
	in, err := newInjector(p.outside)
	if err != nil {
		return 0, err
	}
	defer in.close()
	fips := p.router.FloatingIPs
	any := netip.AddrPortFrom(fips[0].Addr, 80)
	var frames [batchLen][]byte
	for i := range frames {
		frames[i] = udpFrame(dataplane.MAC{2, 0, 0, 0, 0, 1}, p.router.Gateway.MAC, any, any)
	}
	return in.rate(n, func(i int) []byte {
		f := frames[i%batchLen]
		src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 200, byte(1 + i/50_000)}), uint16(10_000+i%50_000))
		readdress(f, src, netip.AddrPortFrom(fips[i%len(fips)].Addr, 80))
		return f
	}, p.web)
}

// bareMap is the least that translates floating IPs at all.
func bareMap(c *nftables.Conn, r dataplane.Router) error {
	t := c.AddTable(&nftables.Table{Name: "bare", Family: nftables.TableFamilyIPv4})
	m := floorSet(t, "dnat", nftables.TypeIPAddr, true)
	if err := c.AddSet(m, nil); err != nil {
		return err
	}
	var list []nftables.SetElement
	for _, f := range r.FloatingIPs {
		list = append(list, nftables.SetElement{Key: f.Addr.AsSlice(), Val: f.Fixed.AsSlice()})
	}
	for len(list) > 0 {
		n := min(len(list), 1000)
		if err := c.SetAddElements(m, list[:n]); err != nil {
			return err
		}
		list = list[n:]
	}
	ch := c.AddChain(&nftables.Chain{
		Name: "prerouting", Table: t, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest,
	})
	rule := append(append(floorAddr(16), floorMap(m)...), floorNAT(expr.NATTypeDestNAT)...)
	c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: rule})
	return nil
}

// trackOnly makes the kernel track connections, and nothing else.
func trackOnly(c *nftables.Conn) error {
	t := c.AddTable(&nftables.Table{Name: "track", Family: nftables.TableFamilyIPv4})
	ch := c.AddChain(&nftables.Chain{
		Name: "forward", Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: []expr.Any{&expr.Ct{Key: expr.CtKeySTATE, Register: 1}, &expr.Counter{}}})
	return nil
}

// forward measures packets a second of one established connection, relative to a kernel that only
// forwards.
func forward(ctx context.Context) ([]row, error) {
	const packets = 200_000
	fip := func(r *dataplane.Router) {
		f := floatingIP(0)
		f.Fixed = netip.MustParseAddr("10.1.255.5")
		r.FloatingIPs = []dataplane.FloatingIP{f}
	}
	kinds := []struct {
		name  string
		edit  func(*dataplane.Router)
		table func(*nftables.Conn) error // instead of ours
	}{
		{"plain", nil, func(*nftables.Conn) error { return nil }},
		{"conntrack", nil, trackOnly},
		{"snat", nil, nil},
		{"fip", fip, nil},
	}
	var flows []*establishedFlow
	for _, k := range kinds {
		p, err := newPath(ctx, nft, 0, k.edit)
		if err != nil {
			return nil, err
		}
		defer p.close()
		if k.table != nil {
			if err := p.replaceTable(k.table); err != nil {
				return nil, err
			}
		}
		f, err := p.establish()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.name, err)
		}
		defer f.close()
		flows = append(flows, f)
	}
	time.Sleep(3 * time.Second) // announcements are over
	ratios := make([][]float64, len(kinds))
	var plain []float64
	for i := range rounds + 1 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var base float64
		for j, f := range flows {
			rate, err := f.rate(packets)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", kinds[j].name, err)
			}
			if j == 0 {
				base = rate
			}
			if i > 0 {
				ratios[j] = append(ratios[j], rate/base)
			}
		}
		plain = append(plain, base)
	}
	note := fmt.Sprintf("conntrack alone %.2f; plain forwarding %.0f packets/s", median(ratios[1]), median(plain))
	return []row{
		{Name: "forward-conntrack-alone", Value: median(ratios[1]), Unit: "x plain forwarding"},
		atLeast(0.75, row{Name: "nftables/forward-snat", Value: median(ratios[2]), Unit: "x plain forwarding", Note: note}),
		atLeast(0.75, row{Name: "nftables/forward-fip", Value: median(ratios[3]), Unit: "x plain forwarding", Note: note}),
	}, nil
}

// establishedFlow is a connection that has been answered once.
type establishedFlow struct {
	client, server netip.AddrPort
	receiver       *lab.Host
	in             *injector
	frame          []byte
	ends           []net.Conn
}

// establish begins a connection from the web host to the outside.
func (p *path) establish() (*establishedFlow, error) {
	f, err := establish(p.web, p.outside, netip.MustParseAddr("203.0.0.1"))
	if err != nil {
		return nil, err
	}
	f.frame = udpFrame(dataplane.MAC{2, 0, 0, 0, 0, 2}, p.router.Ports[0].MAC, f.client, f.server)
	return f, nil
}

// establish begins a connection of UDP.
func establish(from, to *lab.Host, at netip.Addr) (*establishedFlow, error) {
	f := &establishedFlow{server: netip.AddrPortFrom(at, 9), receiver: to}
	var server, client *net.UDPConn
	err := to.Do(func() (err error) {
		server, err = net.ListenUDP("udp4", &net.UDPAddr{Port: 9})
		return err
	})
	if err != nil {
		return nil, err
	}
	err = from.Do(func() (err error) {
		client, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(f.server))
		return err
	})
	if err != nil {
		return nil, errors.Join(err, server.Close())
	}
	f.ends = []net.Conn{server, client}
	if err := exchange(server, client); err != nil {
		return nil, errors.Join(err, f.close())
	}
	if f.in, err = newInjector(from); err != nil {
		return nil, errors.Join(err, f.close())
	}
	f.client = client.LocalAddr().(*net.UDPAddr).AddrPort()
	return f, nil
}

// rate sends so many of the client's packets; see [injector.rate].
func (f *establishedFlow) rate(packets int) (float64, error) {
	return f.in.rate(packets, func(int) []byte { return f.frame }, f.receiver)
}

// exchange sends a datagram and its answer, so that the kernel takes the connection for
// established.
func exchange(server *net.UDPConn, client net.Conn) error {
	deadline := time.Now().Add(5 * time.Second)
	if err := errors.Join(server.SetDeadline(deadline), client.SetDeadline(deadline)); err != nil {
		return err
	}
	if _, err := client.Write([]byte("ping")); err != nil {
		return err
	}
	b := make([]byte, 16)
	_, from, err := server.ReadFromUDP(b)
	if err != nil {
		return err
	}
	if _, err := server.WriteToUDP([]byte("pong"), from); err != nil {
		return err
	}
	_, err = client.Read(b)
	return err
}

func (f *establishedFlow) close() error {
	var errs []error
	for _, c := range f.ends {
		errs = append(errs, c.Close())
	}
	if f.in != nil {
		errs = append(errs, f.in.close())
	}
	return errors.Join(errs...)
}
