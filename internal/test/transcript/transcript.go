// Package transcript keeps what programs say while tests read it.
package transcript

import (
	"bytes"
	"sync"
)

// Buffer is a [bytes.Buffer] that may be used concurrently. The zero Buffer is ready.
type Buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
