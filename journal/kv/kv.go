// Package kv is the whole contract between the journal's logic and the engine that keeps it: ordered keys in volumes of one
// calendar month, and updates that are atomic and durable when they return. It is small enough to hold in the head, so that a
// second engine (PostgreSQL) can stand behind it; nothing above it may assume one process, one writer, or LevelDB.
//
// # Clients
//
// What an engine keeps may be open by several clients at once, in several processes: each Engine value is one. All that is said here of
// updates, locks and reading holds between all of them. Engine.Alone says where there can be no other.
//
// # Durable
//
// Durable is what survives the failure that the engine is made for: a power cut for LevelDB, the loss of a server for one that replicates.
// What is not durable yet may already be seen by Get, Scan, and other updates, and may vanish again. So nobody may promise anything
// on what Get or Scan returned: only an Update that returned nil vouches, for what it wrote and for all that it read.
//
// # Errors
//
// KindOf tells what a caller is to make of an error: try again, find out, or give up.
//
// # What is the engine's own
//
// How a volume can be damaged, absent or full of garbage differs between engines. One that cannot lose what was acknowledged answers Lost
// with nothing; one that gets room back by itself may delete all that Purge is handed at once, or nothing for now; one in which no volume
// can be absent answers Forget with an error. Callers need no more than these answers.
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

// MaxUpdate is the largest sum of key and value lengths, in bytes, that one Update may write, or one Stage.
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
	// ErrUnavailable says that the engine cannot promise durability now: a write or an fsync failed, the disk is full, no server answers, or
	// the store is being opened again. A later try may succeed. Unless the error is ErrUnknown too, nothing was done and nothing will be.
	ErrUnavailable = errors.New("journal store unavailable")
	// ErrUnknown says that an Update may have been done, or may yet be: its effect may be seen now, later, or never. If it comes, it comes
	// before any Update that shares a lock with it and begins after it returned.
	ErrUnknown = errors.New("outcome unknown")
	// ErrFenced says that a volume takes no updates, because it is about to be dropped. It is ErrUnavailable.
	ErrFenced = fmt.Errorf("volume is fenced: %w", ErrUnavailable)
	// ErrTooLarge says that an Update writes more than MaxUpdate.
	ErrTooLarge = errors.New("update too large")
	// ErrClosed says that the store or engine was closed or dropped.
	ErrClosed = errors.New("store closed")
)

// Kind is what a caller is to make of an error of an engine.
type Kind int

// Kinds of errors.
const (
	Retryable Kind = iota + 1 // nothing was done; a later try may succeed
	Unknown                   // it may have been done, or may yet be: try again in a way that finds out
	Permanent                 // nothing was done, and trying the same again is of no use
)

// KindOf returns the kind of an error that an engine returned. The end of a context is Retryable where nothing had begun.
func KindOf(err error) Kind {
	switch {
	case errors.Is(err, ErrUnknown):
		return Unknown
	case errors.Is(err, ErrUnavailable), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return Retryable
	}
	return Permanent
}

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

// Engine keeps volumes and one store of settings, as one of its clients. Its methods may be called concurrently.
//
// An engine knows durably what it must have. A volume, or the settings, that is absent, empty, damaged, or another archive's, is never made
// anew: it stays among the Volumes, and who asks for it gets an error that names it, is ErrUnavailable, and costs the others nothing. When it
// has been put back a later try succeeds.
type Engine interface {
	// Alone says that there can be no other client as long as this one is not closed. What its process remembers of its own updates is
	// then the truth, and what only one may do is done by one.
	Alone() bool
	// Volume returns the store of a month, opened on demand; the engine keeps it open for the next caller. With create, a month
	// without a volume gets one; without, the error is ErrNoVolume.
	Volume(ctx context.Context, m Month, create bool) (Store, error)
	// Volumes lists the months that have a volume, or must have one, oldest first. It has all that were there when it was called.
	Volumes(ctx context.Context) ([]Month, error)
	// Fence keeps updates out of the volume of a month: from its return on each one, by whatever client, is ErrFenced, and all that came
	// before are over. Reading goes on. It ends with Lift or Drop, or when another Fence of the month takes its place, and may end with the
	// client that set it. The error is ErrNoVolume where there is none.
	Fence(ctx context.Context, m Month) (Fence, error)
	// Drop fences the volume of a month and drops it. A month without a volume is no error, one whose volume is absent or not the
	// archive's is.
	Drop(ctx context.Context, m Month) error
	// Forget takes a volume off Volumes for good that is not there any more. One that is there is an error, as is one that never was:
	// ErrNoVolume.
	Forget(ctx context.Context, m Month) error
	// Settings returns the store that lives apart from the volumes, for mailbox settings and the change log.
	Settings(ctx context.Context) (Store, error)
	// Close waits for the updates under way and closes all stores. It is no error to call it again.
	Close() error
}

// Fence is one that stands around a volume. An ErrFenced of its methods says that another one has taken its place, and that nothing was done.
type Fence interface {
	// Drop erases the volume with all that is in it. Stores of it that clients still hold, this one or others, answer ErrClosed to all that
	// is asked of them from then on, also when the month has a new volume.
	Drop(ctx context.Context) error
	// Lift lets updates in again.
	Lift(ctx context.Context) error
}

// Store holds ordered keys. Keys are not empty and do not begin with Reserved: those belong to the engine. Its methods may be
// called concurrently. Slices that are handed in are not kept; slices that are handed out belong to the caller.
//
// Reading is fresh: Get, GetAll, and each page of Scan see every update, of any client, that had returned nil when they were called, and
// all that this client has staged. They may see more than is durable.
type Store interface {
	// Get returns the value of a key, or ErrNotFound.
	Get(ctx context.Context, key []byte) ([]byte, error)
	// GetAll returns the values of several keys, in their order; one that has none is nil, an empty one is not. They need not be of one
	// moment.
	GetAll(ctx context.Context, keys [][]byte) ([][]byte, error)
	// Scan yields the pairs with from <= key < to in the order of keys, and an error last where it could not go on. A nil to means
	// the end. It reads in pages, so a slow consumer holds nothing up, and what is written meanwhile may or may not be seen; what is there
	// all the time is. The first page is the first pair, so whoever stops there pays for no more.
	Scan(ctx context.Context, from, to []byte) iter.Seq2[Pair, error]
	// Update runs fn, makes what it wrote atomic, and returns nil when that, and all that it read, is durable. An error of fn is returned as
	// it is, nothing is written then, and it says nothing about what fn read. An fn may run more than once, must not keep its Tx, and does no slow
	// work.
	//
	// Locks are names, the same in all stores of the engine; their order, and a name that comes twice, mean nothing. Of two Updates that share a
	// lock, in whatever stores and by whatever clients, one sees all that the other did. Two that share none may run side by side: neither
	// need see what the other writes, and of a key that both write the later one counts. So an Update that decides on what it reads shares a
	// lock with all that write it.
	//
	// On ctx's end Update returns its error, which is ErrUnknown too once fn may have been done.
	Update(ctx context.Context, locks []string, fn func(Tx) error) error
	// Stage puts pairs that an Update is to refer to, and need not wait until they are durable: see Tx.Needs. What no update needs is durable
	// some time or never; pairs of one Stage may be there in part. Nobody else writes their keys.
	Stage(ctx context.Context, pairs []Pair) (Staged, error)
	// Purge deletes keys that nobody will read, and nobody write again, and gives their room back to the machine. It does so in steps, as
	// far as that is worth what it costs and holds no Update up: what it leaves is to be handed in again some day. The keys ascend.
	// After each step done is called with what is gone, durably; an error of done ends it and is returned. What breaks off may have
	// deleted keys of which done was not told.
	Purge(ctx context.Context, garbage []Garbage, done func(gone []Garbage) error) error
	// Lost lists the spans of updates that had been acknowledged and were found missing when the store was opened. The list
	// never shrinks.
	Lost(ctx context.Context) ([]Loss, error)
}

// Staged is what one Stage put. It means something to the store alone that it is of, and to the client; its zero value needs nothing.
type Staged any

// View reads a store as an Update sees it.
type View interface {
	// Get returns the value of a key as this Update sees it, its own writes included, or ErrNotFound.
	Get(key []byte) ([]byte, error)
	// GetAll returns the values of several keys as Get does, in one go; one that has none is nil, an empty one is not.
	GetAll(keys [][]byte) ([][]byte, error)
}

// Tx is what an Update reads and writes. It is valid inside the function that it was handed to, and nowhere else.
type Tx interface {
	View
	// Put sets the value of a key. It keeps the slices until the Update is done.
	Put(key, value []byte)
	// Delete removes a key; one that is not there is no error. It keeps the slice until the Update is done.
	Delete(key []byte)
	// In returns the view of another volume, or of the settings for an empty month. What is locked in all stores is as true there as here. It
	// may cost far more than reading here. The error is ErrNoVolume where the month has none.
	In(m Month) (View, error)
	// Needs makes the Update durable only together with what was staged: where that was lost, the error of Update is ErrUnavailable.
	Needs(s Staged)
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
