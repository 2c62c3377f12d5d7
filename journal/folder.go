package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"

	"copialettere/journal/kv"
)

// Folder returns what one folder of one month holds, in time that does not depend on how much that is. Next UID and number of entries
// together tell whether anything has come or gone since: what comes raises the first, what goes lowers the second. The error wraps
// ErrNotFound if the month has no such folder.
func (j *Journal) Folder(ctx context.Context, mailbox string, m kv.Month, folder string) (FolderStats, error) {
	s, err := j.folderStore(ctx, mailbox, m, folder)
	if err != nil {
		return FolderStats{}, err
	}
	v, err := s.Get(ctx, counterKey(mailbox, folder))
	if errors.Is(err, kv.ErrNotFound) || j.dropped(ctx, m, err) {
		return FolderStats{}, fmt.Errorf("%s/%s of %s: %w", folder, m, mailbox, ErrNotFound)
	}
	if err != nil {
		return FolderStats{}, j.monthError(ctx, m, err)
	}
	c, err := decodeCounters(v)
	if err != nil {
		return FolderStats{}, j.monthError(ctx, m, err)
	}
	return FolderStats{
		Mailbox: mailbox, Month: m, Folder: folder, Entries: c.entries, Imported: c.imported, Bytes: c.bytes, UIDValidity: c.uidValidity, NextUID: c.nextUID,
	}, nil
}

// UIDs returns the UIDs, from a first one on, of the entries in a folder, in ascending order. All that were there when it was called are
// among them. The error wraps ErrNotFound if the month is gone.
func (j *Journal) UIDs(ctx context.Context, mailbox string, m kv.Month, folder string, from uint32) ([]uint32, error) {
	s, err := j.folderStore(ctx, mailbox, m, folder)
	if err != nil {
		return nil, err
	}
	var uids []uint32
	prefix := folderKey('e', mailbox, folder)
	for p, err := range s.Scan(ctx, binary.BigEndian.AppendUint32(prefix, from), after(prefix)) {
		if j.dropped(ctx, m, err) {
			return nil, fmt.Errorf("%s/%s of %s: %w", folder, m, mailbox, ErrNotFound)
		}
		if err != nil {
			return nil, j.monthError(ctx, m, err)
		}
		if len(p.Key) != len(prefix)+4 {
			return nil, j.monthError(ctx, m, errKey)
		}
		uids = append(uids, binary.BigEndian.Uint32(p.Key[len(prefix):]))
	}
	return uids, nil
}

// Filed yields the entries of a folder whose UIDs are between first and last, both included, in ascending order. Their State is not filled
// in. Instead of an entry that cannot be read it yields one that has only its Ref, with an error that is ErrDamaged, and goes on.
func (j *Journal) Filed(ctx context.Context, mailbox string, m kv.Month, folder string, first, last uint32) iter.Seq2[*Entry, error] {
	return filedAs(ctx, j, mailbox, m, folder, first, last, orRef(decodeEntry))
}

// FiledHeads is Filed for who asks for no more than the headers of messages: the entries come without Parts and Chunks, and faster.
func (j *Journal) FiledHeads(ctx context.Context, mailbox string, m kv.Month, folder string, first, last uint32) iter.Seq2[*Entry, error] {
	return filedAs(ctx, j, mailbox, m, folder, first, last, orRef(decodeHead))
}

// orRef decodes an entry, or returns one that has only its Ref.
func orRef(decode func(Ref, []byte) (*Entry, error)) func(Ref, []byte) (*Entry, error) {
	return func(r Ref, b []byte) (*Entry, error) {
		e, err := decode(r, b)
		if err != nil {
			e = &Entry{Ref: r}
		}
		return e, err
	}
}

// filedAs is Filed with a function that decodes an entry. What that returns with an error is yielded too.
func filedAs[T any](ctx context.Context, j *Journal, mailbox string, m kv.Month, folder string, first, last uint32,
	decode func(Ref, []byte) (T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		s, err := j.folderStore(ctx, mailbox, m, folder)
		if err != nil {
			yield(none, err)
			return
		}
		prefix := folderKey('e', mailbox, folder)
		end := after(prefix)
		if last < math.MaxUint32 {
			end = binary.BigEndian.AppendUint32(prefix[:len(prefix):len(prefix)], last+1)
		}
		for p, err := range s.Scan(ctx, binary.BigEndian.AppendUint32(prefix[:len(prefix):len(prefix)], first), end) {
			if j.dropped(ctx, m, err) {
				return
			}
			if err != nil {
				yield(none, j.monthError(ctx, m, err))
				return
			}
			if len(p.Key) != len(prefix)+4 {
				yield(none, j.monthError(ctx, m, fmt.Errorf("key %q: %w", p.Key, errKey)))
				return
			}
			r := Ref{Mailbox: mailbox, Month: m, Folder: folder, UID: binary.BigEndian.Uint32(p.Key[len(prefix):])}
			if !yield(decode(r, p.Value)) {
				return
			}
		}
	}
}

// folderStore returns the store of a month for the keys of a folder.
func (j *Journal) folderStore(ctx context.Context, mailbox string, m kv.Month, folder string) (kv.Store, error) {
	if err := checkMailbox(mailbox); err != nil {
		return nil, err
	}
	if err := checkFolder(folder); err != nil {
		return nil, err
	}
	s, err := j.volume(ctx, m, false)
	if errors.Is(err, kv.ErrNoVolume) {
		return nil, fmt.Errorf("%s/%s of %s: %w", folder, m, mailbox, ErrNotFound)
	}
	return s, err
}
