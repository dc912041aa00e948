package lab

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

// tables writes the listings of the tools of the calling thread's namespace.
func (s *state) tables() error {
	nft, err := listing("nft", "-s", "list", "ruleset")
	if err != nil {
		return err
	}
	nft = strings.NewReplacer("{\n\n", "{\n", "\n\n}", "\n}").Replace(emptyBuiltin.ReplaceAllString(nft, ""))
	nft = sortBlocks(nftTable, sortElements(nft), func(table string) string { return sortBlocks(nftChain, table, nil) })
	fmt.Fprintf(&s.text, "# nft\n%s", nft)
	for _, family := range []string{"ip", "ip6"} {
		tool := family + "tables-legacy-save"
		// The tool asks the kernel for what is named here, and nothing is in most namespaces.
		tables, err := readSmall("/proc/thread-self/net/" + family + "_tables_names")
		if errors.Is(err, os.ErrNotExist) || err == nil && tables == "" {
			continue
		}
		if err != nil {
			return fmt.Errorf("read the names of %stables: %w", family, err)
		}
		out, err := listing(tool)
		if errors.Is(err, exec.ErrNotFound) {
			continue // the kernel's other packet filter, which nft cannot see; without the tool nobody has used it
		}
		if err != nil {
			return err
		}
		if lines := rulesOf(out); len(lines) > 0 {
			fmt.Fprintf(&s.text, "# %s\n%s", tool, sortBlocks(savedTable, strings.Join(lines, "\n")+"\n", nil))
		}
	}
	return nil
}

// emptyBuiltin is a chain of iptables' own that has no rules: iptables makes it when it is first
// used, and cannot remove it.
var emptyBuiltin = regexp.MustCompile(`\tchain (INPUT|FORWARD|OUTPUT|PREROUTING|POSTROUTING) \{\n\t\ttype [^\n]* policy accept;\n\t\}\n\n?`)

func listing(name string, args ...string) (string, error) {
	c := exec.Command(name, args...) // its process is a child of this thread, so it is in the namespace
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return string(out), nil
}

// rulesOf leaves the comments, with their dates, and the counters of chains out of what
// iptables-save prints.
func rulesOf(listing string) (lines []string) {
	for l := range strings.Lines(listing) {
		l = strings.TrimSpace(l)
		if strings.HasPrefix(l, ":") {
			l, _, _ = strings.Cut(l, " [")
		}
		if l != "" && !strings.HasPrefix(l, "#") && l != "COMMIT" {
			lines = append(lines, l)
		}
	}
	if !slices.ContainsFunc(lines, func(l string) bool {
		return strings.HasPrefix(l, "-A") || strings.HasPrefix(l, ":") && strings.HasSuffix(l, " -")
	}) {
		return nil // tables that have been looked at exist, and are empty
	}
	return lines
}

// sortElements puts the elements of nft's sets and maps in order: nft lists some by age.
func sortElements(listing string) string {
	const begin, end = "elements = { ", " }"
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(listing, begin)
		out.WriteString(before)
		if !found {
			return out.String()
		}
		var inner string
		inner, listing, _ = strings.Cut(rest, end)
		elements := strings.FieldsFunc(inner, func(r rune) bool { return r == ',' || r == '\n' })
		for i, e := range elements {
			elements[i] = strings.Join(strings.Fields(e), " ")
		}
		elements = slices.DeleteFunc(elements, func(e string) bool { return e == "" })
		slices.SortFunc(elements, cmp.Compare[string])
		out.WriteString(begin + strings.Join(elements, ",\n\t\t\t") + end)
	}
}

// What the tools list by age, which makes no difference: tables, and chains in a table.
var (
	nftTable   = regexp.MustCompile(`(?ms)^table .*?^}\n`)
	nftChain   = regexp.MustCompile(`(?ms)^\tchain .*?^\t}\n`)
	savedTable = regexp.MustCompile(`(?m)^\*.*\n([:-].*\n)*`)
)

// sortBlocks puts all that matches in order, at the place of the first, each as edit leaves it.
func sortBlocks(block *regexp.Regexp, text string, edit func(string) string) string {
	blocks := block.FindAllString(text, -1)
	if edit != nil {
		for i := range blocks {
			blocks[i] = edit(blocks[i])
		}
	}
	slices.Sort(blocks)
	first := true
	return block.ReplaceAllStringFunc(text, func(string) string {
		if !first {
			return ""
		}
		first = false
		return strings.Join(blocks, "")
	})
}
