package daemon

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"
)

type both struct {
	Flags
	Work struct {
		Every  time.Duration     `default:"1m"`
		Places map[string]string `mapsep:","`
		Names  []string
		Check  time.Duration
	} `cmd:"" default:"withargs"`
	Look struct {
		Check bool `own:""`
	} `cmd:""`
}

func parse(t *testing.T, args ...string) (both, error) {
	t.Helper()
	var b both
	parser, err := kong.New(&b, kong.DefaultEnvars("L3KIT_TEST"), ownFlags())
	require.NoError(t, err)
	_, err = parser.Parse(args)
	return b, err
}

func TestSettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "settings.yaml")
	write := func(text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }
	write("every: 2m\nplaces: {a: b}\nnames: [c, d]\ncheck: 5m\nlog-level: warn\n")
	b, err := parse(t, "--config", file)
	require.NoError(t, err)
	require.Equal(t, 2*time.Minute, b.Work.Every)
	require.Equal(t, map[string]string{"a": "b"}, b.Work.Places)
	require.Equal(t, []string{"c", "d"}, b.Work.Names)
	require.Equal(t, "WARN", b.LogLevel.String())

	_, err = parse(t, "look", "--config", file)
	require.NoError(t, err, "a command's own flag is not taken for another's of that name")

	t.Setenv("L3KIT_TEST_EVERY", "3m")
	b, err = parse(t, "--config", file)
	require.NoError(t, err)
	require.Equal(t, 3*time.Minute, b.Work.Every, "the environment counts more")
	b, err = parse(t, "--config", file, "--every", "4m")
	require.NoError(t, err)
	require.Equal(t, 4*time.Minute, b.Work.Every, "and the command line most")

	for text, fault := range map[string]string{
		"# first\nevry: 1m":             "--config: " + file + ": line 2: evry: there is no such flag",
		"version: true":                 ": line 1: version: there is no such flag",
		"every: [":                      file + ": not valid YAML: line 1: ",
		"log-level: info\nevery: often": "--every: " + file + `: line 2: every: expected duration but got "often"`,
		"every: 1m\n\nevery: 2m":        file + ": line 3: every: it is set in line 1 already",
		"log-format: xml":               `: line 1: log-format: must be one of text, json, but is "xml"`,
		"places: a":                     ": line 1: places: ",
	} {
		write(text)
		t.Setenv("L3KIT_TEST_EVERY", "")
		os.Unsetenv("L3KIT_TEST_EVERY")
		_, err = parse(t, "--config", file)
		require.ErrorContains(t, err, fault, text)
	}
	_, err = parse(t, "--config", file+".none")
	require.ErrorContains(t, err, "--config: open "+file+".none: no such file")
}
