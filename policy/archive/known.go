package archive

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
)

// mostKnown is how much memory Known takes for the mailboxes that nothing is imported into just now, in bytes.
const mostKnown = 64 << 20

// wholeAfter is after which time without an import, and wholeEvery how often at least, all months of a mailbox are looked at again. Between, only that
// of today is: what is moved or brought back within an older one shows as late as that.
const (
	wholeAfter = 10 * time.Second
	wholeEvery = time.Minute
)

// Known knows the bytes of the messages of mailboxes into which something is imported, so that an import finds out what is there already. It takes 16
// bytes for each message: a million of them are 16 MB. It reads a mailbox once, and then only what has come. Nothing is stored. It may be used
// concurrently; one call at a time works for a mailbox.
type Known struct {
	mu  sync.Mutex
	has map[string]*knownMailbox // by the name of the archive; guarded by mu
}

// NewKnown returns a Known that knows nothing yet.
func NewKnown() *Known { return &Known{has: make(map[string]*knownMailbox)} }

// knownMailbox is what is known of the messages of one mailbox.
type knownMailbox struct {
	archive string
	turn    chan struct{} // has room for one: whoever holds it may use what follows

	folders []folderID          // by number
	number  map[folderID]uint32 // of folders
	next    []uint32            // by number of the folder: the UID from which it is to be read
	sorted  []knownMessage
	fresh   []knownMessage // that are not sorted in yet, at most mostFresh
	unread  []kv.Month     // that could not be read
	here    int            // folders in the month of today

	looked, whole time.Time            // when something, and all months, were last looked at
	notes         map[string]time.Time // by who imports and from where: when that was last done

	used int // calls that have it or wait for it; guarded by Known.mu
	size int // as of the last call; guarded by Known.mu
}

// knownMessage is a message by the first bytes of its digest. Whoever finds one reads the entry to make sure.
type knownMessage struct {
	prefix uint64
	folder uint32 // number
	uid    uint32
}

const (
	knownSize = 16
	mostFresh = 4096
	mostNotes = 1000
)

func prefixOf(d journal.Digest) uint64 { return binary.BigEndian.Uint64(d[:]) }

// begin waits for the turn to work for a mailbox. The caller calls end.
func (k *Known) begin(ctx context.Context, archive string) (m *knownMailbox, end func(), err error) {
	k.mu.Lock()
	m = k.has[archive]
	if m == nil {
		m = &knownMailbox{archive: archive, turn: make(chan struct{}, 1), number: make(map[folderID]uint32), notes: make(map[string]time.Time)}
		k.has[archive] = m
	}
	m.used++
	k.mu.Unlock()
	select {
	case m.turn <- struct{}{}:
		return m, func() {
			size := knownSize * (cap(m.sorted) + cap(m.fresh))
			<-m.turn
			k.done(m, size)
		}, nil
	case <-ctx.Done():
		k.done(m, -1)
		return nil, nil, ctx.Err()
	}
}

// done ends the use of a mailbox, and forgets those that were not used for longest, if all take too much.
func (k *Known) done(m *knownMailbox, size int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	m.used--
	if size >= 0 {
		m.size = size
	}
	for {
		all := 0
		var idle *knownMailbox
		for _, one := range k.has {
			all += one.size + 1024
			// Nobody else has an idle one, so its times may be read.
			if one.used == 0 && (idle == nil || one.looked.Before(idle.looked)) {
				idle = one
			}
		}
		if all <= mostKnown || idle == nil {
			return
		}
		delete(k.has, idle.archive)
	}
}

// bring makes what is known of the mailbox that of now: of all months after a while, otherwise of the month of today.
func (m *knownMailbox) bring(ctx context.Context, j *journal.Journal) error {
	now := time.Now()
	if now.Sub(m.looked) > wholeAfter || now.Sub(m.whole) > wholeEvery {
		return m.bringAll(ctx, j)
	}
	m.looked = now
	stats, err := j.StatsIn(ctx, m.archive, j.Month())
	if err != nil {
		return err
	}
	m.here = len(stats)
	for _, f := range stats {
		if err := m.read(ctx, j, f); err != nil {
			return err
		}
	}
	return nil
}

// bringAll makes what is known of the mailbox that of now.
func (m *knownMailbox) bringAll(ctx context.Context, j *journal.Journal) error {
	now := time.Now()
	stats, err := j.Stats(ctx, m.archive)
	var passed journal.PassedOver
	if err != nil && !errors.As(err, &passed) {
		return err
	}
	m.unread = passed.Months()
	m.here = 0
	for _, f := range stats {
		if f.Month == j.Month() {
			m.here++
		}
		err := m.read(ctx, j, f)
		var bad *journal.MonthError
		switch {
		case errors.As(err, &bad):
			m.unread = append(m.unread, f.Month)
		case err != nil && !errors.Is(err, journal.ErrNotFound): // dropped meanwhile
			return err
		}
	}
	slices.Sort(m.unread)
	m.unread = slices.Compact(m.unread)
	m.looked, m.whole = now, now
	return nil
}

// read reads what has come to a folder.
func (m *knownMailbox) read(ctx context.Context, j *journal.Journal, f journal.FolderStats) error {
	id := folderID{f.Mailbox, f.Month, f.Folder}
	number, ok := m.number[id]
	if !ok {
		number = uint32(len(m.folders))
		m.number[id] = number
		m.folders, m.next = append(m.folders, id), append(m.next, 1)
	}
	if f.NextUID <= m.next[number] {
		return nil
	}
	for one, err := range j.Fingerprints(ctx, f.Mailbox, f.Month, f.Folder, m.next[number], f.NextUID-1) {
		switch {
		case one.UID == 0:
			return err
		case err == nil: // the bytes of one that cannot be read are not known
			m.add(knownMessage{prefixOf(one.SHA256), number, one.UID})
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	m.next[number] = f.NextUID
	return nil
}

func (m *knownMailbox) add(one knownMessage) {
	if m.fresh = append(m.fresh, one); len(m.fresh) < mostFresh {
		return
	}
	m.sorted = append(m.sorted, m.fresh...)
	m.fresh = m.fresh[:0]
	slices.SortFunc(m.sorted, func(a, b knownMessage) int { return cmp.Compare(a.prefix, b.prefix) })
}

// find returns where the mailbox has a message with these bytes. What the journal says now counts, whatever was read before.
func (m *knownMailbox) find(ctx context.Context, j *journal.Journal, digest journal.Digest) (ref journal.Ref, ok bool, err error) {
	ref, ok, stale, err := m.findOnce(ctx, j, digest)
	if ok || err != nil || !stale {
		return ref, ok, err
	}
	// It was there, and may have been moved.
	if err := m.bringAll(ctx, j); err != nil {
		return ref, false, err
	}
	ref, ok, _, err = m.findOnce(ctx, j, digest)
	return ref, ok, err
}

// findOnce is find in what was read. stale says that it was there and is not at that place any more.
func (m *knownMailbox) findOnce(ctx context.Context, j *journal.Journal, digest journal.Digest) (ref journal.Ref, ok, stale bool, err error) {
	prefix := prefixOf(digest)
	at, _ := slices.BinarySearchFunc(m.sorted, prefix, func(one knownMessage, p uint64) int { return cmp.Compare(one.prefix, p) })
	end := at
	for end < len(m.sorted) && m.sorted[end].prefix == prefix {
		end++
	}
	for _, list := range [...][]knownMessage{m.sorted[at:end], m.fresh} {
		for _, one := range list {
			if one.prefix != prefix {
				continue
			}
			f := m.folders[one.folder]
			there := false
			for found, err := range j.Fingerprints(ctx, f.mailbox, f.month, f.folder, one.uid, one.uid) {
				switch {
				case errors.Is(err, journal.ErrNotFound), errors.Is(err, journal.ErrDamaged):
				case err != nil:
					return ref, false, false, err
				default:
					there = found.SHA256 == digest
				}
			}
			if there {
				return journal.Ref{Mailbox: f.mailbox, Month: f.month, Folder: f.folder, UID: one.uid}, true, false, nil
			}
			stale = true
		}
	}
	return ref, false, stale, ctx.Err()
}
