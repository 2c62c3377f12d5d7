package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/mail"
	"slices"
	"strconv"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/journal/part"
	"copialettere/policy"
	"copialettere/policy/notice"
	"copialettere/policy/pec"
)

// DefaultMaxMessage is the largest message that is put in by hand where Options name no other, in bytes.
const DefaultMaxMessage = 150_000_000

// Errors of putting messages in by hand, beside ErrReadOnly and ErrNoFolder.
var (
	// ErrNotOn says that an archive takes no messages: it is paused, or closed.
	ErrNotOn = errors.New("the archive takes no messages")
	// ErrTooLarge says that a message is larger than the archive takes.
	ErrTooLarge = errors.New("the message is too large")
	// ErrOtherMonth says that a folder is of another month than that of today, in which all that is put in lies.
	ErrOtherMonth = errors.New("the folder is of another month")
)

// Certification is what is known about certified mail when a message is put in.
type Certification struct {
	Trust    pec.Trust     // which class is believed; if empty, the verified one
	Verifier *pec.Verifier // of the signatures of providers; if nil, none is trusted
}

// Appended is where a message that was put in by hand lies.
type Appended struct {
	Folder      string // as mail programs see it
	UIDValidity uint32
	UID         uint32
}

// handFolders are the journal's folders into which messages can be put by hand.
func handFolders() []string {
	return []string{journal.FolderOf(journal.Received), journal.FolderOf(journal.Sent), journal.Archived}
}

// taker returns the folder of the journal that takes what is put into the folder of a name: the folder of the month of today, or the one that it lies in,
// whose messages go into the former.
func taker(name string, today kv.Month, layout policy.Layout, language policy.Language) (string, error) {
	if layout == policy.LayoutType {
		return takerByType(name, today, language)
	}
	top, month, within := cutFolder(name)
	for _, kept := range handFolders() {
		switch shown := shownFolder(kept, language); {
		case top != shown:
		case !within || month == string(today):
			return kept, nil
		default:
			if _, err := kv.ParseMonth(month); err != nil {
				return "", ErrNoFolder
			}
			return "", ErrOtherMonth
		}
	}
	if shownFolder(journal.Trash, language) == top {
		return "", ErrTarget
	}
	return "", ErrNoFolder
}

// cutFolder splits the name of a folder before its last level. The case of INBOX does not matter.
func cutFolder(name string) (top, last string, ok bool) {
	top, last, ok = strings.Cut(name, FolderSeparator)
	if strings.EqualFold(top, "INBOX") {
		top = "INBOX"
	}
	return top, last, ok
}

// MayAppend returns nil if a message of size bytes may be put into the folder of a name now. It is asked before the message is sent.
func (r *Reader) MayAppend(ctx context.Context, name string, size int64) error {
	_, err := r.mayAppend(ctx, name, size)
	return err
}

// mayImport returns the mailbox if messages may be put into it now, whatever their folder and size.
func (r *Reader) mayImport(ctx context.Context) (policy.Mailbox, error) {
	m, err := r.open(ctx)
	if err != nil {
		return m, err
	}
	if r.archive.May(ctx, r.who, RightImport, r.mailbox) != nil {
		return m, fmt.Errorf("%s for %s: %w", RightImport, r.who, ErrReadOnly)
	}
	if err := permitted(m.Settings, RightImport); err != nil {
		return m, err
	}
	if m.State() != policy.StateOn {
		return m, fmt.Errorf("%s is %s: %w", r.mailbox, m.State(), ErrNotOn)
	}
	return m, nil
}

func (r *Reader) mayAppend(ctx context.Context, name string, size int64) (policy.Mailbox, error) {
	m, err := r.mayImport(ctx)
	if err != nil {
		return m, err
	}
	if size > r.archive.maxMessage() {
		return m, fmt.Errorf("%d bytes: %w", size, ErrTooLarge)
	}
	if _, err := taker(name, r.archive.journal.Month(), m.Settings.Layout, m.Settings.Language); err != nil {
		return m, fmt.Errorf("%s: %w", name, err)
	}
	return m, r.archive.roomFor(ctx, m, size)
}

// roomFor returns journal.ErrFull if a mailbox has no room for size more bytes that are put in by hand.
func (a *Archive) roomFor(ctx context.Context, m policy.Mailbox, size int64) error {
	free, err := a.free(ctx, m)
	if err == nil && size > free {
		err = fmt.Errorf("%s: %w", m.Address, journal.ErrFull)
	}
	return err
}

// free returns how many bytes a mailbox has room for that are put in by hand; math.MaxInt64 without a quota. What was deleted by hand counts as long as it
// can be brought back: otherwise whoever puts in and deletes in turn could fill the disk, and hold up everybody's mail.
func (a *Archive) free(ctx context.Context, m policy.Mailbox) (int64, error) {
	if m.Settings.Quota == 0 {
		return math.MaxInt64, nil
	}
	used, err := a.journal.Usage(ctx, m.Archive)
	if err != nil {
		return 0, err
	}
	deleted, err := a.journal.DeletedFolder(ctx, m.Archive, false)
	if err != nil && !errors.Is(err, journal.ErrNotFound) {
		return 0, err
	}
	return max(m.Settings.Quota-int64(used+deleted.Bytes), 0), nil
}

func (a *Archive) maxMessage() int64 {
	if a.options.MaxMessage > 0 {
		return a.options.MaxMessage
	}
	return DefaultMaxMessage
}

// MaxMessage returns the largest message that can be put in by hand, in bytes.
func (r *Reader) MaxMessage() int64 { return r.archive.maxMessage() }

// Append puts a message into the folder of a name. It streams: memory does not depend on the size of the message. The entry is marked as imported, with
// who and when, and is in the month of today. date is the message's own; if it is zero, that is what its header says, or else now. Bare LF become CRLF;
// otherwise the bytes are kept. Nothing is kept of a message whose reader fails or ends before size bytes. Needs append=on; the errors are those of
// MayAppend.
func (r *Reader) Append(ctx context.Context, name string, date time.Time, message io.Reader, size int64) (Appended, error) {
	m, err := r.mayAppend(ctx, name, size)
	if err != nil {
		return Appended{}, err
	}
	return r.takeIn(ctx, m, name, date, message, size)
}

// takeIn is Append, once it is known that the message may be put into the mailbox.
func (r *Reader) takeIn(ctx context.Context, m policy.Mailbox, name string, date time.Time, message io.Reader, size int64) (Appended, error) {
	draft := r.archive.journal.NewDraft(ctx)
	defer draft.Discard()
	lines := &lineEnds{to: draft}
	if _, err := io.CopyN(lines, message, size); err != nil { // io.EOF where it is cut short
		return Appended{}, fmt.Errorf("take in a message: %w", err)
	}
	// It may have taken long: what holds now counts.
	now, err := r.mayImport(ctx)
	if err == nil && now.Archive != m.Archive {
		err = fmt.Errorf("%s is another archive: %w", r.mailbox, ErrNoFolder)
	}
	if err != nil {
		return Appended{}, err
	}
	return r.importDraft(ctx, now, name, date, draft)
}

// importDraft makes the entry of a message that is whole.
func (r *Reader) importDraft(ctx context.Context, m policy.Mailbox, name string, date time.Time, draft *journal.Draft) (Appended, error) {
	kept, err := taker(name, kv.MonthOf(draft.Arrival()), m.Settings.Layout, m.Settings.Language)
	if err != nil {
		return Appended{}, fmt.Errorf("%s: %w", name, err)
	}
	in := journal.Intent{
		Mailbox: m.Archive, Direction: journal.Received, Folder: kept, Import: &journal.Import{Who: r.by(), Date: ownDate(date, draft)},
		Quota: journal.Quota{Limit: uint64(m.Settings.Quota)},
	}
	if kept == journal.FolderOf(journal.Sent) {
		in.Direction = journal.Sent
	}
	if err := r.archive.classify(ctx, &in, draft); err != nil {
		return Appended{}, err
	}
	placed, err := draft.Commit(ctx, journal.Envelope{Transaction: r.archive.journal.NewTransaction()}, []journal.Intent{in}, nil)
	if err != nil {
		return Appended{}, fmt.Errorf("import a message into %s: %w", r.mailbox, err)
	}
	if crossed := placed[0].Crossed; crossed > 0 {
		r.archive.options.Notices.Tell(notice.Notice{
			Mailbox: m.Archive, Event: policy.NotifyFull, Time: time.Now(), ID: strconv.Itoa(crossed), Percent: crossed})
	}
	r.archive.changed()
	at := placed[0].Ref
	there, err := r.archive.journal.Folder(ctx, at.Mailbox, at.Month, at.Folder)
	if err != nil {
		return Appended{}, fmt.Errorf("imported as %s %d: %w", at.FolderName(), at.UID, err)
	}
	shown := placeName(m.Settings.Layout, at.Folder, at.Month, typeOf(at.Folder, in.Class, in.SentTo), m.Settings.Language)
	return Appended{shown, there.UIDValidity, at.UID}, nil
}

// ownDate returns the date of a message: the one that is given, or that of its header, or else that of its arrival.
func ownDate(given time.Time, draft *journal.Draft) time.Time {
	if given.IsZero() {
		if t, err := mail.ParseDate(part.Value(draft.Header(), "Date")); err == nil {
			given = t
		}
	}
	// Times are kept as nanoseconds in 64 bits.
	if given.Year() < 1700 || given.Year() > 2200 {
		given = draft.Arrival()
	}
	return given.UTC()
}

// classify fills in what kind of message a draft holds.
func (a *Archive) classify(ctx context.Context, in *journal.Intent, draft *journal.Draft) error {
	var known Certification
	if a.options.Certification != nil {
		known = a.options.Certification()
	}
	if known.Verifier == nil {
		known.Verifier = pec.NewVerifier(nil, nil)
	}
	table, body := draft.Finish()
	c, err := known.Verifier.Classify(ctx, known.Trust, body, table, draft.Header(), in.Direction == journal.Sent)
	if err != nil {
		return fmt.Errorf("classify a message: %w", err)
	}
	in.Class, in.DeclaredClass, in.Signature = string(c.Class), string(c.Record.Message.Class), string(c.Record.Signature.Result)
	in.Certification, in.Links = c.Stored, c.Links
	return nil
}

// Copy puts copies of messages of a folder into another one, as Append does, with their dates. It makes one after the other. Needs append=on. With an
// error Moved tells which were made before it. It calls step before each, and ends with its error.
func (r *Reader) Copy(ctx context.Context, f Folder, uids []uint32, name string, step func(context.Context) error) (Moved, error) {
	var moved Moved
	m, err := r.mayAppend(ctx, name, 0)
	if err != nil {
		return moved, err
	}
	var size int64
	for _, s := range journal.UIDsOf(uids) {
		for e, err := range r.Entries(ctx, f, s.First, s.Last) {
			if err != nil {
				return moved, err
			}
			if _, asked := slices.BinarySearch(uids, e.UID); asked {
				size += e.Size
			}
		}
	}
	if err := r.archive.roomFor(ctx, m, size); err != nil {
		return moved, err
	}
	for _, uid := range uids {
		if err := step(ctx); err != nil {
			return moved, err
		}
		for e, err := range r.Entries(ctx, f, uid, uid) {
			if err != nil {
				return moved, err
			}
			to, err := r.copyOne(ctx, m, e, name)
			if err != nil {
				return moved, err
			}
			moved.UIDValidity = to.UIDValidity
			moved.add([]uint32{uid}, []uint32{to.UID})
		}
	}
	return moved, nil
}

// copyOne copies a message, for which there is room.
func (r *Reader) copyOne(ctx context.Context, m policy.Mailbox, e *journal.Entry, name string) (Appended, error) {
	if e.Size > r.archive.maxMessage() {
		return Appended{}, fmt.Errorf("%d bytes: %w", e.Size, ErrTooLarge)
	}
	body, err := r.Body(ctx, e)
	if err != nil {
		return Appended{}, err
	}
	return r.takeIn(ctx, m, name, e.Dated(), io.NewSectionReader(body, 0, e.Size), e.Size)
}

// lineEnds makes CRLF of each bare LF, as the journal keeps messages.
type lineEnds struct {
	to io.Writer
	cr bool // the last byte was CR
}

// Write implements io.Writer.
func (l *lineEnds) Write(p []byte) (int, error) {
	start := 0
	for i, b := range p {
		if b == '\n' && !l.cr {
			if _, err := l.to.Write(p[start:i]); err != nil {
				return start, err
			}
			if _, err := io.WriteString(l.to, "\r\n"); err != nil {
				return i, err
			}
			start = i + 1
		}
		l.cr = b == '\r'
	}
	_, err := l.to.Write(p[start:])
	return len(p), err
}
