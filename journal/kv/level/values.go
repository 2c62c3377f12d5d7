package level

import (
	"bytes"
	"errors"
	"sync"

	"copialettere/journal/kv"
)

// values are values of a database that were read lately. Every delivery reads the settings of its mailboxes: a search in the tables for each
// would cost more, the more mailboxes there are.
//
// They are never older than the database. Before a batch is written its keys are forgotten, and what is read during a write is not kept, as it
// may be from before it. A nil values keeps nothing.
type values struct {
	mu      sync.Mutex
	known   map[string][]byte // nil for a key without a value; guarded by mu
	size    int               // of known, in bytes; guarded by mu
	changes uint64            // counts the beginnings and ends of writes; guarded by mu
	writing bool              // guarded by mu
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
	if (err == nil || errors.Is(err, kv.ErrNotFound)) && !writing && len(value) <= maxValue {
		v.keep(key, value, err == nil, changes)
	}
	return value, err
}

// keep keeps a value that was read after a number of changes, unless there was another one since.
func (v *values) keep(key, value []byte, found bool, changes uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.changes != changes {
		return
	}
	kept := bytes.Clone(value)
	if found && kept == nil {
		kept = []byte{}
	}
	v.forget(string(key))
	if v.known == nil {
		v.known = make(map[string][]byte)
	}
	v.known[string(key)] = kept
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
	for key := range batch {
		v.forget(key)
	}
}

// end says that the batch is written.
func (v *values) end() {
	if v == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.changes, v.writing = v.changes+1, false
}
