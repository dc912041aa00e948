package dataplanetest

import "testing"

func TestFakeConforms(t *testing.T) { Run(t, Fake) }

func BenchmarkFake(b *testing.B) { Benchmarks(b, Fake) }
