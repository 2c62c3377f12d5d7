package policy

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
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

// Changes yields the changes of a mailbox's settings, oldest first. Of the older ones, LogStart tells what was removed.
func (p *Policy) Changes(ctx context.Context, a Address) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		l, err := p.lead(ctx, a)
		if err != nil {
			yield(Change{}, fmt.Errorf("changes of %s: %w", a, err))
			return
		}
		for pair, err := range p.store.Scan(ctx, changeKey(l.name, 1), changeKey(l.name, 1<<64-1)) {
			c := Change{Mailbox: a}
			if err == nil {
				c.Number = numberOf(pair.Key)
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

// ChangesBack yields the changes of the settings of an archive, given by its name, newest first. Their times never go up.
func (p *Policy) ChangesBack(ctx context.Context, archive string) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		get := func(key []byte) ([]byte, error) { return p.store.Get(ctx, key) }
		r, err := directory{get, p.decoded.listed}.record(archive)
		if err != nil {
			yield(Change{}, fmt.Errorf("changes of %s: %w", archive, err))
			return
		}
		if r == nil {
			return
		}
		// Most callers want the newest few.
		for end, step := r.changes+1, uint64(4); end > 1; step = 64 {
			begin := max(end, step+1) - step
			var some []Change
			for pair, err := range p.store.Scan(ctx, changeKey(archive, begin), changeKey(archive, end)) {
				var c Change
				if err == nil {
					c.Number = numberOf(pair.Key)
					err = json.Unmarshal(pair.Value, &c)
				}
				if err != nil {
					yield(Change{}, fmt.Errorf("changes of %s: %w", archive, err))
					return
				}
				some = append(some, c)
			}
			if len(some) == 0 {
				return // what is older was removed
			}
			for _, c := range slices.Backward(some) {
				if !yield(c, nil) {
					return
				}
			}
			end = begin
		}
	}
}

// settingsKey and changeKey take the name of an archive.
func settingsKey(name string) []byte { return []byte(SettingsLock(name)) }

// changePrefix begins the keys of changes.
const changePrefix = 'l'

func changeKey(name string, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(string(changePrefix)+name+"\x00"), n)
}

// editing is one change of a mailbox in progress inside an Update.
type editing struct {
	Settings
	policy  *Policy
	tx      kv.Tx
	address Address   // as it was before
	lead              // what the address leads to
	exists  bool      // the mailbox was set up before
	now     time.Time // UTC; the time of the change
}

// change runs edit over the settings of a mailbox, and writes the result with one log record for each setting that differs. If none differs,
// it writes nothing, and does not set up the mailbox. Edit may run more than once.
func (p *Policy) change(ctx context.Context, a Address, who Actor, edit func(*editing) error) (changes []Change, err error) {
	now := time.Now().UTC().Round(0)
	err = p.update(ctx, who, []Address{a}, func(tx kv.Tx, leads []lead) (changed bool, err error) {
		_, changes, err = p.revise(tx, a, leads[0], who, now, edit)
		return len(changes) > 0, err
	})
	if err != nil {
		return nil, err
	}
	return changes, nil
}

// update runs fn in an Update with the locks of addresses, of their domains, and of the archives that they lead to, and tells of a change. Leads are
// what the addresses lead to, in their order. Fn may run more than once.
func (p *Policy) update(ctx context.Context, who Actor, addresses []Address, fn func(tx kv.Tx, leads []lead) (changed bool, err error)) error {
	if !who.valid() {
		return errNoAuthor
	}
	for {
		var locks, names []string
		for _, a := range addresses {
			if a.Local == "" || a.Domain == "" {
				return fmt.Errorf("%w: no domain", ErrAddress)
			}
			l, err := p.lead(ctx, a)
			if err != nil {
				return err
			}
			locks, names = append(locks, tallyLock(a.Domain), SettingsLock(a.String()), SettingsLock(l.name)), append(names, l.name)
		}
		slices.Sort(locks)
		locks = slices.Compact(locks)
		changed, again := false, false
		err := p.counted(ctx, locks, func(tx kv.Tx) (err error) {
			changed, again = false, false
			leads := make([]lead, len(addresses))
			for i, a := range addresses {
				if leads[i], err = directoryIn(tx).lead(a); err != nil {
					return err
				}
				again = again || leads[i].name != names[i]
			}
			if again {
				return errMoved // the locks are not those of the archives
			}
			changed, err = fn(tx, leads)
			return err
		})
		if again {
			continue
		}
		if changed || err != nil {
			p.tellChanged() // after an error the change may still have been made
		}
		return err
	}
}

// revise runs edit over the settings of a mailbox and writes the result, inside an Update that holds the locks of its address, of its domain and of
// its archive. It returns the settings as they are then, and the changes.
func (p *Policy) revise(tx kv.Tx, a Address, l lead, who Actor, now time.Time, edit func(*editing) error) (Settings, []Change, error) {
	e, err := p.begin(tx, a, l, now)
	if err != nil {
		return Settings{}, nil, err
	}
	if err := edit(e); err != nil {
		return Settings{}, nil, err
	}
	changes := differences(e.record.Settings, e.Settings)
	if len(changes) == 0 {
		return e.Settings, nil, nil
	}
	if err := p.revision(tx, Revision{l.name, e.record.Settings, e.Settings, e.now}); err != nil {
		return Settings{}, nil, err
	}
	if !e.exists {
		var copied []Change
		for _, c := range differences(programDefaults(), e.record.Settings) {
			c.Cause = CauseDomainDefault
			copied = append(copied, c)
		}
		changes = append(copied, changes...)
	}
	return e.Settings, changes, e.save(who, changes)
}

// begin begins a change. A mailbox that was not set up starts with the settings of its domain. The error wraps ErrAddress for the name of a closed
// mailbox that is none.
func (p *Policy) begin(tx kv.Tx, a Address, l lead, now time.Time) (*editing, error) {
	e := &editing{policy: p, tx: tx, address: a, lead: l, exists: l.record != nil, now: now}
	if !e.exists {
		if a.Closed != "" {
			return nil, notHandedOver(a)
		}
		e.record = &record{Settings: p.defaults(a.Domain)}
		if l.name != a.String() {
			e.record.address = a
		}
	}
	if n := e.record.changes; n > 0 {
		last, err := lastChange(tx, l.name, n)
		if err != nil {
			return nil, err
		}
		// A clock that was set back must not reverse the order of the log.
		if e.now.Before(last.Time) {
			e.now = last.Time.UTC()
		}
	}
	e.Settings = e.record.Settings
	return e, nil
}

// save writes the settings, with changes that it completes with their numbers, time and author. It keeps the limits of the domain, and of the one
// that the mailbox moves to.
func (e *editing) save(who Actor, changes []Change) error {
	if err := e.account(); err != nil {
		return err
	}
	for i := range changes {
		c := &changes[i]
		e.record.changes++
		c.Number, c.Mailbox, c.Time, c.Role, c.Who = e.record.changes, e.address, e.now, who.Role, who.Name
		if err := putChange(e.tx, e.name, *c); err != nil {
			return err
		}
	}
	e.record.Settings = e.Settings
	value, err := e.record.encode()
	if err != nil {
		return err
	}
	e.tx.Put(settingsKey(e.name), value)
	if !e.exists && (e.former != "" || e.name != e.address.String()) {
		return point(e.tx, e.address, e.name, e.former)
	}
	return nil
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

// lastChange returns the newest change of an archive, or only its time if it was removed.
func lastChange(tx kv.Tx, name string, n uint64) (Change, error) {
	c, found, err := decodeChange(tx.Get(changeKey(name, n)))
	if err == nil && !found {
		var start storedStart
		start, err = startOf(tx.Get(changeKey(name, 0)))
		if c = (Change{Time: start.Time}); err == nil && start.Through < n {
			err = kv.ErrNotFound
		}
	}
	if err != nil {
		return Change{}, fmt.Errorf("change %d: %w", n, err)
	}
	return c, nil
}

// putChange writes a change of an archive. It refuses to overwrite one.
func putChange(tx kv.Tx, name string, c Change) error {
	key := changeKey(name, c.Number)
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
	ReasonHandedOver   = "handed-over"   // the mailbox was handed over, and its archive takes no more mail
)

// Pause is a span of time from which the archive holds no messages.
type Pause struct {
	From   time.Time // zero for the beginning
	Until  time.Time // zero while it lasts
	Reason string    // ReasonNotActivated, ReasonDisabled, ReasonPaused, ReasonErased or ReasonHandedOver
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

// handedOver reports whether the address of an archive is the name of a closed mailbox.
func handedOver(address string) bool {
	a, err := ParseMailbox(address)
	return err == nil && a.Closed != ""
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
	case c.Key == KeyAddress && handedOver(c.After):
		last := &spans[len(spans)-1]
		if !last.From.Equal(c.Time) {
			last.Until = c.Time
			spans = append(spans, span{Pause: Pause{From: c.Time}})
			last = &spans[len(spans)-1]
		}
		last.Reason = ReasonHandedOver
	case c.Key == KeyErasure && c.After == string(ErasureRunning):
		for i := range spans {
			if spans[i].on {
				spans[i].on, spans[i].Reason = false, ReasonErased
			}
		}
	}
	return spans
}
