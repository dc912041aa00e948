package namespace

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ndp"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/netns"
)

// An address is announced three times. Linux neighbours ignore a change of an entry that is younger
// than their locktime (1 s, arp(7)), so the announcements are further apart than that.
const (
	rounds   = 3
	interval = 1200 * time.Millisecond
)

// announcer announces the addresses of one router to their neighbours, in the background:
// gratuitous ARP as request and as reply, since neighbours differ in which one they heed (RFC 5227
// §3, RFC 5944 §4.6), and unsolicited neighbour advertisements (RFC 4861 §7.2.6).
type announcer struct {
	ns     NS
	log    *slog.Logger
	ctx    context.Context // ends with the announcer
	cancel context.CancelFunc
	done   sync.WaitGroup
	first  sync.WaitGroup // of those whose first round has not been sent yet

	mu     sync.Mutex
	latest map[netip.Prefix]*notice // what is being announced
}

type notice struct {
	index int
	mac   dataplane.MAC
	addr  netip.Addr
}

func newAnnouncer(ns NS, log *slog.Logger) *announcer {
	ctx, cancel := context.WithCancel(context.Background())
	return &announcer{ns: ns, log: log, ctx: ctx, cancel: cancel, latest: map[netip.Prefix]*notice{}}
}

// announce starts to announce addresses, and returns at once. An address that is announced again
// begins anew.
func (h *announcer) announce(index int, mac dataplane.MAC, addrs []netip.Prefix) {
	mine := make(map[netip.Prefix]*notice, len(addrs))
	h.mu.Lock()
	for _, p := range addrs {
		mine[p] = &notice{index, mac, p.Addr()}
		h.latest[p] = mine[p]
	}
	h.mu.Unlock()
	h.first.Add(1)
	h.done.Go(func() { h.run(mine) })
}

// told waits until everything has been announced once.
func (h *announcer) told() { h.first.Wait() }

// withdraw stops announcing addresses. When it returns, no more of them is sent.
func (h *announcer) withdraw(addrs []netip.Prefix) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range addrs {
		delete(h.latest, p)
	}
}

func (h *announcer) close() {
	h.cancel()
	h.done.Wait()
}

func (h *announcer) run(mine map[netip.Prefix]*notice) {
	defer h.finish(mine)
	sent := sync.OnceFunc(h.first.Done)
	defer sent()
	fd, err := h.socket()
	if err != nil {
		h.log.Warn("cannot announce addresses", "router", h.ns.Router, "err", err)
		return
	}
	defer unix.Close(fd)
	for round := range rounds {
		if round > 0 {
			select {
			case <-h.ctx.Done():
				return
			case <-time.After(interval):
			}
		}
		for p, n := range mine {
			if err := h.send(fd, p, n); err != nil {
				h.log.Warn("cannot announce address", "router", h.ns.Router, "address", n.addr, "err", err)
				return
			}
		}
		sent()
	}
}

// finish forgets what nobody has announced anew meanwhile.
func (h *announcer) finish(mine map[netip.Prefix]*notice) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for p, n := range mine {
		if h.latest[p] == n {
			delete(h.latest, p)
		}
	}
}

func (h *announcer) socket() (fd int, err error) {
	err = netns.Do(h.ns.FD, func() error {
		// Protocol 0: it sends only. Frames carry their own Ethernet header (packet(7)).
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return os.NewSyscallError("socket", err)
	})
	return fd, err
}

// send sends a notice once, unless the address has been withdrawn or announced anew. A link that is
// down or gone is no error: then there is nobody to tell.
func (h *announcer) send(fd int, p netip.Prefix, n *notice) error {
	frames, err := n.frames()
	if err != nil {
		return err
	}
	h.mu.Lock() // held while sending, so that nothing is sent after withdraw has returned
	defer h.mu.Unlock()
	if h.ctx.Err() != nil || h.latest[p] != n {
		return nil
	}
	for _, f := range frames {
		to := &unix.SockaddrLinklayer{Ifindex: n.index, Halen: uint8(len(n.mac))}
		copy(to.Addr[:], f)
		switch err := unix.Sendto(fd, f, unix.MSG_DONTWAIT, to); err {
		case nil, unix.ENETDOWN, unix.ENXIO, unix.ENODEV, unix.ENOBUFS, unix.EAGAIN:
		default:
			return os.NewSyscallError("sendto", err)
		}
	}
	return nil
}

func (n *notice) frames() ([][]byte, error) {
	if n.addr.Is6() {
		f, err := n.neighborAdvertisement()
		return [][]byte{f}, err
	}
	request, err := n.gratuitousARP(arp.OperationRequest, net.HardwareAddr{0, 0, 0, 0, 0, 0})
	if err != nil {
		return nil, err
	}
	reply, err := n.gratuitousARP(arp.OperationReply, n.mac[:])
	return [][]byte{request, reply}, err
}

var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func (n *notice) gratuitousARP(op arp.Operation, target net.HardwareAddr) ([]byte, error) {
	p, err := arp.NewPacket(op, n.mac[:], n.addr, target, n.addr)
	if err != nil {
		return nil, err
	}
	b, err := p.MarshalBinary()
	return append(n.ethernet(broadcast, unix.ETH_P_ARP), b...), err
}

func (n *notice) neighborAdvertisement() ([]byte, error) {
	to := netip.IPv6LinkLocalAllNodes()
	body, err := ndp.MarshalMessageChecksum(&ndp.NeighborAdvertisement{
		Router:        true,
		Override:      true,
		TargetAddress: n.addr,
		Options:       []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: n.mac[:]}},
	}, n.addr, to)
	if err != nil {
		return nil, err
	}
	f := n.ethernet(net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, unix.ETH_P_IPV6) // RFC 2464 §7
	f = append(f, 0x60, 0, 0, 0)
	f = binary.BigEndian.AppendUint16(f, uint16(len(body)))
	f = append(f, unix.IPPROTO_ICMPV6, 255) // hop limit, RFC 4861 §7.1.2
	f = append(f, n.addr.AsSlice()...)
	f = append(f, to.AsSlice()...)
	return append(f, body...), nil
}

func (n *notice) ethernet(to net.HardwareAddr, etherType uint16) []byte {
	return binary.BigEndian.AppendUint16(append(append([]byte(nil), to...), n.mac[:]...), etherType)
}

// Announce implements [dataplane.Dataplane].
func (d *Dataplane) Announce(ctx context.Context, id string) error {
	if err := d.announce(ctx, id); err != nil {
		return &dataplane.OpError{Op: "announce router", Object: id, Err: err}
	}
	return nil
}

func (d *Dataplane) announce(ctx context.Context, id string) error {
	if err := (dataplane.Router{ID: id}).Validate(); err != nil {
		return err
	}
	k, err := d.registry.take(ctx, id)
	if err != nil {
		return err
	}
	defer d.registry.leave(k)
	if err := d.find(k, id); err != nil {
		return err
	}
	h, err := k.site.reader()
	if err != nil {
		return err
	}
	have, err := observe(h)
	if err != nil {
		return err
	}
	for dev, l := range have.links {
		if dev == loopback || !l.up {
			continue
		}
		var addrs []netip.Prefix
		for a := range l.addrs {
			if a.Addr().Is4() || !a.Addr().IsLinkLocalUnicast() {
				addrs = append(addrs, a)
			}
		}
		k.site.announcer.announce(l.index, l.mac, addrs)
	}
	return nil
}
