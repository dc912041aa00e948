package natsbus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// feed reads the messages of a consumer that the control plane has made for the host, in the order
// in which they were written.
type feed struct {
	nc      *nats.Conn
	subject string // that asks for the next messages
	last    uint64 // delivery number of the last message that was taken
}

// message is the value of a key.
type message struct {
	subject  string
	value    []byte
	sequence uint64 // in the stream
	delivery uint64 // counts the consumer's deliveries
	caughtUp bool   // there was no other message when it was sent
	gap      bool   // a message before it was lost on the way
}

// What the server is asked for. A pull that the server does not answer is repeated.
const (
	pullBatch  = 256
	pullBytes  = 2 * maxMessage
	pullExpiry = 30 * time.Second
	pullIdle   = 2 * time.Second // the server says that it is there
	pullSilent = 3 * pullIdle    // the server is not there
)

var (
	errGap      = errors.New("messages were lost on the way")
	errSilent   = errors.New("the bus does not answer")
	errConsumer = errors.New("the bus does not have the consumer of the host")
)

// pull is the body of a request for messages.
var pull = func() []byte {
	text, err := json.Marshal(map[string]any{
		"batch": pullBatch, "max_bytes": pullBytes, "expires": pullExpiry, "idle_heartbeat": pullIdle,
	})
	if err != nil {
		panic(err) // numbers can be encoded
	}
	return text
}()

// read hands each message to take until ctx ends, take fails, or messages cannot be read; then it
// returns why. It can be called again, and goes on where it was. Messages that were lost in between
// are detected: by a message with a gap before it, or by errGap when none has come since.
func (f *feed) read(ctx context.Context, take func(message) error) error {
	ctx, end := whileConnected(ctx, f.nc)
	defer end()
	sub, err := f.nc.SubscribeSync(f.nc.NewInbox())
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails when the connection is closed, which ends it as well
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return err // the pull has limits
	}
	for {
		if err := f.nc.PublishRequest(f.subject, sub.Subject, pull); err != nil {
			return err
		}
		for n, over := 0, false; n < pullBatch && !over; {
			m, err := f.next(ctx, sub)
			if err != nil {
				return err
			}
			if status := m.Header.Get("Status"); status != "" && len(m.Data) == 0 {
				if over, err = f.status(m, status); err != nil {
					return err
				}
				continue
			}
			got, err := f.message(m)
			if err != nil {
				return err
			}
			if err := take(got); err != nil {
				return err
			}
			f.last, n = got.delivery, n+1
		}
	}
}

func (f *feed) next(ctx context.Context, sub *nats.Subscription) (*nats.Msg, error) {
	wait, cancel := context.WithTimeout(ctx, pullSilent)
	defer cancel()
	m, err := sub.NextMsgWithContext(wait)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil && wait.Err() != nil:
		return nil, errSilent
	}
	return m, err
}

// status handles a message of the server about a pull, and reports whether the pull is over.
func (f *feed) status(m *nats.Msg, status string) (over bool, err error) {
	switch description := m.Header.Get("Description"); status {
	case "100": // idle heartbeat
		last, err := strconv.ParseUint(m.Header.Get("Nats-Last-Consumer"), 10, 64)
		if err == nil && last > f.last {
			f.last = last
			return false, errGap
		}
		return false, nil
	case "404", "408": // it has expired
		return true, nil
	case "503":
		return false, errConsumer
	case "409":
		if strings.EqualFold(description, "Batch Completed") || strings.Contains(description, "MaxBytes") {
			return true, nil
		}
		if strings.EqualFold(description, "Consumer Deleted") {
			return false, errConsumer
		}
		return false, fmt.Errorf("the bus ends a pull: %s", description)
	default:
		return false, fmt.Errorf("the bus refuses a pull: %s %s", status, description)
	}
}

// message reads the metadata of a message, which is its reply subject:
// $JS.ACK.<stream>.<consumer>.<deliveries>.<stream sequence>.<consumer sequence>.<time>.<pending>.
func (f *feed) message(m *nats.Msg) (message, error) {
	meta, err := m.Metadata()
	if err != nil {
		return message{}, fmt.Errorf("read the metadata of a message: %w", err)
	}
	return message{
		subject: m.Subject, value: m.Data, sequence: meta.Sequence.Stream, delivery: meta.Sequence.Consumer,
		caughtUp: meta.NumPending == 0, gap: meta.Sequence.Consumer != f.last+1,
	}, nil
}
