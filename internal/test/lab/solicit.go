package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/mdlayher/ndp"
	"golang.org/x/net/ipv6"
)

// RouterListener hears router advertisements on one device.
type RouterListener struct {
	name  string
	index int
	conn  *ipv6.PacketConn
}

// RouterAdvertisement is one that has arrived.
type RouterAdvertisement struct {
	From, To netip.Addr
	*ndp.RouterAdvertisement
}

// ListenToRouters begins to hear the router advertisements that arrive by a device. It uses no
// zones of addresses: net would look them up in another namespace.
func (h *Host) ListenToRouters(device string) (*RouterListener, error) {
	l := &RouterListener{name: device + " of " + h.Name}
	err := h.Do(func() error {
		dev, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		l.index = dev.Index
		c, err := net.ListenPacket("ip6:ipv6-icmp", "::")
		if err != nil {
			return err
		}
		l.conn = ipv6.NewPacketConn(c)
		var only ipv6.ICMPFilter
		only.SetAll(true)
		only.Accept(ipv6.ICMPTypeRouterAdvertisement)
		return errors.Join(l.conn.SetICMPFilter(&only), l.conn.SetMulticastHopLimit(ndp.HopLimit),
			l.conn.SetControlMessage(ipv6.FlagDst|ipv6.FlagHopLimit|ipv6.FlagInterface, true))
	})
	if err != nil {
		err = fmt.Errorf("listen to routers on %s: %w", l.name, err)
		if l.conn != nil {
			err = errors.Join(err, l.conn.Close())
		}
		return nil, err
	}
	return l, nil
}

// Solicit asks the routers on the link to advertise themselves.
func (l *RouterListener) Solicit() error {
	b, err := ndp.MarshalMessage(&ndp.RouterSolicitation{})
	if err == nil {
		_, err = l.conn.WriteTo(b, &ipv6.ControlMessage{IfIndex: l.index}, &net.IPAddr{IP: net.IPv6linklocalallrouters})
	}
	return err
}

// Heard returns what routers have advertised since the last call, without waiting. What has another
// hop limit than neighbour discovery must have is an error.
func (l *RouterListener) Heard() (heard []RouterAdvertisement, err error) {
	b := make([]byte, 2048)
	for {
		// a deadline in the past would return before it reads what is there
		if err := l.conn.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
			return heard, err
		}
		n, c, src, err := l.conn.ReadFrom(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return heard, nil
		}
		var m ndp.Message
		if err == nil {
			m, err = ndp.ParseMessage(b[:n])
		}
		a, ok := m.(*ndp.RouterAdvertisement)
		if err == nil && (!ok || c.HopLimit != ndp.HopLimit) {
			err = fmt.Errorf("%T with hop limit %d", m, c.HopLimit)
		}
		if err != nil {
			return heard, fmt.Errorf("listen to routers on %s: %w", l.name, err)
		}
		from, _ := netip.AddrFromSlice(src.(*net.IPAddr).IP)
		to, _ := netip.AddrFromSlice(c.Dst)
		heard = append(heard, RouterAdvertisement{from, to, a})
	}
}

// Close ends it.
func (l *RouterListener) Close() error { return l.conn.Close() }
