package l3test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

func busClauses() []busClause {
	return []busClause{
		{"a listing names everything and then is complete", "A watch yields each router that is recorded for the host, and those that " +
			"have left it, then Synced with the deployment; nothing of other hosts.", busListing},
		{"a host without routers has a complete listing", "Without Synced its agent could not tell orphans.", busEmptyListing},
		{"changes follow the listing", "A router that is changed, moved, removed or brought back is told to the hosts concerned.", busChanges},
		{"what another process commits is published", "Committed speaks of this process only.", busOtherProcess},
		{"many changes at once", "More notices than a bus reads at once; each host gets the last version of all its routers.", busMany},
		{"what is not recorded says nothing", "A router leaves a host only because that was recorded.", busForgotten},
		{"an answer that comes late changes nothing", "What a bus reads before a router moves does not bring it back afterwards.", busLateAnswer},
		{"a database that does not answer loses nothing", "What is committed is published when it can be read; until then no host is " +
			"told anything, and Ready says so.", busDatabaseDown},
		{"an agent that does not read delays no other", "One host's agent may be stopped or cut off.", busSlowAgent},
		{"another machine's agent is refused", "Watch is agent.ErrRefused when Attach is ErrHostTaken, and works when it is not any more.", busRefused},
		{"a new session ends the one before", "The agent of the session before is then refused, if the control plane says so.", busSessionEnds},
		{"a watch waits for the control plane", "It begins when Run works, and fails when its context ends.", busWatchWaits},
		{"a heartbeat arrives as it was sent", "But for the host, which is that of the source.", busHeartbeat},
		{"a report arrives as it was sent", "But for the host, which is that of the source, and the time.", busReport},
		{"sightings arrive as they were sent", "But for the host, which is that of the source, and the time.", busSightings},
		{"what was accepted is not lost", "A report, a sighting or a heartbeat that the control plane cannot take yet either fails, so that the " +
			"agent sends it again, or arrives later.", busAccepted},
		{"what is refused delays nothing", "The control plane will never take it, so it is dropped.", busRefusedReport},
		{"after CaughtUp no heartbeat is waiting", "Failover moves routers on that ground.", busCaughtUp},
		{"tunnel peers are told to all hosts", "They are the addresses in the heartbeats; one that cannot be used is ignored.", busPeers},
		{"Ready says whether agents can be served", "It is an error before Run, and nil when Run works.", busReady},
		{"a database has one bus", "A second one is l3.ErrOtherBus while the first is in use, and is welcome when it is closed.", busClaim},
		{"a restart loses nothing", "A bus that is opened on the same database serves everything that is recorded.", busRestart},
		{"Close ends the watches", "Their channels are closed, and sources fail from then on.", busClose},
		{"a host name that cannot be used is refused", "See agent.CheckHostName.", busHostName},
	}
}

func busListing(s *busScene) {
	s.control.put("h1", "moved", "deleted", "r1", "r2")
	s.control.put("h2", "moved", "r3")
	s.control.remove("deleted")
	s.run()
	w := s.watch("h1")
	s.until("the listing is complete", w.complete)
	w.mu.Lock()
	defer w.mu.Unlock()
	s.require("it has the routers of the host", len(w.puts) == 2 && w.puts["r1"].Router.ID == "r1" && w.puts["r2"].Router.ID == "r2")
	s.require("it has those that have left the host", len(w.gone) == 2 && w.gone["moved"].Epoch > 0 && w.gone["deleted"].Epoch > 0)
	s.require("all of them come before Synced", w.atSynced >= 4)
	s.require("Synced names the deployment", w.synced[0] == planeDeployment)
	one := w.puts["r1"]
	s.require("an assignment is as it was compiled",
		one.Host == "h1" && one.Deployment == planeDeployment && one.Request == "req-r1" && one.Epoch > 0 && one.Revision == 1)
	g := w.gone["deleted"]
	s.require("a departure is as it was recorded", g.Deployment == planeDeployment && g.Request == "req-gone" && g.Revision == 1 && !g.Orphan)
}

func busEmptyListing(s *busScene) {
	s.control.put("h2", "r1")
	s.run()
	w := s.watch("h1")
	s.until("the listing is complete", w.complete)
	w.mu.Lock()
	defer w.mu.Unlock()
	s.require("it is empty", w.events == 0)
}

func busChanges(s *busScene) {
	s.control.put("h1", "r1", "r2")
	s.run()
	one, two := s.watch("h1"), s.watch("h2")
	s.until("both listings are complete", func() bool { return one.complete() && two.complete() })
	s.control.put("h1", "r1")
	s.until("the change arrives", one.has(s.control, "r1"))
	s.control.put("h2", "r1")
	s.until("the router leaves the first host", one.lost("r1"))
	s.until("the router comes to the second host", two.has(s.control, "r1"))
	s.control.put("h1", "r1")
	s.until("it comes back to the first host", one.has(s.control, "r1"))
	s.until("it leaves the second host", two.lost("r1"))
	s.control.remove("r2")
	s.until("a router that is deleted leaves", one.lost("r2"))
	s.control.put("h1", "r3")
	s.until("a new router arrives", one.has(s.control, "r3"))
	s.until("no notice is left", func() bool { return s.control.pending() == 0 })
	s.require("each listing is complete once", one.is(func() bool { return len(one.synced) == 1 })())
}

func busOtherProcess(s *busScene) {
	s.run()
	w := s.watch("h1")
	s.until("the listing is complete", w.complete)
	s.control.change(func() { s.control.quiet = true })
	s.control.put("h1", "r1")
	s.until("the change arrives", w.has(s.control, "r1"))
}

func busMany(s *busScene) {
	ids := make([]string, 600)
	for i := range ids {
		ids[i] = fmt.Sprint("r", i)
	}
	s.run()
	one, two := s.watch("h1"), s.watch("h2")
	s.until("both listings are complete", func() bool { return one.complete() && two.complete() })
	s.control.put("h1", ids...)
	s.control.put("h2", ids[:300]...)
	s.control.put("h1", ids[300:]...)
	for i, id := range ids {
		if i < 300 {
			s.until("all that moved are on the second host", two.has(s.control, id))
			s.until("none of them is on the first host", one.is(func() bool { _, there := one.puts[id]; return !there }))
		} else {
			s.until("the others are on the first host", one.has(s.control, id))
		}
	}
	s.until("no notice is left", func() bool { return s.control.pending() == 0 })
}

func busForgotten(s *busScene) {
	s.control.put("h1", "r1")
	s.run()
	w := s.watch("h1")
	s.until("the router is there", func() bool { return w.complete() && w.has(s.control, "r1")() })
	s.control.forget("h1", "r1")
	s.until("the notice is published", func() bool { return s.control.pending() == 0 })
	s.control.put("h1", "r2")
	s.until("what comes later is there", w.has(s.control, "r2"))
	s.require("the host was not told that the router left", !w.lost("r1")())
}

func busLateAnswer(s *busScene) {
	s.control.put("h1", "r0")
	s.run()
	one := s.watch("h1")
	s.until("the listing is complete", one.complete)
	held, holding := make(chan struct{}), make(chan struct{})
	s.control.change(func() { s.control.held, s.control.holding = held, holding })
	release := func() { close(held) }
	s.control.put("h1", "r1")
	select {
	case <-holding:
	case <-time.After(s.patience):
		s.control.change(func() { s.control.held = nil })
		s.fail("the bus does not ask for a router that was changed")
	}
	s.control.put("h2", "r1")
	release()
	s.until("no notice is left", func() bool { return s.control.pending() == 0 })
	s.until("the router is not on the host", one.lost("r1"))
	late := s.watch("h1")
	s.until("a later listing is complete", late.complete)
	s.require("it says the same", late.lost("r1")())
}

func busDatabaseDown(s *busScene) {
	s.control.put("h1", "r1")
	s.run()
	w := s.watch("h1")
	s.until("the router is there", func() bool { return w.complete() && w.has(s.control, "r1")() })
	s.until("the bus is ready", func() bool { return s.bus.Ready(s.soon(time.Second)) == nil })
	s.control.change(func() { s.control.down = true })
	s.control.put("h1", "r1", "r2")
	s.until("Ready says so", func() bool { return s.bus.Ready(s.soon(time.Second)) != nil })
	s.require("no host is told that something is gone", w.is(func() bool { return len(w.gone) == 0 })())
	s.control.change(func() { s.control.down = false })
	s.until("the changes arrive", func() bool { return w.has(s.control, "r1")() && w.has(s.control, "r2")() })
	s.until("the bus is ready again", func() bool { return s.bus.Ready(s.soon(time.Second)) == nil })
	s.control.change(func() { s.control.blind = true })
	s.control.put("h1", "r2", "r3")
	s.until("one router cannot be read", func() bool {
		s.control.mu.Lock()
		defer s.control.mu.Unlock()
		return s.control.failed > 0
	})
	s.control.change(func() { s.control.blind = false })
	s.until("routers that could not be read arrive", func() bool { return w.has(s.control, "r2")() && w.has(s.control, "r3")() })
	s.require("nothing is gone", w.is(func() bool { return len(w.gone) == 0 })())
}

func busSlowAgent(s *busScene) {
	s.run()
	slow, other := s.watch("h1"), s.watch("h2")
	s.until("both listings are complete", func() bool { return slow.complete() && other.complete() })
	release := slow.hold()
	defer release()
	for i := range 20 {
		s.control.put("h1", fmt.Sprint("slow", i))
		s.control.put("h1", fmt.Sprint("slow", i))
		s.control.put("h2", fmt.Sprint("other", i))
	}
	s.until("the other host is served meanwhile", other.has(s.control, "other19"))
	s.until("no notice is left", func() bool { return s.control.pending() == 0 })
}

func busRefused(s *busScene) {
	s.control.change(func() { s.control.machine["h1"] = "the other machine" })
	s.run()
	source := s.source("h1")
	_, err := source.Watch(s.soon(s.patience), agent.Session{Instance: "i", Machine: "this machine"})
	s.require("Watch is ErrRefused", errors.Is(err, agent.ErrRefused))
	s.control.change(func() { s.control.machine["h1"] = "this machine" })
	w := s.watchAs(source, "this machine")
	s.until("then the agent is served", w.complete)
}

func busSessionEnds(s *busScene) {
	s.control.put("h1", "r1")
	s.run()
	before := s.watchAs(s.source("h1"), "one")
	s.until("the listing is complete", before.complete)
	s.control.change(func() { s.control.machine["h1"] = "two" })
	source := s.source("h1")
	after := s.watchAs(source, "two")
	s.until("the new session is served", after.complete)
	s.until("the watch before ends", before.ended)
	s.require("it told nothing to be gone", before.is(func() bool { return len(before.gone) == 0 })())
	s.control.put("h1", "r1")
	s.until("the new session goes on", after.has(s.control, "r1"))
	_, err := s.source("h1").Watch(s.soon(s.patience), agent.Session{Instance: "i", Machine: "one"})
	s.require("the agent before is refused", errors.Is(err, agent.ErrRefused))
}

func busWatchWaits(s *busScene) {
	s.control.put("h1", "r1")
	s.open()
	source := s.source("h1")
	_, err := source.Watch(s.soon(300*time.Millisecond), agent.Session{Instance: "i", Machine: "m"})
	s.require("Watch fails when its context ends before Run", err != nil && !errors.Is(err, agent.ErrRefused))
	begun, asking := make(chan struct{}), make(chan struct{})
	s.wait.Go(func() {
		ctx, cancel := context.WithTimeout(s.ctx, s.patience)
		defer cancel()
		close(asking)
		if _, err := source.Watch(ctx, agent.Session{Instance: "i", Machine: "m"}); err == nil {
			close(begun)
		}
	})
	<-asking
	s.run()
	select {
	case <-begun:
	case <-time.After(s.patience):
		s.fail("a watch that waited does not begin when Run works")
	}
}

func busHeartbeat(s *busScene) {
	s.run()
	s.until("the bus is ready", func() bool { return s.bus.Ready(s.soon(time.Second)) == nil })
	want := agent.Heartbeat{
		Host: "nonsense", Binary: "b", AvailabilityZone: "z", StartedAt: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC),
		Capabilities: agent.Capabilities{Wiring: "ovs"}, Instance: "i", Machine: "m", Deployment: "d",
		Inventory: &agent.Inventory{Seq: 7, MaxEpoch: 9, Routers: []agent.RunningRouter{{ID: "r", Epoch: 9, Revision: 3}}, Ports: []string{"p"}},
	}
	s.must("Heartbeat", s.source("h1").Heartbeat(s.soon(s.patience), want))
	s.until("it arrives", func() bool { _, ok := s.control.beat("h1"); return ok })
	got, _ := s.control.beat("h1")
	s.require("it has what an agent says of itself", got.Host == "h1" && got.Binary == want.Binary && got.AvailabilityZone == want.AvailabilityZone &&
		got.StartedAt.Equal(want.StartedAt) && got.Capabilities.Wiring == "ovs" && got.Instance == want.Instance &&
		got.Machine == want.Machine && got.Deployment == want.Deployment)
	s.require("it has the inventory", got.Inventory != nil && got.Inventory.Seq == 7 && got.Inventory.MaxEpoch == 9 &&
		len(got.Inventory.Routers) == 1 && got.Inventory.Routers[0].Version() == want.Inventory.Routers[0].Version() &&
		slices.Equal(got.Inventory.Ports, want.Inventory.Ports))
	_, nonsense := s.control.beat("nonsense")
	s.require("it is no other host's", !nonsense)
}

func busReport(s *busScene) {
	s.run()
	s.until("the bus is ready", func() bool { return s.bus.Ready(s.soon(time.Second)) == nil })
	want := agent.Report{
		Host: "nonsense", RouterID: "r1", Epoch: 3, Revision: 9, Error: "no", Gone: true,
		Instance: "i", Seq: 4,
	}
	s.must("Report", s.source("h1").Report(s.soon(s.patience), want))
	s.until("it arrives", func() bool { return len(s.control.reported("r1")) > 0 })
	got := s.control.reported("r1")[0]
	s.require("it has what the agent says", got.Host == "h1" && got.Epoch == 3 && got.Revision == 9 && got.Error == "no" &&
		got.Gone && got.Instance == "i" && got.Seq == 4)
	s.require("it has the time", time.Since(got.At).Abs() < time.Minute)
}

func busSightings(s *busScene) {
	s.run()
	s.until("the bus is ready", func() bool { return s.bus.Ready(s.soon(time.Second)) == nil })
	want := []agent.Sighting{
		{RouterID: "r1", PortID: "p1", Addr: netip.MustParseAddr("10.0.0.7"), Age: 1500 * time.Millisecond},
		{RouterID: "r2", PortID: "p2", Addr: netip.MustParseAddr("2001:db8::7")},
	}
	s.must("Sight", s.source("h1").Sight(s.soon(s.patience), agent.Sightings{Host: "nonsense", Addrs: want}))
	s.until("they arrive", func() bool { return len(s.control.sightings("h1")) > 0 })
	got := s.control.sightings("h1")[0]
	s.require("they are what the agent says", slices.Equal(got.Addrs, want))
	s.require("they have the time", time.Since(got.At).Abs() < time.Minute)
}

func busAccepted(s *busScene) {
	s.run()
	s.until("the bus is ready", func() bool { return s.bus.Ready(s.soon(time.Second)) == nil })
	source := s.source("h1")
	s.control.change(func() { s.control.down = true })
	report, beat := agent.Report{RouterID: "r1", Epoch: 1}, agent.Heartbeat{Binary: "b"}
	reportErr := source.Report(s.soon(time.Second), report)
	seen := agent.Sightings{Addrs: []agent.Sighting{{RouterID: "r1", PortID: "p1", Addr: netip.MustParseAddr("10.0.0.7")}}}
	sightErr := source.Sight(s.soon(time.Second), seen)
	beatErr := source.Heartbeat(s.soon(time.Second), beat)
	s.control.change(func() { s.control.down = false })
	if reportErr != nil {
		s.until("a report is accepted", func() bool { return source.Report(s.soon(time.Second), report) == nil })
	}
	if sightErr != nil {
		s.until("a sighting is accepted", func() bool { return source.Sight(s.soon(time.Second), seen) == nil })
	}
	if beatErr != nil {
		s.until("a heartbeat is accepted", func() bool { return source.Heartbeat(s.soon(time.Second), beat) == nil })
	}
	s.until("the report arrives", func() bool { return len(s.control.reported("r1")) > 0 })
	s.until("the sighting arrives", func() bool { return len(s.control.sightings("h1")) > 0 })
	s.until("the heartbeat arrives", func() bool { _, ok := s.control.beat("h1"); return ok })
}

func busRefusedReport(s *busScene) {
	s.control.change(func() { s.control.refused["bad"] = true })
	s.run()
	s.until("the bus is ready", func() bool { return s.bus.Ready(s.soon(time.Second)) == nil })
	bad, good := s.source("bad"), s.source("good")
	s.must("Report of what is refused", bad.Report(s.soon(s.patience), agent.Report{RouterID: "bad", Epoch: 1}))
	_ = bad.Heartbeat(s.soon(s.patience), agent.Heartbeat{})
	s.must("Report", good.Report(s.soon(s.patience), agent.Report{RouterID: "good", Epoch: 1}))
	s.must("Heartbeat", good.Heartbeat(s.soon(s.patience), agent.Heartbeat{}))
	s.until("what is not refused arrives", func() bool {
		_, heard := s.control.beat("good")
		return heard && len(s.control.reported("good")) > 0
	})
	s.until("CaughtUp does not wait for what is refused", func() bool { return s.bus.CaughtUp(s.soon(time.Second)) == nil })
}

func busCaughtUp(s *busScene) {
	s.open()
	s.require("agents are not heard before Run", s.bus.CaughtUp(s.soon(300*time.Millisecond)) != nil)
	s.run()
	s.until("they are heard when Run works", func() bool { return s.bus.CaughtUp(s.soon(time.Second)) == nil })
	source := s.source("h1")
	for i := range 20 {
		s.must("Heartbeat", source.Heartbeat(s.soon(s.patience), agent.Heartbeat{Binary: fmt.Sprint(i)}))
		s.must("CaughtUp", s.bus.CaughtUp(s.soon(s.patience)))
		h, _ := s.control.beat("h1")
		s.require("the heartbeat was taken", h.Binary == fmt.Sprint(i))
	}
	s.control.change(func() { s.control.down = true })
	_ = source.Heartbeat(s.soon(time.Second), agent.Heartbeat{Binary: "last"})
	s.require("it fails while heartbeats cannot be taken", s.bus.CaughtUp(s.soon(300*time.Millisecond)) != nil)
	s.control.change(func() { s.control.down = false })
	s.until("the heartbeat is taken when it can be", func() bool {
		h, _ := s.control.beat("h1")
		return s.bus.CaughtUp(s.soon(time.Second)) == nil && h.Binary == "last"
	})
}

func busPeers(s *busScene) {
	s.run()
	s.until("the bus is ready", func() bool { return s.bus.Ready(s.soon(time.Second)) == nil })
	one, two, bad := s.source("h1"), s.source("h2"), s.source("bad")
	beat := func(source agent.Source, addr string) {
		s.must("Heartbeat", source.Heartbeat(s.soon(s.patience), agent.Heartbeat{Capabilities: tunnel(addr)}))
	}
	are := func(w *seen, want ...string) func() bool {
		return w.is(func() bool {
			return w.told && slices.EqualFunc(w.peers, want, func(have netip.Addr, want string) bool { return have == netip.MustParseAddr(want) })
		})
	}
	w := s.watchAs(one, "m1")
	s.until("there are none at first", are(w))
	beat(one, "192.0.2.1")
	beat(two, "192.0.2.2")
	s.until("both hosts are peers", are(w, "192.0.2.1", "192.0.2.2"))
	beat(two, "192.0.2.9")
	s.until("an address that changes is told", are(w, "192.0.2.1", "192.0.2.9"))
	for _, addr := range []string{"224.0.0.1", "127.0.0.1", "fe80::1", "::ffff:192.0.2.7", "nonsense"} {
		beat(bad, addr)
	}
	beat(two, "2001:db8::2")
	s.until("one that cannot be used is not", are(w, "192.0.2.1", "2001:db8::2"))
	_, heard := s.control.beat("bad")
	s.require("but its heartbeat counts", heard)
	late := s.watchAs(two, "m2")
	s.until("a watch that begins later is told all", are(late, "192.0.2.1", "2001:db8::2"))
}

// tunnel returns the capabilities of a host with an address for tunnels, which may be nonsense.
func tunnel(addr string) agent.Capabilities {
	if parsed, err := netip.ParseAddr(addr); err == nil {
		return agent.Capabilities{TunnelAddress: parsed}
	}
	return agent.Capabilities{Other: map[string]any{agent.TunnelingIP: addr}}
}

func busReady(s *busScene) {
	s.open()
	s.require("it is not ready before Run", s.bus.Ready(s.soon(time.Second)) != nil)
	s.run()
	s.until("it is ready when Run works", func() bool { return s.bus.Ready(s.soon(time.Second)) == nil })
	w := s.watch("h1")
	s.until("then an agent is served", w.complete)
}

func busClaim(s *busScene) {
	s.run()
	s.until("the bus is ready", func() bool { return s.bus.Ready(s.soon(time.Second)) == nil })
	refused := make(chan error, 1)
	go func() {
		other, err := s.make(s.control)
		if err == nil {
			err = other.Close()
		}
		refused <- err
	}()
	end := time.After(2*s.patience + l3.BusClaimTime)
	for waiting := true; waiting; {
		select {
		case <-end:
			s.fail("a second bus is neither refused nor opened")
		case err := <-refused:
			s.require("a second bus is ErrOtherBus", errors.Is(err, l3.ErrOtherBus))
			waiting = false
		case <-time.After(20 * time.Millisecond):
			_ = s.bus.Ready(s.soon(time.Second)) // which renews the claim
		}
	}
	s.require("the first one goes on", s.bus.Ready(s.soon(s.patience)) == nil)
	s.end()
	s.run()
	s.until("after it, another one is served", func() bool { return s.bus.Ready(s.soon(time.Second)) == nil })
}

func busRestart(s *busScene) {
	s.control.put("h1", "r1", "r2")
	s.run()
	w := s.watch("h1")
	s.until("the listing is complete", w.complete)
	s.until("no notice is left", func() bool { return s.control.pending() == 0 })
	s.end()
	s.control.put("h1", "r1")
	s.control.put("h2", "r2")
	s.run()
	w = s.watch("h1")
	s.until("the listing is complete again", w.complete)
	s.require("it has what changed meanwhile", w.has(s.control, "r1")() && w.lost("r2")())
}

func busClose(s *busScene) {
	s.run()
	source := s.source("h1")
	w := s.watchAs(source, "m")
	s.until("the listing is complete", w.complete)
	s.stop()
	s.stop = nil
	s.must("Close", s.bus.Close())
	s.until("the watch ends", w.ended)
	s.require("nothing is gone", w.is(func() bool { return len(w.gone) == 0 })())
	ctx := s.soon(s.patience)
	_, err := source.Watch(ctx, agent.Session{Instance: "i", Machine: "m"})
	s.require("Watch fails at once", err != nil && !errors.Is(err, agent.ErrRefused) && ctx.Err() == nil)
	s.require("Report fails", source.Report(s.soon(s.patience), agent.Report{RouterID: "r", Epoch: 1}) != nil)
	s.require("Heartbeat fails", source.Heartbeat(s.soon(s.patience), agent.Heartbeat{}) != nil)
	s.must("Close again", s.bus.Close())
	s.bus = nil
}

func busHostName(s *busScene) {
	s.open()
	for _, host := range []string{"", "a\x00b"} {
		_, err := s.bus.Source(host)
		s.require(fmt.Sprintf("Source(%q) fails", host), err != nil)
	}
}
