package rest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/l3kit/l3kit/l3"
)

// Limits bound what clients can make a server hold and do. A zero is replaced by the default.
// Whoever serves the handler bounds connections and time; see [Busy].
type Limits struct {
	// Body is the bytes of a request's body; default 1 MiB. More is answered with 413.
	Body int64
	// Items is the elements of a list in a body, and so the resources that one request creates;
	// default 500. More is answered with 413.
	Items int
	// Bodies is the bytes of all bodies that are being received or worked on; default 64 MiB. A
	// request that exceeds it is answered with 503.
	Bodies int64
	// Answers is the bytes of all answers to GET that are being sent; default 256 MiB. A request
	// that exceeds it is answered with 503, unless no other is being sent.
	Answers int64
}

func (l Limits) withDefaults() Limits {
	if l.Body == 0 {
		l.Body = 1 << 20
	}
	if l.Items == 0 {
		l.Items = 500
	}
	if l.Bodies == 0 {
		l.Bodies = 64 << 20
	}
	if l.Answers == 0 {
		l.Answers = 256 << 20
	}
	return l
}

var errBusy = &l3.Error{Kind: errLoad, Name: "HTTPServiceUnavailable",
	Message: "The server has too many requests to handle. Try again later."}

// Busy answers a request that a server has no room for: 503, as the API says it, with Retry-After.
func Busy(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Openstack-Request-Id", "req-"+uuid.NewString())
	w.Header().Set("Content-Type", "application/json")
	(&api{}).fail(w, r, errBusy)
}

// retryAfter is in seconds.
const retryAfter = "1"

// budget is a number of bytes that requests share.
type budget struct {
	all   int64
	taken atomic.Int64
}

// take reports whether there is so much left. Who is alone is never refused.
func (b *budget) take(n int64) bool {
	if taken := b.taken.Add(n); taken > b.all && taken > n {
		b.taken.Add(-n)
		return false
	}
	return true
}

func (b *budget) give(n int64) { b.taken.Add(-n) }

// leastReserved is what a body is taken to need at first, in bytes.
const leastReserved = 4 << 10

// receive reads a request's body into memory, for which it takes from the budget as the body comes
// in: a client that sends slowly holds no more than it has sent. The body can then be read again.
// done gives back what was taken, once the request has been answered.
func (a *api) receive(r *http.Request) (done func(), err error) {
	var held int64
	done = func() { a.bodies.give(held) }
	reserve := func(n int64) error {
		if !a.bodies.take(n) {
			return errBusy
		}
		held += n
		return nil
	}
	if r.ContentLength > a.limits.Body {
		return done, errTooLarge
	}
	if err := reserve(leastReserved); err != nil {
		return done, err
	}
	raw := make([]byte, 0, leastReserved)
	for {
		if len(raw) == cap(raw) {
			more := min(int64(cap(raw)), a.limits.Body+1-int64(cap(raw)))
			if err := reserve(more); err != nil {
				return done, err
			}
			raw = append(make([]byte, 0, int64(cap(raw))+more), raw...)
		}
		n, err := r.Body.Read(raw[len(raw):cap(raw)])
		raw = raw[:len(raw)+n]
		var long *http.MaxBytesError
		switch {
		case errors.Is(err, io.EOF):
			if crowded(raw, a.limits.Items) {
				return done, a.tooMany()
			}
			r.Body = io.NopCloser(bytes.NewReader(raw))
			return done, nil
		case errors.As(err, &long):
			return done, errTooLarge
		case err != nil:
			return done, badRequest("The request body could not be read: %v", err)
		}
	}
}

func (a *api) tooMany() error {
	return &l3.Error{Kind: errSize, Name: errTooLarge.Name,
		Message: fmt.Sprintf("Request is too large: a list in it has more than %d elements.", a.limits.Items)}
}

// maxDepth is how deep JSON may be nested for [crowded] to look at it; encoding/json refuses more.
const maxDepth = 10_000

// crowded reports whether a list, or an object, in a JSON text has more than so many elements. It
// is found out before the text is parsed, because its values take many times the memory of the
// text.
func crowded(raw []byte, most int) bool {
	commas, quoted := []int{}, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			if len(commas) == maxDepth {
				return false
			}
			commas = append(commas, 0)
		case len(commas) == 0:
		case c == ']' || c == '}':
			commas = commas[:len(commas)-1]
		case c == ',':
			if commas[len(commas)-1]++; commas[len(commas)-1] >= most {
				return true
			}
		}
	}
	return false
}

// maxTerms is how many values a filter may have whose cost in the database grows faster than their
// number.
const maxTerms = 100

func tooManyTerms(n int) error {
	if n <= maxTerms {
		return nil
	}
	return fmt.Errorf("there are %d values, and %d at most can be looked for at once", n, maxTerms)
}
