// Package preservation keeps what is known of the packages of certified mail that were handed to a service for legal preservation, and of the receipts
// that came back. It makes no package, and checks no rights.
//
// # Keys
//
// Everything is in the settings store of the engine, under the prefix "v". The spaces are for readability. A day is a day in UTC, as "2026-11-29".
//
//	v p <archive> 0x00 <day>   the package of a day, a JSON object: see Package
//	v w <archive> 0x00 <day>   a byte 1; there while the package has no receipt
//	v d <archive>              the last day that was dealt with, as text
//	v a                        the last day that was dealt with for all mailboxes, as text
//	v n <name of the package>  <archive> 0x00 <day>: whose package that is
//
// An entry finds its package by its archive and the day of its arrival. All of an archive goes with it (Forget); nothing else removes a record, so it tells
// of the receipt also when the retention has deleted the messages.
package preservation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"copialettere/journal/kv"
	"copialettere/policy"
)

// Settings are what the configuration says of the hand-over. Without Drop there is none.
type Settings struct {
	Drop      string        // the folder for packages
	Receipts  string        // the folder in which receipts come back; empty: none do
	Agent     string        // who answers for the packages, as sincro.ParseAgent reads it
	Domains   []string      // whose mailboxes are handed over
	Mailboxes []string      // and these
	Overdue   time.Duration // after which a receipt is missed
}

// Selects reports whether the mail of a mailbox is handed over.
func (s *Settings) Selects(a policy.Address) bool {
	return s.Drop != "" && (slices.Contains(s.Domains, a.Domain) || slices.Contains(s.Mailboxes, a.String()))
}

// State is how far a package is. Others script against the values.
type State string

// The states of a package.
const (
	StateHandedOver State = "handed-over" // its receipt has not come
	StateReceived   State = "received"    // a receipt has come
	StateOverdue    State = "overdue"     // its receipt has not come in time
)

// Receipt is a file that came back for a package. What it says is not read. Others script against its names, and they are stored.
type Receipt struct {
	Name   string    `json:"name"`   // of the file
	Time   time.Time `json:"time"`   // when it was noted
	SHA256 string    `json:"sha256"` // of the file
	Size   int64     `json:"size"`   // bytes
}

// MaxReceipts is how many receipts of a package are noted.
const MaxReceipts = 8

// Package is one package. Others script against its names, and they are stored.
type Package struct {
	Day      string    `json:"day"`
	Name     string    `json:"name"` // of the file in the folder for packages
	Messages uint64    `json:"messages"`
	Missing  uint64    `json:"missing,omitempty"` // what could not be read, and is not in it: its INCOMPLETE.txt names that
	Size     int64     `json:"size"`              // bytes
	SHA256   string    `json:"sha256"`
	Made     time.Time `json:"made"`
	// Placed is when it was seen to be in the folder for packages, under its name; absent until then.
	Placed   *time.Time `json:"placed,omitempty"`
	Missed   *time.Time `json:"missed,omitempty"` // when the operator was told that no receipt has come
	Receipts []Receipt  `json:"receipts,omitempty"`
	// Folder is the folder for packages in which it was made. It is no one's business but the machine's; it is stored, and not told.
	Folder string `json:"-"`
}

// stored is a Package as it is stored.
type stored struct {
	Package
	Folder string `json:"folder,omitempty"`
}

func encode(p *Package) ([]byte, error) { return json.Marshal(stored{*p, p.Folder}) }

func decode(value []byte) (*Package, error) {
	var s stored
	if err := json.Unmarshal(value, &s); err != nil {
		return nil, err
	}
	s.Package.Folder = s.Folder
	return &s.Package, nil
}

// State returns how far the package is now.
func (p *Package) State(now time.Time, overdue time.Duration) State {
	switch {
	case len(p.Receipts) > 0:
		return StateReceived
	case overdue > 0 && now.Sub(p.Made) > overdue:
		return StateOverdue
	}
	return StateHandedOver
}

// ErrForgotten says that the archive of a package is being erased.
var ErrForgotten = errors.New("the archive is being erased")

// Ledger keeps packages. Its methods may be called concurrently, in one process.
type Ledger struct {
	store kv.Store
	// writing is held while a record is written. What a writer finds out of its archive under it, as that it is not being erased, holds until it is written.
	writing sync.Mutex
}

// New returns the Ledger over a settings store, which the caller keeps and closes.
func New(settings kv.Store) *Ledger { return &Ledger{store: settings} }

const (
	packages = "vp"
	waiting  = "vw"
	through  = "vd"
	all      = "va"
	named    = "vn"
)

// allLock is the lock of the last day that was dealt with for all mailboxes. No SettingsLock begins so.
const allLock = "preservation"

func lock(archive string) []string { return []string{policy.SettingsLock(archive)} }

func dayKey(kind, archive, day string) []byte { return []byte(kind + archive + "\x00" + day) }

// behind returns the first key behind all that begin with a prefix, which ends in no 0xff.
func behind(prefix []byte) []byte {
	end := slices.Clone(prefix)
	end[len(end)-1]++
	return end
}

// get reads a value; empty where there is none.
func (l *Ledger) get(ctx context.Context, key []byte) ([]byte, error) {
	value, err := l.store.Get(ctx, key)
	if errors.Is(err, kv.ErrNotFound) {
		return nil, nil
	}
	return value, err
}

// Through returns the last day of an archive that was dealt with; empty for none.
func (l *Ledger) Through(ctx context.Context, archive string) (string, error) {
	day, err := l.get(ctx, []byte(through+archive))
	if err != nil {
		err = fmt.Errorf("packages of %s: %w", archive, err)
	}
	return string(day), err
}

// ThroughAll returns the last day that was dealt with for all mailboxes; empty where nothing was ever handed over.
func (l *Ledger) ThroughAll(ctx context.Context) (string, error) {
	day, err := l.get(ctx, []byte(all))
	if err != nil {
		err = fmt.Errorf("packages of all mailboxes: %w", err)
	}
	return string(day), err
}

// AllDone notes which day is the last that is dealt with for all mailboxes.
func (l *Ledger) AllDone(ctx context.Context, day string) error {
	err := l.Writing(func() error {
		return l.store.Update(ctx, []string{allLock}, func(tx kv.Tx) error {
			tx.Put([]byte(all), []byte(day))
			return nil
		})
	})
	if err != nil {
		err = fmt.Errorf("packages of all mailboxes: %w", err)
	}
	return err
}

// Get returns the package of a day; nil for none.
func (l *Ledger) Get(ctx context.Context, archive, day string) (*Package, error) {
	value, err := l.get(ctx, dayKey(packages, archive, day))
	if err == nil && value == nil {
		return nil, nil
	}
	var p *Package
	if err == nil {
		p, err = decode(value)
	}
	if err != nil {
		return nil, fmt.Errorf("package of %s of %s: %w", archive, day, err)
	}
	return p, nil
}

// Place is where a package is on record.
type Place struct{ Archive, Day string }

// Named returns whose package has a name; zero for none.
func (l *Ledger) Named(ctx context.Context, name string) (Place, error) {
	value, err := l.get(ctx, []byte(named+name))
	if err != nil {
		return Place{}, fmt.Errorf("package %s: %w", name, err)
	}
	archive, day, _ := strings.Cut(string(value), "\x00")
	return Place{archive, day}, nil
}

// receiptExtensions are those that a receipt may have behind the name of its package, in small letters. None of them but that of a package is a top-level
// domain: the receipt of mario@alpha.it.example.org must never pass for one of mario@alpha.it.
var receiptExtensions = []string{
	Extension, ".xml", ".p7m", ".p7s", ".m7m", ".tsd", ".tsr", ".tst", ".pdf", ".json", ".txt", ".csv", ".htm", ".html", ".eml", ".log", ".asc", ".sig", ".rdv", ".esito",
}

// ReceiptExtension returns the extension of a file if it is one of those that a receipt may have; else it is empty.
func ReceiptExtension(file string) string {
	if extension := path.Ext(file); slices.Contains(receiptExtensions, strings.ToLower(extension)) {
		return extension
	}
	return ""
}

// OfReceipt returns whose package a file is a receipt of: one with the name of the package, without or with its extension, and any of the extensions of
// receipts behind it. Zero for none.
func (l *Ledger) OfReceipt(ctx context.Context, file string) (Place, error) {
	for base := file; ; {
		for _, name := range []string{base, base + Extension} {
			if p, err := l.Named(ctx, name); err != nil || p != (Place{}) {
				return p, err
			}
		}
		extension := ReceiptExtension(base)
		if extension == "" {
			return Place{}, nil
		}
		base = strings.TrimSuffix(base, extension)
	}
}

// Extension is that of a package.
const Extension = ".zip"

// Of yields the packages of an archive, oldest first.
func (l *Ledger) Of(ctx context.Context, archive string) iter.Seq2[*Package, error] {
	return func(yield func(*Package, error) bool) {
		from := dayKey(packages, archive, "")
		for pair, err := range l.store.Scan(ctx, from, behind(from)) {
			var p *Package
			if err == nil {
				p, err = decode(pair.Value)
			}
			if err != nil {
				yield(nil, fmt.Errorf("packages of %s: %w", archive, err))
				return
			}
			if !yield(p, nil) {
				return
			}
		}
	}
}

// Waiting yields where the packages are that have no receipt.
func (l *Ledger) Waiting(ctx context.Context) iter.Seq2[Place, error] {
	return func(yield func(Place, error) bool) {
		for pair, err := range l.store.Scan(ctx, []byte(waiting), behind([]byte(waiting))) {
			if err != nil {
				yield(Place{}, fmt.Errorf("packages without a receipt: %w", err))
				return
			}
			archive, day, _ := strings.Cut(string(pair.Key[len(waiting):]), "\x00")
			if !yield(Place{archive, day}, nil) {
				return
			}
		}
	}
}

// Writing runs fn while nothing else is written, and nothing forgotten.
func (l *Ledger) Writing(fn func() error) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	return fn()
}

// Add adds a package within an update of its archive, under the lock of Writing. The name must be free: see Named.
func (l *Ledger) Add(tx kv.Tx, archive string, p Package) error {
	value, err := encode(&p)
	if err != nil {
		return err
	}
	tx.Put(dayKey(packages, archive, p.Day), value)
	tx.Put(dayKey(waiting, archive, p.Day), []byte{1})
	tx.Put([]byte(named+p.Name), []byte(archive+"\x00"+p.Day))
	return nil
}

// Done notes that a day of an archive is dealt with, and with change, which may be nil, changes the package of that day. It is to be called within Writing.
func (l *Ledger) Done(ctx context.Context, archive, day string, change func(*Package)) error {
	return l.update(ctx, Place{archive, day}, func(tx kv.Tx, p *Package) {
		tx.Put([]byte(through+archive), []byte(day))
		if p != nil && change != nil {
			change(p)
		}
	})
}

// Change changes a package, where it is still there. It is to be called within Writing.
func (l *Ledger) Change(ctx context.Context, at Place, change func(*Package)) error {
	return l.update(ctx, at, func(tx kv.Tx, p *Package) {
		if p == nil {
			return
		}
		if change(p); len(p.Receipts) > 0 {
			tx.Delete(dayKey(waiting, at.Archive, at.Day))
		}
	})
}

func (l *Ledger) update(ctx context.Context, at Place, change func(kv.Tx, *Package)) error {
	err := l.store.Update(ctx, lock(at.Archive), func(tx kv.Tx) error {
		key := dayKey(packages, at.Archive, at.Day)
		value, err := tx.Get(key)
		var p *Package
		switch {
		case errors.Is(err, kv.ErrNotFound):
		case err != nil:
			return err
		default:
			if p, err = decode(value); err != nil {
				return err
			}
		}
		if change(tx, p); p == nil {
			return nil
		}
		if value, err = encode(p); err == nil {
			tx.Put(key, value)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("package of %s of %s: %w", at.Archive, at.Day, err)
	}
	return nil
}

// forgetStep is how many packages go in one update.
const forgetStep = 200

// Forget removes all that is known of an archive, by its name, that is being erased. Whoever calls it has made sure that no more is added.
func (l *Ledger) Forget(ctx context.Context, archive string) error {
	return l.Writing(func() error {
		for {
			var some []*Package
			for p, err := range l.Of(ctx, archive) {
				if err != nil {
					return err
				}
				if some = append(some, p); len(some) == forgetStep {
					break
				}
			}
			if day, err := l.Through(ctx, archive); err != nil || len(some) == 0 && day == "" {
				return err // most have none, which needs no write
			}
			err := l.store.Update(ctx, lock(archive), func(tx kv.Tx) error {
				for _, p := range some {
					tx.Delete(dayKey(packages, archive, p.Day))
					tx.Delete(dayKey(waiting, archive, p.Day))
					tx.Delete([]byte(named + p.Name))
				}
				tx.Delete([]byte(through + archive))
				return nil
			})
			if err != nil {
				return fmt.Errorf("forget the packages of %s: %w", archive, err)
			}
		}
	})
}
