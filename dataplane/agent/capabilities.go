package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"time"

	"github.com/l3kit/l3kit/dataplane"
)

// Capabilities is what an agent says of itself and of its host. In JSON it is the object that
// Neutron calls the configurations of an agent. A field that is zero is not in it.
type Capabilities struct {
	Mode      string // see ModeLegacy
	Version   string
	Dataplane string // nftables or iptables
	Wiring    string // bridge or ovs
	// PhysicalNetworks are those that the host reaches; empty: none; nil: all, as far as is known.
	PhysicalNetworks []string
	TunnelTypes      []dataplane.NetworkType // of networks that the host reaches through tunnels
	TunnelAddress    netip.Addr              // of this end of the tunnels; Other has one that is no address, as TunnelingIP
	PortForwarding   bool                    // the version knows [dataplane.Router.PortForwardings]; an [Agent] fills it in
	Metadata         bool                    // routers have a metadata proxy; an [Agent] fills it in
	AddressScopes    bool                    // the version knows [dataplane.Port.Scopes]; an [Agent] fills it in
	Limits           bool                    // the version knows [dataplane.Router.Limits]; an [Agent] fills it in
	// Lease is after how long without the control plane the agent fences its routers; 0: never.
	Lease time.Duration
	// Counts are of the routers wanted on the host. Each is nil if the agent does not say. An
	// [Agent] fills them in.
	Routers, Gateways, Interfaces, FloatingIPs *int

	// Other has whatever else the agent says, and what fields cannot keep as it was written: values
	// of other types, zero values, an address with capital letters. It precedes the fields. A
	// number that was read is a [json.Number], with all of its digits.
	Other map[string]any
}

// The modes of an agent, in Neutron's words. A mode that is none of them is that of an agent that
// hosts whole routers only.
const (
	ModeLegacy        = "legacy"          // hosts whole routers, and no parts of distributed ones
	ModeDVR           = "dvr"             // hosts edges of distributed routers only
	ModeDVRSNAT       = "dvr_snat"        // hosts edges, centres, and whole routers
	ModeDVRNoExternal = "dvr_no_external" // the same, on a host that reaches no external network
)

// TunnelingIP is the name of TunnelAddress in JSON.
const TunnelingIP = "tunneling_ip"

// fields are pointers to the fields, by their names in JSON.
func (c *Capabilities) fields() map[string]any {
	return map[string]any{
		"agent_mode": &c.Mode, "version": &c.Version, "dataplane": &c.Dataplane, "wiring": &c.Wiring,
		"physical_networks": &c.PhysicalNetworks, "tunnel_types": &c.TunnelTypes, TunnelingIP: &c.TunnelAddress, "lease": (*seconds)(&c.Lease),
		"port_forwarding": &c.PortForwarding, "metadata": &c.Metadata, "address_scopes": &c.AddressScopes, "limits": &c.Limits,
		"routers": &c.Routers, "ex_gw_ports": &c.Gateways, "interfaces": &c.Interfaces, "floating_ips": &c.FloatingIPs,
	}
}

// MarshalJSON implements [json.Marshaler].
func (c Capabilities) MarshalJSON() ([]byte, error) {
	said := map[string]any{}
	for name, field := range c.fields() {
		if !reflect.ValueOf(field).Elem().IsZero() {
			said[name] = field
		}
	}
	maps.Copy(said, c.Other)
	return json.Marshal(said)
}

// UnmarshalJSON implements [json.Unmarshaler]. It takes every object.
func (c *Capabilities) UnmarshalJSON(text []byte) error {
	*c = Capabilities{}
	decoder := json.NewDecoder(bytes.NewReader(text)) // which has been checked to be one value
	decoder.UseNumber()
	if err := decoder.Decode(&c.Other); err != nil {
		return err
	}
	for name, field := range c.fields() {
		value, is := c.Other[name]
		if !is {
			continue
		}
		written, err := json.Marshal(value)
		if err != nil {
			return err
		}
		// What it does not take stays in Other. Of a list it has what it could take; a count that
		// is no whole number is not known.
		if is := reflect.ValueOf(field).Elem(); json.Unmarshal(written, field) != nil && is.Kind() == reflect.Pointer {
			is.SetZero()
		}
		if kept, err := json.Marshal(field); err == nil && string(kept) == string(written) && !reflect.ValueOf(field).Elem().IsZero() {
			delete(c.Other, name)
		}
	}
	if len(c.Other) == 0 {
		c.Other = nil
	}
	return nil
}

// seconds is a duration that JSON has as a number.
type seconds time.Duration

func (s seconds) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(s).Seconds()) }

func (s *seconds) UnmarshalJSON(text []byte) error {
	var n float64
	if err := json.Unmarshal(text, &n); err != nil {
		return err
	}
	const most = 100 * 365 * 24 * 3600 // longer ones do not fit a time.Duration
	if n < 0 || n > most {
		return fmt.Errorf("%v seconds are no duration", n)
	}
	*s = seconds(n * float64(time.Second))
	return nil
}
