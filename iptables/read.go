package iptables

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// savedOpaque is how iptables-nft-save says that it cannot tell a table's rules.
var savedOpaque = regexp.MustCompile("^# Table `(\\w+)' is incompatible")

// parse adds what iptables-save --counters, or ip6tables-save, prints. Of tables that we do not
// write into nothing is kept.
func (rs ruleset) parse(saved []byte, f family) error {
	var t *table
	for text := range bytes.Lines(saved) {
		line := strings.TrimSpace(string(text))
		switch {
		case line == "":
		case line[0] == '#':
			if m := savedOpaque.FindStringSubmatch(line); m != nil && known(f.tableOf(m[1])) {
				rs[f.tableOf(m[1])] = &table{opaque: true}
			}
		case line[0] == '*':
			t = nil
			if name := f.tableOf(line[1:]); known(name) {
				t = &table{chains: map[string][]rule{}}
				rs[name] = t
			}
		case line == "COMMIT":
			t = nil
		case t == nil: // of a table that is none of ours
		case line[0] == ':':
			name, _, _ := strings.Cut(line[1:], " ")
			t.chains[name] = nil
		default:
			name, r, err := parseRule(line)
			if err != nil {
				return err
			}
			t.chains[name] = append(t.chains[name], r)
		}
	}
	for _, t := range rs {
		for name := range t.chains {
			if !ours(name) && len(hooks(t.chains[name])) == 0 {
				delete(t.chains, name)
			}
		}
	}
	return nil
}

func known(table string) bool { return slices.Contains(tables, table) }

// parseRule reads "[packets:bytes] -A chain specification".
func parseRule(line string) (chain string, r rule, err error) {
	counters, rest, _ := strings.Cut(line, "] -A ")
	packets, octets, _ := strings.Cut(strings.TrimPrefix(counters, "["), ":")
	chain, r.spec, _ = strings.Cut(rest, " ")
	if r.traffic.Packets, err = strconv.ParseUint(packets, 10, 64); err == nil {
		r.traffic.Bytes, err = strconv.ParseUint(octets, 10, 64)
	}
	if err != nil {
		err = fmt.Errorf("iptables-save printed %q, which is not a rule", line)
	}
	return chain, r, err
}
