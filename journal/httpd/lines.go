package httpd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"copialettere/journal"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
	"copialettere/policy/notice"
	"copialettere/policy/pec"
	"copialettere/policy/setup"
)

// lines writes JSON objects to the client, one a line, as they come.
type lines struct {
	w       http.ResponseWriter
	enc     *json.Encoder
	started bool
	flushed time.Time
}

// flushEvery is how long lines may wait to be sent while more follow.
const flushEvery = 200 * time.Millisecond

func newLines(w http.ResponseWriter) *lines { return &lines{w: w, enc: json.NewEncoder(w)} }

func (l *lines) write(v any) error {
	if !l.started {
		l.w.Header().Set("Content-Type", "application/x-ndjson")
		l.started = true
	}
	if err := l.enc.Encode(v); err != nil {
		return err
	}
	if now := time.Now(); now.Sub(l.flushed) > flushEvery {
		l.flushed = now
		l.flush()
	}
	return nil
}

// flush sends everything written so far.
func (l *lines) flush() { http.NewResponseController(l.w).Flush() }

// Problem is the answer to a request that failed, or the last line of an answer that broke off.
type Problem struct {
	Error string `json:"error"`
}

// fail ends the answer with an error, and logs what is neither the client's fault nor a state that it is told of.
func (l *lines) fail(log *slog.Logger, err error) {
	status := http.StatusInternalServerError
	is := func(targets ...error) bool {
		return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
	}
	switch {
	case is(errRequest, policy.ErrAddress, policy.ErrUnknownDomain, policy.ErrSetting, policy.ErrConfirmation, journal.ErrFolder, auth.ErrName, auth.ErrDelegate, auth.ErrToken, setup.ErrChoice):
		status = http.StatusBadRequest
	case is(policy.ErrForbidden, archive.ErrReadOnly, auth.ErrDenied, auth.ErrSecondFactor):
		status = http.StatusForbidden
	case is(policy.ErrHeld, journal.ErrHeld, policy.ErrErasing, policy.ErrNotClosing, policy.ErrNotPending, notice.ErrCode, auth.ErrCode, auth.ErrThrottled, policy.ErrTaken, policy.ErrClosed, policy.ErrLimit):
		status = http.StatusConflict
	case is(journal.ErrNotFound, journal.ErrGone, pec.ErrNoPart, auth.ErrNoAppPassword, auth.ErrNoSecondFactor, auth.ErrNoDelegate, auth.ErrNoToken, policy.ErrNoArchive, setup.ErrNotOffered):
		status = http.StatusNotFound
	case is(context.Canceled):
	default:
		if log != nil {
			log.Error("admin request failed", "error", err)
		}
	}
	if !l.started {
		l.w.Header().Set("Content-Type", "application/x-ndjson")
		l.w.WriteHeader(status)
		l.started = true
	}
	l.enc.Encode(Problem{err.Error()})
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
