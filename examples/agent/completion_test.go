package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/internal/test/needs"
)

// TestCompletion completes command lines in real shells, by the scripts that the binary prints.
func TestCompletion(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	require.NoError(t, err)
	wrapper := fmt.Sprintf("#!/bin/sh\n%s=1 exec %s \"$@\"\n", asMain, self)
	for _, name := range []string{"agent", "l3kit-agent"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(wrapper), 0o755))
	}
	lines := map[string][]string{
		"agent at":                             {"attach"},
		"agent --wir":                          {"--wiring"},
		"agent --wiring o":                     {"ovs"},
		"agent --wiring=b":                     {"bridge"},
		"agent run --ovs-device in":            {"internal"},
		"agent attach --log-level x --net":     {"--netns"},
		"agent --tunnel-address 192.0.2.1 ins": {"inspect"},
		"agent completion ":                    {"bash", "fish", "words", "zsh"},
	}
	shell := func(program, script string, args ...string) []string {
		needs.Program(t, program, program)
		cmd := exec.CommandContext(t.Context(), program, append([]string{"-c", script}, args...)...)
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "HOME="+dir)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		var found []string
		for word := range strings.FieldsSeq(string(out)) {
			found = append(found, word)
		}
		return found
	}
	installed(t, shell)
	for line, want := range lines {
		// Bash takes a line apart at = too, and what it completes is behind that.
		words := strings.Split(strings.ReplaceAll(line, "=", " = "), " ")
		bash := fmt.Sprintf(`source <(agent completion bash); COMP_WORDS=(%s); COMP_CWORD=%d; _agent_complete; printf '%%s\n' "${COMPREPLY[@]}"`,
			quotedWords(words), len(words)-1)
		require.Equal(t, want, shell("bash", bash), "bash: %s", line)
		fish := `agent completion fish | source; complete -C $argv[1] | string replace -r '\t.*' ''; true`
		whole := want
		if flag, _, assigned := strings.Cut(line, "="); assigned {
			whole = []string{strings.TrimPrefix(flag, "agent ") + "=" + want[0]}
		}
		require.Equal(t, whole, shell("fish", fish, line), "fish: %s", line)
		zsh := fmt.Sprintf(`compdef() { :; }; compadd() { shift; print -l -- "$@"; }; _files() { :; }
			source <(agent completion zsh); words=(%s); CURRENT=%d; _agent`, quotedWords(strings.Split(line, " ")), len(strings.Split(line, " ")))
		require.Equal(t, whole, shell("zsh", zsh), "zsh: %s", line)
	}
}

// installed requires completion for the name that the unit for systemd has for the binary.
func installed(t *testing.T, shell func(program, script string, args ...string) []string) {
	t.Helper()
	require.Contains(t, shell("bash", "source <(agent completion bash); complete -p l3kit-agent"), "_agent_complete")
	require.Equal(t, []string{"attach"}, shell("fish", `agent completion fish | source; complete -C "l3kit-agent at" | string replace -r '\t.*' ''; true`))
	require.Equal(t, []string{"_agent", "agent", "l3kit-agent"}, shell("zsh", `compdef() { print -l -- "$@"; }; source <(agent completion zsh)`))
}

func quotedWords(words []string) string {
	var all []string
	for _, w := range words {
		all = append(all, "'"+w+"'")
	}
	return strings.Join(all, " ")
}
