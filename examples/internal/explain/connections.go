package explain

import (
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"slices"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/frame"
)

// connections is what the kernel has noted of the connections through a router.
type connections struct{ table *conntrack.Conn }

// openConnections opens those of a network namespace.
func openConnections(namespace *os.File) (c connections, err error) {
	c.table, err = conntrack.Dial(&netlink.Config{NetNS: int(namespace.Fd())})
	return c, err
}

func (c connections) close() {
	if c.table != nil {
		c.table.Close()
	}
}

// find finds the connection that a packet begins. Asking the kernel for it alone would wait for an
// answer that some kernels leave out; so all are read.
func (c connections) find(p dataplane.Packet) (f conntrack.Flow, found bool, err error) {
	family := conntrack.NewFilter().Family(unix.AF_INET)
	if p.Src.Is6() {
		family = conntrack.NewFilter().Family(unix.AF_INET6)
	}
	flows, err := c.table.DumpFilter(family, nil)
	if err != nil {
		return f, false, fmt.Errorf("list connections: %w", err)
	}
	proto := frame.First(p, nil).Proto
	i := slices.IndexFunc(flows, func(f conntrack.Flow) bool {
		t := f.TupleOrig
		if t.IP.SourceAddress != p.Src || t.IP.DestinationAddress != p.Dst || t.Proto.Protocol != proto {
			return false
		}
		if p.Proto == dataplane.ICMP {
			return t.Proto.ICMPID == p.SrcPort
		}
		return t.Proto.SourcePort == p.SrcPort && t.Proto.DestinationPort == p.DstPort
	})
	if i < 0 {
		return f, false, nil
	}
	return flows[i], true, nil
}

// unused chooses a source port, if none was asked for, such that the packet is no part of a
// connection.
func (c connections) unused(p dataplane.Packet) (dataplane.Packet, error) {
	chosen := p.SrcPort != 0
	for range 100 {
		if !chosen {
			const dynamic = 49152 // RFC 6335
			p.SrcPort = dynamic + mathrand.N[uint16](1<<16-dynamic)
		}
		_, found, err := c.find(p)
		if err != nil || !found {
			return p, err
		}
		if chosen {
			break
		}
	}
	return p, fmt.Errorf("%s is a connection that goes on: its router would take the packet for part of it", p)
}

// forget removes the connection that a packet has begun.
func (c connections) forget(p dataplane.Packet) error {
	f, found, err := c.find(p)
	if err != nil || !found {
		return err
	}
	err = c.table.Delete(conntrack.Flow{TupleOrig: f.TupleOrig, TupleReply: f.TupleReply, ID: f.ID})
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
