package shape

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	root   = "../../.."
	module = "github.com/l3kit/l3kit"
)

// layer says what the packages of a folder may import: packages of this module by folder, and
// whether other people's modules too.
type layer struct {
	folder string
	may    []string
	others bool
}

// The longest folder that holds a package counts. Whoever adds a package decides here where it
// stands.
var layers = []layer{
	{folder: "dataplane"},
	{folder: "dataplane/agent", may: []string{"dataplane", "internal/backoff"}},
	{folder: "dataplane/metadata", others: true},
	{folder: "dataplane/namespace", may: []string{"internal/backoff", "internal/failure", "internal/dump", "dataplane", "internal/conntrack", "internal/netdev", "internal/monitor", "internal/netns", "internal/nlmsg"}, others: true},
	{folder: "dataplane/bridge", may: []string{"internal/backoff", "internal/nlmsg", "internal/wiring", "internal/failure", "internal/dump", "dataplane", "dataplane/namespace", "internal/netdev", "internal/monitor", "internal/netns", "internal/nfnetlink"}, others: true},
	{folder: "dataplane/workload", may: []string{"internal/netdev", "internal/dump", "internal/failure", "dataplane", "dataplane/namespace"}, others: true},
	{folder: "dataplane/dataplanetest", may: []string{"internal/dump", "internal/netdev", "dataplane", "dataplane/namespace", "internal/test/lab", "internal/monitor", "internal/netns", "internal/test/needs"}, others: true},
	{folder: "nftables", may: []string{"internal/nlmsg", "dataplane", "dataplane/namespace", "internal/failure", "internal/nfnetlink", "internal/monitor", "internal/netns"}, others: true},
	{folder: "iptables", may: []string{"internal/filelock", "internal/failure", "internal/nfnetlink", "dataplane", "dataplane/namespace", "internal/monitor", "internal/netns"}, others: true},
	{folder: "ovs", may: []string{"internal/filelock", "internal/backoff", "internal/wiring", "internal/failure", "dataplane", "dataplane/namespace", "internal/netdev", "internal/monitor", "internal/netns", "ovs/internal/openflow"}, others: true},
	{folder: "l3", may: []string{"dataplane", "dataplane/agent"}},
	{folder: "l3/service", may: []string{"l3", "dataplane", "dataplane/agent", "scheduler"}, others: true},
	{folder: "l3/sqlstore", may: []string{"l3", "dataplane", "internal/backoff"}, others: true},
	{folder: "l3/rest", may: []string{"l3", "dataplane", "dataplane/agent"}, others: true},
	{folder: "l3/natsbus", may: []string{"internal/backoff", "l3", "dataplane/agent", "dataplane", "l3/internal/claim"}, others: true},
	{folder: "l3/l3test", may: []string{"l3", "l3/sqlstore", "dataplane", "dataplane/agent", "l3/rest", "l3/server"}, others: true},
	{folder: "scheduler", may: []string{"l3"}},
	{folder: "ovs/internal/openflow", may: []string{"internal/failure", "dataplane"}, others: true},
	{folder: "internal/netdev", may: []string{"internal/backoff", "dataplane", "internal/failure", "internal/netns"}, others: true},
	{folder: "internal/backoff"},
	{folder: "internal/test/child"},
	{folder: "internal/conntrack", may: []string{"internal/backoff", "internal/nlmsg", "internal/netns"}, others: true},
	{folder: "internal/dump", others: true},
	{folder: "internal/failure", may: []string{"dataplane"}, others: true},
	{folder: "internal/nfnetlink", may: []string{"dataplane", "internal/dump", "internal/failure"}, others: true},
	{folder: "internal/test/firewalltest", may: []string{"dataplane", "dataplane/namespace", "internal/netns"}, others: true},
	{folder: "internal/test/golden", others: true},
	{folder: "internal/test/intrusion", others: true},
	{folder: "internal/test/needs"},
	{folder: "internal/test/disk", may: []string{"internal/test/needs"}, others: true},
	{folder: "internal/test/example", others: true},
	{folder: "internal/test/transcript"},
	{folder: "internal/nlmsg", others: true},
	{folder: "internal/filelock", others: true},
	{folder: "internal/test/wiringtest", may: []string{"dataplane", "dataplane/namespace", "internal/netdev", "internal/netns"}, others: true},
	{folder: "internal/wiring", may: []string{"dataplane", "dataplane/namespace"}},
	{folder: "internal/test/powerloss", others: true},
	{folder: "internal/netns", others: true},
	{folder: "internal/monitor", may: []string{"internal/nlmsg", "internal/netns"}, others: true},
	{folder: "internal/test/lab", may: []string{"internal/frame", "internal/netdev", "internal/nlmsg", "internal/dump", "dataplane", "dataplane/namespace", "internal/test/child", "internal/monitor", "internal/netns"}, others: true},
	{folder: "internal/frame", may: []string{"dataplane"}, others: true},
	{folder: "internal/test/deployment", may: []string{"internal/netdev", "dataplane/host", "ovs", "internal/dump", "internal/test/child", "dataplane", "dataplane/bridge", "dataplane/namespace", "l3/natsbus", "internal/test/lab", "internal/netns"}, others: true},
	{folder: "internal/test/differential"},
	{folder: "internal/tool/picture"},
	{folder: "internal/test/shape"},
	{folder: "internal/tool/bench", may: []string{"dataplane", "dataplane/namespace", "ovs", "l3", "dataplane/agent", "l3/natsbus", "l3/service", "l3/l3test", "l3/rest", "l3/sqlstore", "scheduler", "internal/test/deployment", "internal/test/lab", "internal/monitor", "internal/netns", "internal/nlmsg", "dataplane/host"}, others: true},
	{folder: "examples/embed", may: []string{"dataplane", "dataplane/host"}},
	{folder: "examples/customagent", may: []string{"dataplane", "dataplane/agent", "dataplane/host"}, others: true},
	{folder: "examples/agent", may: []string{"examples/internal/daemon", "examples/internal/host"}},
	{folder: "examples/internal/setting"},
	{folder: "examples/internal/files", may: []string{"examples/internal/setting"}},
	{folder: "examples/internal/certificates", may: []string{"examples/internal/files", "examples/internal/setting"}},
	{folder: "examples/internal/buslogin", may: []string{"examples/internal/certificates", "examples/internal/files", "examples/internal/setting", "l3/natsbus"}},
	{folder: "examples/internal/daemon", may: []string{"dataplane", "examples/internal/files", "examples/internal/setting", "internal/httpserver"}, others: true},
	{folder: "examples/internal/explain", may: []string{"internal/dump", "dataplane", "internal/frame", "internal/netns"}, others: true},
	{folder: "examples/internal/host", may: []string{"examples/internal/buslogin", "dataplane", "dataplane/metadata", "dataplane/namespace", "dataplane/workload", "ovs", "l3", "dataplane/agent", "l3/natsbus", "examples/internal/certificates", "examples/internal/daemon", "examples/internal/explain", "examples/internal/files", "examples/internal/setting", "internal/dump", "internal/netns", "dataplane/host"}, others: true},
	{folder: "examples/internal/control", may: []string{"examples/internal/buslogin", "examples/internal/certificates", "examples/internal/daemon", "examples/internal/explain", "examples/internal/files", "examples/internal/setting", "dataplane", "dataplane/agent", "l3", "l3/natsbus", "l3/rest", "l3/service", "l3/sqlstore", "scheduler", "l3/server"}, others: true},
	{folder: "examples/internal/allinone", may: []string{"examples/internal/control", "examples/internal/daemon", "examples/internal/host", "dataplane", "l3"}, others: true},
	{folder: "examples/internal/trial"},
	{folder: "examples/server", may: []string{"examples/internal/control", "examples/internal/daemon"}},
	{folder: "examples/allinone", may: []string{"examples/internal/allinone"}},
	{folder: "examples/threetier", may: []string{"examples/internal/daemon", "dataplane", "dataplane/agent", "dataplane/bridge", "dataplane/namespace", "nftables", "iptables", "ovs", "internal/test/deployment", "internal/test/lab", "internal/netns"}, others: true},
	{folder: "dataplane/host", may: []string{"dataplane/agent", "internal/dump", "dataplane", "dataplane/bridge", "dataplane/namespace", "dataplane/workload", "nftables", "iptables", "ovs", "internal/netns"}, others: true},
	{folder: "l3/internal/claim", may: []string{"l3"}},
	{folder: "l3/membus", may: []string{"internal/backoff", "l3", "l3/internal/claim", "dataplane/agent", "dataplane"}},
	{folder: "l3/server", may: []string{"l3", "l3/membus", "l3/rest", "l3/service", "l3/sqlstore", "dataplane/agent", "internal/httpserver"}, others: true},
	{folder: "internal/httpserver"},
	{folder: "examples/embedserver", may: []string{"dataplane", "dataplane/agent", "dataplane/host", "l3", "l3/rest", "l3/server", "l3/service", "l3/sqlstore"}, others: true},
}

// TestImportsPointDownwards keeps the module in layers, so that whoever imports one part does not
// get the others with it. Tests may import what they like.
func TestImportsPointDownwards(t *testing.T) {
	for _, p := range packages(t) {
		l, ok := layerOf(p.folder)
		if !ok {
			t.Errorf("%s has no layer: add it to the list in this file", p.folder)
			continue
		}
		for _, imp := range p.imports {
			if why := refuse(l, p.folder, imp); why != "" {
				t.Errorf("%s imports %s: %s", p.folder, imp, why)
			}
		}
	}
}

func TestLayersRefuse(t *testing.T) {
	backend := layer{folder: "backend", may: []string{"dataplane"}, others: true}
	contract := layer{folder: "dataplane"}
	require.Empty(t, refuse(backend, "backend", module+"/dataplane"))
	require.Empty(t, refuse(backend, "backend", "golang.org/x/sys/unix"))
	require.Empty(t, refuse(contract, "dataplane", "net/netip"))
	require.NotEmpty(t, refuse(backend, "backend", module+"/dataplane/namespace"), "leave for a folder is not leave for what is below it")
	require.NotEmpty(t, refuse(contract, "dataplane", "golang.org/x/sys/unix"))
	require.NotEmpty(t, refuse(contract, "dataplane", module+"/internal/netns"))
}

// TestEachPackageSaysWhatItIsFor: go doc shows one comment, so there is one, in one file.
func TestEachPackageSaysWhatItIsFor(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.docs) != 1 {
			t.Errorf("%s has %d package comments, want one", p.folder, len(p.docs))
			continue
		}
		want := "Package " + p.name + " "
		if p.name == "main" {
			want = "Command " + path.Base(p.folder) + " "
		}
		if !strings.HasPrefix(p.docs[0], want) {
			t.Errorf("the package comment of %s does not begin with %q", p.folder, want)
		}
	}
}

// TestTopLevel: the folders a visitor sees first are the parts of the design, and nothing else.
func TestTopLevel(t *testing.T) {
	design := []string{"dataplane", "examples", "internal", "iptables", "l3", "nftables", "ovs", "scheduler"}
	entries, err := os.ReadDir(root)
	require.NoError(t, err)
	for _, e := range entries {
		if e.IsDir() && e.Name() != "build" && !strings.HasPrefix(e.Name(), ".") && !slices.Contains(design, e.Name()) {
			t.Errorf("folder %s is no part of the design", e.Name())
		}
	}
}

// TestWalksNameCodeThatExists: ARCHITECTURE.md follows requests by file and function.
func TestWalksNameCodeThatExists(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "ARCHITECTURE.md"))
	require.NoError(t, err)
	hops := regexp.MustCompile("`([\\w/]+\\.go)`: (`\\w+`(?:, `\\w+`)*)").FindAllStringSubmatch(string(text), -1)
	require.Greater(t, len(hops), 20)
	for _, hop := range hops {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, hop[1]), nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for name := range strings.SplitSeq(strings.ReplaceAll(hop[2], "`", ""), ", ") {
			there := slices.ContainsFunc(f.Decls, func(d ast.Decl) bool {
				fn, ok := d.(*ast.FuncDecl)
				return ok && fn.Name.Name == name
			})
			require.True(t, there, "%s has no function %s", hop[1], name)
		}
	}
}

func layerOf(folder string) (layer, bool) {
	var best layer
	for _, l := range layers {
		if (folder == l.folder || strings.HasPrefix(folder, l.folder+"/")) && len(l.folder) > len(best.folder) {
			best = l
		}
	}
	return best, best.folder != ""
}

// refuse says why a package of layer l must not import imp, or nothing if it may.
func refuse(l layer, folder, imp string) string {
	if own, ok := strings.CutPrefix(imp, module+"/"); ok {
		if own == folder || slices.Contains(l.may, own) {
			return ""
		}
		return "not below it"
	}
	if first, _, _ := strings.Cut(imp, "/"); strings.Contains(first, ".") && !l.others {
		return "it may use the standard library and this module only"
	}
	return ""
}

// pkg is what the source files of one folder say; test files are not looked at.
type pkg struct {
	folder  string
	name    string
	imports []string
	docs    []string
}

func packages(t *testing.T) []*pkg {
	t.Helper()
	found := map[string]*pkg{}
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		hidden := strings.HasPrefix(d.Name(), ".") && d.Name() != "." && d.Name() != ".."
		if d.IsDir() && (hidden || d.Name() == "build" || d.Name() == "testdata") && file != root {
			return fs.SkipDir
		}
		if d.IsDir() || hidden || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		parsed, err := parser.ParseFile(fset, file, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		folder, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		p := found[folder]
		if p == nil {
			p = &pkg{folder: folder}
			found[folder] = p
		}
		p.add(parsed)
		return nil
	})
	require.NoError(t, err)
	require.NotEmpty(t, found)
	return slices.SortedFunc(maps.Values(found), func(a, b *pkg) int { return strings.Compare(a.folder, b.folder) })
}

func (p *pkg) add(f *ast.File) {
	p.name = f.Name.Name
	for _, imp := range f.Imports {
		p.imports = append(p.imports, strings.Trim(imp.Path.Value, `"`))
	}
	if doc := f.Doc.Text(); doc != "" {
		p.docs = append(p.docs, doc)
	}
}
