package openflow

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
)

// The messages of OpenFlow 1.0 that a watch needs (OpenFlow Switch Specification 1.0.0, section 5),
// and Open vSwitch's flow monitor (include/openflow/nicira-ext.h).
const (
	version10 = 1
	headerLen = 8 // version, type, length, transaction

	typeHello          = 0
	typeError          = 1
	typeEchoRequest    = 2
	typeEchoReply      = 3
	typeVendor         = 4
	typeStatsRequest   = 16
	typeStatsReply     = 17
	typeBarrierRequest = 18
	typeBarrierReply   = 19

	errorHelloFailed = 0

	statsVendor    = 0xffff
	statsHeaderLen = headerLen + 16
	niciraVendor   = 0x00002320

	subtypeFlowMonitor    = 2  // NXST_FLOW_MONITOR
	subtypeMonitorPaused  = 22 // NXT_FLOW_MONITOR_PAUSED
	subtypeMonitorResumed = 23 // NXT_FLOW_MONITOR_RESUMED

	monitorInitial = 1 << 0 // NXFMF_*
	monitorAdd     = 1 << 1
	monitorDelete  = 1 << 2
	monitorModify  = 1 << 3
	allTables      = 0xff
	anyPort        = 0xffff // OFPP_NONE

	eventDeleted = 1 // NXFME_*
	eventAbbrev  = 3

	updateHeaderLen = 24 // struct nx_flow_update_full

	// listing is the transaction in which all flows are asked for. News have transaction 0.
	listing = 1
)

var order = binary.BigEndian

// message is one OpenFlow message, its header included.
type message []byte

func (m message) kind() byte          { return m[1] }
func (m message) transaction() uint32 { return order.Uint32(m[4:]) }

// next cuts the first message off b. It is nil when b does not hold a whole one.
func next(b []byte) (m message, rest []byte, err error) {
	if len(b) < headerLen {
		return nil, b, nil
	}
	n := int(order.Uint16(b[2:]))
	switch {
	case n < headerLen:
		return nil, b, fmt.Errorf("OpenFlow message of %d bytes", n)
	case n > len(b):
		return nil, b, nil
	}
	return b[:n:n], b[n:], nil
}

func newMessage(kind byte, transaction uint32, body ...byte) message {
	m := make(message, headerLen, headerLen+len(body))
	m[0], m[1] = version10, kind
	order.PutUint16(m[2:], uint16(headerLen+len(body)))
	order.PutUint32(m[4:], transaction)
	return append(m, body...)
}

// greeting begins a connection, and asks for all flows and then all changes.
func greeting() []byte {
	request := make([]byte, 16, 32)
	order.PutUint16(request, statsVendor)
	order.PutUint32(request[4:], niciraVendor)
	order.PutUint32(request[8:], subtypeFlowMonitor)
	monitor := make([]byte, 16)
	order.PutUint16(monitor[4:], monitorInitial|monitorAdd|monitorDelete|monitorModify)
	order.PutUint16(monitor[6:], anyPort)
	monitor[10] = allTables
	return append(newMessage(typeHello, 0), newMessage(typeStatsRequest, listing, append(request, monitor...)...)...)
}

// echo answers an echo request.
func (m message) echo() message { return newMessage(typeEchoReply, m.transaction(), m[headerLen:]...) }

// refusal reads an error message.
func (m message) refusal() error {
	if len(m) < headerLen+4 {
		return errors.New("ovs-vswitchd refuses, without a reason")
	}
	kind, code := order.Uint16(m[8:]), order.Uint16(m[10:])
	if kind == errorHelloFailed { // the rest is text
		return fmt.Errorf("%w: the bridge's protocols must include OpenFlow10 and OpenFlow14: %s",
			dataplane.ErrUnsupported, unix.ByteSliceToString(m[12:]))
	}
	return fmt.Errorf("%w: ovs-vswitchd refuses to monitor flows: OpenFlow error %d, code %d", dataplane.ErrUnsupported, kind, code)
}

// nicira is the subtype of a message of Open vSwitch's own; 0 for other messages.
func (m message) nicira() uint32 {
	if m.kind() != typeVendor || len(m) < headerLen+8 || order.Uint32(m[8:]) != niciraVendor {
		return 0
	}
	return order.Uint32(m[12:])
}

// update is news of one flow.
type update struct {
	deleted bool
	table   uint8
	cookie  cookie
	place   string // table, priority and match, in the switch's own encoding
}

func (u update) priority() uint16 { return order.Uint16([]byte(u.place[1:])) }

// updates reads the news out of a statistics reply.
func (m message) updates(fn func(update)) error {
	if len(m) < statsHeaderLen || order.Uint16(m[8:]) != statsVendor || order.Uint32(m[12:]) != niciraVendor ||
		order.Uint32(m[16:]) != subtypeFlowMonitor {
		return nil // nothing that was asked for
	}
	for b := m[statsHeaderLen:]; len(b) > 0; {
		if len(b) < 4 {
			return errTruncated
		}
		n, event := int(order.Uint16(b)), order.Uint16(b[2:])
		if n < 8 || n > len(b) {
			return errTruncated
		}
		if event < eventAbbrev {
			u, err := parseUpdate(b[:n])
			if err != nil {
				return err
			}
			fn(u)
		}
		b = b[n:]
	}
	return nil
}

var errTruncated = errors.New("truncated news of a flow")

func parseUpdate(b []byte) (update, error) {
	if len(b) < updateHeaderLen {
		return update{}, errTruncated
	}
	matchLen := int(order.Uint16(b[12:]))
	if len(b) < updateHeaderLen+matchLen {
		return update{}, errTruncated
	}
	place := append([]byte{b[14], b[6], b[7]}, b[updateHeaderLen:updateHeaderLen+matchLen]...)
	return update{
		deleted: order.Uint16(b[2:]) == eventDeleted,
		table:   b[14],
		cookie:  cookie(order.Uint64(b[16:])),
		place:   string(place),
	}, nil
}
