package deployment

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/gophercloud/gophercloud/v2"
)

// Server is a machine with a server on it. Its API answers on the machine's loopback device.
type Server struct {
	*Machine
	Process *Program

	// API is the administrator's client, of the project Project.
	API *gophercloud.ServiceClient
}

// Project is that of everything that the administrator's clients make.
const Project = "trial"

func (cl *Cluster) addServer(i int) error {
	name := fmt.Sprintf("server%d", i+1)
	m, err := cl.machine(name, false)
	if err != nil {
		return err
	}
	addr := address(managementNet, firstServer+i)
	if _, err := cl.Management.Connect(m.Lab, managementDevice, netip.PrefixFrom(addr, managementNet.Bits())); err != nil {
		return err
	}
	database := cl.config.Database
	if database == "" {
		database = "sqlite:" + filepath.Join(cl.dir, name+".db")
	}
	args := []string{
		"run",
		fmt.Sprintf("--listen=127.0.0.1:%d", apiPort), fmt.Sprintf("--metrics=127.0.0.1:%d", webPort),
		"--database=" + database, "--auth=none", "--admin-project=" + Project, "--log-level=debug",
		"--agent-down-time=" + cl.config.AgentDownTime.String(),
		"--quota=network=-1;subnet=-1;port=-1;router=-1;floatingip=-1",
		fmt.Sprintf("--bus-listen=%s:%d", addr, busPort),
		"--bus-dir=" + filepath.Join(cl.dir, name+".bus"), "--bus-secret-file=" + cl.secretFile(),
	}
	if cl.config.Servers > 1 {
		args = append(args, "--bus-cluster-name="+name, fmt.Sprintf("--bus-cluster-listen=%s:%d", addr, busClusterPort),
			"--bus-cluster-peers="+cl.at("%s:%d", busClusterPort))
	}
	client := m.HTTP()
	root := fmt.Sprintf("http://127.0.0.1:%d/", apiPort)
	cl.Servers = append(cl.Servers, &Server{
		Machine: m, Process: cl.program(m, name, cl.config.Server, append(args, cl.config.ServerFlags...)...),
		API: &gophercloud.ServiceClient{
			ProviderClient: &gophercloud.ProviderClient{HTTPClient: http.Client{Transport: client.Transport}},
			Endpoint:       root, ResourceBase: root + "v2.0/",
		},
	})
	return os.WriteFile(cl.secretFile(), cl.secret, 0o600)
}

// secretFile has what the credentials are derived from.
func (cl *Cluster) secretFile() string { return filepath.Join(cl.dir, "secret") }

// Ready waits until the server says that it is.
func (s *Server) Ready(ctx context.Context) error { return s.Process.Ready(ctx, readyz) }

var (
	readyz     = fmt.Sprintf("http://127.0.0.1:%d/readyz", webPort)
	metricsURL = fmt.Sprintf("http://127.0.0.1:%d/metrics", webPort)
)
