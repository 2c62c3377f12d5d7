package policy

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"copialettere/journal/kv"
)

// Change is one change of one setting.
type Change struct {
	Number  uint64    `json:"-"` // counts the changes of this mailbox, from 1
	Mailbox Address   `json:"-"`
	Time    time.Time `json:"time"`           // UTC; never before the previous change, whatever the clock did
	Role    Role      `json:"role,omitempty"` // in what role; empty in changes of the first version
	Who     string    `json:"who"`
	Cause   string    `json:"cause,omitempty"` // CauseDomainDefault, or empty if the change itself was asked for
	Key     string    `json:"key"`             // which setting: a key of Settings.Values
	Before  string    `json:"before"`          // its old value, as Settings.Values gives it
	After   string    `json:"after"`           // its new value
}

// CauseDomainDefault marks the changes that copy the defaults of the domain into a new mailbox.
const CauseDomainDefault = "domain-default"

// Changes yields the changes of a mailbox's settings, oldest first.
func (p *Policy) Changes(ctx context.Context, a Address) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		for pair, err := range p.store.Scan(ctx, changeKey(a, 0), changeKey(a, 1<<64-1)) {
			c := Change{Mailbox: a}
			if err == nil {
				c.Number = binary.BigEndian.Uint64(pair.Key[len(pair.Key)-8:])
				err = json.Unmarshal(pair.Value, &c)
			}
			if err != nil {
				yield(Change{}, fmt.Errorf("changes of %s: %w", a, err))
				return
			}
			if !yield(c, nil) {
				return
			}
		}
	}
}

func settingsKey(a Address) []byte { return []byte(SettingsLock(a.String())) }

func changeKey(a Address, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte("l"+a.String()+"\x00"), n)
}

// editing is one change of settings in progress inside an Update.
type editing struct {
	Settings
	tx     kv.Tx
	exists bool      // the mailbox was set up before
	now    time.Time // UTC; the time of the change
}

// change runs edit over the settings of a mailbox, and writes the result with one log record for each setting that differs. If none differs,
// it writes nothing, and does not set up the mailbox. Edit may run more than once.
func (p *Policy) change(ctx context.Context, a Address, who Actor, edit func(*editing) error) (changes []Change, err error) {
	if a.Local == "" || a.Domain == "" {
		return nil, fmt.Errorf("%w: no domain", ErrAddress)
	}
	if !who.valid() {
		return nil, errNoAuthor
	}
	key, now := settingsKey(a), time.Now().UTC().Round(0)
	err = p.store.Update(ctx, []string{string(key)}, func(tx kv.Tx) error {
		changes = nil
		r, e, err := p.edited(tx, a, now, edit)
		if err != nil {
			return err
		}
		asked := differences(r.Settings, e.Settings)
		if len(asked) == 0 {
			return nil
		}
		if !e.exists {
			for _, c := range differences(programDefaults(), r.Settings) {
				c.Cause = CauseDomainDefault
				changes = append(changes, c)
			}
		}
		changes = append(changes, asked...)
		for i := range changes {
			c := &changes[i]
			r.changes++
			c.Number, c.Mailbox, c.Time, c.Role, c.Who = r.changes, a, e.now, who.Role, who.Name
			if err := putChange(tx, *c); err != nil {
				return err
			}
		}
		if err := p.revision(tx, Revision{a, r.Settings, e.Settings, e.now}); err != nil {
			return err
		}
		r.Settings = e.Settings
		value, err := r.encode()
		if err != nil {
			return err
		}
		tx.Put(key, value)
		return nil
	})
	if err != nil {
		p.tellChanged() // after an error the change may still have been made
		return nil, err
	}
	if len(changes) > 0 {
		p.tellChanged()
	}
	return changes, nil
}

// OnChange sets the function that is called after each change of settings that this Policy has made, or may have made. It must not block. Nobody
// reports the changes of another process.
func (p *Policy) OnChange(f func()) { p.changed.Store(&f) }

// tellChanged calls the function of OnChange.
func (p *Policy) tellChanged() {
	if f := p.changed.Load(); f != nil {
		(*f)()
	}
}

// edited reads the record of a mailbox and runs edit over its settings. A mailbox that was not set up starts with those of its domain.
func (p *Policy) edited(tx kv.Tx, a Address, now time.Time, edit func(*editing) error) (r record, e *editing, err error) {
	e = &editing{tx: tx, exists: true, now: now}
	b, err := tx.Get(settingsKey(a))
	switch {
	case err == nil:
		r, err = decodeRecord(b)
	case errors.Is(err, kv.ErrNotFound):
		e.exists = false
		r, err = record{Settings: p.defaults(a.Domain)}, nil
	}
	if err != nil {
		return record{}, nil, err
	}
	if r.changes > 0 {
		last, err := lastChange(tx, a, r.changes)
		if err != nil {
			return record{}, nil, err
		}
		// A clock that was set back must not reverse the order of the log.
		if e.now.Before(last.Time) {
			e.now = last.Time.UTC()
		}
	}
	e.Settings = r.Settings
	return r, e, edit(e)
}

func lastChange(tx kv.Tx, a Address, n uint64) (c Change, err error) {
	b, err := tx.Get(changeKey(a, n))
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil {
		return Change{}, fmt.Errorf("change %d: %w", n, err)
	}
	return c, nil
}

// putChange writes a change. It refuses to overwrite one.
func putChange(tx kv.Tx, c Change) error {
	key := changeKey(c.Mailbox, c.Number)
	switch _, err := tx.Get(key); {
	case err == nil:
		return fmt.Errorf("change %d is on record already", c.Number)
	case !errors.Is(err, kv.ErrNotFound):
		return err
	}
	value, err := json.Marshal(c)
	if err != nil {
		return err
	}
	tx.Put(key, value)
	return nil
}

// differences returns one change for each setting that differs, without time and author.
func differences(before, after Settings) []Change {
	var changes []Change
	for key := range strings.SplitSeq(valueKeys, ",") {
		if old, value := before.value(key), after.value(key); old != value {
			changes = append(changes, Change{Key: key, Before: old, After: value})
		}
	}
	return changes
}

// Reasons of a pause, beside ReasonDisabled for an archive that was off and ReasonPaused for one that was paused.
const (
	ReasonNotActivated = "not-activated" // the archive had never been on
	ReasonErased       = "erased"        // the archive was on, and was erased after it had been disabled
)

// Pause is a span of time from which the archive holds no messages.
type Pause struct {
	From   time.Time // zero for the beginning
	Until  time.Time // zero while it lasts
	Reason string    // ReasonNotActivated, ReasonDisabled, ReasonPaused or ReasonErased
}

// Pauses yields the spans of time from which the archive of a mailbox holds nothing: the time before its first activation, each time it was
// paused or off, and the times it was on that have been erased. They come oldest first, without a hole between two that touch. They follow the change
// log, to the instant.
func (p *Policy) Pauses(ctx context.Context, a Address) iter.Seq2[Pause, error] {
	return func(yield func(Pause, error) bool) {
		spans := []span{{Pause: Pause{Reason: ReasonNotActivated}}}
		for c, err := range p.Changes(ctx, a) {
			if err != nil {
				yield(Pause{}, err)
				return
			}
			spans = follow(spans, c)
		}
		for _, s := range spans {
			if !s.on && !yield(s.Pause, nil) {
				return
			}
		}
	}
}

// span is a time during which an archive was on or off. The last one of a list has no end yet.
type span struct {
	Pause
	on bool
}

// follow extends a list of spans with a change.
func follow(spans []span, c Change) []span {
	switch {
	case c.Key == KeyArchive:
		spans[len(spans)-1].Until = c.Time
		next := span{Pause{From: c.Time, Reason: ReasonDisabled}, State(c.After) == StateOn}
		if State(c.After) == StatePaused {
			next.Reason = ReasonPaused
		}
		return append(spans, next)
	case c.Key == KeyErasure && c.After == string(ErasureRunning):
		for i := range spans {
			if spans[i].on {
				spans[i].on, spans[i].Reason = false, ReasonErased
			}
		}
	}
	return spans
}
