// Command bench measures how fast l3kit is, and prints it as a table. Times are medians; where the
// machine's own speed would decide, they are ratios to a floor or a peer that is measured in the
// same run, in turn. Nothing here decides a test.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"runtime/pprof"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
)

func main() {
	out := flag.String("o", "build/bench.json", "file to write the results to")
	report := flag.String("report", "", "file to write the table to, as Markdown")
	only := flag.String("run", "", "measure only what matches this regular expression")
	profile := flag.String("cpuprofile", "", "file to write a CPU profile to, for go tool pprof")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "bench: unexpected argument %q: choose measurements by -run REGEXP\n", flag.Arg(0))
		os.Exit(2)
	}
	// A measurement that is interrupted still takes its machines away, which no further signal
	// keeps it from.
	ctx, _ := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	if err := profiled(*profile, func() error { return run(ctx, measurements, *out, *report, *only) }); err != nil {
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

// run measures one row after the other. What cannot be measured does not keep the rest from being
// kept and printed.
func run(ctx context.Context, list []measurement, out, report, only string) error {
	if os.Geteuid() != 0 {
		return dataplane.ErrPermission
	}
	match, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	var t table
	var failed []error
	for _, m := range list {
		if !match.MatchString(m.name) {
			continue
		}
		rows, err := m.measure(ctx)
		if ctx.Err() != nil {
			failed = append(failed, ctx.Err())
			break
		}
		if err != nil {
			err = fmt.Errorf("cannot measure %s: %w", m.name, err)
			rows, failed = []row{unmeasured(m.name, err)}, append(failed, err)
		}
		t.add(rows...)
	}
	if report != "" && match.String() == "" && ctx.Err() == nil {
		failed = append(failed, t.report(report))
	}
	return errors.Join(append(failed, t.write(out), t.print(os.Stdout))...)
}

// measurement makes rows. Its name is the common part of their names.
type measurement struct {
	name    string
	measure func(context.Context) ([]row, error)
}

// measurements are made in this order.
var measurements = []measurement{
	{"nftables/apply-new", func(ctx context.Context) ([]row, error) { return applyNew(ctx, "nftables/apply-new", 0, 40) }},
	{"nftables/apply-new-1000", func(ctx context.Context) ([]row, error) { return applyNew(ctx, "nftables/apply-new-1000", 1000, 10) }},
	{"nftables/apply-same", func(ctx context.Context) ([]row, error) { return applySame(ctx, nft, 0.3, 0, 10_000) }},
	{"nftables/fip-add", func(ctx context.Context) ([]row, error) {
		ours, kernel, err := fipAdd(ctx, nft, 1, 200, 0, 100, 1000, 10_000)
		if err != nil {
			return nil, err
		}
		rows := append(ours, flat("nftables/fip-add-flat", "slowest to fastest of the above", ours))
		rows = append(rows, kernel...)
		return append(rows, flat("nftables/fip-add-flat-own", "the same without what the kernel alone takes", less(ours, kernel))), nil
	}},
	{"nftables/fip-add-conntrack-1", func(ctx context.Context) ([]row, error) { return fipAddTracked(ctx, 1.5, 1, 100) }},
	{"nftables/fip-add-conntrack-100000", func(ctx context.Context) ([]row, error) { return fipAddTracked(ctx, 60, 100_000, 20) }},
	{"nftables/forwarding-add", func(ctx context.Context) ([]row, error) {
		rows, err := forwardingAdd(ctx, nft, 200, 1, 10_000)
		if err != nil {
			return nil, err
		}
		return append(rows, flat("nftables/forwarding-add-flat", "slowest to fastest of the above", rows)), nil
	}},
	{"nftables/new-flows", func(ctx context.Context) ([]row, error) { return newFlows(ctx, nft, 0.95, 10_000) }},
	{"nftables/forward", forward},
	{"qos/rate", func(ctx context.Context) ([]row, error) {
		rows, err := limitRates(ctx, nft, 1, 1000)
		if err != nil {
			return nil, err
		}
		others, err := limitRates(ctx, ipt, 1, 1000)
		return append(rows, others...), err
	}},
	{"bus/sync", busSync},
	{"iptables/apply-new", func(ctx context.Context) ([]row, error) { return applyNewTime(ctx, ipt, 40, 20) }},
	{"iptables/apply-same", func(ctx context.Context) ([]row, error) { return applySame(ctx, ipt, 0.5, 0) }},
	{"iptables/fip-add", func(ctx context.Context) ([]row, error) {
		rows, _, err := fipAdd(ctx, ipt, 25, 40, 1000)
		return rows, err
	}},
	{"iptables/forwarding-add", func(ctx context.Context) ([]row, error) { return forwardingAdd(ctx, ipt, 40, 1, 10_000) }},
	{"iptables/new-flows", func(ctx context.Context) ([]row, error) { return newFlows(ctx, ipt, 0.9, 1000, 10_000) }},
	{"ovs/apply-new", applyNewSwitched},
	{"ovs/apply-same", applySameSwitched},
	{"ovs/plug-1000", plugThousand},
	{"rest/post-router-sqlite", func(ctx context.Context) ([]row, error) {
		return onSQLite(ctx, func(a *api) ([]row, error) { return postRouters(ctx, a, "rest/post-router-sqlite", 2000) })
	}},
	{"rest/post-router-postgres", func(ctx context.Context) ([]row, error) {
		return onPostgres(ctx, func(a *api) ([]row, error) { return postRouters(ctx, a, "rest/post-router-postgres", 1500) })
	}},
	{"rest/read", func(ctx context.Context) ([]row, error) {
		return onSQLite(ctx, func(a *api) ([]row, error) { return reads(ctx, a) })
	}},
	{"rest/by-status", func(ctx context.Context) ([]row, error) {
		return onSQLite(ctx, func(a *api) ([]row, error) { return byStatus(ctx, a) })
	}},
	{"rest/bind-fip", func(ctx context.Context) ([]row, error) {
		return onSQLite(ctx, func(a *api) ([]row, error) { return bindFloatingIP(ctx, a) })
	}},
	{"l3/compile-1000", compile},
	{"dvr/compile-1000", compileEdge},
	{"dvr/bind", bind},
	{"dvr/apply-route", applyRoute},
	{"dvr/direct", direct},
	{"dvr/sighting", sighting},
	{"dvr/forward", eastWest},
	{"scheduler/place-100000", place},
	{"e2e/router", e2e},
	{"agent/start-500", func(ctx context.Context) ([]row, error) { return agentStart(ctx, 500) }},
	{"e2e/failover-100", failover},
}
