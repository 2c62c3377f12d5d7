package level

import (
	"bytes"
	"errors"
	"sync"

	"copialettere/journal/kv"
)

// values are values of a database that were read lately. Every delivery reads the settings of its mailboxes, and what its update writes anew, as
// the counters of a folder. A search in the tables for each would cost more, the more mailboxes and entries there are.
//
// They are never older than the database. Before a batch is written its keys are forgotten, and what is read during a write is not kept, as it
// may be from before it. After the write the keys of the batch that were known have their new values. A nil values keeps nothing.
type values struct {
	absent bool // keeps that a key has no value. Of a volume it does not: each message asks for a key that nobody has asked for before.

	mu      sync.Mutex
	known   map[string][]byte // nil for a key without a value; guarded by mu
	size    int               // of known, in bytes; guarded by mu
	changes uint64            // counts the beginnings and ends of writes; guarded by mu
	writing bool              // guarded by mu
	renewed []string          // the keys of the batch that were known; used by the writer alone
}

const (
	// maxValues bounds values, in bytes. The settings of a mailbox take some 600.
	maxValues = 8 << 20
	// maxValue is the size of the largest value that is kept, in bytes.
	maxValue = 4 << 10
	// valueOverhead is what one key costs besides its bytes.
	valueOverhead = 100
)

// get returns the value of a key as read returns it, which is kv.ErrNotFound for none. The caller may change it.
func (v *values) get(key []byte, read func(key []byte) ([]byte, error)) ([]byte, error) {
	if v == nil {
		return read(key)
	}
	v.mu.Lock()
	value, ok := v.known[string(key)]
	changes, writing := v.changes, v.writing
	v.mu.Unlock()
	if ok && value == nil {
		return nil, kv.ErrNotFound
	}
	if ok {
		return append(make([]byte, 0, len(value)), value...), nil
	}
	value, err := read(key)
	if (err == nil || v.absent && errors.Is(err, kv.ErrNotFound)) && !writing && len(value) <= maxValue {
		v.mu.Lock()
		if v.changes == changes {
			v.keep(string(key), value, err == nil)
		}
		v.mu.Unlock()
	}
	return value, err
}

// keep keeps a copy of a value. The caller holds mu.
func (v *values) keep(key string, value []byte, found bool) {
	kept := bytes.Clone(value)
	if found && kept == nil {
		kept = []byte{}
	}
	v.forget(key)
	if v.known == nil {
		v.known = make(map[string][]byte)
	}
	v.known[key] = kept
	v.size += len(key) + len(kept) + valueOverhead
	for other := range v.known { // in no order, which is as good as any
		if v.size <= maxValues {
			break
		}
		v.forget(other)
	}
}

// forget forgets a key. The caller holds mu.
func (v *values) forget(key string) {
	if value, ok := v.known[key]; ok {
		delete(v.known, key)
		v.size -= len(key) + len(value) + valueOverhead
	}
}

// begin forgets the keys of a batch that is about to be written.
func (v *values) begin(batch map[string]position) {
	if v == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.changes, v.writing = v.changes+1, true
	v.renewed = v.renewed[:0]
	for key := range batch {
		if _, ok := v.known[key]; ok {
			v.renewed = append(v.renewed, key)
			v.forget(key)
		}
	}
}

// end says that the batch is written. written returns the value that a key of it has now, and whether it has one; nil if that is not known,
// because the write failed.
func (v *values) end(written func(key string) ([]byte, bool)) {
	if v == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.changes, v.writing = v.changes+1, false
	if written == nil {
		return
	}
	for _, key := range v.renewed {
		if value, found := written(key); len(value) <= maxValue && (found || v.absent) {
			v.keep(key, value, found)
		}
	}
}
