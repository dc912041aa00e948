package iptables

import (
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
)

// Both variants name the line in one of these forms:
//
//	Error occurred at line: 3
//	iptables-restore: line 3 failed
//	line 3: CHAIN_DEL failed (Device or resource busy): chain x
var (
	errorLine = regexp.MustCompile(`\bline:? (\d+)`)
	// What the tools say besides: who they are, which line, and where to find help.
	errorNoise = regexp.MustCompile(`(?m)` +
		`^(ip\w*-(nft-|legacy-)?(restore|save)( v\S+ \(\w+\))?: ?)` +
		`|^Error occurred at line: \d+$|^Try .* for more information\.$` +
		`|\bline:? \d+( failed:?|:) ?`)
)

// lacks are the tools' words for what this host cannot do.
var lacks = []string{
	"Couldn't load", "unknown option", "unrecognized option", "missing kernel module", "do you need to insmod", "unable to initialize table",
	"can't initialize", "No chain/target/match by that name", "Protocol not supported",
}

// refusal is what a tool that failed says, with the line of its input that it says it about.
func refusal(err error, stderr, input string) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	words := strings.Join(strings.Fields(errorNoise.ReplaceAllString(stderr, "")), " ")
	if words == "" {
		words = "refused"
	}
	said := fmt.Errorf("%s (%w)", words, err)
	if m := errorLine.FindStringSubmatch(stderr); m != nil {
		n, _ := strconv.Atoi(m[1])
		said = fmt.Errorf("line %d: %q: %w", n, lineOf(input, n), said)
	}
	switch {
	case strings.Contains(stderr, "Permission denied"), strings.Contains(stderr, "Operation not permitted"):
		return fmt.Errorf("%w: %w", dataplane.ErrPermission, said)
	default:
		for _, l := range lacks {
			if strings.Contains(stderr, l) {
				return fmt.Errorf("%w: %w", dataplane.ErrUnsupported, said)
			}
		}
	}
	return said
}

// lineOf is a line of a script, counted from 1. That at which a table is committed, and which the
// older variant names whatever the kernel refused, is given the table's name.
func lineOf(script string, n int) string {
	table := ""
	for text := range strings.Lines(script) {
		text = strings.TrimSpace(text)
		if strings.HasPrefix(text, "*") {
			table = text[1:]
		}
		if n--; n == 0 {
			if text == "COMMIT" {
				text += " of table " + table
			}
			return text
		}
	}
	return ""
}
