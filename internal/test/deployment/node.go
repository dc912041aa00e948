package deployment

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"github.com/l3kit/l3kit/l3/natsbus"
)

// busNode is a program that every process which calls [Main] can be: a node of the bus that serves
// nobody else, which makes two servers' nodes three.
const busNode = "bus"

// node is what it is told, as JSON in its only argument.
type node struct {
	Secret  []byte
	Dir     string
	Listen  netip.AddrPort
	Name    string
	Cluster netip.AddrPort
	Peers   []string
}

func (n node) arg() string {
	text, err := json.Marshal(n)
	if err != nil {
		panic(err) // strings and numbers can be encoded
	}
	return string(text)
}

// runNode is a node until it is told to end.
func runNode() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var n node
	err := json.Unmarshal([]byte(os.Args[1]), &n)
	if err == nil {
		var s *natsbus.Server
		s, err = natsbus.StartServer(natsbus.ServerConfig{
			Secret: n.Secret, Dir: n.Dir, Listen: n.Listen, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
			Cluster: &natsbus.ClusterConfig{Name: n.Name, Listen: n.Cluster, Peers: n.Peers},
		})
		if err == nil {
			<-ctx.Done()
			s.Shutdown()
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
