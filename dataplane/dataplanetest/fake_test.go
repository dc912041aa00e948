package dataplanetest

import "testing"

func TestFakeConforms(t *testing.T) { Run(t, Fake) }
