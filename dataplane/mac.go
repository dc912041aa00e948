package dataplane

import (
	"fmt"
	"net"
)

// MAC is an Ethernet address (EUI-48). The zero MAC is invalid for a port.
type MAC [6]byte

// ParseMAC reads fa:16:3e:00:00:01, and the other notations of [net.ParseMAC] for six bytes.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != len(MAC{}) {
		return MAC{}, fmt.Errorf("%q is not an Ethernet address such as fa:16:3e:00:00:01", s)
	}
	return MAC(hw), nil
}

func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// MarshalText writes the form that UnmarshalText reads.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads what [ParseMAC] reads.
func (m *MAC) UnmarshalText(text []byte) error {
	v, err := ParseMAC(string(text))
	if err != nil {
		return err
	}
	*m = v
	return nil
}
