package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"text/tabwriter"

	"golang.org/x/sys/unix"
)

// row is one figure. Met is nil for a figure without a goal.
type row struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	Goal  string  `json:"goal,omitempty"`
	Met   *bool   `json:"met,omitempty"`
	Note  string  `json:"note,omitempty"`
	Error string  `json:"error,omitempty"` // why there is no value
}

// unmeasured stands for the rows of a measurement that failed.
func unmeasured(name string, err error) row { return row{Name: name, Error: err.Error()} }

// value is the value as people read it.
func (r row) value() string {
	if r.Error != "" {
		return "not measured"
	}
	return fmt.Sprintf("%.4g %s", r.Value, r.Unit)
}

func (r row) met() string {
	if r.Met == nil {
		return ""
	}
	return map[bool]string{true: "yes", false: "no"}[*r.Met]
}

func (r row) note() string {
	if r.Error != "" {
		return strings.Join(strings.Fields(r.Error), " ")
	}
	return r.Note
}

func atMost(limit float64, r row) row {
	met := r.Value <= limit
	r.Goal, r.Met = fmt.Sprintf("<= %g", limit), &met
	return r
}

func atLeast(limit float64, r row) row {
	met := r.Value >= limit
	r.Goal, r.Met = fmt.Sprintf(">= %g", limit), &met
	return r
}

func between(least, most float64, r row) row {
	met := r.Value >= least && r.Value <= most
	r.Goal, r.Met = fmt.Sprintf("%g to %g", least, most), &met
	return r
}

type table struct{ rows []row }

func (t *table) add(rows ...row) {
	for _, r := range rows {
		fmt.Fprintf(os.Stderr, "%s: %s\n", r.Name, r.value())
	}
	t.rows = append(t.rows, rows...)
}

func (t *table) print(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "measure\tvalue\tgoal\tmet\t")
	for _, r := range t.rows {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", r.Name, r.value(), r.Goal, r.met(), r.note())
	}
	return tw.Flush()
}

func (t *table) write(path string) error {
	b, err := json.MarshalIndent(t.rows, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

// preamble says what the table means.
const preamble = `# Measured

` + "`make bench`" + ` wrote this file. Times are medians; where the machine's own speed would decide, values
are ratios to something that is measured in the same run, in turn:

- *floor*: the least netlink work that makes the same namespace, devices, addresses, routes and
  **the same nftables table**.
- *least table*: the same with the least table that translates the same packets, which is two maps
  and the rules that use them. It counts no traffic and guards no private network.
- *plain forwarding*: a kernel that only forwards; *bare map*: one nftables map and nothing else.

Two goals are missed because of what is below l3kit, and each is measured alone beside it. A
floating IP is an address on the gateway device, and the kernel walks that list twice to add one
(` + "`" + `kernel-address-add` + "`" + `): that is most of ` + "`" + `fip-add-10000` + "`" + `. For each new port ovs-vswitchd looks at all
ports (` + "`" + `ovs-vsctl/add-port-1000` + "`" + `), and a plug waits for it, because before that the port passes
nothing.

Of distributed routers (` + "`" + `dvr/…` + "`" + `):

- ` + "`" + `dvr/bind` + "`" + ` has 100 simulated hosts, which read from the bus what they are to realise. The bus syncs
  to disk for each of them, one after the other.
- ` + "`" + `dvr/direct` + "`" + ` and ` + "`" + `dvr/sighting` + "`" + ` have an agent, as a process, on each pretended host.
- ` + "`" + `dvr/forward` + "`" + ` adds up what all hosts on the way of a packet do, because they share the processors of
  one machine: two edges route twice and send through one tunnel; a network node routes once, and the
  packet goes through two tunnels. What is not in it is that many hosts share a network node.

`

// machine says what was measured on.
func machine() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return fmt.Sprintf("%d processors, Linux %s.\n\n", runtime.NumCPU(), unix.ByteSliceToString(u.Release[:]))
}

// report writes the table as Markdown.
func (t *table) report(path string) error {
	var b strings.Builder
	b.WriteString(preamble + machine() + "| measure | value | goal | met | |\n|---|---|---|---|---|\n")
	for _, r := range t.rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", r.Name, r.value(), r.Goal, r.met(), strings.ReplaceAll(r.note(), "|", "\\|"))
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}
