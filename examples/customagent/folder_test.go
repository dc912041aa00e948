package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
)

// officeYAML is a router that tests change in places.
const officeYAML = `
id: office
ports:
  - {id: lan, network: {id: lan}, mac: "fa:16:3e:00:00:01", addrs: [10.0.0.1/24], mtu: 1500}
gateway:
  {id: wan, network: {id: wan}, mac: "fa:16:3e:00:00:02", addrs: [203.0.113.2/24], mtu: 1500, snat: true}
`

// officeAs is the office router under another ID.
func officeAs(id string) string { return strings.Replace(officeYAML, "office", id, 1) }

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	// As editors and tools do that care for readers: the new file appears whole or not at all.
	hidden := filepath.Join(dir, "."+name)
	require.NoError(t, os.WriteFile(hidden, []byte(text), 0o644))
	require.NoError(t, os.Rename(hidden, filepath.Join(dir, name)))
}

func TestReadFolder(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "office.yaml", officeYAML)
	write(t, dir, "branch.yml", officeAs("branch"))
	write(t, dir, ".branch.yaml.swp", "an editor's")
	write(t, dir, "README.md", "not a router")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "old.yaml"), 0o755))

	l, err := readFolder(dir)
	require.NoError(t, err)
	require.True(t, l.complete(), l.faults)
	require.Len(t, l.routers, 2)
	require.Equal(t, "203.0.113.2/24", l.routers["office"].Gateway.Addrs[0].String())
	require.True(t, l.routers["branch"].Gateway.SNAT)

	_, err = readFolder(filepath.Join(dir, "nothing"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestReadFolderFaults(t *testing.T) {
	for name, c := range map[string]struct{ text, fault string }{
		"empty file":       {"", "0 YAML documents"},
		"comments only":    {"# nothing yet\n", "0 YAML documents"},
		"two routers":      {officeYAML + "---\n" + officeAs("other"), "2 YAML documents"},
		"not YAML":         {"id: [", "yaml"},
		"a list":           {"[1]", "cannot unmarshal"},
		"misspelt field":   {officeYAML + "floatingips: []\n", `unknown field "floatingips"`},
		"field twice":      {officeYAML + "id: other\n", `"id" already set`},
		"wrong address":    {strings.Replace(officeYAML, "10.0.0.1/24", "10.0.0.300/24", 1), "10.0.0.300"},
		"wrong MAC":        {strings.Replace(officeYAML, "fa:16:3e:00:00:01", "fa:16", 1), "Ethernet address"},
		"not a router":     {"id: office\nports: [{id: lan}]\n", "Ports[0]."},
		"ID with a slash":  {officeAs("../office"), "ID"},
		"dangling symlink": {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "good.yaml", officeAs("good"))
			if name == "dangling symlink" {
				require.NoError(t, os.Symlink("nowhere", filepath.Join(dir, "bad.yaml")))
			} else {
				write(t, dir, "bad.yaml", c.text)
			}
			l, err := readFolder(dir)
			require.NoError(t, err)
			require.False(t, l.complete())
			require.ErrorContains(t, l.faults["bad.yaml"], c.fault)
			require.Len(t, l.routers, 1, "one file's fault is no other file's")
		})
	}
}

// TestReadFolderSameRouterTwice: whichever of the files is meant, taking the other would change the
// router.
func TestReadFolderSameRouterTwice(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.yaml", "b.yaml", "c.yaml"} {
		write(t, dir, name, officeYAML)
	}
	write(t, dir, "d.yaml", officeAs("other"))
	l, err := readFolder(dir)
	require.NoError(t, err)
	require.Len(t, l.faults, 3)
	require.Contains(t, l.routers, "other")
	require.NotContains(t, l.routers, "office")
}

func TestDocuments(t *testing.T) {
	for text, n := range map[string]int{
		"":                              0,
		"\n# a comment\n  # another\n":  0,
		"---\n":                         0,
		"a: 1":                          1,
		"%YAML 1.2\n---\na: 1\n":        1,
		"# a comment\n---\na: 1\n---\n": 1,
		"a: 1\n---\nb: 1\n":             2,
		"--- {a: 1}\n--- {b: 1}\n":      2,
		"---\r\na: 1\r\n---\r\nb: 1":    2,
		"a: '\n ---\n '\n":              1,
		"a: 1\n---b: 1\n":               1,
	} {
		require.Equal(t, n, documents([]byte(text)), "%q", text)
	}
}

func TestSamples(t *testing.T) {
	l, err := readFolder("routers")
	require.NoError(t, err)
	require.Empty(t, l.faults)
	require.Len(t, l.routers, 2)
	networks := map[string]dataplane.Network{}
	for _, r := range l.routers {
		for _, p := range append(r.Ports, r.Gateway.Port) {
			if known, ok := networks[p.Network.ID]; ok {
				require.Equal(t, known, p.Network, "a network is the same in every file")
			}
			networks[p.Network.ID] = p.Network
		}
	}
}
