package explain

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	vnetlink "github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/frame"
	"github.com/l3kit/l3kit/internal/netns"
)

// event is what was seen on a device of an instance.
type event struct {
	Kind   eventKind     `json:"kind"`
	Device string        `json:"device"`
	Src    netip.Addr    `json:"src,omitzero"` // of the packet
	Dst    netip.Addr    `json:"dst,omitzero"` // of the packet, or the neighbour that was asked for
	To     dataplane.MAC `json:"to,omitzero"`  // that the packet was sent to
	Reason string        `json:"reason,omitempty"`
}

type eventKind string

const (
	arrived  eventKind = "arrived"
	left     eventKind = "left"
	asked    eventKind = "asked"    // the instance asked for the MAC of a neighbour
	answered eventKind = "answered" // it sent an echo reply
	told     eventKind = "told"     // it sent an ICMP error about the packet
)

// maxEvents bounds what is remembered of one instance: the packet passes it a few times at most.
const maxEvents = 64

// capture watches an instance on this host for the packet of one check.
type capture struct {
	inside  *os.File
	ear     int
	devices map[int]string // names by index
	flows   connections
	data    []byte // of the packet
	seen    []event
	begun   []dataplane.Packet // connections that the packet has begun
}

// openCapture fails with [os.ErrNotExist] when the instance is not on the host.
func (h Host) openCapture(instance string, data []byte) (_ *capture, err error) {
	name := dataplane.NamespaceName(instance)
	if filepath.Base(name) != name {
		return nil, fmt.Errorf("%q is not the ID of a router", instance)
	}
	c := &capture{ear: -1, devices: map[int]string{}, data: data}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if c.inside, err = netns.Open(filepath.Join(h.dir(), name)); err != nil {
		return nil, fmt.Errorf("the router is not on this host: %w", err)
	}
	filter, err := bpf.Assemble(passing(data))
	if err != nil {
		return nil, err
	}
	if err := netns.Do(int(c.inside.Fd()), func() error {
		links, err := vnetlink.LinkList()
		if err != nil {
			return err
		}
		for _, l := range links {
			c.devices[l.Attrs().Index] = l.Attrs().Name
		}
		c.ear, err = listen(filter)
		return err
	}); err != nil {
		return nil, err
	}
	c.flows, err = openConnections(c.inside)
	return c, err
}

func (c *capture) close() {
	if c.ear >= 0 {
		unix.Close(c.ear)
	}
	c.flows.close()
	if c.inside != nil {
		c.inside.Close()
	}
}

// look returns all that was seen so far.
func (c *capture) look() ([]event, error) {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := unix.Recvfrom(c.ear, buf, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return c.seen, nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENETDOWN):
			continue
		case err != nil:
			return nil, os.NewSyscallError("recvfrom", err)
		}
		ll, is := from.(*unix.SockaddrLinklayer)
		if !is || c.devices[ll.Ifindex] == "" {
			continue
		}
		if f, ok := frame.Parse(buf[:n]); ok {
			c.see(f, c.devices[ll.Ifindex], ll.Pkttype)
		}
	}
}

// see notes what a frame says of the packet.
func (c *capture) see(f frame.Frame, device string, way uint8) {
	out := way == unix.PACKET_OUTGOING
	if n, ok := f.Neighbour(); ok {
		if out && !n.Answer && len(c.begun) > 0 { // before that it is for other packets
			c.note(event{Kind: asked, Device: device, Dst: n.Target})
		}
		return
	}
	p, ok := frame.ParsePacket(f.Body)
	if !ok {
		return
	}
	quoted, isError := p.About()
	reply := p.IsEcho() && (p.Type == frame.EchoReply4 || p.Type == frame.EchoReply6)
	switch own := string(p.Data) == string(c.data); {
	case isError && out && string(quoted.Data) == string(c.data):
		c.note(event{Kind: told, Device: device, Src: p.Src, Dst: p.Dst, Reason: reason(p)})
	case own && reply && out:
		c.note(event{Kind: answered, Device: device, Src: p.Src, Dst: p.Dst})
	case own && !reply && out:
		c.note(event{Kind: left, Device: device, Src: p.Src, Dst: p.Dst, To: f.Dst})
	case own && !reply && way == unix.PACKET_HOST: // what is for other hosts is flooded to this one
		c.note(event{Kind: arrived, Device: device, Src: p.Src, Dst: p.Dst})
		if begun := first(p); !slices.Contains(c.begun, begun) {
			c.begun = append(c.begun, begun)
		}
	}
}

func (c *capture) note(e event) {
	if len(c.seen) < maxEvents && (e.Kind != asked || !slices.Contains(c.seen, e)) {
		c.seen = append(c.seen, e)
	}
}

// first is the inverse of [frame.First].
func first(p frame.Packet) dataplane.Packet {
	f := dataplane.Packet{Src: p.Src, Dst: p.Dst, Proto: dataplane.ICMP, SrcPort: p.SrcPort, DstPort: p.DstPort}
	switch p.Proto {
	case unix.IPPROTO_TCP:
		f.Proto = dataplane.TCP
	case unix.IPPROTO_UDP:
		f.Proto = dataplane.UDP
	}
	return f
}

// reason reads an ICMP error (RFC 792, RFC 1812 5.2.7.1; RFC 4443 3).
func reason(p frame.Packet) string {
	unreachable, exceeded := uint8(frame.Unreachable4), uint8(11)
	codes := map[uint8]string{0: "network unreachable", 1: "host unreachable", 3: "port unreachable", 4: "packet too big",
		9: "prohibited", 10: "prohibited", 13: "prohibited"}
	if p.Src.Is6() {
		const tooBig = 2
		if p.Type == tooBig {
			return "packet too big"
		}
		unreachable, exceeded = frame.Unreachable6, 3
		codes = map[uint8]string{0: "network unreachable", 1: "prohibited", 3: "host unreachable", 4: "port unreachable"}
	}
	switch text := codes[p.Code]; {
	case p.Type == exceeded:
		return "time exceeded"
	case p.Type == unreachable && text != "":
		return text
	}
	return fmt.Sprintf("ICMP type %d code %d", p.Type, p.Code)
}

// send sends the packet to the instance by one of its devices.
func (c *capture) send(h Host, device string, p dataplane.Packet, ttl uint8) (dataplane.Packet, error) {
	if !slices.Contains(slices.Collect(maps.Values(c.devices)), device) {
		return p, fmt.Errorf("the router has no device %s", device)
	}
	p, err := c.flows.unused(p)
	if err != nil {
		return p, err
	}
	var end vnetlink.Link
	if err := netns.Do(int(c.inside.Fd()), func() (err error) {
		end, err = vnetlink.LinkByName(device)
		return err
	}); err != nil {
		return p, &dataplane.OpError{Op: "find device", Object: device, Err: err}
	}
	cable, err := h.openCable(end)
	if err != nil {
		return p, err
	}
	defer cable.close()
	from, to := dataplane.MAC{2}, dataplane.MAC{} // locally administered
	rand.Read(from[1:])
	copy(to[:], end.Attrs().HardwareAddr)
	packet := frame.First(p, c.data)
	packet.TTL = ttl
	return p, cable.put(frame.Carry(packet, from, to).Marshal())
}

// forget removes the connections that the packet has begun.
func (c *capture) forget() error {
	var errs []error
	for _, p := range c.begun {
		errs = append(errs, c.flows.forget(p))
	}
	return errors.Join(errs...)
}
