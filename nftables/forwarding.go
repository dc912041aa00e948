package nftables

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
)

// pfDNAT is the map of port forwardings, with an element for each port. A map of ranges would be
// shorter, but the kernel copies the whole of it for each change (nft_set_pipapo), and nf_tables
// cannot lead a range to another one of the same length.
const pfDNAT = "pf_dnat"

// Registers of four bytes: the second and the third of those that reg is made of.
const (
	regSecond = unix.NFT_REG32_01
	regThird  = unix.NFT_REG32_02
)

// bitsPerType is the width of each part in the number of a concatenated type of nft(8).
const bitsPerType = 6

func newForwardingMap() *set {
	service := nftables.SetDatatype{Name: "ipv4_addr . inet_proto . inet_service", Bytes: 12}
	service.SetNFTMagic(concatenated(nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService))
	s := newMap(pfDNAT, keyType{SetDatatype: service}, "where each forwarded port leads")
	s.definition[unix.NFTA_SET_DATA_TYPE] = bigEndian(concatenated(nftables.TypeIPAddr, nftables.TypeInetService))
	s.definition[unix.NFTA_SET_DATA_LEN] = bigEndian(8)
	return s
}

func concatenated(parts ...nftables.SetDatatype) (number uint32) {
	for _, p := range parts {
		number = number<<bitsPerType | p.GetNFTMagic()
	}
	return number
}

// forwarded loads the address, protocol and port that are asked for, and looks for where they lead.
func forwarded() []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: regSecond},
		&expr.Payload{DestRegister: regThird, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Lookup{SourceRegister: reg, DestRegister: reg, IsDestRegSet: true, SetName: pfDNAT},
	}
}

// dnatToPort translates to the address and the port that forwarded has found.
func dnatToPort() []expr.Any {
	return []expr.Any{&expr.NAT{
		Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: reg, RegAddrMax: reg, RegProtoMin: regSecond, RegProtoMax: regSecond, Specified: true,
	}}
}

// fillForwardings fills in the map of forwardings.
func fillForwardings(t *table, list []dataplane.PortForwarding) {
	elements := t.set(pfDNAT).elements
	for i := range list {
		f := &list[i]
		for p := int(f.Ports.First); p <= int(f.Ports.Last); p++ {
			port := uint16(p)
			elements[serviceKey(f.Addr, f.Proto, port)] = element{value: endpointKey(f.Fixed, f.FixedPort(port))}
		}
	}
}

// serviceKey is an address, a protocol and a port as the map has them.
func serviceKey(a netip.Addr, proto dataplane.Proto, port uint16) string {
	var b [12]byte
	ip := a.As4()
	copy(b[:], ip[:])
	b[4] = protocolNumber(proto)
	binary.BigEndian.PutUint16(b[8:], port)
	return string(b[:])
}

// endpointKey is an address and a port as the map has them.
func endpointKey(a netip.Addr, port uint16) string {
	var b [8]byte
	ip := a.As4()
	copy(b[:], ip[:])
	binary.BigEndian.PutUint16(b[4:], port)
	return string(b[:])
}

func protocolNumber(p dataplane.Proto) byte {
	switch p {
	case dataplane.TCP:
		return unix.IPPROTO_TCP
	case dataplane.SCTP:
		return unix.IPPROTO_SCTP
	default:
		return unix.IPPROTO_UDP
	}
}

func protocolName(number byte) string {
	for _, p := range []dataplane.Proto{dataplane.TCP, dataplane.UDP, dataplane.SCTP} {
		if protocolNumber(p) == number {
			return string(p)
		}
	}
	return fmt.Sprintf("protocol %d", number)
}

// run is ports of one forwarding that change alike, without a gap.
type run struct {
	of    *dataplane.PortForwarding // nil: nobody knows
	op    dataplane.Op
	keys  int
	first string // key
	last  string
	want  [2]string // values of the first and the last key
	have  [2]string
}

// forwardingSteps tells what changes in the map of forwardings, by forwarding as far as those are
// among the ones known.
func (d difference) forwardingSteps(known []dataplane.PortForwarding) []dataplane.Step {
	i := slices.IndexFunc(d.sets, func(s setDiff) bool { return s.want != nil && s.want.name == pfDNAT })
	if i < 0 {
		return nil
	}
	s := d.sets[i]
	byService := map[string][]*dataplane.PortForwarding{}
	for i := range known {
		key := serviceKey(known[i].Addr, known[i].Proto, 0)
		byService[key] = append(byService[key], &known[i])
	}
	for _, list := range byService {
		slices.SortStableFunc(list, func(a, b *dataplane.PortForwarding) int { return cmp.Compare(a.Ports.First, b.Ports.First) })
	}
	var steps []dataplane.Step
	var current *run
	for _, key := range s.keys() {
		next := &run{op: s.op(key), keys: 1, first: key, last: key}
		want, have := s.want.elements[key].value, s.has(key)
		next.want, next.have = [2]string{want, want}, [2]string{have, have}
		if len(key) == 12 {
			port := binary.BigEndian.Uint16([]byte(key[8:10]))
			next.of = covering(byService[key[:8]+"\x00\x00\x00\x00"], port)
		}
		if current != nil && current.joins(next) {
			continue
		}
		if current != nil {
			steps = append(steps, current.step())
		}
		current = next
	}
	if current != nil {
		steps = append(steps, current.step())
	}
	return steps
}

// covering returns the forwarding that a port belongs to. Lists of forwardings of two routers may
// overlap; then the one that begins last is taken.
func covering(list []*dataplane.PortForwarding, port uint16) *dataplane.PortForwarding {
	i, _ := slices.BinarySearchFunc(list, port, func(f *dataplane.PortForwarding, p uint16) int {
		if f.Ports.First <= p {
			return -1
		}
		return 1
	})
	for _, f := range slices.Backward(list[:i]) {
		if f.Ports.Contains(port) {
			return f
		}
	}
	return nil
}

// joins adds another run, if it continues this one.
func (r *run) joins(next *run) bool {
	if r.of != next.of || r.op != next.op || len(r.last) != 12 || len(next.first) != 12 || r.last[:8] != next.first[:8] ||
		r.last[8:10] == "\xff\xff" || portOf(r.last)+1 != portOf(next.first) ||
		!continues(r.want, next.want[0]) || !continues(r.have, next.have[0]) {
		return false
	}
	r.keys++
	r.last, r.want[1], r.have[1] = next.first, next.want[0], next.have[0]
	return true
}

// continues says that a value leads to the port after that of the last one, or to the same.
func continues(values [2]string, next string) bool {
	first, last := values[0], values[1]
	switch {
	case len(last) != 8 || len(next) != 8:
		return last == next
	case last[:4] != next[:4]:
		return false
	case last == next:
		return first == last
	}
	return endpointPort(next) == endpointPort(last)+1
}

func portOf(key string) uint16 { return binary.BigEndian.Uint16([]byte(key[8:10])) }

func endpointPort(value string) uint16 { return binary.BigEndian.Uint16([]byte(value[4:6])) }

func (r *run) step() dataplane.Step {
	step := dataplane.Step{Op: r.op, Kind: dataplane.KindForwarding, Object: serviceText(r.first, r.last), Disturbs: r.op != dataplane.Add}
	if r.of != nil {
		step.ID = r.of.ID
	}
	switch r.op {
	case dataplane.Add:
		step.Detail = endpointText(r.want)
	case dataplane.Remove:
		step.Detail = endpointText(r.have)
	default:
		step.Detail = endpointText(r.want) + ", was " + endpointText(r.have)
	}
	return step
}

// serviceText is the ports of one address and protocol for people.
func serviceText(first, last string) string {
	if len(first) != 12 || len(last) != 12 {
		return keyText(first)
	}
	a, _ := netip.AddrFromSlice([]byte(first[:4]))
	ports := dataplane.PortRange{First: portOf(first), Last: portOf(last)}
	return fmt.Sprintf("%s %s %s", a, protocolName(first[4]), ports)
}

// endpointText is where ports lead, for people.
func endpointText(values [2]string) string {
	if len(values[0]) != 8 || len(values[1]) != 8 {
		return keyText(values[0])
	}
	a, _ := netip.AddrFromSlice([]byte(values[0][:4]))
	return fmt.Sprintf("→ %s %s", a, dataplane.PortRange{First: endpointPort(values[0]), Last: endpointPort(values[1])})
}
