package archive

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"sync/atomic"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy"
	"copialettere/policy/auth"
)

// Access is what a person may do with an archive by mail program, under the settings in force now.
type Access struct {
	Language policy.Language
	Layout   policy.Layout
	Delete   bool  // messages may be deleted by hand
	Move     bool  // messages may be moved
	Append   bool  // messages may be put in by hand
	GiveBack bool  // messages may be handed to the live mailbox once more
	Quota    int64 // bytes; 0 for none
}

// Reader reads the archive of one mailbox for one person, as mail programs show it. Its methods look at the person's right and at the
// settings each time, so a Reader kept open for days shows nothing once either has ended: the error is then an *auth.Refusal, or wraps
// policy.ErrForbidden. The same holds once the address leads to another archive than at the first look: that is somebody else's. It may be used
// concurrently.
type Reader struct {
	archive  *Archive
	who      policy.Actor
	mailbox  policy.Address
	identity *auth.Identity // nil for whoever has not signed in
	protocol auth.Protocol
	opened   atomic.Pointer[string] // the name of the archive that was opened first
}

// Reader returns the Reader of a mailbox for an actor, as mail programs see it. It checks nothing yet.
func (a *Archive) Reader(who policy.Actor, mailbox policy.Address) *Reader {
	return &Reader{archive: a, who: who, mailbox: mailbox}
}

// WebReader returns the Reader of a mailbox for an actor, as pages and programs of the provider see it: the switches of mail programs do not matter. It
// checks nothing yet. Whoever calls it knows that the actor has signed in.
func (a *Archive) WebReader(who policy.Actor, mailbox policy.Address) *Reader {
	return &Reader{archive: a, who: who, mailbox: mailbox, protocol: auth.ProtocolWeb}
}

// SignedInReader returns the Reader of somebody who has signed in to a protocol. It shows nothing any more also when the way of signing in has ended:
// see auth.Authenticator.Permitted.
func (a *Archive) SignedInReader(id auth.Identity, protocol auth.Protocol) *Reader {
	return &Reader{archive: a, who: id.Actor, mailbox: id.Mailbox, identity: &id, protocol: protocol}
}

// Delegated reports whether somebody else's mailbox is read, which ends on a day.
func (r *Reader) Delegated() bool { return r.who.Role == policy.RoleDelegate }

// Mailbox returns the mailbox that is read.
func (r *Reader) Mailbox() policy.Address { return r.mailbox }

// Access returns what may be done now, if the archive is open to the protocol: see auth.OpenTo. A paused archive is.
func (r *Reader) Access(ctx context.Context) (Access, error) {
	m, err := r.open(ctx)
	if err != nil {
		return Access{}, err
	}
	may := func(right Right) bool {
		return r.archive.May(ctx, r.who, right, r.mailbox) == nil && permitted(m.Settings, right) == nil
	}
	s := m.Settings
	return Access{Language: s.Language, Layout: s.Layout, Delete: may(RightDelete), Move: may(RightMove), Append: may(RightImport), Quota: s.Quota,
		GiveBack: may(RightGiveBack) && m.Address.Closed == "" && r.archive.options.Mailstore != nil}, nil
}

// Opened returns the name of the archive that is read (policy.Mailbox.Archive), if it may be read now.
func (r *Reader) Opened(ctx context.Context) (string, error) {
	m, err := r.open(ctx)
	return m.Archive, err
}

// Pinned makes the Reader one of the archive of a name, as if that had been opened first: for what was begun with another Reader. It is to be called before
// the Reader is used, and returns it.
func (r *Reader) Pinned(name string) *Reader {
	r.opened.Store(&name)
	return r
}

// open returns the mailbox if it may be read now.
func (r *Reader) open(ctx context.Context) (policy.Mailbox, error) {
	if err := r.archive.May(ctx, r.who, RightRead, r.mailbox); err != nil {
		return policy.Mailbox{}, err
	}
	m, err := r.archive.policy.Mailbox(ctx, r.mailbox)
	if err == nil {
		err = auth.OpenTo(m.Settings, r.protocol)
	}
	if err == nil && r.identity != nil {
		err = r.archive.options.Auth.Permitted(ctx, *r.identity, r.protocol)
	}
	if err == nil && !r.opened.CompareAndSwap(nil, &m.Archive) && *r.opened.Load() != m.Archive {
		err = fmt.Errorf("%s leads to another archive now: %w for %s", r.mailbox, policy.ErrForbidden, r.who)
	}
	return m, err
}

// openFolder is open, for what lies in a folder. If the address has come to another archive since, nothing does.
func (r *Reader) openFolder(ctx context.Context, f Folder) (holds *journal.FolderStats, err error) {
	m, err := r.open(ctx)
	if err != nil || f.Holds == nil {
		return nil, err
	}
	if f.Holds.Mailbox != m.Archive {
		return nil, fmt.Errorf("%s: %w", f.Name, ErrNoFolder)
	}
	return f.Holds, nil
}

// Watch returns a channel that gets a value after something has come into the archive or gone: see journal.Journal.Watch. Call stop when done.
func (r *Reader) Watch(ctx context.Context) (news <-chan struct{}, stop func(), err error) {
	m, err := r.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	news, stop = r.archive.journal.Watch(m.Archive)
	return news, stop, nil
}

// Delivering reports whether messages, of anybody, are being archived at this moment.
func (a *Archive) Delivering() bool { return a.journal.Delivering(0) }

// Usage returns the bytes that count for the quota of the mailbox.
func (r *Reader) Usage(ctx context.Context) (uint64, error) {
	m, err := r.open(ctx)
	if err != nil {
		return 0, err
	}
	return r.archive.journal.Usage(ctx, m.Archive)
}

// UIDs returns the UIDs, from a first one on, of the messages in a folder, in ascending order; none of a folder without messages.
func (r *Reader) UIDs(ctx context.Context, f Folder, from uint32) ([]uint32, error) {
	holds, err := r.openFolder(ctx, f)
	if holds == nil {
		return nil, err
	}
	if f.deleted() {
		places, err := r.archive.journal.DeletedPlaces(ctx, holds.Mailbox, journal.UIDRange{First: max(from, 1), Last: math.MaxUint32}.Set())
		uids := make([]uint32, len(places))
		for i, p := range places {
			uids[i] = p.DeletedUID
		}
		return uids, err
	}
	if f.Type != "" {
		return r.uidsOfType(ctx, holds, f.Type, from)
	}
	uids, err := r.archive.journal.UIDs(ctx, holds.Mailbox, holds.Month, holds.Folder, from)
	if errors.Is(err, journal.ErrNotFound) {
		return nil, nil
	}
	return uids, err
}

func (r *Reader) uidsOfType(ctx context.Context, holds *journal.FolderStats, kind string, from uint32) ([]uint32, error) {
	now, err := r.archive.journal.Folder(ctx, holds.Mailbox, holds.Month, holds.Folder)
	if errors.Is(err, journal.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	uids, err := r.archive.types.uids(ctx, r.archive.journal, now, kind, from)
	if errors.Is(err, journal.ErrNotFound) { // dropped meanwhile
		return nil, nil
	}
	return uids, err
}

// Entries yields the entries in a folder whose UIDs are between first and last, both included, under the name that the journal has for the
// mailbox: see journal.Journal.Filed. Those of what was deleted have their UIDs there, and the folder journal.Trash.
// Of a folder that shows one type of messages, those that cannot be read may belong to another one.
func (r *Reader) Entries(ctx context.Context, f Folder, first, last uint32) iter.Seq2[*journal.Entry, error] {
	return r.entries(ctx, f, first, last, r.archive.journal.Filed)
}

// Heads is Entries for who asks for no more than headers: see journal.Journal.FiledHeads.
func (r *Reader) Heads(ctx context.Context, f Folder, first, last uint32) iter.Seq2[*journal.Entry, error] {
	return r.entries(ctx, f, first, last, r.archive.journal.FiledHeads)
}

// filed is how the journal yields entries of a folder.
type filed func(ctx context.Context, mailbox string, m kv.Month, folder string, first, last uint32) iter.Seq2[*journal.Entry, error]

func (r *Reader) entries(ctx context.Context, f Folder, first, last uint32, filed filed) iter.Seq2[*journal.Entry, error] {
	return func(yield func(*journal.Entry, error) bool) {
		holds, err := r.openFolder(ctx, f)
		if err != nil {
			yield(nil, err)
			return
		}
		switch {
		case holds == nil:
		case f.deleted():
			for d, err := range r.archive.journal.DeletedEntries(ctx, holds.Mailbox, journal.UIDRange{First: first, Last: last}.Set()) {
				var e *journal.Entry
				if d != nil {
					e = d.Entry
					e.Folder, e.UID = holds.Folder, d.DeletedUID
				}
				if !yield(e, err) {
					return
				}
			}
		default:
			filed(ctx, holds.Mailbox, holds.Month, holds.Folder, first, last)(func(e *journal.Entry, err error) bool {
				// One that cannot be read is yielded whatever its type: who asks for it by its UID must learn of it.
				return err == nil && f.Type != "" && typeOf(e.Folder, e.Class, e.SentTo) != f.Type || yield(e, err)
			})
		}
	}
}

// Body returns the bytes of the message of an entry that Entries yielded.
func (r *Reader) Body(ctx context.Context, e *journal.Entry) (*journal.Body, error) {
	m, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	if e.Mailbox != m.Archive {
		return nil, fmt.Errorf("message of %s: %w for %s", e.Mailbox, policy.ErrForbidden, r.who)
	}
	return r.archive.journal.Body(ctx, e)
}
