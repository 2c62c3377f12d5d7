package httpd

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strings"
	"time"

	"copialettere/journal"
)

// The media types of answers. Many objects come one a line to those who accept linesType.
const (
	documentType = "application/json"
	linesType    = "application/x-ndjson"
	problemType  = "application/problem+json"
	bundleType   = "application/zip"
	messageType  = "message/rfc822"
	messagesType = "multipart/mixed"
	partType     = "application/octet-stream" // with the sender's type, a browser might show it
	zipType      = "application/zip"
)

// answer writes JSON objects to the client as they come: as one document, or one a line.
type answer struct {
	w       http.ResponseWriter
	enc     *json.Encoder
	many    bool // any number of objects; otherwise one
	lines   bool // one a line
	started bool
	items   int // written so far, of many
	flushed time.Time
	// next is the place after the last item, where a further page follows.
	next string
}

// last is what ends an answer of many: the last line, or the members of the document beside the items.
type last struct {
	Next    string   `json:"next,omitempty"`
	Problem *Problem `json:"problem,omitempty"`
}

// flushEvery is how long objects may wait to be sent while more follow.
const flushEvery = 200 * time.Millisecond

func newAnswer(w http.ResponseWriter, r *http.Request, many bool) *answer {
	return &answer{w: w, enc: json.NewEncoder(w), many: many, lines: strings.Contains(r.Header.Get("Accept"), linesType)}
}

func (a *answer) start() error {
	if a.started {
		return nil
	}
	a.started = true
	if a.lines {
		a.w.Header().Set("Content-Type", linesType)
		return nil
	}
	a.w.Header().Set("Content-Type", documentType)
	if !a.many {
		return nil
	}
	_, err := a.w.Write([]byte(`{"items":[`))
	return err
}

func (a *answer) write(v any) error {
	if err := a.start(); err != nil {
		return err
	}
	if a.many && !a.lines && a.items > 0 {
		if _, err := a.w.Write([]byte(",")); err != nil {
			return err
		}
	}
	a.items++
	if err := a.enc.Encode(v); err != nil {
		return err
	}
	if now := time.Now(); now.Sub(a.flushed) > flushEvery {
		a.flushed = now
		a.flush()
	}
	return nil
}

// flush sends everything written so far.
func (a *answer) flush() { http.NewResponseController(a.w).Flush() }

// end ends the answer.
func (a *answer) end() { a.close(last{Next: a.next}) }

func (a *answer) close(l last) {
	if a.start() != nil || !a.many {
		return // the client has gone, or the one object is all
	}
	b, err := json.Marshal(l)
	if err != nil {
		return
	}
	more := string(b) // {"next":...}, or {} for nothing
	switch {
	case a.lines && l == (last{}):
	case a.lines:
		a.w.Write([]byte(more + "\n"))
	case l == (last{}):
		a.w.Write([]byte("]}\n"))
	default:
		a.w.Write([]byte("]," + more[1:] + "\n"))
	}
}

// fail ends the answer with an error.
func (a *answer) fail(api *api, route *Route, err error) {
	p := problemOf(err)
	if p.Status >= http.StatusInternalServerError {
		api.fault(route, &p, err)
	}
	switch p.Status {
	case http.StatusUnauthorized:
		a.w.Header().Set("WWW-Authenticate", `Bearer realm="copialettere"`)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		a.w.Header().Set("Retry-After", "60")
	}
	switch {
	case !a.started:
		a.problem(p)
	case a.many || a.lines:
		a.many = true
		a.close(last{Next: a.next, Problem: &p})
	}
	// One object that is out already says itself what it lacks: see archive.Mailbox.PassedOver.
}

// problem answers with a problem and nothing else.
func (a *answer) problem(p Problem) {
	a.started = true
	a.w.Header().Set("Content-Type", problemType)
	a.w.WriteHeader(p.Status)
	a.enc.Encode(p)
}

// tell writes what a source yields, as it comes. It counts what is damaged, and returns that as an error after the rest.
func tell[T any](c *call, source iter.Seq2[T, error]) error {
	var damaged damages
	for v, err := range source {
		if damaged.count(err) {
			continue
		}
		if err != nil {
			return err
		}
		if c.out.write(v) != nil {
			return nil // the client has gone
		}
	}
	return damaged.err()
}

// damages counts what cannot be read, while the rest is still written.
type damages struct {
	number int
	first  error
	passed journal.PassedOver
}

// count counts an error that says that a month or a single value is damaged, and reports whether err is one.
func (d *damages) count(err error) bool {
	if d.passed.Add(err) {
		return true
	}
	if !errors.Is(err, journal.ErrDamaged) {
		return false
	}
	if d.number++; d.number == 1 {
		d.first = err
	}
	return true
}

// err returns the error that sums up what was counted; nil when nothing is damaged.
func (d *damages) err() error {
	if d.number == 0 {
		return d.passed.Err()
	}
	err := fmt.Errorf("damaged, and left out: %d; \"copialettere verify\" tells which; the first: %w", d.number, d.first)
	if len(d.passed) > 0 {
		err = fmt.Errorf("%w; %w", d.passed, err)
	}
	return err
}
