// Command bench measures what the README claims, and prints it as a table. Times are medians; where the machine's own speed would decide, they
// are ratios to a floor or a peer that is measured in the same run, in turn. Nothing here decides a test.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime/pprof"

	"github.com/l3kit/l3kit/dataplane"
)

func main() {
	out := flag.String("o", "build/bench.json", "file to write the results to")
	only := flag.String("run", "", "measure only what matches this regular expression")
	profile := flag.String("cpuprofile", "", "file to write a CPU profile to, for go tool pprof")
	flag.Parse()
	if err := profiled(*profile, func() error { return run(*out, *only) }); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func profiled(path string, fn func() error) error {
	if path == "" {
		return fn()
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return errors.Join(err, f.Close())
	}
	err = fn()
	pprof.StopCPUProfile()
	return errors.Join(err, f.Close())
}

func run(out, only string) error {
	if os.Geteuid() != 0 {
		return dataplane.ErrPermission
	}
	match, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	var t table
	for _, m := range measurements {
		if !match.MatchString(m.name) {
			continue
		}
		rows, err := m.measure()
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		t.add(rows...)
	}
	return errors.Join(t.write(out), t.print(os.Stdout))
}

// measurements are made in this order. A name is the common part of the names of its rows.
var measurements = []struct {
	name    string
	measure func() ([]row, error)
}{
	{"nftables/apply-new", func() ([]row, error) { return applyNew("nftables/apply-new", 0, 40) }},
	{"nftables/apply-new-1000", func() ([]row, error) { return applyNew("nftables/apply-new-1000", 1000, 10) }},
	{"nftables/apply-same", func() ([]row, error) { return applySame(nft, 0.3, 0, 10_000) }},
	{"nftables/fip-add", func() ([]row, error) {
		rows, err := fipAdd(nft, 1, 200, 0, 100, 1000, 10_000)
		if err != nil {
			return nil, err
		}
		return append(rows, flat("nftables/fip-add-flat", 2, rows)), nil
	}},
	{"nftables/new-flows", func() ([]row, error) { return newFlows(nft, 0.95, 10_000) }},
	{"nftables/forward", forward},
	{"iptables/apply-new", func() ([]row, error) { return applyNewTime(ipt, 40, 20) }},
	{"iptables/apply-same", func() ([]row, error) { return applySame(ipt, 0.5, 0) }},
	{"iptables/fip-add", func() ([]row, error) { return fipAdd(ipt, 25, 40, 1000) }},
	{"iptables/new-flows", func() ([]row, error) { return newFlows(ipt, 0.9, 1000, 10_000) }},
}
