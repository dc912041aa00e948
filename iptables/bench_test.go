package iptables

import (
	"testing"

	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/test/firewalltest"
)

func BenchmarkRules(b *testing.B) {
	for _, v := range []Variant{NFT, Legacy} {
		b.Run(string(v), func(b *testing.B) {
			firewalltest.Benchmark(b, func(tb testing.TB) namespace.Rules { return newPlace(tb, v).rules })
		})
	}
}
