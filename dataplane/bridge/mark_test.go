package bridge

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/internal/wiring"
)

func TestMark(t *testing.T) {
	long := strings.Repeat("x", 64)
	for text, m := range map[string]mark{
		"l3kit router=r port=p network=n":      {router: "r", port: "p", network: "n"},
		"l3kit port=p network=n":               {port: "p", network: "n"},
		"l3kit network=n":                      {network: "n"},
		"l3kit network=n overflow=35":          {network: "n", overflow: 35},
		"l3kit network=n uplink=enp1s0f0":      {network: "n", uplink: "enp1s0f0"},
		mark{long, long, long, 0, ""}.String(): {long, long, long, 0, ""},
	} {
		require.Equal(t, text, m.String())
		require.Equal(t, m, parseMark(text))
		require.Less(t, len(text), 256, "IFALIASZ")
	}
	for _, text := range []string{"", "l3kit", "l3kit router=r", "l3kit-router network=n", " l3kit network=n", "not l3kit network=n"} {
		require.Zero(t, parseMark(text), text)
	}
	require.Equal(t, mark{network: "n"}, parseMark("l3kit network=n colour=blue"), "a later version's")
}

func TestNames(t *testing.T) {
	const id = "0a1b2c3d-4e5f-6789-abcd-ef0123456789"
	first, overflow := trunkNames(id, 35)
	for name, want := range map[string]string{
		wiring.TapName(id):              "tap0a1b2c3d-4e",
		bridgeName(id, 0):               "brq0a1b2c3d-4e",
		bridgeName(id, 1):               "bro0a1b2c3d-4e1",
		bridgeName(id, 35):              "bro0a1b2c3d-4ez",
		first:                           "tbq0a1b2c3d-4ez",
		overflow:                        "tbo0a1b2c3d-4ez",
		vxlanName(16777215):             "vxlan-16777215",
		vlanName("eth0", 7):             "eth0.7",
		vlanName("enp129s0f0np0", 4094): "enp129s0f0.4094",
		wiring.TapName("short"):         "tapshort",
	} {
		require.Equal(t, want, name)
		require.LessOrEqual(t, len(name), nameLen)
	}
	require.NotEqual(t, bridgeName("a", 11), bridgeName("a1", 1))
}

// Messages come from the kernel, but nothing that comes from outside may crash a process.
func FuzzDecode(f *testing.F) {
	f.Add(newVeth(5, "tap", 1500, 3, peer{ns: -1, index: 6, name: "far"}).Data)
	f.Add(newVXLAN(5, "vxlan-1", 1500, 3, vxlanInfo{vni: 1, port: 4789}).Data)
	f.Add(setQuiet(5).Data)
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := decode(b); (l == nil) == (err == nil) {
			t.Error(l, err)
		}
		decodeNSID(b)
		v := view{complete: true, links: map[int]*link{}, names: map[string]*link{}, ports: map[int]set{}, taps: map[string]set{}, plumbing: map[string]set{}}
		for kind := range uint16(100) {
			_ = v.apply(kind, b)
		}
	})
}
