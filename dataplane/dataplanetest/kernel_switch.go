package dataplanetest

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/l3kit/l3kit/internal/test/lab"
)

// openSwitch starts Open vSwitch on the host when it is first called.
func (k *kernel) openSwitch() (_ Switch, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ovs == nil {
		ctx, cancel := context.WithTimeout(context.Background(), lab.Patience(patience))
		defer cancel()
		if k.ovs, err = k.lab.Switch(ctx); err != nil {
			return Switch{}, err
		}
	}
	return Switch{Endpoint: k.ovs.Endpoint, RunDir: k.ovs.RunDir}, nil
}

// localVLAN is a number that a switch gives a network for itself. Which one depends on what was
// there before.
var localVLAN = regexp.MustCompile(`\b(tag=|l3kit-vlan:)\d+`)

var bridgeRow = regexp.MustCompile(`(?m)^bridge (\S+) ports=(\S+)`)

// withSwitch adds the configuration of Open vSwitch to the host's, if the host has it. A bridge
// without ports counts for nothing, because it may stay; and so do the devices that ovs-vswitchd
// has for itself, which change as ports come and go.
func (k *kernel) withSwitch(state string) (string, error) {
	if k.ovs == nil {
		return state, nil
	}
	text, err := k.ovs.State()
	if err != nil {
		return "", err
	}
	own := map[string]bool{"ovs-netdev": true, "ovs-system": true}
	empty := map[string]bool{}
	for _, b := range bridgeRow.FindAllStringSubmatch(text, -1) {
		own[b[1]], empty[b[1]] = true, b[2] == b[1] // a bridge is a port of its own
	}
	state = withoutLines(state, func(line string) bool {
		device, _, _ := strings.Cut(line, " ")
		setting := strings.Split(device, "/")
		return own[device] || len(setting) > 2 && own[setting[2]] // ipv4/conf/DEVICE/…
	})
	text = withoutLines(text, func(line string) bool {
		words := strings.Fields(line)
		return len(words) > 1 && empty[words[1]] // KIND BRIDGE …
	})
	return state + localVLAN.ReplaceAllString(text, "${1}any"), nil
}

// withoutLines leaves out some lines.
func withoutLines(text string, unwanted func(line string) bool) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !unwanted(line) {
			b.WriteString(line)
		}
	}
	return b.String()
}

// switchDamages are what others do to Open vSwitch, if the host has it.
func (k *kernel) switchDamages() []Damage {
	if k.ovs == nil {
		return nil
	}
	vsctl := func(command string) func(context.Context, string) error {
		return func(context.Context, string) error {
			port, bridge, err := k.plugged("web")
			if err == nil {
				_, err = k.ovs.Vsctl(strings.Fields(strings.NewReplacer("PORT", port, "BRIDGE", bridge).Replace(command))...)
			}
			return err
		}
	}
	return []Damage{
		{"a port on another VLAN", "web", vsctl("set port PORT tag=4000")},
		{"a port without its VLAN", "web", vsctl("clear port PORT tag")},
		{"a port that carries every VLAN", "web", vsctl("clear port PORT tag -- set port PORT vlan_mode=trunk")},
		{"a port of somebody else's on the bridge", "", vsctl("add-port BRIDGE theirs -- set interface theirs type=internal")},
		{"a bridge of somebody else's", "", vsctl("add-br br-theirs -- set bridge br-theirs datapath_type=netdev")},
		{"a flow of somebody else's", "", func(context.Context, string) error {
			_, bridge, err := k.plugged("web")
			if err == nil {
				_, err = k.ovs.Ofctl("add-flow", bridge, "cookie=0x7,table=77,priority=7,actions=drop")
			}
			return err
		}},
	}
}

// plugged finds the switch's port for a router's port.
func (k *kernel) plugged(id string) (port, bridge string, err error) {
	port, err = k.ovs.Vsctl("--bare", "--columns=name", "find", "Interface", "external_ids:iface-id="+id)
	if port = strings.TrimSpace(port); err == nil && (port == "" || strings.ContainsAny(port, " \n")) {
		err = fmt.Errorf("the switch's port for %s is not one: %q", id, port)
	}
	if err != nil {
		return "", "", err
	}
	bridge, err = k.ovs.Vsctl("port-to-br", port)
	return port, strings.TrimSpace(bridge), err
}

// unplug takes a router's port off the switch.
func (k *kernel) unplug(id string) error {
	port, _, err := k.plugged(id)
	if err == nil {
		_, err = k.ovs.Vsctl("del-port", port)
	}
	return err
}

// siteSwitch is the switch of a site that another process made.
func siteSwitch(endpoint, runDir string) func() (Switch, error) {
	return func() (Switch, error) {
		if endpoint == "" {
			return Switch{}, errors.New("the host has no Open vSwitch")
		}
		return Switch{Endpoint: endpoint, RunDir: runDir}, nil
	}
}
