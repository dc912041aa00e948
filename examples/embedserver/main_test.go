package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/routers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/internal/test/example"
	"github.com/l3kit/l3kit/internal/test/needs"
)

// TestProgram: what is asked for at the program's API is in the kernel, and after a restart the
// program knows it.
func TestProgram(t *testing.T) {
	program, dir := example.Build(t), t.TempDir()
	if !needs.Machine(t) {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	id := ""
	for range 2 {
		cmd := exec.CommandContext(ctx, program)
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, t.Output(), t.Output()
		require.NoError(t, cmd.Start())
		if id == "" {
			id = create(ctx, t)
		}
		active(ctx, t, id)
		require.NoError(t, cmd.Process.Signal(os.Interrupt))
		require.NoError(t, cmd.Wait())
		require.FileExists(t, filepath.Join("/run/netns", "qrouter-"+id), "it is realised, and stays when the program ends")
	}
}

func client() *gophercloud.ServiceClient {
	const root = "http://127.0.0.1:9696/"
	return &gophercloud.ServiceClient{ProviderClient: &gophercloud.ProviderClient{}, Endpoint: root, ResourceBase: root + "v2.0/"}
}

// create makes a router on a network.
func create(ctx context.Context, t *testing.T) (id string) {
	var network *networks.Network
	var err error
	for { // until the program serves
		if network, err = networks.Create(ctx, client(), networks.CreateOpts{Name: "blue"}).Extract(); err == nil {
			break
		}
		require.NoError(t, ctx.Err(), "%v", err)
		time.Sleep(5 * time.Millisecond)
	}
	subnet, err := subnets.Create(ctx, client(), subnets.CreateOpts{NetworkID: network.ID, CIDR: "10.0.1.0/24", IPVersion: 4}).Extract()
	require.NoError(t, err)
	router, err := routers.Create(ctx, client(), routers.CreateOpts{Name: "r1"}).Extract()
	require.NoError(t, err)
	_, err = routers.AddInterface(ctx, client(), router.ID, routers.AddInterfaceOpts{SubnetID: subnet.ID}).Extract()
	require.NoError(t, err)
	return router.ID
}

// active waits until a router is ACTIVE.
func active(ctx context.Context, t *testing.T, id string) {
	for {
		router, err := routers.Get(ctx, client(), id).Extract()
		if err == nil && router.Status == "ACTIVE" {
			return
		}
		require.NoError(t, ctx.Err(), "router %s: %v", id, err)
		time.Sleep(5 * time.Millisecond)
	}
}

func TestReadmeShowsThisProgram(t *testing.T) { example.InReadme(t, "") }
