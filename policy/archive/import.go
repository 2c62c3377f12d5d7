package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/journal/part"
	"copialettere/policy"
	"copialettere/policy/notice"
)

// KeyImport is the key under which the log of a mailbox tells of imports from files and from other servers: after has from where. What is put in by
// hand, message by message, is not in it.
const KeyImport = "import"

// noteAgain is after which time without a message an import goes on record once more.
const noteAgain = time.Hour

// The states of a Kept.
const (
	KeptImported  = "imported"
	KeptNew       = "new"       // it would be imported; of ImportOptions.DryRun
	KeptDuplicate = "duplicate" // the mailbox has the same bytes: Folder and UID say where
	KeptFull      = "full"      // the quota has no room for it; a smaller one may fit
	KeptTooLarge  = "too-large"
)

// What is known of the quoting of an mbox: see journal.Import.
const (
	QuotingNone        = "none"
	QuotingUndecidable = "undecidable"
	QuotingUndone      = "mboxrd"
)

// ImportOptions say what an Import does.
type ImportOptions struct {
	From   string // from where, for the log of the mailbox: a path, or "imaps://host"
	DryRun bool   // find out what each message would become, and keep none
}

// Piece is a message that is to be imported.
type Piece struct {
	Folder  string    // the folders of the source, from the outermost on, with slashes between; empty for none. See importFolder
	Date    time.Time // its own date, such as INTERNALDATE; zero: that of its header, or else now
	Source  string    // where it was read, such as "Lavoro.mbox at 4711" or "imaps://host/INBOX 12345 678"
	Quoting string    // of an mbox: QuotingNone, QuotingUndecidable or QuotingUndone; else empty
	Size    int64     // bytes that Message has; -1 if that is not known
	Message io.Reader // bare LF become CRLF; otherwise the bytes are kept
}

// Kept is what became of a message that was to be imported. Others script against its names.
type Kept struct {
	Mailbox string    `json:"mailbox"`
	State   string    `json:"state"`            // "imported", "new", "duplicate", "full" or "too-large"
	Folder  string    `json:"folder,omitempty"` // with its month; of a duplicate, that of the message that is there
	UID     uint32    `json:"uid,omitempty"`
	Date    time.Time `json:"date,omitzero"` // by which it is looked for
	Size    int64     `json:"size"`          // bytes, as the archive keeps it
	SHA256  string    `json:"sha256,omitempty"`
	// Free is how many bytes the quota has room for before the message, where there is a quota; of a dry run and of what is full.
	Free *int64 `json:"free,omitempty"`
	// Unread are the months that cannot be read: whether the message is in one of them is not known.
	Unread []kv.Month `json:"unread,omitempty"`
}

// Importing imports messages into one mailbox. It may be used concurrently, and needs no end.
type Importing struct {
	archive *Archive
	who     policy.Actor
	mailbox policy.Address
	options ImportOptions
}

// Import begins to import messages into a mailbox. It needs RightImport, and of everybody but the operator append=on. The error wraps ErrNotOn where the
// archive is off or paused, or ErrReadOnly.
func (a *Archive) Import(ctx context.Context, who policy.Actor, mailbox policy.Address, o ImportOptions) (*Importing, error) {
	i := &Importing{a, who, mailbox, o}
	_, err := i.may(ctx)
	return i, err
}

// may returns the mailbox if messages may be imported into it now.
func (i *Importing) may(ctx context.Context) (policy.Mailbox, error) {
	if err := i.archive.May(ctx, i.who, RightImport, i.mailbox); err != nil {
		return policy.Mailbox{}, err
	}
	m, err := i.archive.there(ctx, i.mailbox)
	if err != nil {
		return m, err
	}
	if err := permittedTo(i.who, m.Settings, RightImport); err != nil {
		return m, fmt.Errorf("%s: %w", i.mailbox, err)
	}
	if m.State() != policy.StateOn {
		return m, fmt.Errorf("%s is %s: %w: enable or resume it first", i.mailbox, m.State(), ErrNotOn)
	}
	return m, nil
}

// Keep imports a message. It streams: memory does not depend on the size of the message. The entry is marked as imported, with who, when and from
// where, and is in the month of today, in a folder of its own: see importFolder. Nothing is kept of a message whose reader fails or does not give Size
// bytes, nor of one whose bytes the mailbox has already, journaled or imported, in whatever folder and month: its State is KeptDuplicate. What was
// deleted, or is in a month that cannot be read (Unread), is not recognised. Two at a time make one entry.
//
// It is durable when Keep returns. The errors are those of Import; after one the same message again makes no second entry.
func (i *Importing) Keep(ctx context.Context, p Piece) (Kept, error) {
	kept := Kept{Mailbox: i.mailbox.String(), Size: max(p.Size, 0)}
	m, err := i.may(ctx)
	if err != nil {
		return kept, err
	}
	most := i.archive.maxMessage()
	if p.Size > most {
		kept.State = KeptTooLarge
		return kept, nil
	}
	draft := i.archive.journal.NewDraft(ctx)
	defer draft.Discard()
	read, err := io.Copy(&lineEnds{to: draft}, io.LimitReader(p.Message, most+1))
	switch {
	case err != nil:
		return kept, fmt.Errorf("take in %s: %w", p.Source, err)
	case read > most:
		kept.State = KeptTooLarge
		return kept, nil
	case p.Size >= 0 && read != p.Size:
		return kept, fmt.Errorf("take in %s: %d bytes of %d: %w", p.Source, read, p.Size, io.ErrUnexpectedEOF)
	}
	// It may have taken long: what holds now counts.
	now, err := i.may(ctx)
	if err == nil && now.Archive != m.Archive {
		err = fmt.Errorf("%s is another archive: %w", i.mailbox, ErrNotOn)
	}
	if err != nil {
		return kept, err
	}
	draft.Finish()
	kept.Size, kept.SHA256, kept.Date = draft.Size(), draft.SHA256().String(), ownDate(p.Date, draft)
	return i.keep(ctx, now, p, draft, kept)
}

// keep makes the entry of a message that is whole, unless it is there.
func (i *Importing) keep(ctx context.Context, m policy.Mailbox, p Piece, draft *journal.Draft, kept Kept) (Kept, error) {
	a := i.archive
	known, end, err := a.known.begin(ctx, m.Archive)
	if err != nil {
		return kept, err
	}
	end = sync.OnceFunc(end)
	defer end()
	if err := known.bring(ctx, a.journal); err != nil {
		return kept, fmt.Errorf("look for %s in %s: %w", p.Source, i.mailbox, err)
	}
	switch ref, there, err := known.find(ctx, a.journal, draft.SHA256()); {
	case err != nil:
		return kept, fmt.Errorf("look for %s in %s: %w", p.Source, i.mailbox, err)
	case there:
		kept.State, kept.Folder, kept.UID = KeptDuplicate, ref.FolderName(), ref.UID
		return kept, nil
	}
	kept.Unread = slices.Clone(known.unread)
	free, err := a.free(ctx, m)
	if err != nil {
		return kept, err
	}
	full := draft.Size() > free
	if m.Settings.Quota > 0 && (full || i.options.DryRun) {
		kept.Free = &free
	}
	if full {
		kept.State = KeptFull
		return kept, nil
	}
	folder := importFolder(p.Folder)
	if known.here >= mostImportFolders && !known.hasFolder(kv.MonthOf(draft.Arrival()), folder) {
		folder = journal.Imported
	}
	if i.options.DryRun {
		kept.State, kept.Folder = KeptNew, journal.Ref{Month: kv.MonthOf(draft.Arrival()), Folder: folder}.FolderName()
		return kept, nil
	}
	if err := i.note(ctx, known); err != nil {
		return kept, err
	}
	in := journal.Intent{
		Mailbox: m.Archive, Direction: i.direction(draft), Folder: folder, Quota: journal.Quota{Limit: uint64(m.Settings.Quota)},
		Import: &journal.Import{Who: i.who.String(), Date: kept.Date, Source: plainText(p.Source, journal.MaxImportSource), Quoting: p.Quoting, Once: true},
	}
	end() // the journal makes one entry of two at a time, and commits of several go together
	return i.commit(ctx, in, draft, kept)
}

// commit makes the entry.
func (i *Importing) commit(ctx context.Context, in journal.Intent, draft *journal.Draft, kept Kept) (Kept, error) {
	a := i.archive
	if err := a.classify(ctx, &in, draft); err != nil {
		return kept, err
	}
	placed, err := draft.Commit(ctx, journal.Envelope{Transaction: a.journal.NewTransaction()}, []journal.Intent{in}, nil)
	switch {
	case errors.Is(err, journal.ErrFull):
		kept.State = KeptFull
		return kept, nil
	case err != nil:
		return kept, fmt.Errorf("import a message into %s: %w", i.mailbox, err)
	}
	at := placed[0]
	kept.State, kept.Folder, kept.UID = KeptImported, at.FolderName(), at.UID
	if at.Found {
		kept.State = KeptDuplicate
		return kept, nil
	}
	if at.Crossed > 0 {
		a.options.Notices.Tell(notice.Notice{
			Mailbox: in.Mailbox, Event: policy.NotifyFull, Time: time.Now(), ID: strconv.Itoa(at.Crossed), Percent: at.Crossed})
	}
	a.changed()
	return kept, nil
}

// note puts on record that an import is under way, when its first message is kept.
func (i *Importing) note(ctx context.Context, known *knownMailbox) error {
	now := time.Now()
	from := plainText(i.options.From, journal.MaxImportSource)
	id := i.who.String() + "\x00" + from
	last, ok := known.notes[id]
	if !ok || now.Sub(last) > noteAgain {
		err := i.archive.policy.Note(ctx, i.mailbox, i.who, KeyImport, func(kv.Tx, string, time.Time) (before, after string, err error) {
			return "", from, nil
		})
		if err != nil {
			return fmt.Errorf("put the import on record: %w", err)
		}
	}
	if len(known.notes) >= mostNotes {
		clear(known.notes)
	}
	known.notes[id] = now
	return nil
}

// direction returns Sent for what the mailbox itself has written and nobody has delivered: its From is the mailbox, and no server left a Received in it.
func (i *Importing) direction(draft *journal.Draft) journal.Direction {
	header := draft.Header()
	if part.Value(header, "Received") != "" || part.Value(header, "Return-Path") != "" || part.Value(header, "Delivered-To") != "" {
		return journal.Received
	}
	for _, one := range part.Addresses(part.Value(header, "From")) {
		if from, err := policy.ParseAddress(one.Mailbox()); err == nil && from == i.mailbox {
			return journal.Sent
		}
	}
	return journal.Received
}

// Unread returns the months that could not be read when the last message was looked for: what is in them is not recognised as a duplicate.
func (i *Importing) Unread(ctx context.Context) ([]kv.Month, error) {
	m, err := i.may(ctx)
	if err != nil {
		return nil, err
	}
	known, end, err := i.archive.known.begin(ctx, m.Archive)
	if err != nil {
		return nil, err
	}
	defer end()
	return slices.Clone(known.unread), nil
}

func (m *knownMailbox) hasFolder(month kv.Month, folder string) bool {
	_, ok := m.number[folderID{m.archive, month, folder}]
	return ok
}

// What the names of imported folders are bounded by. Beyond mostImportFolders in a month all goes to the folder journal.Imported.
const (
	mostImportFolders = 2000
	mostFolderLevels  = 8
	mostFolderLevel   = 100 // bytes
)

// importFolder returns the folder of the journal for the folders of a source: journal.Imported, and in it theirs. No name is refused: of names that are
// too long, too deep, or no text, what folders here can have is left. A level that looks like a month, 2026-11, is written 2026_11: months are the last
// level of all folders.
func importFolder(source string) string {
	levels := []string{journal.Imported}
	for level := range strings.SplitSeq(source, "/") {
		level = plainText(commandSigns.Replace(level), mostFolderLevel)
		switch level {
		case "":
			continue
		case ".", "..":
			level = strings.ReplaceAll(level, ".", "_")
		}
		if _, err := kv.ParseMonth(level); err == nil {
			level = strings.ReplaceAll(level, "-", "_")
		}
		if len(levels) == mostFolderLevels+1 {
			last := &levels[mostFolderLevels]
			*last = plainText(*last+"-"+level, mostFolderLevel)
			continue
		}
		levels = append(levels, level)
	}
	return strings.Join(levels, FolderSeparator)
}

// commandSigns have a meaning in the commands of mail programs.
var commandSigns = strings.NewReplacer("%", "_", "*", "_", `"`, "_", `\`, "_")

// plainText returns a text of one line: what cannot be shown is replaced by "_", and no more is left than most bytes.
func plainText(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '_'
		}
		return r
	}, s)
	if len(s) > most {
		s = s[:most]
		for !utf8.ValidString(s) {
			s = s[:len(s)-1]
		}
	}
	return strings.TrimSpace(s)
}
