package archive

import (
	"container/list"
	"context"
	"iter"
	"sync"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy"
	"copialettere/policy/pec"
)

// typeOf returns the type, a name of policy.VocabularyClasses, as which layout=type shows an entry in a folder of the journal; empty in a folder that is
// not shown by types. It depends only on what an entry keeps for good, and every entry has one: what is certain of nothing else is not certified. Of an
// entry that cannot be read class and sentTo are empty.
func typeOf(folder, class, sentTo string) string {
	switch {
	case folder == journal.FolderOf(journal.Received):
		return string(pec.GroupOf(pec.Class(class)))
	case folder != journal.FolderOf(journal.Sent):
		return ""
	case sentTo == string(policy.SentToCertified):
		return string(pec.SentCertified)
	}
	return string(pec.SentOther)
}

// maxTypes is how much memory Types takes, in bytes.
const maxTypes = 64 << 20

// Types knows which messages of the folders of the journal are of which type, so that mail programs can be shown folders by types. It reads a folder once,
// and then only what has come; where something has gone it reads the folder anew. What was not asked for longest is forgotten beyond 64 MiB. Nothing
// is stored. It may be used concurrently; one call at a time reads a folder.
type Types struct {
	limit int // bytes

	mu    sync.Mutex
	of    map[folderID]*list.Element // of typed; guarded by mu
	used  list.List                  // the one asked for last is in front; guarded by mu
	bytes int                        // that all of them take; guarded by mu
}

// folderID names a folder of the journal; that of what was deleted has no month.
type folderID struct {
	mailbox string
	month   kv.Month
	folder  string
}

// place is where messages lie that layout=type shows in one folder; of what was deleted, where they lay.
type place struct {
	month  kv.Month
	folder string
	kind   string // as typeOf returns it
}

// content is what lies in a place.
type content struct {
	journal.Size
	uids journal.UIDs
}

// typed is one folder of the journal by places.
type typed struct {
	id    folderID
	turn  chan struct{} // has room for one: whoever holds it may use at, exact and in
	at    journal.FolderStats
	exact bool // in is what lay in the folder when its counters were at; otherwise it is to be read anew
	in    map[place]*content

	bytes int // guarded by Types.mu
}

// NewTypes returns a Types that knows nothing yet.
func NewTypes() *Types { return &Types{limit: maxTypes, of: make(map[folderID]*list.Element)} }

// look calls use with a folder by places, as it is at the counters now or later. use must not keep what it is given.
func (t *Types) look(ctx context.Context, j *journal.Journal, now journal.FolderStats, use func(*typed)) error {
	f := t.folder(folderID{now.Mailbox, now.Month, now.Folder})
	select {
	case f.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-f.turn }()
	defer t.weigh(f)
	if err := f.bring(ctx, j, now); err != nil {
		f.exact = false
		return err
	}
	use(f)
	return nil
}

// folder returns what is known of a folder.
func (t *Types) folder(id folderID) *typed {
	t.mu.Lock()
	defer t.mu.Unlock()
	if known := t.of[id]; known != nil {
		t.used.MoveToFront(known)
		return known.Value.(*typed)
	}
	f := &typed{id: id, turn: make(chan struct{}, 1)}
	t.of[id] = t.used.PushFront(f)
	return f
}

// weigh counts anew what a folder takes, and forgets what was not asked for longest. It forgets the folder itself only if that alone is too large.
func (t *Types) weigh(f *typed) {
	size := 512 + len(f.id.mailbox)
	for _, c := range f.in {
		size += 256 + 8*cap(c.uids)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if known := t.of[f.id]; known == nil || known.Value != f {
		return // forgotten meanwhile
	}
	t.bytes += size - f.bytes
	f.bytes = size
	for t.bytes > t.limit && t.used.Len() > 0 {
		oldest := t.used.Remove(t.used.Back()).(*typed)
		t.bytes -= oldest.bytes
		delete(t.of, oldest.id)
	}
}

// bring makes what is known of a folder that of the counters now, or of later ones.
func (f *typed) bring(ctx context.Context, j *journal.Journal, now journal.FolderStats) error {
	if f.knows(now) {
		return nil
	}
	// The turn may have been long in coming, and who had it before knows more than these counters.
	now, err := counters(ctx, j, now)
	switch {
	case err != nil:
		return err
	case f.knows(now):
		return nil
	case !f.exact || f.at.UIDValidity != now.UIDValidity || now.NextUID < f.at.NextUID:
		return f.read(ctx, j, now)
	}
	came, err := f.scan(ctx, j, f.at.NextUID, now.NextUID)
	if err == nil && f.at.Entries+came != now.Entries {
		return f.read(ctx, j, now)
	}
	f.at = now
	return err
}

// knows reports whether nothing has come or gone between what is known of the folder and its counters now.
func (f *typed) knows(now journal.FolderStats) bool {
	return f.exact && f.at.UIDValidity == now.UIDValidity && f.at.NextUID == now.NextUID && f.at.Entries == now.Entries
}

// readAgain is how often a folder is read again at once because something went while it was read.
const readAgain = 3

// read reads the whole folder. Counters before and after tell whether anything has gone in between: see journal.Journal.Folder.
func (f *typed) read(ctx context.Context, j *journal.Journal, now journal.FolderStats) error {
	for range readAgain {
		f.in = make(map[place]*content)
		if _, err := f.scan(ctx, j, 1, now.NextUID); err != nil {
			return err
		}
		after, err := counters(ctx, j, now)
		if err != nil {
			return err
		}
		f.at = now
		if f.exact = after.UIDValidity == now.UIDValidity && after.Entries-now.Entries == uint64(after.NextUID-now.NextUID); f.exact {
			return nil
		}
		now = after
	}
	return nil
}

// counters returns the counters of a folder as they are now.
func counters(ctx context.Context, j *journal.Journal, f journal.FolderStats) (journal.FolderStats, error) {
	if f.Month == "" {
		return j.DeletedFolder(ctx, f.Mailbox, false)
	}
	return j.Folder(ctx, f.Mailbox, f.Month, f.Folder)
}

// scan adds the entries whose UIDs are from first on and below end, and returns how many there are.
func (f *typed) scan(ctx context.Context, j *journal.Journal, first, end uint32) (n uint64, err error) {
	if first >= end {
		return 0, nil
	}
	outlines := f.outlines(ctx, j, first, end-1)
	if f.id.month == "" {
		outlines = f.deletedOutlines(ctx, j, first, end-1)
	}
	for at, o := range outlines {
		if o.err != nil {
			return n, o.err
		}
		c := f.in[at]
		if c == nil {
			c = new(content)
			f.in[at] = c
		}
		c.add(o.Outline)
		n++
	}
	return n, ctx.Err()
}

// outline is an entry, or why no more of them can be read.
type outline struct {
	journal.Outline
	err error
}

// outlines yields the entries of the folder of a month, the damaged ones too.
func (f *typed) outlines(ctx context.Context, j *journal.Journal, first, last uint32) iter.Seq2[place, outline] {
	return func(yield func(place, outline) bool) {
		for o, err := range j.Outlines(ctx, f.id.mailbox, f.id.month, f.id.folder, first, last) {
			if o.UID > 0 {
				err = nil
			}
			if !yield(place{f.id.month, f.id.folder, typeOf(f.id.folder, o.Class, o.SentTo)}, outline{o, err}) {
				return
			}
		}
	}
}

// deletedOutlines yields what was deleted, each with the place where it lay.
func (f *typed) deletedOutlines(ctx context.Context, j *journal.Journal, first, last uint32) iter.Seq2[place, outline] {
	return func(yield func(place, outline) bool) {
		for d, err := range j.DeletedEntries(ctx, f.id.mailbox, journal.UIDRange{First: first, Last: last}.Set()) {
			if d == nil {
				yield(place{}, outline{err: err})
				return
			}
			o := journal.Outline{UID: d.DeletedUID, Size: d.Size, Imported: d.Imported != nil}
			if !yield(place{d.Month, d.Folder, typeOf(d.Folder, d.Class, d.SentTo)}, outline{Outline: o}) {
				return
			}
		}
	}
}

// add puts in an entry whose UID is above those of all others.
func (c *content) add(o journal.Outline) {
	if n := len(c.uids); n > 0 && c.uids[n-1].Last+1 == o.UID {
		c.uids[n-1].Last = o.UID
	} else {
		c.uids = append(c.uids, journal.UIDRange{First: o.UID, Last: o.UID})
	}
	c.Entries++
	c.Bytes += uint64(o.Size)
	if o.Imported {
		c.Imported++
	}
}

// places returns how much lies in each place of a folder, and the counters of the folder at which that was so. Nothing is read of an empty one.
func (t *Types) places(ctx context.Context, j *journal.Journal, now journal.FolderStats) (map[place]journal.Size, journal.FolderStats, error) {
	sizes := make(map[place]journal.Size)
	if now.Entries == 0 {
		return sizes, now, nil
	}
	err := t.look(ctx, j, now, func(f *typed) {
		for p, c := range f.in {
			sizes[p] = c.Size
		}
		now = f.at
	})
	return sizes, now, err
}

// part returns the counters of the messages of one type in the folder of a month, as those of a folder of their own.
func (t *Types) part(ctx context.Context, j *journal.Journal, now journal.FolderStats, kind string) (journal.FolderStats, error) {
	sizes, now, err := t.places(ctx, j, now)
	return partOf(now, sizes[place{now.Month, now.Folder, kind}]), err
}

// partOf returns the counters of a folder with another size.
func partOf(whole journal.FolderStats, size journal.Size) journal.FolderStats {
	whole.Entries, whole.Imported, whole.Bytes = size.Entries, size.Imported, size.Bytes
	return whole
}

// uids returns the UIDs, from a first one on, of the messages of one type in the folder of a month, in ascending order.
func (t *Types) uids(ctx context.Context, j *journal.Journal, now journal.FolderStats, kind string, from uint32) ([]uint32, error) {
	if now.Entries == 0 {
		return nil, nil
	}
	var list []uint32
	err := t.look(ctx, j, now, func(f *typed) {
		c := f.in[place{now.Month, now.Folder, kind}]
		if c == nil {
			return
		}
		for _, r := range c.uids {
			for uid := uint64(max(r.First, from)); uid <= uint64(r.Last); uid++ {
				list = append(list, uint32(uid))
			}
		}
	})
	return list, err
}
