package l3test_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/l3kit/l3kit/l3/l3test"
)

// A test of a program that calls the API.
func ExampleStart() {
	var t *testing.T // of the test

	d := l3test.Start(t, "host1", "host2")
	resp, err := http.Get(d.URL + "/v2.0/agents")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	// What the program asked for is in the kernels of the hosts, which are pretended.
	for _, h := range d.Hosts {
		router, realised := h.Kernel.Router("9a0c6b0e-7d6c-4a93-9d8b-6c3a0a6f1c11")
		fmt.Println(h.Name, router, realised)
	}
}
