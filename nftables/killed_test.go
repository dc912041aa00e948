package nftables_test

import (
	"testing"

	"github.com/l3kit/l3kit/dataplane/dataplanetest"
)

func TestKilled(t *testing.T) {
	times := 200
	if testing.Short() {
		times = 20
	}
	dataplanetest.RunKilled(t, open, times)
}
