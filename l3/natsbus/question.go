package natsbus

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// ErrNoAgent is returned by [Ask] when no agent of the host is connected to the bus, or the agent
// answers no questions.
var ErrNoAgent = errors.New("no agent of the host listens on the bus")

// waitingQuestions is how many questions wait for an agent. Further ones are lost.
const waitingQuestions = 64

// questionMessage and answerMessage are on the wire; see the package comment.
type questionMessage struct {
	ID       string          `json:"id"`
	Question json.RawMessage `json:"question"`
}

type answerMessage struct {
	ID     string          `json:"id"`
	Answer json.RawMessage `json:"answer"`
}

// Ask asks the agent of a host, and returns what it answers. Both are JSON. The connection is the
// control plane's. It fails with [ErrNoAgent] at once when nobody listens, and when ctx ends.
func Ask(ctx context.Context, nc *nats.Conn, host string, question []byte) (answer []byte, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("ask host %s: %w", host, err)
		}
	}()
	q := questionMessage{ID: rand.Text(), Question: question}
	text, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	ctx, end := whileConnected(ctx, nc)
	defer end()
	messages := make(chan *nats.Msg, waitingQuestions)
	inbox := nc.NewRespInbox() // for the server's word that nobody listens
	for _, subject := range []string{subjectAnswers + Token(host), inbox} {
		sub, err := nc.ChanSubscribe(subject, messages)
		if err != nil {
			return nil, err
		}
		defer func() { _ = sub.Unsubscribe() }()
	}
	if err := nc.PublishRequest(subjectQuestions+Token(host), inbox, text); err != nil {
		return nil, err
	}
	for {
		select {
		case m := <-messages:
			if m.Subject == inbox {
				if m.Header.Get("Status") == "503" {
					return nil, ErrNoAgent
				}
				continue
			}
			var a answerMessage
			if json.Unmarshal(m.Data, &a) == nil && a.ID == q.ID {
				return a.Answer, nil
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("no answer: %w", context.Cause(ctx))
		}
	}
}

// Answer answers the questions of the control plane, one after another, until ctx ends. Question
// and answer are JSON.
func (s *Source) Answer(ctx context.Context, answer func(ctx context.Context, question []byte) []byte) error {
	messages := make(chan *nats.Msg, waitingQuestions)
	sub, err := s.nc.ChanSubscribe(localQuestion, messages)
	if err != nil {
		return fmt.Errorf("listen for questions to host %s: %w", s.host, err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	for {
		select {
		case m := <-messages:
			var q questionMessage
			err := json.Unmarshal(m.Data, &q)
			if err == nil {
				err = s.answer(answerMessage{ID: q.ID, Answer: answer(ctx, q.Question)})
			}
			if err != nil {
				s.log.Warn("cannot answer a question of the control plane", "host", s.host, "err", err)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Source) answer(a answerMessage) error {
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return s.nc.Publish(localAnswer, text)
}

// Answer is that of [Source], over whichever connection there is. It returns when ctx ends.
func (c *Client) Answer(ctx context.Context, answer func(ctx context.Context, question []byte) []byte) {
	for {
		now, err := c.wait(ctx)
		if err != nil {
			return
		}
		during, end := context.WithCancel(ctx)
		stop := context.AfterFunc(now.ctx, end)
		err = now.Answer(during, answer)
		stop()
		end()
		if err != nil {
			c.log.Warn("cannot answer questions of the control plane", "err", err)
		}
		if !sleep(ctx, 100*time.Millisecond) {
			return
		}
	}
}
