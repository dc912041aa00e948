// Package example builds the example programs the way a reader of README.md does.
package example

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/l3kit/l3kit"

// Build copies the program in the working directory, examples/NAME, to a module of its own, which
// requires this one, and returns its executable. Call it before needs.Machine, where modules
// cannot be downloaded; the run on that machine gets the same executable.
func Build(t *testing.T) string {
	t.Helper()
	const built = "EXAMPLE_BUILT"
	if program := os.Getenv(built); program != "" {
		return program
	}
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	dir := t.TempDir()
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, file := range append(files, filepath.Join(root, "go.sum"), filepath.Join(root, "go.mod")) {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		if filepath.Base(file) == "go.mod" { // with the same versions of other modules
			text = []byte(strings.Replace(string(text), "module "+module, "module example.org/program", 1) +
				"\nrequire " + module + " v0.0.0\nreplace " + module + " => " + root + "\n")
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, filepath.Base(file)), text, 0o644))
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-mod=mod", "-o", "program", ".")
	build.Dir, build.Env = dir, append(os.Environ(), "GOWORK=off")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Setenv(built, filepath.Join(dir, "program"))
	return os.Getenv(built)
}

// InReadme fails the test unless README.md shows main.go from some code on; empty: all of it. A
// tail of a function is shown without its closing brace.
func InReadme(t *testing.T, from string) {
	t.Helper()
	program, err := os.ReadFile("main.go")
	require.NoError(t, err)
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	_, code, found := strings.Cut(string(program), from)
	require.True(t, found)
	if from != "" {
		code = strings.TrimSuffix(code, "}\n")
	}
	require.Contains(t, string(readme), "```go\n"+from+code+"```\n")
}
