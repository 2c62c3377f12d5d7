package archive

import (
	"context"
	"fmt"
	"iter"

	"copialettere/journal"
)

// MonthFolders returns what each folder of the journal holds of the mailbox, by month and folder, whatever the layout, those without messages too.
// They have the name of the archive as their mailbox. The error is journal.PassedOver if months were; the list then has all others.
func (r *Reader) MonthFolders(ctx context.Context) ([]journal.FolderStats, error) {
	m, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	return r.archive.journal.Stats(ctx, m.Archive)
}

// InMonth returns a folder of the journal, which MonthFolders returned, for the other methods of a Reader.
func InMonth(f journal.FolderStats) Folder {
	return Folder{Name: f.Folder + FolderSeparator + string(f.Month), Kind: f.Folder, Holds: &f}
}

// Outlines is Entries for who wants to list or count a folder of the journal: see journal.Journal.Outlines.
func (r *Reader) Outlines(ctx context.Context, f journal.FolderStats, first, last uint32) iter.Seq2[journal.Outline, error] {
	return func(yield func(journal.Outline, error) bool) {
		if _, err := r.openFolder(ctx, InMonth(f)); err != nil {
			yield(journal.Outline{}, err)
			return
		}
		r.archive.journal.Outlines(ctx, f.Mailbox, f.Month, f.Folder, first, last)(yield)
	}
}

// Entry returns the entry at a place of the mailbox, with its State and under the name that the journal has for the mailbox; that of the place does not
// matter. The error wraps journal.ErrNotFound if none is there, and journal.ErrDamaged if it cannot be read.
func (r *Reader) Entry(ctx context.Context, place journal.Ref) (*journal.Entry, error) {
	m, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	place.Mailbox = m.Archive
	e, err := r.archive.journal.Entry(ctx, place)
	if err != nil {
		return nil, fmt.Errorf("%s %s %d: %w", r.mailbox, place.FolderName(), place.UID, err)
	}
	return e, nil
}

// Deleted returns what was deleted by hand and can be brought back, the last deleted first: at most limit of those whose DeletedUID is below before, or
// of all with 0. next is what to ask for next, 0 at the end. total is how many there are. Those that cannot be read have only their Ref.
func (r *Reader) Deleted(ctx context.Context, before uint32, limit int) (list []*journal.Deleted, next uint32, total int, err error) {
	m, err := r.open(ctx)
	if err != nil {
		return nil, 0, 0, err
	}
	places, err := r.archive.journal.DeletedPlaces(ctx, m.Archive, journal.AllUIDs())
	if err != nil {
		return nil, 0, 0, fmt.Errorf("deleted messages of %s: %w", r.mailbox, err)
	}
	total = len(places)
	for i := len(places) - 1; i >= 0; i-- {
		p := places[i]
		if before > 0 && p.DeletedUID >= before {
			continue
		}
		if len(list) == limit {
			return list, list[limit-1].DeletedUID, total, nil
		}
		d, err := r.archive.journal.DeletedEntry(ctx, p)
		if err != nil {
			return nil, 0, 0, fmt.Errorf("deleted messages of %s: %w", r.mailbox, err)
		}
		if d != nil {
			list = append(list, d)
		}
	}
	return list, 0, total, nil
}
