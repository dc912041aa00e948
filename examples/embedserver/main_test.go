package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/routers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/test/needs"
)

// inside marks the process that runs the program in namespaces of its own; with them goes all that
// it leaves.
const inside = "EMBEDSERVER_TEST_INSIDE"

func TestMain(m *testing.M) {
	if os.Getenv(inside) == "" {
		os.Exit(m.Run())
	}
	if err := use(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// TestProgram: what is asked for at the program's API is in the kernel, and after a restart the
// program knows it.
func TestProgram(t *testing.T) {
	needs.Root(t)
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Dir = t.TempDir()
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Unshareflags: unix.CLONE_NEWNS}
	var problem bytes.Buffer
	cmd.Stderr = &problem
	require.NoError(t, cmd.Run(), "%s", &problem)
}

// use runs the program twice, and is its client.
func use() error {
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var id string
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) (err error) {
			id, err = create(ctx)
			return err
		},
		func(ctx context.Context) error { return active(ctx, id) },
	} {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			main()
		}()
		if err := step(ctx); err != nil {
			return err
		}
		if err := unix.Kill(os.Getpid(), unix.SIGINT); err != nil {
			return err
		}
		<-ended
		if _, err := os.Stat(filepath.Join("/run/netns", "qrouter-"+id)); err != nil {
			return err // it is realised, and stays when the program ends
		}
	}
	return nil
}

func client() *gophercloud.ServiceClient {
	const root = "http://127.0.0.1:9696/"
	return &gophercloud.ServiceClient{ProviderClient: &gophercloud.ProviderClient{}, Endpoint: root, ResourceBase: root + "v2.0/"}
}

// create makes a router on a network, and waits until it is there.
func create(ctx context.Context) (id string, err error) {
	var network *networks.Network
	for { // until the program serves
		if network, err = networks.Create(ctx, client(), networks.CreateOpts{Name: "blue"}).Extract(); err == nil {
			break
		}
		if ctx.Err() != nil {
			return "", err
		}
		time.Sleep(5 * time.Millisecond)
	}
	subnet, err := subnets.Create(ctx, client(), subnets.CreateOpts{NetworkID: network.ID, CIDR: "10.0.1.0/24", IPVersion: 4}).Extract()
	if err != nil {
		return "", err
	}
	router, err := routers.Create(ctx, client(), routers.CreateOpts{Name: "r1"}).Extract()
	if err != nil {
		return "", err
	}
	if _, err := routers.AddInterface(ctx, client(), router.ID, routers.AddInterfaceOpts{SubnetID: subnet.ID}).Extract(); err != nil {
		return "", err
	}
	return router.ID, active(ctx, router.ID)
}

// active waits until a router is ACTIVE.
func active(ctx context.Context, id string) error {
	for {
		router, err := routers.Get(ctx, client(), id).Extract()
		if err == nil && router.Status == "ACTIVE" {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("router %s: %w", id, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestReadmeShowsThisProgram keeps the copy in the README equal to the program, which compiles.
func TestReadmeShowsThisProgram(t *testing.T) {
	program, err := os.ReadFile("main.go")
	require.NoError(t, err)
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	require.Contains(t, string(readme), "```go\n"+string(program)+"```\n")
}
