package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"copialettere/journal"
	"copialettere/policy"
)

// Errors of acts by mail program, beside ErrReadOnly and ErrNoFolder.
var (
	// ErrTarget says that messages cannot go into a folder: it is of another month, or takes none.
	ErrTarget = errors.New("messages cannot go into this folder")
	// ErrType says that messages cannot go into the folder of a type, because they are of another one, or because it takes none by hand.
	ErrType = errors.New("messages lie in the folder of their type")
	// ErrOnlyDelete says that messages may be deleted and brought back, and not moved.
	ErrOnlyDelete = errors.New("messages can only be deleted")
	// ErrWaits says that messages were deleted already and wait for the end of their grace.
	ErrWaits = errors.New("deleted messages go by themselves")
)

// HeldError says that messages cannot be deleted because they are under a hold, each by itself or the whole mailbox. Nothing was done.
type HeldError struct {
	Folder Folder
	UIDs   []uint32
}

// Error implements error.
func (e *HeldError) Error() string { return fmt.Sprintf("%s %v: held", e.Folder.Name, e.UIDs) }

// Unwrap returns journal.ErrHeld.
func (e *HeldError) Unwrap() error { return journal.ErrHeld }

// Moved is what became of messages that a mail program moved or deleted.
type Moved struct {
	UIDValidity uint32   // of the folder in which they are now
	From, To    []uint32 // their UIDs before and now, in pairs
	Damaged     bool     // some could not be read, and stay
	Gone        bool     // some were deleted so long ago that they do not come back
}

func (m *Moved) add(from, to []uint32) {
	n := min(len(from), len(to))
	m.From, m.To = append(m.From, from[:n]...), append(m.To, to[:n]...)
}

// Allowed is what may be done with the messages of a folder.
type Allowed struct {
	Delete bool // they may be deleted, or, of what was deleted, brought back
	Take   bool // messages may be moved into it
	Append bool // messages may be put into it by hand
}

// In returns what Access allows in a folder.
func (r *Reader) In(a Access, f Folder) Allowed {
	var allowed Allowed
	if a.Append {
		_, err := taker(f.Name, r.archive.journal.Month(), a.Layout, a.Language)
		allowed.Append = err == nil
	}
	switch {
	case f.Holds == nil:
	case f.deleted():
		allowed.Delete, allowed.Take = a.Delete, a.Delete
	default:
		allowed.Delete, allowed.Take = a.Delete, a.Move
	}
	return allowed
}

// by is who does something and by which program, for the record: "owner mario@alpha.test (imap, app password Telefono)".
func (r *Reader) by() string {
	switch {
	case r.identity == nil:
		return r.who.String()
	case r.identity.AppPassword == "":
		return fmt.Sprintf("%s (%s)", r.who, r.protocol)
	}
	return fmt.Sprintf("%s (%s, app password %s)", r.who, r.protocol, r.identity.AppPassword)
}

// permit returns the place of what lies in a folder, if the person has a right there and the settings allow its use. It is nil for a folder that holds
// nothing. Whoever may read and no more gets ErrReadOnly, as in an archive whose settings allow nothing.
func (r *Reader) permit(ctx context.Context, right Right, f Folder) (*journal.FolderStats, policy.Settings, error) {
	holds, err := r.openFolder(ctx, f)
	if err != nil {
		return nil, policy.Settings{}, err
	}
	m, err := r.archive.policy.Mailbox(ctx, r.mailbox)
	if err == nil && r.archive.May(ctx, r.who, right, r.mailbox) != nil {
		err = fmt.Errorf("%s for %s: %w", right, r.who, ErrReadOnly)
	}
	if err == nil {
		err = permitted(m.Settings, right)
	}
	return holds, m.Settings, err
}

// MayDelete returns nil if messages of a folder may be deleted now: no setting and no hold is against it. Messages that are not there do not matter.
func (r *Reader) MayDelete(ctx context.Context, f Folder, uids []uint32) error {
	_, err := r.mayDelete(ctx, f, uids)
	return err
}

func (r *Reader) mayDelete(ctx context.Context, f Folder, uids []uint32) (journal.Selection, error) {
	holds, settings, err := r.permit(ctx, RightDelete, f)
	switch {
	case err != nil:
		return journal.Selection{}, err
	case holds == nil:
		return journal.Selection{}, fmt.Errorf("%s: %w", f.Name, ErrNoFolder)
	case f.deleted():
		return journal.Selection{}, ErrWaits
	case settings.Held():
		return journal.Selection{}, &HeldError{f, uids}
	}
	s := selection(holds, uids)
	held, err := r.archive.journal.Held(ctx, s)
	if err == nil && held != nil {
		err = &HeldError{f, slices.Collect(held.Each())}
	}
	return s, err
}

// HeldIn returns which messages of a selection are under a hold of their own. The mailbox in the selection does not matter.
func (r *Reader) HeldIn(ctx context.Context, s journal.Selection) (journal.UIDs, error) {
	m, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	s.Mailbox = m.Archive
	return r.archive.journal.Held(ctx, s)
}

func selection(holds *journal.FolderStats, uids []uint32) journal.Selection {
	return journal.Selection{Mailbox: holds.Mailbox, Month: holds.Month, Folder: holds.Folder, UIDs: journal.UIDsOf(uids)}
}

// Delete deletes messages of a folder, as Archive.Delete does, unless one of them is held: then it deletes none, and the error is a HeldError. They
// are then in the folder of what was deleted. What is not there any more is no error. With another error Moved tells what was done before it.
func (r *Reader) Delete(ctx context.Context, f Folder, uids []uint32) (Moved, error) {
	s, err := r.mayDelete(ctx, f, uids)
	if err != nil || len(uids) == 0 {
		return Moved{}, err
	}
	done, err := r.archive.journal.Delete(ctx, s, r.by())
	var moved Moved
	if done != nil {
		r.archive.changed()
		moved.add(slices.Collect(done.UIDs.Each()), slices.Collect(done.Deleted.Each()))
		moved.Damaged = done.Damaged != nil
		if err == nil && done.Held != nil { // since it was looked at
			err = &HeldError{f, slices.Collect(done.Held.Each())}
		}
	}
	if there, statsErr := r.archive.journal.DeletedFolder(ctx, s.Mailbox, false); statsErr == nil {
		moved.UIDValidity = there.UIDValidity
	}
	return moved, r.acted(f, uids, err)
}

// acted returns the error of an act on messages of a folder.
func (r *Reader) acted(f Folder, uids []uint32, err error) error {
	var held *HeldError
	switch {
	case errors.Is(err, journal.ErrNotFound):
		return nil // they went meanwhile
	case errors.Is(err, journal.ErrHeld) && !errors.As(err, &held):
		return &HeldError{f, uids}
	}
	return err
}

// Move moves messages of a folder into another one of their month; into the folder of what was deleted, which deletes them; or out of it, which brings
// them back. Each needs the settings of Archive.Move, Archive.Delete and Archive.Undelete. If one message cannot go, none does: the error is ErrTarget,
// ErrType, ErrOnlyDelete or a HeldError. What is not there any more is no error. With another error Moved tells what was done before it.
func (r *Reader) Move(ctx context.Context, f Folder, uids []uint32, to Folder) (Moved, error) {
	switch {
	case f.deleted() && to.deleted():
		return Moved{}, fmt.Errorf("%s: %w", to.Name, ErrTarget)
	case f.deleted():
		return r.undelete(ctx, f, uids, to)
	case to.deleted():
		return r.Delete(ctx, f, uids)
	}
	holds, _, err := r.permit(ctx, RightMove, f)
	if errors.Is(err, ErrReadOnly) {
		if _, _, none := r.permit(ctx, RightDelete, f); none == nil {
			err = ErrOnlyDelete
		}
	}
	if err != nil {
		return Moved{}, err
	}
	switch {
	case holds == nil || to.Holds == nil || to.Holds.Month != holds.Month:
		err = ErrTarget
	case to.Holds.Folder != holds.Folder:
		err = r.fits(ctx, f, uids, to)
	case to.Type != f.Type:
		err = ErrType
	default:
		err = ErrTarget
	}
	if err != nil {
		return Moved{}, fmt.Errorf("%s: %w", to.Name, err)
	}
	if len(uids) == 0 {
		return Moved{}, nil
	}
	done, err := r.archive.journal.Move(ctx, selection(holds, uids), to.Holds.Folder, r.by())
	moved := Moved{UIDValidity: to.Holds.UIDValidity}
	if done != nil {
		r.archive.changed()
		moved.add(slices.Collect(done.UIDs.Each()), slices.Collect(done.ToUIDs.Each()))
		moved.Damaged = done.Damaged != nil
	}
	return moved, r.acted(f, uids, err)
}

// undelete brings deleted messages back into a folder. Those of folders other than that need RightMove as well.
func (r *Reader) undelete(ctx context.Context, f Folder, uids []uint32, to Folder) (Moved, error) {
	holds, settings, err := r.permit(ctx, RightDelete, f)
	if err != nil {
		return Moved{}, err
	}
	if to.Holds == nil {
		return Moved{}, fmt.Errorf("%s: %w", to.Name, ErrTarget)
	}
	places, err := r.archive.journal.DeletedPlaces(ctx, holds.Mailbox, journal.UIDsOf(uids))
	if err != nil {
		return Moved{}, err
	}
	byFolder := make(map[string][]journal.DeletedPlace)
	for _, p := range places {
		if p.Month != to.Holds.Month {
			return Moved{}, fmt.Errorf("%s: %w", to.Name, ErrTarget)
		}
		byFolder[p.Folder] = append(byFolder[p.Folder], p)
	}
	if len(byFolder) > 1 || len(byFolder) == 1 && byFolder[to.Holds.Folder] == nil {
		if r.archive.May(ctx, r.who, RightMove, r.mailbox) != nil || permitted(settings, RightMove) != nil {
			return Moved{}, ErrOnlyDelete
		}
	}
	if err := r.fits(ctx, f, uids, to); err != nil {
		return Moved{}, fmt.Errorf("%s: %w", to.Name, err)
	}
	moved := Moved{UIDValidity: to.Holds.UIDValidity}
	for folder, places := range byFolder {
		if err := r.undeleteFrom(ctx, folder, places, to.Holds, &moved); err != nil {
			return moved, r.acted(f, uids, err)
		}
	}
	return moved, nil
}

// undeleteFrom brings back deleted messages of one folder, and adds them to moved.
func (r *Reader) undeleteFrom(ctx context.Context, folder string, places []journal.DeletedPlace, to *journal.FolderStats, moved *Moved) error {
	deleted := make(map[uint32]uint32) // UID among the deleted by the UID in the folder
	var uids []uint32
	for _, p := range places {
		uids, deleted[p.UID] = append(uids, p.UID), p.DeletedUID
	}
	slices.Sort(uids) // they come in the order in which they were deleted
	s := journal.Selection{Mailbox: to.Mailbox, Month: to.Month, Folder: folder, UIDs: journal.UIDsOf(uids)}
	done, err := r.archive.journal.UndeleteTo(ctx, s, to.Folder, r.by())
	if done == nil {
		return err
	}
	r.archive.changed()
	var from []uint32
	for uid := range done.UIDs.Each() {
		from = append(from, deleted[uid])
	}
	moved.add(from, slices.Collect(done.ToUIDs.Each()))
	moved.Damaged, moved.Gone = moved.Damaged || done.Damaged != nil, moved.Gone || done.Gone != nil
	if errors.Is(err, journal.ErrNotFound) || errors.Is(err, journal.ErrGone) {
		return nil // brought back meanwhile, or gone, which moved tells
	}
	return err
}

// deleted reports whether a folder is that of what was deleted by hand, which is of no month.
func (f Folder) deleted() bool { return f.Holds != nil && f.Holds.Month == "" }
