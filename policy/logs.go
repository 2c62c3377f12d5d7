package policy

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"copialettere/journal/kv"
)

// LogStart is what ExpireLogs has left of the older part of a mailbox's change log. The zero value means that the log is whole.
type LogStart struct {
	// Before is the time before which changes were removed, or have lost their author; zero if the log is whole.
	Before time.Time
	// Removed is how many changes were removed so far.
	Removed uint64
	// Values are the settings as the removed changes left them, in the form of Settings.Values. A setting without a value had the default of the
	// program, and those of changes that stay are not here.
	Values map[string]string
}

// storedStart is the stored form of a LogStart: the value of the key of change 0.
type storedStart struct {
	Before  time.Time         `json:"before"`
	Removed uint64            `json:"removed,omitempty"`
	Values  map[string]string `json:"values,omitempty"`
	Through uint64            `json:"through"` // the number of the newest change that was removed, or has lost its author
	Time    time.Time         `json:"time"`    // of that change
}

// ExpiredLogs is what a call of ExpireLogs has done.
type ExpiredLogs struct {
	Removed    uint64 // changes of settings that were removed
	Nameless   uint64 // changes that stay, and have lost their author
	Recipients uint64 // what receipts said of recipients
}

// maxExpire is how many changes, or recipients, one Update of ExpireLogs looks at.
const maxExpire = 500

// ExpireLogs removes the changes of settings made before a time, and what receipts said before it about recipients. The changes that Pauses
// and Gone need stay, but lose the name of their author: those that turn an archive on or off, pause, close or erase it, or give it another
// address. LogStart tells of what was removed. The log of a mailbox under a legal hold stays whole. It works in bounded steps, each durable:
// after an error or a crash the next call does the rest. An error of one mailbox does not stop the others.
func (p *Policy) ExpireLogs(ctx context.Context, before time.Time) (done ExpiredLogs, err error) {
	before = before.UTC().Round(0)
	var errs []error
	for m, err := range p.Mailboxes(ctx) {
		if err != nil {
			errs = append(errs, err)
			break
		}
		for more := true; more && err == nil; {
			if more, err = p.expireLog(ctx, m.Archive, before, &done); err != nil {
				errs = append(errs, fmt.Errorf("remove old changes of %s: %w", m.Address, err))
			}
		}
	}
	if err := p.expireRecipients(ctx, before, &done); err != nil {
		errs = append(errs, fmt.Errorf("forget old recipients: %w", err))
	}
	return done, errors.Join(errs...)
}

// expireLog removes some changes of an archive, and says whether there may be more to remove.
func (p *Policy) expireLog(ctx context.Context, name string, before time.Time, done *ExpiredLogs) (more bool, err error) {
	start, err := startOf(p.store.Get(ctx, changeKey(name, 0)))
	if err != nil {
		return false, err
	}
	// Most logs have nothing to remove. Find that out without a lock.
	first, found, err := decodeChange(p.store.Get(ctx, changeKey(name, start.Through+1)))
	if err != nil || !found || !first.Time.Before(before) {
		return false, err
	}
	var now ExpiredLogs
	err = p.store.Update(ctx, []string{SettingsLock(name)}, func(tx kv.Tx) (err error) {
		now, more, err = expireIn(tx, name, before)
		return err
	})
	if err != nil {
		return false, err
	}
	done.Removed += now.Removed
	done.Nameless += now.Nameless
	return more, nil
}

func expireIn(tx kv.Tx, name string, before time.Time) (done ExpiredLogs, more bool, err error) {
	b, err := tx.Get(settingsKey(name))
	if err != nil {
		return done, false, err
	}
	r, err := decodeRecord(b)
	if err != nil || r.Held() {
		return done, false, err
	}
	start, err := startOf(tx.Get(changeKey(name, 0)))
	if err != nil {
		return done, false, err
	}
	last := min(r.changes, start.Through+maxExpire)
	more = last < r.changes
	through := start.Through
	for start.Through < last {
		c, found, err := decodeChange(tx.Get(changeKey(name, start.Through+1)))
		if err == nil && !found {
			err = kv.ErrNotFound
		}
		if err != nil {
			return done, false, fmt.Errorf("change %d: %w", start.Through+1, err)
		}
		if !c.Time.Before(before) {
			more = false
			break
		}
		c.Number = start.Through + 1
		if err := start.take(tx, name, c, &done); err != nil {
			return done, false, err
		}
	}
	if start.Through == through {
		return done, false, nil
	}
	start.Before = before
	value, err := json.Marshal(start)
	if err != nil {
		return done, false, err
	}
	tx.Put(changeKey(name, 0), value)
	return done, more, nil
}

// take removes a change from the log, or takes the name of its author away.
func (s *storedStart) take(tx kv.Tx, name string, c Change, done *ExpiredLogs) error {
	s.Through, s.Time = c.Number, c.Time
	if c.Key != KeyArchive && c.Key != KeyErasure && c.Key != KeyAddress {
		if s.Values == nil {
			s.Values = make(map[string]string)
		}
		s.Values[c.Key] = c.After
		s.Removed++
		done.Removed++
		tx.Delete(changeKey(name, c.Number))
		return nil
	}
	if c.Who == "" || c.Role == RoleProgram {
		return nil
	}
	c.Who = ""
	value, err := json.Marshal(c)
	if err != nil {
		return err
	}
	tx.Put(changeKey(name, c.Number), value)
	done.Nameless++
	return nil
}

// LogStart returns what ExpireLogs has left of the older part of a mailbox's change log.
func (p *Policy) LogStart(ctx context.Context, a Address) (LogStart, error) {
	l, err := p.lead(ctx, a)
	if err != nil {
		return LogStart{}, fmt.Errorf("changes of %s: %w", a, err)
	}
	s, err := startOf(p.store.Get(ctx, changeKey(l.name, 0)))
	if err != nil {
		return LogStart{}, fmt.Errorf("changes of %s: %w", a, err)
	}
	return LogStart{Before: s.Before, Removed: s.Removed, Values: s.Values}, nil
}

// startOf decodes the start of a log; the zero value where the log is whole.
func startOf(b []byte, err error) (s storedStart, _ error) {
	if errors.Is(err, kv.ErrNotFound) {
		return storedStart{}, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		return storedStart{}, fmt.Errorf("start of the log: %w", err)
	}
	return s, nil
}

// decodeChange decodes a change without its mailbox and number.
func decodeChange(b []byte, err error) (c Change, found bool, _ error) {
	if errors.Is(err, kv.ErrNotFound) {
		return Change{}, false, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	return c, err == nil, err
}

// expireRecipients removes what was last said of recipients before a time.
func (p *Policy) expireRecipients(ctx context.Context, before time.Time, done *ExpiredLogs) error {
	var old [][]byte
	remove := func() error {
		var removed uint64
		err := p.store.Update(ctx, []string{recipientsLock}, func(tx kv.Tx) error {
			removed = 0
			for _, key := range old {
				// A receipt may have come since.
				if k, found, err := decodeRecipient(tx.Get(key)); err != nil {
					return err
				} else if found && k.Time.Before(before) {
					tx.Delete(key)
					removed++
				}
			}
			return nil
		})
		if err == nil {
			done.Recipients += removed
		}
		old = nil
		return err
	}
	for pair, err := range p.store.Scan(ctx, []byte("r"), []byte("s")) {
		k, _, err := decodeRecipient(pair.Value, err)
		if err != nil {
			return err
		}
		if !k.Time.Before(before) {
			continue
		}
		if old = append(old, pair.Key); len(old) == maxExpire {
			if err := remove(); err != nil {
				return err
			}
		}
	}
	if len(old) == 0 {
		return nil
	}
	return remove()
}

// numberOf returns the number of the change under a key.
func numberOf(key []byte) uint64 { return binary.BigEndian.Uint64(key[len(key)-8:]) }
