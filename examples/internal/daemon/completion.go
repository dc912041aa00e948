package daemon

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Completion is the command that completes command lines in shells.
type Completion struct {
	Shell string   `arg:"" enum:"bash,zsh,fish,words" help:"bash, zsh or fish: print a script for it. In bash: source <(PROGRAM completion bash)."`
	Words []string `arg:"" optional:"" passthrough:"" empty:"" help:"Of the command line, for the scripts, which call completion words."`
}

// scripts ask the binary, so that they never differ from it. %[1]s is its name; the units for
// systemd have l3kit- before it.
var scripts = map[string]string{
	"bash": `_%[1]s_complete() {
	local IFS=$'\n'
	COMPREPLY=($("${COMP_WORDS[0]}" completion words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
	[[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
	return 0
}
complete -o default -F _%[1]s_complete %[1]s l3kit-%[1]s
`,
	"zsh": `#compdef %[1]s l3kit-%[1]s
_%[1]s() {
	local -a found
	found=("${(@f)$("${words[1]}" completion words -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
	found=(${found:#})
	if (( ${#found} )); then compadd -- $found; else _files; fi
}
compdef _%[1]s %[1]s l3kit-%[1]s
`,
	"fish": `function _%[1]s_complete
	set -l w (commandline -opc) (commandline -ct)
	set -l found ($w[1] completion words -- $w[2..-1] 2>/dev/null)
	if test -n "$found"
		printf '%%s\n' $found
	else
		__fish_complete_path $w[-1]
	end
end
complete -c %[1]s -f -a '(_%[1]s_complete)'
complete -c l3kit-%[1]s -f -a '(_%[1]s_complete)'
`,
}

// Run is called by kong.
func (c *Completion) Run(k *kong.Context, out io.Writer) error {
	if c.Shell != "words" {
		_, err := fmt.Fprintf(out, scripts[c.Shell], k.Model.Name)
		return err
	}
	words := c.Words
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	for _, w := range complete(k.Model.Node, words) {
		if _, err := fmt.Fprintln(out, w); err != nil {
			return err
		}
	}
	return nil
}

// complete lists what the last of the words can become.
func complete(node *kong.Node, words []string) []string {
	if len(words) == 0 {
		words = []string{""}
	}
	words, apart := joined(words)
	last := words[len(words)-1]
	var pending *kong.Flag // waits for its value
	for _, w := range words[:len(words)-1] {
		switch {
		case pending != nil:
			pending = nil
		case strings.HasPrefix(w, "--"):
			if f := flagNamed(node, strings.TrimPrefix(w, "--")); f != nil && !f.IsBool() {
				pending = f
			}
		default:
			if child := childNamed(node, w); child != nil {
				node = child
			}
		}
	}
	if name, value, assigned := strings.Cut(last, "="); assigned {
		f := flagNamed(node, strings.TrimPrefix(name, "--"))
		if f == nil {
			return nil
		}
		lead := name + "="
		if apart {
			lead = "" // the shell completes what is behind the sign
		}
		return prefixed(f.EnumSlice(), value, lead)
	}
	if pending != nil {
		return prefixed(pending.EnumSlice(), last, "")
	}
	if strings.HasPrefix(last, "-") {
		var names []string
		for _, f := range flagsOf(node) {
			names = append(names, f.Name)
		}
		return prefixed(names, strings.TrimLeft(last, "-"), "--")
	}
	var names []string
	for _, child := range node.Children {
		if !child.Hidden {
			names = append(names, child.Name)
		}
	}
	for _, p := range node.Positional {
		names = append(names, p.EnumSlice()...)
	}
	return prefixed(names, last, "")
}

// joined puts together what bash takes apart: --flag = value. It reports whether the last word was.
func joined(words []string) (out []string, last bool) {
	for i := 0; i < len(words); i++ {
		if words[i] == "=" && len(out) > 0 && strings.HasPrefix(out[len(out)-1], "--") {
			out[len(out)-1] += "="
			if i+1 < len(words) {
				i++
				out[len(out)-1] += words[i]
			}
			last = true
			continue
		}
		out, last = append(out, words[i]), false
	}
	return out, last
}

// flagsOf lists the flags that can follow a command: its own, its parents', and those of the
// command that runs when none is named.
func flagsOf(node *kong.Node) []*kong.Flag {
	all := slices.Clone(node.Flags)
	if node.DefaultCmd != nil {
		all = append(all, node.DefaultCmd.Flags...)
	}
	for n := node.Parent; n != nil; n = n.Parent {
		all = append(all, n.Flags...)
	}
	return slices.DeleteFunc(all, func(f *kong.Flag) bool { return f.Hidden })
}

func flagNamed(node *kong.Node, name string) *kong.Flag {
	for _, f := range flagsOf(node) {
		if f.Name == name {
			return f
		}
	}
	return nil
}

func childNamed(node *kong.Node, name string) *kong.Node {
	for _, child := range node.Children {
		if child.Name == name {
			return child
		}
	}
	return nil
}

// prefixed returns the candidates that begin with what is there, sorted and with lead before each.
func prefixed(candidates []string, begun, lead string) []string {
	var fit []string
	for _, c := range candidates {
		if c != "" && strings.HasPrefix(c, begun) {
			fit = append(fit, lead+c)
		}
	}
	slices.Sort(fit)
	return slices.Compact(fit)
}
