package daemon

import (
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/examples/internal/setting"
)

type both struct {
	Flags
	Work struct {
		Every   time.Duration     `default:"1m"`
		Places  map[string]string `mapsep:","`
		Names   []string
		Addrs   []netip.Addr
		Ports   int
		Enabled bool

		Password string `placeholder:"PASSWORD"`
		Check    time.Duration
	} `cmd:"" default:"withargs"`
	Look struct {
		Check bool     `own:""`
		Names []string `arg:"" optional:""`
	} `cmd:""`
	Take struct {
		Words []string `arg:"" optional:"" empty:""`
	} `cmd:""`
}

func parse(t *testing.T, args ...string) (both, error) {
	t.Helper()
	var b both
	parser, err := kong.New(&b, kong.DefaultEnvars("L3KIT_TEST"), ownFlags())
	require.NoError(t, err)
	_, err = parseArgs(parser, args)
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
	require.Equal(t, slog.LevelWarn, slog.Level(b.LogLevel))

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
		"every: 30":                     `: line 1: every: expected duration but got "30": time: missing unit in duration "30"`,
		"every: true":                   `: line 1: every: expected duration but got "true"`,
		"every: [1m]":                   ": line 1: every: must be one value, neither a list nor a mapping",
		"names: {a: b}":                 ": line 1: names: must be a value or a list of values",
		"names: [[a]]":                  ": line 1: names: entry 1 of the list is not a text or a number",
		"\n- a":                         file + ": line 2: must be a mapping of flags to values",
		"# 1\n5":                        file + ": line 2: must be a mapping of flags to values",
		"places: [a]":                   ": line 1: places: must be a mapping of names to values",
		"places: {a: [b]}":              ": line 1: places: a is not set to a text or a number",
		"addrs: [192.0.2]":              `: line 1: addrs: ParseAddr("192.0.2")`,
		"ports: true":                   `: line 1: ports: expected a valid 64 bit int but got "true"`,
		"ports: {a: 1}":                 ": line 1: ports: must be one value, neither a list nor a mapping",
		"password: {a: 123456}":         ": line 1: password: must be one value, neither a list nor a mapping",
		`password: ""`:                  ": line 1: password: the value is empty: give PASSWORD, or leave the flag out",
		"names: []":                     ": line 1: names: the value is empty: give ",
		"log-level: loud":               `: line 1: log-level: must be one of debug, info, warn, error, but is "loud"`,
	} {
		write(text)
		t.Setenv("L3KIT_TEST_EVERY", "")
		os.Unsetenv("L3KIT_TEST_EVERY")
		_, err = parse(t, "--config", file)
		require.ErrorContains(t, err, fault, text)
	}
	for _, empty := range []string{"", "# nothing\n", "---\n"} {
		write(empty)
		_, err = parse(t, "--config", file)
		require.NoError(t, err)
	}
	write("password: 0123\nports: 5\nenabled: yes\nnames: [1, a]\naddrs: 192.0.2.1\nplaces: {a: 1}\nevery: 0s\n")
	b, err = parse(t, "--config", file)
	require.NoError(t, err)
	require.Equal(t, "0123", b.Work.Password, "it is the text in the file")
	require.Equal(t, 5, b.Work.Ports)
	require.True(t, b.Work.Enabled)
	require.Equal(t, []string{"1", "a"}, b.Work.Names)
	require.Equal(t, []netip.Addr{netip.MustParseAddr("192.0.2.1")}, b.Work.Addrs)
	require.Equal(t, map[string]string{"a": "1"}, b.Work.Places)
	_, err = parse(t, "--log-level=foo")
	require.ErrorContains(t, err, `--log-level: must be one of debug, info, warn, error, but is "foo"`)
	_, err = parse(t, "--config", file+".none")
	require.ErrorContains(t, err, "--config: open "+file+".none: no such file")
}

// TestEmptyValues: no flag and no argument has an empty value, unless it says that it may.
func TestEmptyValues(t *testing.T) {
	for args, fault := range map[string]string{
		"--password=":                   "--password: the value is empty: give PASSWORD, or leave the flag out",
		"--every=":                      `--every: expected duration but got ""`,
		"--places=":                     "--places: the value is empty: give ",
		"--names=":                      "--names: the value is empty: give ",
		"--names=a,,b":                  "--names: the value is empty: give ",
		"--addrs=":                      "--addrs: the value is empty: give ",
		"--ports=":                      "--ports: expected a valid 64 bit int",
		"--metrics=":                    "--metrics: the value is empty: give ADDRESS, or leave the flag out",
		"--config=":                     "--config: the value is empty: give FILE, or leave the flag out",
		"--log-format=":                 "--log-format must be one of",
		"look a |":                      "<names>: the value is empty",
		"--names=a --enabled --ports=0": "",
		"take |":                        "",
	} {
		words := strings.Fields(args)
		for i, w := range words {
			words[i] = strings.Trim(w, "|")
		}
		_, err := parse(t, words...)
		if fault == "" {
			require.NoError(t, err, args)
		} else {
			require.ErrorContains(t, err, fault, args)
		}
	}
	t.Setenv("L3KIT_TEST_PASSWORD", "")
	_, err := parse(t)
	require.ErrorContains(t, err, "--password: the value in the environment, L3KIT_TEST_PASSWORD, is empty: give PASSWORD")
}

func TestDistinctAddresses(t *testing.T) {
	const first = "127.0.0.1:9696"
	for second, taken := range map[string]bool{
		first: true, ":9696": true, "0.0.0.0:9696": true, "[::]:9696": true,
		"127.0.0.1:9697": false, "192.0.2.1:9696": false, "": false, "nonsense": false,
	} {
		err := CheckDistinct(Listener{"--listen", first}, Listener{"--metrics", second})
		if taken {
			require.ErrorContains(t, err, "--listen "+first+" and --metrics "+second+" are the same address", second)
		} else {
			require.NoError(t, err, second)
		}
	}
	require.NoError(t, CheckDistinct(Listener{"--listen", ":0"}, Listener{"--metrics", ":0"}), "the kernel chooses two")
}

func TestURLs(t *testing.T) {
	for _, right := range []string{"http://192.0.2.1:9696", "https://network.example.org/", "http://[::1]:5000/identity/v3"} {
		require.NoError(t, CheckURL("--url", right))
	}
	for _, wrong := range []string{"", "192.0.2.1:9696", "network", "ftp://a", "http://", "http://:80", "http://a:b", "http://a?b", "http://a b", "http://[::1"} {
		require.ErrorContains(t, CheckURL("--url", wrong), "--url: ", wrong)
	}
}

func TestExitStatus(t *testing.T) {
	require.Equal(t, 1, status(errors.New("x")))
	require.Equal(t, setting.Status, status(setting.For("--x", errors.New("y"))))
	for _, cause := range []error{dataplane.ErrPermission, fs.ErrPermission, unix.EPERM, unix.EACCES} {
		require.Equal(t, setting.NotPermitted, status(setting.For("--x", cause)))
		require.Equal(t, setting.NotPermitted, status(&dataplane.OpError{Op: "open", Err: cause}))
	}
}
