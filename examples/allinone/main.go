// Command allinone is a server and an agent in one process: the L3 API, and routers on this
// machine.
package main

import "github.com/l3kit/l3kit/examples/internal/allinone"

func main() { allinone.Main() }
