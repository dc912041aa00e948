package l3

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
)

// PortForwarding leads what is sent to some ports of a floating IP to ports of an internal address.
// Its owner is that of the floating IP. Its Name and Tags are empty.
type PortForwarding struct {
	Meta
	FloatingIPID  string          `json:"floatingip_id"`
	RouterID      string          `json:"router_id"` // of the floating IP
	PortID        string          `json:"internal_port_id"`
	FixedIP       netip.Addr      `json:"internal_ip_address"`
	Protocol      dataplane.Proto `json:"protocol"` // TCP, UDP or SCTP
	ExternalRange PortRange       `json:"external_port_range"`
	InternalRange PortRange       `json:"internal_port_range"`     // as many as external ones, or one
	ExternalPort  int             `json:"external_port,omitempty"` // the only one of ExternalRange; 0: there are several
	InternalPort  int             `json:"internal_port,omitempty"`
}

// SetRanges sets the ports, also those that are the only ones.
func (f *PortForwarding) SetRanges(external, internal PortRange) {
	f.ExternalRange, f.InternalRange = external, internal
	f.ExternalPort, f.InternalPort = external.single(), internal.single()
}

// PortForwardingSpec is what a caller says about a port forwarding; see [NetworkSpec]. Of a port
// and a range at most one is given.
type PortForwardingSpec struct {
	ProjectID     *string // at creation: that of the floating IP, or nothing
	Description   *string
	PortID        *string
	FixedIP       *netip.Addr // zero: the first IPv4 address of the port
	Protocol      *dataplane.Proto
	ExternalRange *PortRange
	InternalRange *PortRange
	ExternalPort  *int
	InternalPort  *int
}

// PortRange is the ports from First to Last. Its text is "8000:8099", or "80:80".
type PortRange struct{ First, Last uint16 }

// ParsePortRange reads "8000:8099", or "80" for a single port.
func ParsePortRange(text string) (PortRange, error) {
	first, last, several := strings.Cut(text, ":")
	if !several {
		last = first
	}
	a, err := strconv.ParseUint(first, 10, 16)
	b, err2 := strconv.ParseUint(last, 10, 16)
	if err != nil || err2 != nil || a == 0 || a > b {
		return PortRange{}, fmt.Errorf("%q is neither a port nor a range of ports such as 8000:8099", text)
	}
	return PortRange{uint16(a), uint16(b)}, nil
}

// Len returns the number of ports.
func (r PortRange) Len() int { return int(r.Last) - int(r.First) + 1 }

// Overlaps reports whether two ranges have a port in common.
func (r PortRange) Overlaps(o PortRange) bool { return r.First <= o.Last && o.First <= r.Last }

func (r PortRange) single() int {
	if r.First == r.Last {
		return int(r.First)
	}
	return 0
}

// String returns the form that ParsePortRange reads.
func (r PortRange) String() string { return fmt.Sprintf("%d:%d", r.First, r.Last) }

// MarshalText writes the form that UnmarshalText reads.
func (r PortRange) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads what [ParsePortRange] reads.
func (r *PortRange) UnmarshalText(text []byte) error {
	v, err := ParsePortRange(string(text))
	if err == nil {
		*r = v
	}
	return err
}
