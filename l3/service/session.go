package service

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

// Attach implements [l3.Reporting].
func (s *Service) Attach(ctx context.Context, session agent.Session) error {
	if session.Host == "" || session.Instance == "" || session.Machine == "" {
		return invalid("Invalid input for session. Reason: host, instance or machine is missing.")
	}
	if err := agent.CheckHostName(session.Host); err != nil {
		return invalid("Invalid input for host. Reason: %s.", err)
	}
	for name, value := range map[string]*string{"instance": &session.Instance, "machine": &session.Machine} {
		if err := text(name, value); err != nil {
			return err
		}
	}
	return s.update(ctx, func(w *work) error {
		a, known, err := agentOn(ctx, w, session.Host)
		if err != nil {
			return err
		}
		if err := s.rejoin(ctx, w, session); err != nil {
			return err
		}
		if !known {
			a = s.newAgent(session.Host)
			a.Instance, a.Machine, a.AttachedAt = session.Instance, session.Machine, s.exactly()
			return w.Agents().Insert(ctx, a)
		}
		if err := s.refuse(a, session.Instance, session.Machine); err != nil {
			return err
		}
		if a.Instance == session.Instance && a.Machine == session.Machine {
			return nil
		}
		a.Instance, a.Machine, a.InventorySeq, a.AttachedAt = session.Instance, session.Machine, 0, s.exactly()
		return w.Agents().Update(ctx, &a)
	})
}

// rejoin drops the departures from a host of routers that the same machine runs by now under
// another name: it has one agent, and the session is that agent's.
func (s *Service) rejoin(ctx context.Context, w *work, session agent.Session) error {
	names, err := w.Agents().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("machine", session.Machine)}})
	if err != nil {
		return err
	}
	for _, other := range names {
		if other.Host == session.Host {
			continue
		}
		states, err := statesOn(ctx, w, other.ID)
		if err != nil {
			return err
		}
		for _, st := range states {
			_, err := w.Departures().Get(ctx, onHost(session.Host, st.Instance()))
			if errors.Is(err, l3.ErrAbsent) {
				continue
			}
			st.Host = session.Host
			if err == nil {
				err = arrive(ctx, w, &st)
			}
			if err == nil {
				err = s.notify(ctx, w, st, true)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// refuse returns ErrHostTaken while another machine's agent serves the host. An agent that has
// missed a heartbeat has lost its claim: a machine that rebooted is not to wait until it is dead.
func (s *Service) refuse(a l3.Agent, instance, machine string) error {
	if a.Instance == "" || a.Instance == instance || a.Machine == machine {
		return nil
	}
	if !s.heardWithin(a, s.config.AgentDownTime/2) {
		return nil
	}
	return &l3.HostTakenError{Host: a.Host, Machine: a.Machine, SeenAt: a.HeartbeatAt}
}

// agentOn finds the agent of a host.
func agentOn(ctx context.Context, tx l3.Tx, host string) (a l3.Agent, known bool, err error) {
	found, err := tx.Agents().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("host", host)}})
	if err != nil || len(found) == 0 {
		return a, false, err
	}
	return found[0], true, nil
}

// newAgent is an agent that was not heard of yet.
func (s *Service) newAgent(host string) l3.Agent {
	return l3.Agent{
		ID: uuid.NewString(), Type: "L3 agent", Host: host, Topic: "l3_agent", AdminStateUp: true, AvailabilityZone: defaultZone,
		CreatedAt: s.now(), StartedAt: s.now(),
	}
}
