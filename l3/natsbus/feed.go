package natsbus

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// feed reads the keys of a bucket in the order in which they were written: the last value of each, and then what is written.
type feed struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	stream   string
	consumer string // the name of the consumer, which is replaced
	filter   string
	every    time.Duration // between looks whether something was lost on the way, when it is quiet
}

// message is a key's value. caughtUp is that there was no other when it was sent.
type message struct {
	subject  string
	value    []byte
	sequence uint64
	caughtUp bool
}

// errHistory is that the bucket is not the one that was read before, or is an older state of it.
var errHistory = errors.New("the history of the bucket is lost")

// read reads what was written after a sequence number; 0: everything. It calls on for each message; an error of on ends it. It calls heard whenever it
// knows that it missed nothing. It returns when something was missed, or may have been, and can then be called again with the number of the last message.
func (f feed) read(ctx context.Context, after uint64, on func(message) error, heard func()) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer f.stopWhenCut(ctx, stop)()
	consumer, err := f.open(ctx, after)
	if err != nil {
		return err
	}
	if consumer.CachedInfo().Delivered.Stream < after {
		return errHistory
	}
	heard()
	messages, err := consumer.Messages(jetstream.PullMaxMessages(256), jetstream.PullHeartbeat(2*time.Second), jetstream.PullExpiry(30*time.Second))
	if err != nil {
		return err
	}
	defer messages.Stop()
	var last uint64 // of the consumer
	for {
		m, err := f.next(ctx, messages)
		if errors.Is(err, errQuiet) {
			if err := f.verify(ctx, consumer, last); err != nil {
				return err
			}
			heard()
			continue
		}
		if err != nil {
			return err
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		if meta.Sequence.Consumer != last+1 {
			return errGap
		}
		last = meta.Sequence.Consumer
		heard()
		if err := on(message{m.Subject(), m.Data(), meta.Sequence.Stream, meta.NumPending == 0}); err != nil {
			return err
		}
	}
}

var (
	errCut   = errors.New("the connection was lost")
	errGap   = errors.New("messages were lost on the way")
	errQuiet = errors.New("nothing came")
)

// stopWhenCut calls stop when the connection is lost: what was on its way then is lost too. The function that it returns ends that.
func (f feed) stopWhenCut(ctx context.Context, stop context.CancelCauseFunc) (end func()) {
	lost := f.nc.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	over := make(chan struct{})
	go func() {
		defer close(over)
		select {
		case <-lost:
			stop(errCut)
		case <-ctx.Done():
		}
	}()
	return func() {
		stop(nil)
		<-over
		f.nc.RemoveStatusListener(lost)
	}
}

// next waits for a message; errQuiet when none came in time.
func (f feed) next(ctx context.Context, messages jetstream.MessagesContext) (jetstream.Msg, error) {
	wait, cancel := context.WithTimeout(ctx, f.every)
	defer cancel()
	m, err := messages.Next(jetstream.NextContext(wait))
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil && wait.Err() != nil:
		return nil, errQuiet
	}
	return m, err
}

// verify finds out whether the last message that was sent is the last that came.
func (f feed) verify(ctx context.Context, c jetstream.Consumer, last uint64) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	info, err := c.Info(ctx)
	if err != nil {
		return err
	}
	if info.Delivered.Consumer > last {
		return errGap
	}
	return nil
}

func (f feed) open(ctx context.Context, after uint64) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	// A consumer cannot be told to start elsewhere, so it is made anew.
	if err := f.js.DeleteConsumer(ctx, f.stream, f.consumer); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, err
	}
	c := jetstream.ConsumerConfig{
		Name: f.consumer, FilterSubject: f.filter, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, AckPolicy: jetstream.AckNonePolicy,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Minute,
	}
	if after > 0 {
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, after+1
	}
	return f.js.CreateConsumer(ctx, f.stream, c)
}
