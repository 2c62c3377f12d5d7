// Package kv is the contract between the journal's logic and the engine that stores it: ordered keys in volumes of one calendar
// month, changed by atomic and durable updates. Code above it must not assume one process, one writer, or LevelDB. Package kvtest
// is the contract as tests; every engine passes them.
//
// # Clients
//
// Each Engine value is one client. Several clients, in several processes, may have the same data open, unless Engine.Alone says
// otherwise. Every promise about updates, locks and reads holds between all of them.
//
// # Durable
//
// Data is durable when it survives the failure that the engine is made for: a power cut for LevelDB, the loss of a server for an
// engine that replicates. Reads and other updates may see data before it is durable, and it may vanish again. So promise nothing on
// what Get or Scan returned: only an Update that returned nil vouches for what it wrote and read.
//
// # Errors
//
// KindOf tells what to do about an error: try again, find out, or give up. A call whose context has ended returns the error of the
// context, wrapped. A month that ParseMonth refuses is an error.
package kv

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"
)

// MaxUpdate is how many bytes of keys and values one Update or Stage may write. Each Put and Delete counts, also of the same key.
const MaxUpdate = 8 << 20

// Reserved is the first byte of the keys that belong to the engine. They sort after all others: sorted before, what the LevelDB
// engine adds to each update would make every new table overlap all older ones.
const Reserved = 0xff

// Errors that callers act on. Engines wrap them with what was being done.
var (
	// ErrNotFound says that a key has no value.
	ErrNotFound = errors.New("no such key")
	// ErrNoVolume says that a month has no volume, and that the call does not create one.
	ErrNoVolume = errors.New("no such volume")
	// ErrUnavailable says that the engine cannot promise durability now: a write or an fsync failed, the disk is full, no server answers, or
	// the store is being reopened. A later try may succeed. Unless the error is also ErrUnknown, nothing was done and nothing will be.
	ErrUnavailable = errors.New("journal store unavailable")
	// ErrUnknown says that an Update may take effect: now, later, or never. If it does, it does so before any Update that shares a lock with it
	// and begins after it returned.
	ErrUnknown = errors.New("outcome unknown")
	// ErrFenced says that a volume takes no updates because it is about to be dropped. It is also ErrUnavailable.
	ErrFenced = fmt.Errorf("volume is fenced: %w", ErrUnavailable)
	// ErrTooLarge says that an Update or Stage writes more than MaxUpdate.
	ErrTooLarge = errors.New("update too large")
	// ErrClosed says that the engine was closed, or the volume dropped.
	ErrClosed = errors.New("store closed")
)

// Kind tells what to do about an error of an engine.
type Kind int

// Kinds of errors.
const (
	Retryable Kind = iota + 1 // nothing was done; a later try may succeed
	Unknown                   // it may have been done, or may yet be: find out with the next try
	Permanent                 // nothing was done, and the same call would fail again
)

// KindOf returns the kind of an error, not nil, that an engine returned. That of a context is Retryable, unless it is also ErrUnknown.
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

// MonthOf returns the month of t in UTC.
func MonthOf(t time.Time) Month {
	var name [len("2006-01")]byte
	return Month(t.UTC().AppendFormat(name[:0], "2006-01"))
}

// ParseMonth reads a month as "2026-11".
func ParseMonth(s string) (Month, error) {
	t, err := time.Parse("2006-01", s)
	if err != nil {
		return "", fmt.Errorf("month %q: want YYYY-MM", s)
	}
	return MonthOf(t), nil
}

// Start returns the first instant of the month in UTC, or the zero time for a month that ParseMonth refuses.
func (m Month) Start() time.Time {
	t, _ := time.Parse("2006-01", string(m))
	return t
}

// Previous returns the month before m.
func (m Month) Previous() Month { return MonthOf(m.Start().AddDate(0, -1, 0)) }

// Next returns the month after m.
func (m Month) Next() Month { return MonthOf(m.Start().AddDate(0, 1, 0)) }

// Engine stores volumes and one settings store, and is one client of them. Its methods may be called concurrently.
//
// An engine knows durably which volumes it must have, and that it must have the settings. It never recreates one that is absent,
// empty, damaged, or another archive's. Such a volume stays among the Volumes. Opening it, or such settings, is ErrUnavailable, the
// error names it, and all other stores work. Once it is put back, a later try succeeds.
type Engine interface {
	// Alone reports that no other client can exist until this one is closed. If so, what this process remembers of its own updates is true,
	// and work for one client at a time needs no agreement.
	Alone() bool
	// Volume returns the store of a month. It creates the volume where create is set and the month has none; without create that is
	// ErrNoVolume. The engine opens and closes the store as needed.
	Volume(ctx context.Context, m Month, create bool) (Store, error)
	// Volumes lists the months that have a volume, or must have one, oldest first. It is as fresh as the reads of a Store.
	Volumes(ctx context.Context) ([]Month, error)
	// Fence keeps updates out of the volume of a month. When it returns, all updates before it are over, and each Update and Stage, by
	// whatever client, is ErrFenced; reads go on. The fence stands until Lift or Drop, or until another Fence of the month replaces it, and
	// may end with the client that set it. A month without a volume is ErrNoVolume.
	Fence(ctx context.Context, m Month) (Fence, error)
	// Drop fences the volume of a month and drops it, as Fence.Drop does. It is no error if the month has no volume, and one if the
	// volume is absent or another archive's.
	Drop(ctx context.Context, m Month) error
	// Forget removes an absent volume from Volumes for good. A volume that is there is an error, a month that never had one ErrNoVolume. An
	// engine whose volumes cannot be absent always fails.
	Forget(ctx context.Context, m Month) error
	// Settings returns the store for mailbox settings and the change log, apart from the volumes. It always exists.
	Settings(ctx context.Context) (Store, error)
	// Close waits for the updates under way and closes all stores. The engine and its stores answer ErrClosed from then on; closing again
	// is no error.
	Close() error
}

// Fence stands around one volume. If its methods return ErrFenced, another Fence has replaced it, and nothing was done.
type Fence interface {
	// Drop erases the volume with all that is in it. Each Store of it, of whatever client, answers ErrClosed from then on, even when the month
	// has a new volume.
	Drop(ctx context.Context) error
	// Lift lets updates in again.
	Lift(ctx context.Context) error
}

// Store holds ordered keys. Keys are not empty and do not begin with Reserved; others are refused, as Permanent. Its methods may be
// called concurrently. It does not keep slices passed in after the call; slices returned belong to the caller.
//
// Reads are fresh: Get, GetAll, and each page of Scan see every update, of any client, that had returned nil when they began, and all
// that this client has staged.
type Store interface {
	// Get returns the value of a key, or ErrNotFound.
	Get(ctx context.Context, key []byte) ([]byte, error)
	// GetAll returns the values of several keys, in their order: nil where a key has none, not nil where it is empty. The values need not
	// be of the same moment.
	GetAll(ctx context.Context, keys [][]byte) ([][]byte, error)
	// Scan yields the pairs with from <= key < to in key order; a nil to means the end. If it cannot go on, it yields an error last. It reads
	// in pages, and holds up nothing while the consumer is slow. It yields each key that is there all the time; a key written meanwhile may
	// or may not come. Engines keep the first page short, as many callers want only the first pair.
	Scan(ctx context.Context, from, to []byte) iter.Seq2[Pair, error]
	// Update runs fn on the caller's goroutine and applies what it wrote atomically. It returns nil when what fn wrote and read is durable,
	// even if it wrote nothing. An error of fn is returned unchanged: then nothing is written, and what fn read need not be durable. Nor is
	// anything written if fn panics or ends its goroutine. fn may run more than once, must be quick, and must not call Update of this store.
	//
	// Locks are names, the same in all stores of the engine. Their order means nothing, nor does a name that comes twice. Of two Updates that
	// share a lock, in whatever stores and by whatever clients, one sees all that the other did. Two that share none may run side by side, and
	// in different stores never wait for each other: neither need see what the other writes, and the last write of a key counts. So an Update
	// that decides on what it reads must share a lock with all that write it.
	//
	// When ctx ends, Update returns the error of ctx, wrapped, and that is also ErrUnknown if what fn wrote may take effect.
	Update(ctx context.Context, locks []string, fn func(Tx) error) error
	// Stage writes pairs for a later Update to refer to, and need not wait until they are durable: that Update calls Tx.Needs. Pairs that no
	// Update needs may be lost, and a Stage may be there in part. Nobody else may write their keys.
	Stage(ctx context.Context, pairs []Pair) (Staged, error)
	// Purge deletes keys that nobody will read or write again, and gives their space back to the machine. The keys ascend. It works in steps,
	// takes only those that are worth their cost or have a key that is due, and holds up no Update: hand in what is left another day. A store
	// that is written to, as with new mail, may take none. After each step it calls done, on the caller's goroutine, with what is durably gone. An error of done ends it and is returned. After any other
	// error more may be gone than done was told.
	Purge(ctx context.Context, garbage []Garbage, done func(gone []Garbage) error) error
	// Lost lists the spans of acknowledged updates that were missing when the store was opened. The list never shrinks. An engine that cannot
	// lose such updates lists none.
	Lost(ctx context.Context) ([]Loss, error)
}

// Staged stands for the pairs of one Stage, in Updates of the same store and client. nil stands for none.
type Staged any

// View reads a store as an Update sees it.
type View interface {
	// Get returns the value of a key, or ErrNotFound. It sees what this Update has written.
	Get(key []byte) ([]byte, error)
	// GetAll returns the values of several keys, as Store.GetAll does. It sees what Get sees.
	GetAll(keys [][]byte) ([][]byte, error)
}

// Tx reads and writes for one Update. It is valid only inside fn, on the goroutine of fn.
type Tx interface {
	View
	// Put sets the value of a key. It keeps the slices until the Update returns.
	Put(key, value []byte)
	// Delete removes a key; a missing key is no error. It keeps the slice until the Update returns.
	Delete(key []byte)
	// In returns the view of another volume, or of the settings for an empty month. Locks protect what is read there as they do here. Reading
	// there may cost far more. A month without a volume is ErrNoVolume.
	In(m Month) (View, error)
	// Needs makes the Update durable only together with what was staged. If that was lost, Update writes nothing and returns ErrUnavailable.
	Needs(s Staged)
}

// Pair is a key with its value.
type Pair struct{ Key, Value []byte }

// Garbage is a key to purge, with the length of its value in bytes.
type Garbage struct {
	Key  []byte
	Size int64
	Due  bool // it is to go now, whatever that costs
}

// Loss is a span of acknowledged updates that a store no longer holds, for instance after disk damage.
type Loss struct {
	Found  time.Time // when the loss was found
	After  time.Time // time of the newest update before the span that is still there; zero if there is none
	Before time.Time // time of the oldest update after the span that is still there; zero if there is none
	Count  uint64    // how many updates are missing
}
