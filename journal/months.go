package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"copialettere/journal/evidence"
	"copialettere/journal/kv"
	"copialettere/journal/metrics"
)

// MonthError says that a month could not be read or worked on, because its volume is damaged or absent. It is ErrDamaged. It costs only
// that month: whatever yields it goes on with the next one.
type MonthError struct {
	Month kv.Month
	Err   error
}

// Error names the month and what is wrong with it.
func (e *MonthError) Error() string { return fmt.Sprintf("month %s: %v", e.Month, e.Err) }

// Unwrap returns what is wrong with the month.
func (e *MonthError) Unwrap() error { return e.Err }

// Is reports whether target is ErrDamaged.
func (e *MonthError) Is(target error) bool { return target == ErrDamaged }

// PassedOver are months that were skipped, with what is wrong with each. As an error it is ErrDamaged: everything else was done.
type PassedOver []*MonthError

// Error says which months were passed over, and why.
func (p PassedOver) Error() string {
	text := make([]string, len(p))
	for i, e := range p {
		text[i] = e.Error()
	}
	return "passed over: " + strings.Join(text, "; ")
}

// Unwrap returns what is wrong with each of the months.
func (p PassedOver) Unwrap() []error {
	list := make([]error, len(p))
	for i, e := range p {
		list[i] = e
	}
	return list
}

// Months lists the months.
func (p PassedOver) Months() []kv.Month {
	var list []kv.Month
	for _, e := range p {
		list = append(list, e.Month)
	}
	return list
}

// Add reports whether err is a MonthError, and keeps it, once for each month.
func (p *PassedOver) Add(err error) bool {
	var month *MonthError
	if !errors.As(err, &month) {
		return false
	}
	if !p.has(month.Month) {
		*p = append(*p, month)
	}
	return true
}

func (p PassedOver) has(m kv.Month) bool {
	return slices.ContainsFunc(p, func(e *MonthError) bool { return e.Month == m })
}

// Err returns the months as an error, nil if there are none.
func (p PassedOver) Err() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

// unreadable are the months that could not be read when last asked for.
type unreadable struct {
	mu     sync.Mutex
	months map[kv.Month]fault // guarded by mu
	gauge  *metrics.Gauge
}

// fault is the last fault of a month.
type fault struct {
	opening bool // it could not be opened; otherwise something in it could not be read or written
	at      time.Time
}

// faultPause is how long a fault in a month that opens is remembered.
const faultPause = 10 * time.Minute

// monthError makes an error of a month a MonthError, and logs a new one. The end of ctx or of the engine is no fault of the month. Nor is
// a failure of the settings, which have no month, even where a hold is asked for.
func (j *Journal) monthError(ctx context.Context, m kv.Month, err error) error {
	return j.monthFault(ctx, m, err, false)
}

func (j *Journal) monthFault(ctx context.Context, m kv.Month, err error, opening bool) error {
	var month *MonthError
	if m == "" || err == nil || ctx.Err() != nil || errors.Is(err, kv.ErrClosed) || errors.Is(err, errHoldUnknown) || errors.As(err, &month) {
		return err
	}
	if errors.Is(err, kv.ErrFenced) {
		return &MonthError{m, err} // it is whole, and about to be dropped
	}
	u := &j.unreadable
	u.mu.Lock()
	defer u.mu.Unlock()
	_, known := u.months[m]
	u.months[m] = fault{opening, j.now()}
	if !known {
		u.gauge.Set(int64(len(u.months)))
		j.log.Error("a month cannot be used: until it is mended it is passed over, usage is counted without it, and repetitions of its mail "+
			"may be journaled twice", "month", m, "error", err)
	}
	return &MonthError{m, err}
}

// opened says that a month was opened; not all of it need be readable.
func (j *Journal) opened(m kv.Month) { j.known(m, false) }

// readable says that all of a month can be read, or that it is gone.
func (j *Journal) readable(m kv.Month) { j.known(m, true) }

func (j *Journal) known(m kv.Month, readable bool) {
	u := &j.unreadable
	u.mu.Lock()
	defer u.mu.Unlock()
	if f, known := u.months[m]; known && (readable || f.opening || j.now().Sub(f.at) > faultPause) {
		delete(u.months, m)
		u.gauge.Set(int64(len(u.months)))
		j.log.Info("a month can be used again", "month", m)
	}
}

// Forget gives up for good a month that is not there any more: the journal no longer expects it, and records a gap of all mailboxes. A
// month that is there is an error; the error is ErrNotFound where there never was one.
func (j *Journal) Forget(ctx context.Context, m kv.Month, who string) error {
	ctx, release, err := j.clean(ctx)
	if err != nil {
		return fmt.Errorf("give up month %s: %w", m, err)
	}
	defer release()
	months, err := j.engine.Volumes(ctx)
	if err != nil {
		return fmt.Errorf("list volumes: %w", err)
	}
	if !slices.Contains(months, m) {
		return fmt.Errorf("month %s: %w", m, ErrNotFound)
	}
	settings, err := j.engine.Settings(ctx)
	if err != nil {
		return err
	}
	gap := Record{
		Kind: Gap, Time: m.Start(), Until: m.Next().Start(), Reason: ReasonLost, Detail: fmt.Sprintf("the whole month was given up by %s", who),
	}
	key, value := recordKey("", m.Start(), forgottenSlot), gap.encode()
	var before []byte
	put := func(v []byte) error {
		return settings.Update(ctx, []string{""}, func(tx kv.Tx) (err error) {
			if before, err = tx.Get(key); err != nil && !errors.Is(err, kv.ErrNotFound) {
				return err
			}
			if v == nil {
				tx.Delete(key)
			} else {
				tx.Put(key, v)
			}
			return nil
		})
	}
	// After a crash between the two the month is still expected; the next try gives it up.
	if err := put(value); err != nil {
		return fmt.Errorf("record that month %s is given up: %w", m, err)
	}
	logging, ended, err := j.ending(ctx)
	if err != nil {
		return errors.Join(err, put(before))
	}
	defer ended()
	if err := j.endKnown(logging, m, evidence.EndedForgotten); err != nil {
		return errors.Join(err, put(before))
	}
	if err := j.engine.Forget(ctx, m); err != nil {
		return errors.Join(err, put(before))
	}
	j.usages.dropped(m)
	j.dictionaries.dropped(m)
	j.readable(m)
	j.recorded([]Record{gap})
	return nil
}

// forgottenSlot is the number of the record of a month that was given up.
const forgottenSlot = 0xfffd
