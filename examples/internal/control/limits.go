package control

import (
	"time"

	"github.com/l3kit/l3kit/examples/internal/setting"
	"github.com/l3kit/l3kit/l3/rest"
	"github.com/l3kit/l3kit/l3/server"
)

// Limits is the flags that bound what clients of the API can hold on to.
type Limits struct {
	MaxConnections  int           `default:"1000" help:"Maximum number of connections to the API. Requests on further ones are answered with 503."`
	MaxBody         int64         `default:"1048576" help:"Maximum size of a request's body, in bytes. Larger ones are answered with 413."`
	MaxItems        int           `default:"500" help:"Maximum number of resources or list elements in a request. More is answered with 413."`
	MaxBodyMemory   int64         `default:"67108864" help:"Memory for the bodies of all current requests, in bytes. Further requests are answered with 503."`
	MaxAnswerMemory int64         `default:"268435456" help:"Memory for all answers to GET that are being sent, in bytes. Further requests are answered with 503."`
	RequestTimeout  time.Duration `default:"30s" help:"Time that a request can take when the database does not answer. Then the answer is 503."`
	ReadTimeout     time.Duration `default:"1m" help:"Time that a client has to send a request."`
	WriteTimeout    time.Duration `default:"1m" help:"Time that a client has to take an answer."`
	ShutdownTimeout time.Duration `default:"10s" help:"Time that current requests have to finish after SIGTERM."`
}

func (l *Limits) check() error {
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"max-connections", int64(l.MaxConnections)}, {"max-body", l.MaxBody}, {"max-items", int64(l.MaxItems)},
		{"max-body-memory", l.MaxBodyMemory}, {"max-answer-memory", l.MaxAnswerMemory},
		{"request-timeout", int64(l.RequestTimeout)},
		{"read-timeout", int64(l.ReadTimeout)}, {"write-timeout", int64(l.WriteTimeout)}, {"shutdown-timeout", int64(l.ShutdownTimeout)},
	} {
		if f.value <= 0 {
			return setting.Errorf("--%s: it must be more than 0", f.name)
		}
	}
	if l.MaxBodyMemory <= l.MaxBody {
		return setting.Errorf("--max-body-memory: %d is not more than --max-body, %d", l.MaxBodyMemory, l.MaxBody)
	}
	return nil
}

func (l *Limits) server() server.Limits {
	return server.Limits{
		Limits:  rest.Limits{Body: l.MaxBody, Items: l.MaxItems, Bodies: l.MaxBodyMemory, Answers: l.MaxAnswerMemory},
		Request: l.RequestTimeout, Connections: l.MaxConnections, Read: l.ReadTimeout, Write: l.WriteTimeout, Shutdown: l.ShutdownTimeout,
	}
}
