package nftables

import (
	"testing"

	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/test/firewalltest"
)

func BenchmarkRules(b *testing.B) {
	firewalltest.Benchmark(b, func(tb testing.TB) namespace.Rules { return newPlace(tb).rules })
}
