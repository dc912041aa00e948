package monitor_test

import (
	"os"
	"testing"

	"github.com/google/nftables"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/monitor"
)

func newPoller(t *testing.T) *monitor.Poller {
	t.Helper()
	p, err := monitor.NewPoller()
	require.NoError(t, err)
	t.Cleanup(func() { p.Close() })
	return p
}

func arm(t *testing.T, m *monitor.Monitor, p *monitor.Poller) int {
	t.Helper()
	fd, err := m.Arm(p)
	require.NoError(t, err)
	return fd
}

func TestPollerTellsWhichOfManyHasSomething(t *testing.T) {
	ns, h := namespace(t)
	_, elsewhere := namespace(t)
	quiet, m := open(t, ns, unix.RTNLGRP_IPV4_ROUTE), open(t, ns, unix.RTNLGRP_LINK)
	p := newPoller(t)
	arm(t, quiet, p)
	require.NoError(t, elsewhere.LinkAdd(bridge("br")))
	for _, name := range []string{"br0", "br1", "br2"} {
		fd := arm(t, m, p)
		require.NoError(t, h.LinkAdd(bridge(name)))
		ready, err := p.Wait()
		require.NoError(t, err)
		require.Equal(t, []int{fd}, ready)
		require.Contains(t, names(t, m, unix.RTM_NEWLINK), name)
	}

	// What is there before it is armed counts, and what is not armed again does not.
	require.NoError(t, h.LinkAdd(bridge("br3")))
	fd := arm(t, m, p)
	ready, err := p.Wait()
	require.NoError(t, err)
	require.Equal(t, []int{fd}, ready)
	other := open(t, ns, unix.RTNLGRP_LINK)
	fd = arm(t, other, p)
	require.NoError(t, h.LinkAdd(bridge("br4")))
	ready, err = p.Wait()
	require.NoError(t, err)
	require.Equal(t, []int{fd}, ready)
}

func TestPollerCloseEndsWait(t *testing.T) {
	p := newPoller(t)
	ended := make(chan error, 1)
	go func() {
		_, err := p.Wait()
		ended <- err
	}()
	require.NoError(t, p.Close())
	require.ErrorIs(t, <-ended, os.ErrClosed)
	ns, _ := namespace(t)
	_, err := open(t, ns, unix.RTNLGRP_LINK).Arm(p)
	require.Error(t, err)
}

// One notification comes for each transaction, however much is in it.
func TestRulesOfAnybody(t *testing.T) {
	ns, _ := namespace(t)
	m, err := monitor.OpenRules(ns)
	require.NoError(t, err)
	defer m.Close()
	p := newPoller(t)
	for i := range 3 {
		fd := arm(t, m, p)
		c, err := nftables.New(nftables.WithNetNSFd(ns))
		require.NoError(t, err)
		table := c.AddTable(&nftables.Table{Name: "t", Family: nftables.TableFamilyIPv4})
		for range 10 * (i + 1) {
			c.AddRule(&nftables.Rule{Table: table, Chain: c.AddChain(&nftables.Chain{Name: "c", Table: table})})
		}
		require.NoError(t, c.Flush())
		ready, err := p.Wait()
		require.NoError(t, err)
		require.Equal(t, []int{fd}, ready)
		told := 0
		require.NoError(t, m.Drain(func(h unix.NlMsghdr, _ []byte) {
			require.EqualValues(t, unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWGEN, h.Type)
			told++
		}))
		require.Equal(t, 1, told)
	}
}
