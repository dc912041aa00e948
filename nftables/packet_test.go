package nftables

import (
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/netns"
)

// site is the example router with packets: an inside with the hosts 10.0.0.5 (with floating IP 5)
// and 10.0.0.6, another with 10.1.0.9, and an outside host 203.0.0.1.
type site struct {
	*place
	web, db, outside int // file descriptors
}

func newSite(t *testing.T) *site {
	s := &site{place: newPlace(t)}
	s.do(s.fd, func() error {
		up(t, "lo")
		return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0)
	})
	s.web = s.attach("qr-web", "10.0.0.1/16", "10.0.0.5/16", "10.0.0.6/16")
	s.db = s.attach("qr-db", "10.1.0.1/24", "10.1.0.9/24")
	s.outside = s.attach("qg-out", "203.0.255.2/16", "203.0.0.1/16")
	s.do(s.fd, func() error {
		require.NoError(t, addAddress(t, "qg-out", "203.0.0.5/32"))
		return addAddress(t, "qg-out", "203.0.0.6/32")
	})
	return s
}

// attach makes a device of the router with a host behind it, which sends everything to the router.
func (s *site) attach(device, router string, host ...string) int {
	f, err := netns.New(nil)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { require.NoError(s.t, f.Close()) })
	fd := int(f.Fd())
	s.do(s.fd, func() error {
		link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: device}, PeerName: "eth0", PeerNamespace: netlink.NsFd(fd)}
		require.NoError(s.t, netlink.LinkAdd(link))
		up(s.t, device)
		return addAddress(s.t, device, router)
	})
	s.do(fd, func() error {
		up(s.t, "eth0")
		for _, a := range host {
			require.NoError(s.t, addAddress(s.t, "eth0", a))
		}
		via := netip.MustParsePrefix(router).Addr()
		return netlink.RouteAdd(&netlink.Route{Gw: net.IP(via.AsSlice())})
	})
	return fd
}

func (s *site) do(fd int, fn func() error) { require.NoError(s.t, netns.Do(fd, fn)) }

func up(t testing.TB, device string) {
	link, err := netlink.LinkByName(device)
	require.NoError(t, err)
	require.NoError(t, netlink.LinkSetUp(link))
}

func addAddress(t testing.TB, device, prefix string) error {
	link, err := netlink.LinkByName(device)
	require.NoError(t, err)
	a, err := netlink.ParseAddr(prefix)
	require.NoError(t, err)
	return netlink.AddrAdd(link, a)
}

// udp opens a socket in a namespace; port 0 is any.
func (s *site) udp(fd int, local string) *net.UDPConn {
	var conn *net.UDPConn
	s.do(fd, func() (err error) {
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(local)))
		return err
	})
	require.NoError(s.t, conn.SetDeadline(time.Now().Add(time.Minute))) // a lost packet fails the test instead of hanging it
	s.t.Cleanup(func() { conn.Close() })
	return conn
}

// exchange sends a datagram to a server by one of its addresses, and the answer back. It returns
// the source that the server saw.
func (s *site) exchange(client *net.UDPConn, to string, server *net.UDPConn) string {
	s.t.Helper()
	_, err := client.WriteToUDPAddrPort([]byte(to), netip.MustParseAddrPort(to))
	require.NoError(s.t, err)
	buf := make([]byte, 100)
	n, from, err := server.ReadFromUDPAddrPort(buf)
	require.NoError(s.t, err)
	require.Equal(s.t, to, string(buf[:n]), "what came was not what was sent last")
	_, err = server.WriteToUDPAddrPort([]byte("answer"), from)
	require.NoError(s.t, err)
	n, back, err := client.ReadFromUDPAddrPort(buf)
	require.NoError(s.t, err)
	require.Equal(s.t, "answer", string(buf[:n]))
	require.Equal(s.t, to, back.String(), "where the answer seems to come from")
	return from.Addr().String()
}

func TestPackets(t *testing.T) {
	for _, snat := range []bool{true, false} {
		name := "SNAT off"
		if snat {
			name = "SNAT on"
		}
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			r := example(fip(5))
			r.Gateway.SNAT = snat
			s.apply(r)
			inside, outside := s.udp(s.web, "10.0.0.5:7"), s.udp(s.outside, "203.0.0.1:7")

			require.Equal(t, "203.0.0.1", s.exchange(s.udp(s.outside, "203.0.0.1:0"), "203.0.0.5:7", inside), "P6")
			require.Equal(t, "203.0.0.5", s.exchange(s.udp(s.web, "10.0.0.5:0"), "203.0.0.1:7", outside), "P5")
			require.Equal(t, "10.1.0.9", s.exchange(s.udp(s.db, "10.1.0.9:0"), "10.0.0.5:7", inside), "P1")
			require.Equal(t, "203.0.255.2", s.exchange(s.udp(s.db, "10.1.0.9:0"), "203.0.0.5:7", inside), "P7, client without a floating IP")
			require.Equal(t, "203.0.255.2", s.exchange(s.udp(s.web, "10.0.0.6:0"), "203.0.0.5:7", inside), "P7, in the same subnet")
			require.Equal(t, "203.0.0.5", s.exchange(s.udp(s.web, "10.0.0.5:0"), "203.0.0.5:7", inside), "P7, to itself")
			s.exchange(s.udp(s.fd, "10.0.0.1:0"), "203.0.0.5:7", inside) // P8

			client := s.udp(s.outside, "203.0.0.1:0")
			if snat {
				require.Equal(t, "203.0.255.2", s.exchange(s.udp(s.web, "10.0.0.6:0"), "203.0.0.1:7", outside), "P2")
				_, err := client.WriteToUDPAddrPort([]byte("private"), netip.MustParseAddrPort("10.0.0.5:7"))
				require.NoError(t, err)
				s.exchange(s.udp(s.outside, "203.0.0.1:0"), "203.0.0.5:7", inside) // P9: the private datagram would have come first
			} else {
				require.NoError(t, netns.Do(s.outside, func() error {
					_, to, err := net.ParseCIDR("10.0.0.0/8")
					require.NoError(t, err)
					return netlink.RouteReplace(&netlink.Route{Dst: to, Gw: net.IP{203, 0, 255, 2}})
				}))
				require.Equal(t, "10.0.0.6", s.exchange(s.udp(s.web, "10.0.0.6:0"), "203.0.0.1:7", outside), "P4")
				require.Equal(t, "203.0.0.1", s.exchange(client, "10.0.0.5:7", inside), "P9")
			}
		})
	}
}

// Counters count whole IP packets by floating IP: of connections from either side, and in either
// direction.
func TestCounters(t *testing.T) {
	s := newSite(t)
	s.apply(example(fip(5), fip(6)))
	inside, outside := s.udp(s.web, "10.0.0.5:7"), s.udp(s.outside, "203.0.0.1:7")
	const (
		headers = 20 + 8
		request = headers + uint64(len("203.0.0.x:7"))
		answer  = headers + uint64(len("answer"))
	)
	want := map[netip.Addr]dataplane.Counters{addr("203.0.0.5"): {}, addr("203.0.0.6"): {}}
	require.Equal(t, want, s.counters())

	s.exchange(s.udp(s.outside, "203.0.0.1:0"), "203.0.0.5:7", inside)
	want[addr("203.0.0.5")] = dataplane.Counters{In: dataplane.Traffic{Packets: 1, Bytes: request}, Out: dataplane.Traffic{Packets: 1, Bytes: answer}}
	require.Equal(t, want, s.counters(), "a connection from outside")

	s.exchange(s.udp(s.web, "10.0.0.6:0"), "203.0.0.1:7", outside)
	want[addr("203.0.0.6")] = dataplane.Counters{In: dataplane.Traffic{Packets: 1, Bytes: answer}, Out: dataplane.Traffic{Packets: 1, Bytes: request}}
	require.Equal(t, want, s.counters(), "a connection from inside")

	s.exchange(s.udp(s.db, "10.1.0.9:0"), "203.0.0.1:7", outside)
	s.exchange(s.udp(s.db, "10.1.0.9:0"), "10.0.0.5:7", inside)
	require.Equal(t, want, s.counters(), "nothing of floating IPs")

	moved := example(fip(5), fip(6))
	moved.FloatingIPs[0].Fixed = addr("10.0.0.9")
	s.apply(moved)
	require.Equal(t, want, s.counters(), "a floating IP that moves keeps its counters")
	s.apply(example(fip(6)))
	delete(want, addr("203.0.0.5"))
	require.Equal(t, want, s.counters())
}

func (p *place) counters() map[netip.Addr]dataplane.Counters {
	p.t.Helper()
	counters, err := p.rules.Counters(p.t.Context())
	require.NoError(p.t, err)
	return counters
}
