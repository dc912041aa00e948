package nftables

import (
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/test/firewalltest"
	"github.com/l3kit/l3kit/internal/test/golden"
)

func routers() map[string]dataplane.Router {
	all := firewalltest.Routers(fip(5), fip(6), fip(7))
	maps.Copy(all, firewalltest.Instances(fip(5), fip(6), fip(7)))
	all["resized"] = without(all["full"], func(r *dataplane.Router) {
		r.FloatingIPs = nil
		r.Ports[0].Addrs = []netip.Prefix{
			netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("10.0.1.1/24"), netip.MustParsePrefix("255.255.255.1/24"),
		}
	})
	return all
}

func TestListing(t *testing.T) {
	for name, r := range routers() {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			p.apply(r)
			golden.Require(t, name+".nft", p.Listing())
		})
	}
}

func (p *place) Rules() namespace.ProvenRules { return p.rules }
func (p *place) Stamp() any                   { return p.generation() }

func (p *place) Foreign() {
	p.nft("add", "table", "inet", "foreign")
	p.nft("add", "chain", "inet", "foreign", "l3kit")
}

func TestRules(t *testing.T) {
	t.Parallel()
	disturb := map[string]func(p *place){
		"table gone": func(p *place) { p.nft("delete", "table", "ip", "l3kit"); p.Reopen() },
		"tampered":   func(p *place) { p.nft("flush", "map", "ip", "l3kit", "fip_snat") },
		"element there already": func(p *place) {
			p.nft("add", "element", "ip", "l3kit", "fip_dnat", "{ 203.0.0.6 : 10.0.0.66 }")
			p.rules.generation = p.generation() // as if the kernel had not told
		},
		"element gone": func(p *place) {
			p.nft("delete", "table", "ip", "l3kit")
			p.rules.generation = p.generation()
		},
		"socket broken": func(p *place) { require.NoError(p.t, p.rules.socket.Socket.Close()) },
	}
	s := firewalltest.Suite[*place]{
		Open:    func(t testing.TB) *place { return newPlace(t) },
		Routers: routers(),
		First:   []string{"+ rules ip l3kit"},
		SNATOff: []string{"- rules guarded qg-out", "- snat qg-out: 203.0.255.2  !"},
		OtherGateway: []string{
			"~ snat qg-out: 10.1.0.1, was 203.0.255.2  !",
			"~ rules hairpin qr-db: 10.1.0.1, was 203.0.255.2  !",
			"~ rules hairpin qr-web: 10.1.0.1, was 203.0.255.2  !",
		},
		Write: func(p *place) error {
			_, err := firewalltest.Tool(p.fd, "", "nft", "add table inet foreign; delete table inet foreign")
			return err
		},
		Rounds:  30,
		Half:    func(p *place) { p.nft("add", "table", "ip", "l3kit") },
		Disturb: disturb,
	}
	script := func(lines string) func(*place) {
		return func(p *place) { p.script(lines) }
	}
	s.EdgeDrift = map[string]func(*place){
		"without legs":        script("flush set ip l3kit legs"),
		"without a transit":   script("flush set ip l3kit transit"),
		"without a transit 6": script("flush set ip6 l3kit transit"),
		"elsewhere":           script("flush set ip l3kit elsewhere"),
		"floating IPs":        script("delete element ip l3kit floating { 203.0.3.232 }"),
		"a fixed address":     script("delete element ip l3kit fixed { 10.0.0.5 }"),
		"one fixed more":      script("add element ip l3kit fixed { 10.0.0.9 }"),
		"no steering":         script("flush chain ip l3kit steer"),
		"steering too late":   script("flush chain ip l3kit steer; delete chain ip l3kit steer; add chain ip l3kit steer { type filter hook prerouting priority 0; }"),
		"no guard":            script("flush chain ip l3kit forward"),
		"inside":              script("delete element ip l3kit inside { 10.2.0.0/24 }"),
		"hairpin":             script("delete element ip l3kit hairpin { \"qt-tr\" }"),
		"IPv6 passes":         script("flush chain ip6 l3kit forward"),
	}
	s.CentreDrift = map[string]func(*place){
		"elsewhere": script("delete element ip l3kit elsewhere { 10.0.0.5 }"),
		"spoofed 6": script("flush chain ip6 l3kit ingress"),
		"no drop":   script("flush chain ip l3kit forward"),
	}
	s.CentreWithoutSNATDrift = map[string]func(*place){
		"no remote floating IP": script("delete element ip l3kit remote { 203.0.3.232 }"),
		"one remote more":       script("add element ip l3kit remote { 203.0.3.233 : 203.0.255.2 }"),
		"another address":       script("delete element ip l3kit remote { 203.0.3.232 }; add element ip l3kit remote { 203.0.3.232 : 203.0.255.3 }"),
		"nothing translated":    script("flush chain ip l3kit postrouting"),
		"neither rule nor map":  script("flush chain ip l3kit postrouting; delete map ip l3kit remote"),
	}
	s.Run(t)
}

// A transaction that the kernel refuses changes nothing, and the error names what it refused.
func TestRefused(t *testing.T) {
	p := newPlace(t)
	r := example(fip(5))
	p.apply(r)
	before := p.Listing()

	t.Run("object", func(t *testing.T) {
		b := &batch{family: ipv4}
		b.addElements(&set{name: fipIn, elements: map[string]element{addressKey(addr("203.0.0.9")): {}}}, []string{addressKey(addr("203.0.0.9"))})
		b.deleteSet(fipDNAT) // rules look into it
		b.deleteElements(&set{name: fipIn}, []string{addressKey(addr("203.0.0.9"))})
		err := p.rules.socket.commit(b, p.generation())
		require.ErrorIs(t, err, unix.EBUSY)
		require.ErrorContains(t, err, "message 2 of 3")
		require.ErrorContains(t, err, "ip l3kit: delete set fip_dnat")
		require.Equal(t, before, p.Listing())
	})
	t.Run("generation", func(t *testing.T) {
		b := &batch{family: ipv4}
		b.deleteTable()
		require.ErrorIs(t, p.rules.socket.commit(b, p.generation()+1), errMoved)
		require.Equal(t, before, p.Listing())
	})
	t.Run("too large", func(t *testing.T) {
		require.NoError(t, p.rules.socket.Open())
		require.NoError(t, p.rules.socket.Socket.SetWriteBuffer(1))
		p.rules.socket.Room = 1 << 30 // as if the kernel had not let us have more
		_, err := p.rules.Apply(t.Context(), namespace.Change{Want: example(fips(1, 1000)...)})
		require.ErrorIs(t, err, unix.EMSGSIZE)
		require.ErrorContains(t, err, "too large for the socket's send buffer")
		require.Equal(t, before, p.Listing())
	})
	p.apply(example(fip(5), fip(6)))
}

// Without CAP_NET_ADMIN nothing works, and the error says why.
func TestPermission(t *testing.T) {
	p := newPlace(t)
	err := netns.Do(p.fd, func() error { // the thread keeps its namespace, and loses the right to use it until it is given back
		var caps [2]unix.CapUserData
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		require.NoError(t, unix.Capget(&header, &caps[0]))
		kept := caps
		caps[0].Effective &^= 1 << unix.CAP_NET_ADMIN
		require.NoError(t, unix.Capset(&header, &caps[0]))
		defer func() { require.NoError(t, unix.Capset(&header, &kept[0])) }()
		s := socket{}
		defer s.Close()
		_, err := s.Generation()
		return err
	})
	require.ErrorIs(t, err, dataplane.ErrPermission)
}

// A table that a process holds open belongs to that process.
func TestForeignTable(t *testing.T) {
	p := newPlace(t)
	owner := newSocket(p.fd)
	defer owner.Close()
	b := &batch{family: ipv4}
	b.addTable(tableOwned)
	require.NoError(t, owner.commit(b, 0))
	_, err := p.rules.Apply(t.Context(), namespace.Change{Want: example()})
	require.ErrorIs(t, err, dataplane.ErrForeign)
}

// numbered is an address scope's set.
var numbered = regexp.MustCompile(`@scope_\d+`)

// nft's text beside each rule in program.go is what the kernel was told: see testdata. Here: every
// chain and set of it is documented.
func TestDocumented(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	all := instance{transit: true, edge: true, floatingOnly: true, shown: addr("203.0.255.2")}
	for _, table := range []*table{program(all), program6(all)} {
		addClamp(table, dataplane.Router{ClampMSS: true})
		for _, c := range table.chains {
			require.Contains(t, string(doc), "//\t"+c.name+" ")
		}
		for _, s := range table.sets {
			require.Contains(t, string(doc), "//\t"+s.name+" ")
		}
	}
	source, err := os.ReadFile("program.go")
	require.NoError(t, err)
	instances, err := os.ReadFile("instance.go")
	require.NoError(t, err)
	source = append(source, instances...)
	for _, name := range []string{"clamping.go", "scopes.go"} {
		more, err := os.ReadFile(name)
		require.NoError(t, err)
		source = append(source, more...)
	}
	var listings []byte
	for _, name := range []string{"dual-stack", "edge", "centre", "centre-without-snat", "clamped", "scoped", "scoped-without-snat"} {
		listing, err := os.ReadFile(filepath.Join("testdata", name+".nft"))
		require.NoError(t, err)
		listings = append(listings, listing...)
	}
	for line := range strings.Lines(string(listings)) {
		if text, _, ok := strings.Cut(strings.TrimSpace(line), ` comment "`); ok && text != "" {
			text = strings.ReplaceAll(text, " != 0x00000000", " != 0")
			text = strings.ReplaceAll(text, "0x000", "0x")
			text = numbered.ReplaceAllString(text, "@scope_0")
			text = strings.ReplaceAll(text, "@nh,192,32 & 0xffc00000 == 0xfe800000", "ip6 daddr fe80::/10")
			require.Contains(t, string(source), "// "+text+"\n")
		}
	}
}
