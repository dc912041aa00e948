package openflow

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
)

// complain makes one line of what ovs-ofctl(8) says on its standard error: a few lines, among them
// its log, and those about its input by number.
func complain(text, input string, err error) error {
	var said []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(strings.TrimPrefix(line, "ovs-ofctl: "))
		if log := logLine.FindStringSubmatch(line); log != nil {
			if log[1] != "WARN" && log[1] != "ERR" && log[1] != "EMER" {
				continue
			}
			line = log[2]
		}
		if at := inputLine.FindStringSubmatch(line); at != nil {
			line = at[2] + " in " + strconv.Quote(numbered(input, at[1]))
		}
		if line != "" {
			said = append(said, line)
		}
	}
	if len(said) == 0 {
		return fmt.Errorf("ovs-ofctl: %w", err)
	}
	if strings.Contains(text, "version negotiation failed") {
		err = fmt.Errorf("%w: the bridge's protocols must include OpenFlow10 and OpenFlow14", dataplane.ErrUnsupported)
	}
	return fmt.Errorf("ovs-ofctl: %s (%w)", strings.Join(said, "; "), err)
}

var (
	logLine   = regexp.MustCompile(`^\d{4}-\d\d-\d\dT[^|]*\|\d+\|[^|]*\|([A-Z]+)\|(.*)$`) // vlog.h: time|serial|module|level|message
	inputLine = regexp.MustCompile(`^(?:-|/dev/stdin):(\d+): (.*)$`)
)

func numbered(input, number string) string {
	n, _ := strconv.Atoi(number)
	for line := range strings.Lines(input) {
		if n--; n == 0 {
			return strings.TrimSpace(line)
		}
	}
	return "line " + number
}
