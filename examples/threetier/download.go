package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/l3kit/l3kit/internal/test/lab"
)

// A download runs until one side ends it, at some 8 MB/s: enough that a pause shows, and little
// enough that two cores have time for the rest.
const (
	chunk    = 16 << 10
	interval = 2 * time.Millisecond
)

// enough is how much must come before a download is said to flow; and how much of one must come,
// before another is said to have ended.
const enough = 1 << 20

// content is the byte at a place of a download: what arrives can be told from what should.
func content(at int64) byte { return byte(at % 251) }

func download(w http.ResponseWriter, r *http.Request) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	buf := make([]byte, chunk)
	for at := int64(0); ; at += chunk {
		for i := range buf {
			buf[i] = content(at + int64(i))
		}
		if _, err := w.Write(buf); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}

// fetch is a download as its client sees it.
type fetch struct {
	body io.Closer

	mu      sync.Mutex
	arrived *sync.Cond
	bytes   int64
	last    time.Time
	pause   time.Duration // the longest so far since mark
	err     error         // why it ended
}

// startFetch begins a download and waits until it flows. It ends when it is closed, or ctx ends.
func startFetch(ctx context.Context, from *lab.Host, source, url string) (*fetch, error) {
	r, err := request(ctx, from, source, url+"/download")
	if err != nil {
		return nil, err
	}
	f := &fetch{body: r.Body}
	f.arrived = sync.NewCond(&f.mu)
	go f.read(r.Body)
	if err := f.more(ctx); err != nil {
		return nil, fmt.Errorf("download from %s: %w", url, err)
	}
	f.mark()
	return f, nil
}

func (f *fetch) read(body io.Reader) {
	buf := make([]byte, 64<<10)
	for at := int64(0); ; {
		n, err := body.Read(buf)
		for i := range n {
			if buf[i] != content(at+int64(i)) {
				err = fmt.Errorf("byte %d is wrong", at+int64(i))
				break
			}
		}
		at += int64(n)
		f.mu.Lock()
		now := time.Now()
		if !f.last.IsZero() {
			f.pause = max(f.pause, now.Sub(f.last))
		}
		f.last, f.bytes, f.err = now, at, err
		f.arrived.Broadcast()
		f.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// more waits until enough has come from now on: a measure of time in traffic. It fails when the
// download has ended, or stands still.
func (f *fetch) more(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, answerTime, errors.New("it stands still"))
	defer cancel()
	defer context.AfterFunc(ctx, f.arrived.Broadcast)()
	f.mu.Lock()
	defer f.mu.Unlock()
	for goal := f.bytes + enough; f.bytes < goal; f.arrived.Wait() {
		if f.err != nil {
			return f.err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// mark begins to measure pauses anew.
func (f *fetch) mark() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pause, f.last = 0, time.Now()
}

// total is how much has come.
func (f *fetch) total() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bytes
}

// longestPause is the longest time without a byte since mark.
func (f *fetch) longestPause() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pause
}

func (f *fetch) close() { f.body.Close() }
