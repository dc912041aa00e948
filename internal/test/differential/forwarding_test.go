package differential

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"pgregory.net/rapid"

	"github.com/l3kit/l3kit/dataplane"
)

// slots are what forwardings are drawn from: ports of one protocol that do not overlap.
var slots = []struct {
	proto dataplane.Proto
	ports dataplane.PortRange
}{
	{dataplane.TCP, dataplane.SinglePort(80)}, {dataplane.UDP, dataplane.SinglePort(80)},
	{dataplane.TCP, dataplane.PortRange{First: 81, Last: 90}}, {dataplane.UDP, dataplane.PortRange{First: 81, Last: 90}},
	{dataplane.TCP, dataplane.PortRange{First: 250, Last: 1500}}, {dataplane.UDP, dataplane.PortRange{First: 65534, Last: 65535}},
}

// forwardedPorts are in slots, or beside them.
var forwardedPorts = []uint16{79, 80, 81, 85, 90, 91, 250, 777, 1500, 1501, 65534, 65535}

// drawForwardings draws forwardings of addresses that are no floating IPs, and of the gateway's.
func drawForwardings(t *rapid.T, r dataplane.Router) []dataplane.PortForwarding {
	fixed := slices.DeleteFunc(neighbours(r.Ports), netip.Addr.Is6)
	if !r.Gateway.HairpinAddr().IsValid() || len(fixed) == 0 {
		return nil
	}
	external := []netip.Addr{r.Gateway.HairpinAddr()}
	for _, a := range floating {
		if !floatsTo(r, a) {
			external = append(external, a)
		}
	}
	type choice struct {
		addr netip.Addr
		slot int
	}
	draw := rapid.Custom(func(t *rapid.T) choice {
		return choice{rapid.SampledFrom(external).Draw(t, "external address"), rapid.IntRange(0, len(slots)-1).Draw(t, "ports")}
	})
	var list []dataplane.PortForwarding
	for i, c := range rapid.SliceOfNDistinct(draw, 0, 6, rapid.ID).Draw(t, "forwardings") {
		f := dataplane.PortForwarding{ID: fmt.Sprintf("pf%d", i), Addr: c.addr, Proto: slots[c.slot].proto, Ports: slots[c.slot].ports}
		f.Fixed = rapid.SampledFrom(fixed).Draw(t, "fixed address")
		switch rapid.SampledFrom([]string{"same", "one", "others"}).Draw(t, "fixed ports") {
		case "same":
			f.FixedPorts = f.Ports
		case "one":
			f.FixedPorts = dataplane.SinglePort(8080)
		case "others":
			f.FixedPorts = dataplane.PortRange{First: 20000, Last: 20000 + f.Ports.Last - f.Ports.First}
		}
		list = append(list, f)
	}
	return list
}

func forwards(r dataplane.Router) bool { return len(r.PortForwardings) > 0 }

// answersForPorts: the router has an address for forwardings alone.
func answersForPorts(r dataplane.Router) bool { return len(r.ForwardingAddrs()) > 0 }

// redirect makes all forwardings lead to the port after the right one, and misleads to the address
// after the right one.
func (v victim) redirect() error {
	return v.rewriteForwardings(func(f dataplane.PortForwarding) dataplane.PortForwarding {
		f.FixedPorts.First, f.FixedPorts.Last = f.FixedPorts.First+1, f.FixedPorts.Last+1
		return f
	})
}

func (v victim) mislead() error {
	return v.rewriteForwardings(func(f dataplane.PortForwarding) dataplane.PortForwarding {
		f.Fixed = f.Fixed.Next()
		return f
	})
}

// rewriteForwardings replaces the elements of the map.
func (v victim) rewriteForwardings(edit func(dataplane.PortForwarding) dataplane.PortForwarding) error {
	set, err := v.rules.GetSetByName(v.table, "pf_dnat")
	if err != nil {
		return err
	}
	v.rules.FlushSet(set)
	for _, f := range v.router.PortForwardings {
		f = edit(f)
		var elements []nftables.SetElement
		for p := int(f.Ports.First); p <= int(f.Ports.Last); p++ {
			to := f.FixedPort(uint16(p))
			number := map[dataplane.Proto]byte{dataplane.TCP: 6, dataplane.UDP: 17}[f.Proto]
			elements = append(elements, nftables.SetElement{
				Key: slices.Concat(f.Addr.AsSlice(), []byte{number, 0, 0, 0, byte(p >> 8), byte(p), 0, 0}),
				Val: slices.Concat(f.Fixed.AsSlice(), []byte{byte(to >> 8), byte(to), 0, 0}),
			})
		}
		if err := v.rules.SetAddElements(set, elements); err != nil {
			return err
		}
	}
	return v.rules.Flush()
}
