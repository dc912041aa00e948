package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/netip"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/bridge"
)

// A host that has an existing bridge for the physical network "public", and tunnels to one other
// host.
func ExampleNew() {
	wiring, err := bridge.New(bridge.Config{
		Physical: map[string]string{"public": "br-ex"},
		VXLAN:    bridge.VXLAN{Local: netip.MustParseAddr("192.0.2.1")},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer wiring.Close()
	if err := wiring.SetPeers(context.Background(), []netip.Addr{netip.MustParseAddr("192.0.2.2")}); err != nil {
		log.Fatal(err)
	}
}

// A configuration is checked before anything is opened.
func ExampleNew_invalid() {
	_, err := bridge.New(bridge.Config{VXLAN: bridge.VXLAN{Peers: []netip.Addr{netip.MustParseAddr("224.0.0.1")}}})
	fmt.Println(errors.Is(err, dataplane.ErrInvalid))
	// Output: true
}
