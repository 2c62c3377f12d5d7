// Package kv is the whole contract between the journal's logic and the engine that keeps it: ordered keys in volumes of one
// calendar month, and updates that are atomic and durable when they return. It is small enough to hold in the head, so that a
// second engine (PostgreSQL) can stand behind it; nothing above it may assume one process, one writer, or LevelDB.
//
// Package kvtest is the contract as tests; every engine passes it.
package kv

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"
)

// MaxUpdate is the largest sum of key and value lengths, in bytes, that one Update may write.
const MaxUpdate = 8 << 20

// Reserved is the first byte of the keys that belong to the engine. They lie behind all others: in front of them, what an engine
// adds to each update would make every table of LevelDB overlap all that is older.
const Reserved = 0xff

// Errors that a caller decides on. Engines wrap them with what was being done.
var (
	// ErrNotFound says that a key has no value.
	ErrNotFound = errors.New("no such key")
	// ErrNoVolume says that a month has no volume and that none was to be created.
	ErrNoVolume = errors.New("no such volume")
	// ErrUnavailable says that the engine can not promise durability now: a write or an fsync failed, the disk is full, or the
	// store is being opened again. The Update counts as not done, although its effect may be found later. A later try may succeed.
	ErrUnavailable = errors.New("journal store unavailable")
	// ErrTooLarge says that an Update writes more than MaxUpdate.
	ErrTooLarge = errors.New("update too large")
	// ErrClosed says that the store or engine was closed or dropped.
	ErrClosed = errors.New("store closed")
)

// Month names a volume: a calendar month in UTC, as "2026-11". Months compare in the order of time.
type Month string

// MonthOf returns the month in which t falls, in UTC.
func MonthOf(t time.Time) Month { return Month(t.UTC().Format("2006-01")) }

// ParseMonth reads a month as "2026-11".
func ParseMonth(s string) (Month, error) {
	t, err := time.Parse("2006-01", s)
	if err != nil {
		return "", fmt.Errorf("month %q: want YYYY-MM", s)
	}
	return MonthOf(t), nil
}

// Start returns the first instant of the month in UTC.
func (m Month) Start() time.Time {
	t, _ := time.Parse("2006-01", string(m))
	return t
}

// Previous returns the month before m.
func (m Month) Previous() Month { return MonthOf(m.Start().AddDate(0, -1, 0)) }

// Next returns the month after m.
func (m Month) Next() Month { return MonthOf(m.Start().AddDate(0, 1, 0)) }

// Engine keeps volumes and one store of settings. Its methods may be called concurrently.
//
// An engine knows durably what it must have. A volume, or the settings, that is absent, empty, damaged, or another archive's, is never made
// anew: it stays among the Volumes, and who asks for it gets an error that names it, is ErrUnavailable, and costs the others nothing. When it
// has been put back a later try succeeds.
type Engine interface {
	// Volume returns the store of a month, opened on demand; the engine keeps it open for the next caller. With create, a month
	// without a volume gets one; without, the error is ErrNoVolume.
	Volume(ctx context.Context, m Month, create bool) (Store, error)
	// Volumes lists the months that have a volume, or must have one, oldest first.
	Volumes(ctx context.Context) ([]Month, error)
	// Drop erases the volume of a month with all that is in it. A month without a volume is no error, one whose volume is absent or not
	// the archive's is; stores of it that callers still hold answer ErrClosed from then on.
	Drop(ctx context.Context, m Month) error
	// Forget takes a volume off Volumes for good that is not there any more. One that is there is an error, as is one that never was:
	// ErrNoVolume.
	Forget(ctx context.Context, m Month) error
	// Settings returns the store that lives apart from the volumes, for mailbox settings and the change log.
	Settings(ctx context.Context) (Store, error)
	// Close waits for the updates under way and closes all stores.
	Close() error
}

// Store holds ordered keys. Keys are not empty and do not begin with Reserved: those belong to the engine. Its methods may be
// called concurrently. Slices that are handed in are not kept; slices that are handed out belong to the caller.
type Store interface {
	// Get returns the value of a key, or ErrNotFound.
	Get(ctx context.Context, key []byte) ([]byte, error)
	// Scan yields the pairs with from <= key < to in the order of keys, and an error last where it could not go on. A nil to means
	// the end. It reads in pages, so a slow consumer holds nothing up, and what is written meanwhile may or may not be seen. The first
	// page is the first pair, so whoever stops there pays for no more.
	Scan(ctx context.Context, from, to []byte) iter.Seq2[Pair, error]
	// Update runs fn and makes what it wrote atomic and durable before it returns nil. Updates that share a lock run one after
	// the other, and each sees all that the former wrote. An error of fn is returned as it is and nothing is written.
	// An fn may run more than once, must not keep its Tx, and does no slow work. On ctx's end Update returns its error with the
	// outcome unknown.
	Update(ctx context.Context, locks []string, fn func(Tx) error) error
	// Purge deletes keys that nobody will read, and nobody write again, and gives their room back to the machine. It does so in steps, as
	// far as that is worth what it costs and holds no Update up: what it leaves is to be handed in again some day. The keys ascend.
	// After each step done is called with what is gone, durably; an error of done ends it and is returned. What breaks off may have
	// deleted keys of which done was not told.
	Purge(ctx context.Context, garbage []Garbage, done func(gone []Garbage) error) error
	// Lost lists the spans of updates that had been acknowledged and were found missing when the store was opened. The list
	// never shrinks.
	Lost(ctx context.Context) ([]Loss, error)
}

// Tx is what an Update reads and writes. It is valid inside the function that it was handed to, and nowhere else.
type Tx interface {
	// Get returns the value of a key as this Update sees it, its own writes included, or ErrNotFound.
	Get(key []byte) ([]byte, error)
	// Put sets the value of a key. It keeps the slices until the Update is done.
	Put(key, value []byte)
	// Delete removes a key; one that is not there is no error. It keeps the slice until the Update is done.
	Delete(key []byte)
}

// Pair is a key with its value.
type Pair struct{ Key, Value []byte }

// Garbage is a key that is to be purged, with the length of its value in bytes.
type Garbage struct {
	Key  []byte
	Size int64
}

// Loss is a span of acknowledged updates that a store no longer holds, as a damaged disk leaves it.
type Loss struct {
	Found  time.Time // when the loss was found
	After  time.Time // the newest update before the span that is still there; zero when there is none
	Before time.Time // the oldest update behind the span that is still there; zero when the span is the end
	Count  uint64    // how many updates are missing
}
