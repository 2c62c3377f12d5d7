// Package keyed seals values that belong to a mailbox under a key of that mailbox, over any engine of package kv. When the mailbox is erased its key is
// destroyed, and whatever the engine, the disk or an old copy has kept of these values cannot be opened any more.
//
// It is one more layer: the engine below seals its files with a key of each month (see copialettere/journal/kv/level), which goes with the month. What
// belongs to a mailbox and is sealed here, Options.Owner says.
//
// # Layout of a value
//
//	kv.Sealed     1 byte, 0xfe
//	key id        8 bytes
//	nonce         12 random bytes
//	the value     sealed with AES-256-GCM, and its tag (16 bytes). The month, a zero byte and the key of the pair are authenticated too, so a value
//	              opens nowhere else.
//
// Overhead is how many bytes more that is; they count for kv.MaxUpdate. A value that was written before the mailbox had keys has no such head, and is read
// as it is. So is one whose key is not there: it still begins with kv.Sealed, and whoever reads it takes it for damage.
//
// # Layout of the file of the keys
//
// The keys are in two files with the same content, PATH and PATH.copy: a bad sector costs none. Each is a row of slots of 128 bytes, which never lie across a
// sector. The first begins with "copialettere-mailbox-keys 1" and a line end; zeros follow. A slot of zeros was never written. Every other one has
//
//	 0  state        1 byte: 1, a key; 2, the key was destroyed
//	 1  zeros        3 bytes
//	 4  key id       8 random bytes
//	12  wrapped by   8 bytes, the id of the operator's key
//	20  nonce        12 random bytes
//	32  sealed       80 bytes: the key (32 bytes) and the SHA-256 of the name of its mailbox, sealed with AES-256-GCM under the operator's key; "copialettere
//	                 mailbox key", key id and wrapped by are authenticated too
//	112 zeros        12 bytes
//	124 checksum     CRC-32C of the 124 bytes before it, big-endian
//
// Of a destroyed key the bytes from 12 to 112 are zeros. No slot is used for a second key. A new key stands behind all others, and is durable in both files
// before the first value is sealed by it. To destroy one, its slot is overwritten in the first file, which is synced, and then in the other one.
//
// Open makes the two files alike. Of a slot that only one of them has whole, that one counts; a key that one of them tells to be destroyed is destroyed,
// which ends what a crash interrupted. So a file from a backup, put in the place of one of the two, brings lost keys back, and no destroyed one. What cannot
// be read in both stays as it is, and its mailbox gets another key with its next message.
//
// Where the operator changes his key, Open wraps all keys anew, first in one file and then in the other. After a crash the next Open does the rest.
package keyed

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"copialettere/journal/kv"
)

// Overhead is how many bytes a sealed value is longer than the value.
const Overhead = 1 + idSize + nonceSize + tagSize

// Engine is an engine whose values are sealed under keys of mailboxes. It is a kv.Copier if the engine below is one, and kv.Keyed.
type Engine struct {
	kv.Engine
	ring  *Ring
	owner func(key, value []byte) (mailbox []byte)
}

// New returns an engine over another one, which it closes, with the ring. owner returns the mailbox that a value of a volume belongs to, nil where it is to
// stay as it is; it keeps neither slice. Values that are staged, and all of the settings, stay as they are.
func New(below kv.Engine, ring *Ring, owner func(key, value []byte) (mailbox []byte)) *Engine {
	return &Engine{below, ring, owner}
}

// Volume implements kv.Engine.
func (e *Engine) Volume(ctx context.Context, m kv.Month, create bool) (kv.Store, error) {
	s, err := e.Engine.Volume(ctx, m, create)
	if err != nil {
		return nil, err
	}
	return &store{s, e, m}, nil
}

// Settings implements kv.Engine.
func (e *Engine) Settings(ctx context.Context) (kv.Store, error) {
	s, err := e.Engine.Settings(ctx)
	if err != nil {
		return nil, err
	}
	return &store{s, e, ""}, nil
}

// Snapshot implements kv.Copier. The files of the keys are not in it: copy them afterwards, and every key that the snapshot needs is there.
func (e *Engine) Snapshot(ctx context.Context) (*kv.Snapshot, error) {
	c, ok := e.Engine.(kv.Copier)
	if !ok {
		return nil, errors.New("the engine cannot be copied")
	}
	return c.Snapshot(ctx)
}

// RetireKeys implements kv.Keyed.
func (e *Engine) RetireKeys(mailbox string) { e.ring.retire([]byte(mailbox)) }

// DestroyKeys implements kv.Keyed.
func (e *Engine) DestroyKeys(ctx context.Context, mailbox string) error {
	if err := e.ring.destroy(ctx, []byte(mailbox)); err != nil {
		return fmt.Errorf("destroy the key of %s: %w", mailbox, err)
	}
	return nil
}

// Close implements kv.Engine.
func (e *Engine) Close() error {
	err := e.Engine.Close()
	e.ring.wait()
	return err
}

// store is the store of a month, or the settings where that is empty.
type store struct {
	kv.Store
	engine *Engine
	month  kv.Month
}

func (s *store) opener() *opener { return &opener{ring: s.engine.ring, month: s.month} }

// Get implements kv.Store.
func (s *store) Get(ctx context.Context, key []byte) ([]byte, error) {
	v, err := s.Store.Get(ctx, key)
	return s.opener().value(key, v), err
}

// GetAll implements kv.Store.
func (s *store) GetAll(ctx context.Context, keys [][]byte) ([][]byte, error) {
	values, err := s.Store.GetAll(ctx, keys)
	return s.opener().values(keys, values), err
}

// Scan implements kv.Store.
func (s *store) Scan(ctx context.Context, from, to []byte) iter.Seq2[kv.Pair, error] {
	return func(yield func(kv.Pair, error) bool) {
		o := s.opener()
		for p, err := range s.Store.Scan(ctx, from, to) {
			p.Value = o.value(p.Key, p.Value)
			if !yield(p, err) {
				return
			}
		}
	}
}

// errLacking ends an Update that needs a key that is not there yet.
var errLacking = errors.New("a mailbox has no key")

// Update implements kv.Store. A key takes two fsyncs to make, so fn is then run once more, when it is there.
func (s *store) Update(ctx context.Context, locks []string, fn func(kv.Tx) error) error {
	for {
		var lacking [][]byte
		err := s.Store.Update(ctx, locks, func(below kv.Tx) error {
			t := tx{view{below, s.opener()}, below, s.engine, nil}
			err := fn(&t)
			if lacking = t.lacking; err == nil && lacking != nil {
				err = errLacking
			}
			return err
		})
		if err != errLacking { //nolint:errorlint // it is returned unchanged
			return err
		}
		if err := s.engine.ring.makeKeys(ctx, lacking); err != nil {
			return fmt.Errorf("make the key of a mailbox: %w", err)
		}
	}
}

// view is a kv.View.
type view struct {
	below  kv.View
	opener *opener
}

// Get implements kv.View.
func (v view) Get(key []byte) ([]byte, error) {
	value, err := v.below.Get(key)
	return v.opener.value(key, value), err
}

// GetAll implements kv.View.
func (v view) GetAll(keys [][]byte) ([][]byte, error) {
	values, err := v.below.GetAll(keys)
	return v.opener.values(keys, values), err
}

// tx is a kv.Tx.
type tx struct {
	view
	below   kv.Tx
	engine  *Engine
	lacking [][]byte // mailboxes without a key
}

// Put implements kv.Tx.
func (t *tx) Put(key, value []byte) {
	if t.opener.month != "" {
		if mailbox := t.engine.owner(key, value); mailbox != nil {
			sealed, ok := t.engine.ring.seal(mailbox, t.opener.month, key, value)
			if !ok {
				t.lacking = append(t.lacking, slices.Clone(mailbox))
				sealed = value // what this Update reads; nothing of it is written
			}
			value = sealed
		}
	}
	t.below.Put(key, value)
}

// Delete implements kv.Tx.
func (t *tx) Delete(key []byte) { t.below.Delete(key) }

// In implements kv.Tx.
func (t *tx) In(m kv.Month) (kv.View, error) {
	v, err := t.below.In(m)
	if err != nil {
		return nil, err
	}
	return view{v, &opener{ring: t.engine.ring, month: m}}, nil
}

// Needs implements kv.Tx.
func (t *tx) Needs(s kv.Staged) { t.below.Needs(s) }
