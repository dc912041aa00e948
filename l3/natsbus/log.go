package natsbus

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
)

// serverLog writes nats-server's log to slog. It remembers what nats-server says nowhere else: that
// something is fatal, after which nats-server would end the process, and that it has given up its
// store.
type serverLog struct {
	log    *slog.Logger
	broken atomic.Bool // it has given up a stream, or all of JetStream

	mu    sync.Mutex
	cause error
}

// Noticef logs at debug level, because there is a page of notices at each start.
func (l *serverLog) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }

// Warnf is nats-server's.
func (l *serverLog) Warnf(format string, v ...any) { l.log.Warn(fmt.Sprintf(format, v...)) }

// Errorf is nats-server's.
func (l *serverLog) Errorf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	if strings.Contains(text, "ritical write error") || strings.Contains(text, "will be DISABLED") {
		l.broken.Store(true)
	}
	l.log.Error(text)
}

// Debugf is nats-server's.
func (l *serverLog) Debugf(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }

// Tracef is nats-server's.
func (l *serverLog) Tracef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }

// Fatalf is nats-server's.
func (l *serverLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause == nil {
		l.cause = fmt.Errorf(format, v...)
	}
}

func (l *serverLog) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}
