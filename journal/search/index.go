package search

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"

	"copialettere/journal"
	"copialettere/policy/archive"
)

// DefaultMemory is how much memory an Index takes, in bytes.
const DefaultMemory = 64 << 20

// Options are what an Index works with.
type Options struct {
	Memory int              // bytes; zero means DefaultMemory
	Now    func() time.Time // if nil, time.Now
}

// Index finds messages. It may be used concurrently; of one folder and month, one call at a time reads what has come.
type Index struct {
	limit int
	now   func() time.Time

	mu    sync.Mutex
	of    map[catalogueID]*list.Element // of *catalogue; guarded by mu
	used  list.List                     // the one asked for last is in front; guarded by mu
	bytes int                           // that all of them take; guarded by mu
}

// New returns an Index that knows nothing yet.
func New(o Options) *Index {
	if o.Memory == 0 {
		o.Memory = DefaultMemory
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Index{limit: o.Memory, now: o.Now, of: make(map[catalogueID]*list.Element)}
}

// look calls use with the catalogue of a folder, as it is at the counters now or later. use must not keep what it is given.
func (x *Index) look(ctx context.Context, r *archive.Reader, now journal.FolderStats, texts bool, use func(*catalogue)) error {
	c := x.catalogue(idOf(now, texts))
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-c.turn }()
	defer x.weigh(c)
	if err := c.bring(ctx, r, now, x.now()); err != nil {
		return err
	}
	use(c)
	return nil
}

// peek calls use with the catalogue of a folder if it is at the counters now and nobody else has it, and reports whether it did.
func (x *Index) peek(now journal.FolderStats, texts bool, use func(*catalogue)) bool {
	x.mu.Lock()
	known := x.of[idOf(now, texts)]
	x.mu.Unlock()
	if known == nil {
		return false
	}
	c := known.Value.(*catalogue)
	select {
	case c.turn <- struct{}{}:
	default:
		return false
	}
	defer func() { <-c.turn }()
	if !c.knows(now) || len(c.young) > 0 {
		return false
	}
	use(c)
	return true
}

func idOf(f journal.FolderStats, texts bool) catalogueID {
	return catalogueID{f.Mailbox, f.Month, f.Folder, texts}
}

// catalogue returns what is known of a folder.
func (x *Index) catalogue(id catalogueID) *catalogue {
	x.mu.Lock()
	defer x.mu.Unlock()
	if known := x.of[id]; known != nil {
		x.used.MoveToFront(known)
		return known.Value.(*catalogue)
	}
	c := newCatalogue(id)
	x.of[id] = x.used.PushFront(c)
	return c
}

// weigh counts anew what a catalogue takes, and forgets those that were not asked for longest: beyond the limit, or for an hour. It forgets the
// catalogue itself only if that alone is too large.
func (x *Index) weigh(c *catalogue) {
	size := c.size()
	x.mu.Lock()
	defer x.mu.Unlock()
	if known := x.of[c.id]; known == nil || known.Value != c {
		return // forgotten meanwhile
	}
	x.bytes += size - c.bytes
	c.bytes, c.used = size, x.now()
	x.shrink(c.used)
}

// shrink forgets the catalogues that were not asked for longest. x.mu is held.
func (x *Index) shrink(now time.Time) {
	for x.used.Len() > 0 {
		oldest := x.used.Back().Value.(*catalogue)
		if x.bytes <= x.limit && (oldest.used.IsZero() || now.Sub(oldest.used) < idle) {
			return
		}
		x.forget(oldest)
	}
}

// forget forgets a catalogue. Whoever uses it now may finish. x.mu is held.
func (x *Index) forget(c *catalogue) {
	x.used.Remove(x.of[c.id])
	x.bytes -= c.bytes
	delete(x.of, c.id)
}

// Forget forgets all that is known of an archive, by the name that the journal has for it. Call it when the archive is erased: what is erased must be
// in nobody's memory either. A search that is under way may finish.
func (x *Index) Forget(mailbox string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for id, known := range x.of {
		if id.mailbox == mailbox {
			x.forget(known.Value.(*catalogue))
		}
	}
}

// Rest forgets what nobody has asked for in an hour. Call it now and then, so that what was deleted in the journal does not stay in a catalogue that
// nobody looks at again.
func (x *Index) Rest() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.shrink(x.now())
}

// idle is for how long a catalogue that nobody asks for is kept.
const idle = time.Hour

// size returns about how many bytes a catalogue takes.
func (c *catalogue) size() int {
	return 1024 + len(c.id.mailbox) + 4*cap(c.uids) + 8*cap(c.times) + 8*cap(c.sizes) + 2*cap(c.kinds) + 4*cap(c.order) +
		cap(c.texts) + 8*cap(c.ends) + cap(c.attached) + 128*(len(c.kindList)+len(c.young))
}

// errGone says that a message was found and is not there any more.
var errGone = errors.New("messages went meanwhile")
