package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"copialettere/policy/archive"
	"copialettere/policy/source"
)

// Keeper takes messages in: an archive.Importing.
type Keeper interface {
	// Keep keeps a message durably, or says what became of it. After an error the same message again makes no second one.
	Keep(ctx context.Context, p archive.Piece) (archive.Kept, error)
}

// Options say what a Run does. All but Folders, DeleteAfter, DryRun, Told, Now and Wait are required; Holds only with DeleteAfter.
type Options struct {
	Account  Account
	Password string
	Reach    Reach

	Folders     []string // only these, as people see them, with what lies in them; empty for all of the account itself
	DeleteAfter *int     // days after which what was imported is deleted there; 0: at once; nil: never
	DryRun      bool     // list what would be done, and do nothing

	Mailbox    string // its address, for results
	Into       Keeper
	MaxMessage int64 // bytes; a larger message is not fetched
	Book       *source.Store
	Archive    string // the name of the archive (policy.Mailbox.Archive)
	// Holds reports whether the archive has a message, and its bytes are those that the reader gives, all of them.
	Holds func(ctx context.Context, m source.Message, message io.Reader) (bool, error)

	Told func(Result) error // is called for each result, by one goroutine at a time; its error ends the run
	Now  func() time.Time   // time.Now where nil
	// Wait waits so long, or until ctx ends, and then returns its error. It sleeps where nil.
	Wait func(ctx context.Context, d time.Duration) error
}

// The states of a Result, beside those of archive.Kept.
const (
	StateFolder      = "folder"       // a folder is begun: Messages and Size say what is to be fetched from it
	StateNotOpened   = "not-opened"   // a folder does not open, or could not be read to the end; Detail says why
	StateNotGiven    = "not-given"    // the server does not give the message whole; Detail says what it does
	StateWaiting     = "waiting"      // the server asks to be left alone for a while; Detail says for how long, and what it said
	StateGone        = "gone"         // the message was deleted there meanwhile
	StateDeleted     = "deleted"      // at the source
	StateNotDeleted  = "not-deleted"  // at the source; Detail says why
	StateWouldDelete = "would-delete" // at the source; of a dry run
)

// Result is what became of a message of the source, or of a folder. Others script against its names.
type Result struct {
	Mailbox      string    `json:"mailbox"`
	State        string    `json:"state"`
	SourceFolder string    `json:"source_folder"`
	SourceUID    uint32    `json:"source_uid,omitempty"`
	Messages     int       `json:"messages,omitempty"` // of a folder
	Size         int64     `json:"size,omitempty"`
	Date         time.Time `json:"date,omitzero"`
	Folder       string    `json:"folder,omitempty"` // where it lies in the archive, with the month
	UID          uint32    `json:"uid,omitempty"`    // there
	SHA256       string    `json:"sha256,omitempty"`
	Detail       string    `json:"detail,omitempty"`
}

// Failed reports whether something was not taken, or not deleted.
func (r *Result) Failed() bool {
	switch r.State {
	case archive.KeptFull, archive.KeptTooLarge, StateNotOpened, StateNotGiven, StateNotDeleted:
		return true
	}
	return false
}

// Words says what became of it in a sentence, for logs and notes.
func (r *Result) Words() string {
	text := r.SourceFolder
	if r.SourceUID > 0 {
		text += fmt.Sprintf(" %d", r.SourceUID)
	}
	text += ": " + r.State
	if r.Detail != "" {
		text += ": " + r.Detail
	}
	return text
}

// Summary counts what a run did.
type Summary struct {
	Imported, Duplicates, Failed, Gone, Deleted, New int
	Bytes                                            int64 // of Imported and New
}

func (s *Summary) add(r *Result) {
	switch {
	case r.Failed():
		s.Failed++
	case r.State == archive.KeptImported:
		s.Imported++
		s.Bytes += r.Size
	case r.State == archive.KeptNew:
		s.New++
		s.Bytes += r.Size
	case r.State == archive.KeptDuplicate:
		s.Duplicates++
	case r.State == StateGone:
		s.Gone++
	case r.State == StateDeleted:
		s.Deleted++
	}
}

// ErrFull says that the quota of the mailbox had no room for a message. What came before it is kept, and the same run again goes on there.
var ErrFull = errors.New("the archive is full")

// ErrNoFolder says that the account has no folder of a name that was asked for.
var ErrNoFolder = errors.New("the account has no such folder")

// ErrAccount says that the server, or the line to it, does not work as it must, or that the account is not as it was said to be.
var ErrAccount = errors.New("the account cannot be read")

// ownError is a fault on this side, which ends a run; all other errors are those of the server or of the line.
type ownError struct{ error }

func (e ownError) Unwrap() error { return e.error }

// endError is an error of the server or of the line that ends a run.
type endError struct{ error }

func (e endError) Unwrap() error { return e.error }

// Run imports what the account has and the archive does not know, and then deletes at the source what is due. After an error, and after the process was
// killed, the same Run again goes on: what is kept and on record is not fetched again, and what is kept and not on record is recognised by its bytes. The
// error is that of ctx, of the Keeper, of the Book or of Told, or wraps ErrFull, or ErrAccount and what is wrong: ErrLogin, ErrPlaintext, ErrUnreachable,
// ErrNoFolder, ErrBusy, or another error of the connection.
func Run(ctx context.Context, o Options) (Summary, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Wait == nil {
		o.Wait = sleep
	}
	p := &puller{o: o}
	defer func() { p.end(ctx) }()
	err := p.run(ctx)
	var own ownError
	switch {
	case ctx.Err() != nil:
		err = ctx.Err() // the errors of a connection that was cut for that reason tell nothing
	case errors.As(err, &own):
		err = own.error
	case err != nil:
		err = fmt.Errorf("%w: %w", ErrAccount, err)
	}
	return p.sum, err
}

// puller is one Run.
type puller struct {
	o       Options
	c       *client // nil where there is no connection
	release func() bool

	name        string // of the folder that is read, as people see it
	raw         string // the folder that is open; empty for none
	uidValidity uint32 // of it
	write       bool   // it is open for deleting

	impatient bool          // it does not wait for a busy server
	waits     int           // for a busy server, since something came
	waited    time.Duration // in all
	seeking   bool          // the message is being isolated because of which the server calls itself busy
	balked    bool          // a message was named because of which the server called itself busy, and nothing has come since
	busy      error         // why folders were left; wraps ErrBusy

	telling sync.Mutex
	sum     Summary // guarded by telling
}

// end ends the connection.
func (p *puller) end(ctx context.Context) {
	if p.c == nil {
		return
	}
	p.c.logout(ctx)
	p.release()
	p.c = nil
}

// sign connects anew, and signs in.
func (p *puller) sign(ctx context.Context) error {
	if p.c != nil {
		p.c.w.nc.Close()
		p.release()
		p.c = nil
	}
	c, err := signIn(ctx, p.o.Account, p.o.Password, p.o.Reach)
	for busy(err) && ctx.Err() == nil {
		if err := p.wait(ctx, err); err != nil {
			return err
		}
		c, err = signIn(ctx, p.o.Account, p.o.Password, p.o.Reach)
	}
	if err != nil {
		return err
	}
	p.c, p.release = c, context.AfterFunc(ctx, func() { c.w.nc.Close() })
	return nil
}

// errChanged says that a folder is another one than it was.
var errChanged = errors.New("the folder was made anew meanwhile: run it again")

// again connects anew after the connection was lost, and opens the folder that was open.
func (p *puller) again(ctx context.Context) error {
	if err := p.sign(ctx); err != nil {
		return endError{fmt.Errorf("connect again: %w", err)}
	}
	if p.raw == "" {
		return nil
	}
	at, err := p.c.open(p.raw, p.write)
	if err == nil && at.uidValidity != p.uidValidity {
		err = errChanged
	}
	return err
}

// tell tells a result, and counts it.
func (p *puller) tell(r Result) error {
	p.telling.Lock()
	defer p.telling.Unlock()
	r.Mailbox = p.o.Mailbox
	p.sum.add(&r)
	if p.o.Told == nil {
		return nil
	}
	if err := p.o.Told(r); err != nil {
		return ownError{err}
	}
	return nil
}

func (p *puller) run(ctx context.Context) error {
	if err := p.sign(ctx); err != nil {
		return err
	}
	all, err := p.c.folders()
	if err != nil {
		return fmt.Errorf("list the folders: %w", err)
	}
	wanted, err := p.wanted(all)
	if err != nil {
		return err
	}
	for _, f := range wanted {
		if err := p.folder(ctx, f); err != nil {
			return err
		}
	}
	// What is known of a folder that is no longer listed would only mislead, should one of that name come back.
	if p.o.DryRun {
		return p.busy
	}
	listed := make(map[string]bool, len(all))
	for _, f := range all {
		listed[f.raw] = true
	}
	if err := p.o.Book.KeepFolders(ctx, p.o.Archive, p.o.Account.String(), func(name string) bool { return listed[name] }); err != nil {
		return ownError{err}
	}
	return p.busy
}

// wanted returns the folders that are to be read.
func (p *puller) wanted(all []folder) ([]folder, error) {
	var list []folder
	found := make([]bool, len(p.o.Folders))
	for _, f := range all {
		take := len(p.o.Folders) == 0 && !f.foreign
		for i, name := range p.o.Folders {
			if f.name == name || f.raw == name || strings.HasPrefix(f.name, name+"/") {
				take, found[i] = true, true
			}
		}
		if take && !f.noSelect {
			list = append(list, f)
		}
	}
	if i := slices.Index(found, false); i >= 0 {
		return nil, fmt.Errorf("%w: %q", ErrNoFolder, p.o.Folders[i])
	}
	return list, nil
}

// folder reads a folder, and tells if it does not open or cannot be read to the end. The error ends the run.
func (p *puller) folder(ctx context.Context, f folder) error {
	var err error
	p.name = f.name
	for tries := 2; tries > 0; tries-- {
		p.raw = ""
		if err = p.readFolder(ctx, f); err == nil || ctx.Err() != nil {
			return err
		}
		if busy(err) && !errors.Is(err, ErrBusy) {
			p.raw = ""
			if err = p.waitAgain(ctx, err); err == nil {
				tries++
				continue
			}
		}
		var own ownError
		var end endError
		if ctx.Err() != nil || errors.As(err, &own) || errors.As(err, &end) {
			return err
		}
		if errors.Is(err, ErrBusy) && !inUse(err) {
			p.busy = err // the others are tried all the same
		}
		var refused *statusError
		if errors.As(err, &refused) || errors.Is(err, errFolder) || errors.Is(err, ErrBusy) {
			break
		}
		p.raw = ""
		if errors.Is(err, errChanged) {
			continue // it is read from its beginning
		}
		if lost := p.again(ctx); lost != nil {
			return lost
		}
	}
	return p.tell(Result{State: StateNotOpened, SourceFolder: f.name, Detail: err.Error()})
}

// errFolder says that a folder cannot be read as it must be.
var errFolder = errors.New("the folder cannot be read")

// place names a folder in the Book.
func (p *puller) place(f folder) source.Place {
	return source.Place{Archive: p.o.Archive, Account: p.o.Account.String(), Folder: f.raw}
}

// readFolder imports what is new in a folder, and deletes what is due.
func (p *puller) readFolder(ctx context.Context, f folder) error {
	next, err := p.c.uidNext(f.raw)
	if err != nil {
		return err
	}
	at, err := p.c.open(f.raw, false)
	if err != nil {
		return err
	}
	if at.uidValidity == 0 {
		return fmt.Errorf("%w: the server gives no UIDVALIDITY, so nobody knows which message is which", errFolder)
	}
	p.raw, p.uidValidity, p.write = f.raw, at.uidValidity, false
	anew, err := p.begin(ctx, f, max(next, at.uidNext))
	if err != nil {
		return err
	}
	list, err := p.c.listed()
	if err != nil {
		return err
	}
	plan, err := p.compare(ctx, f, list, anew)
	if err != nil {
		return err
	}
	if err := p.tell(plan.result(f)); err != nil {
		return err
	}
	if p.o.DryRun {
		return p.dryRun(ctx, f, plan, anew)
	}
	if err := p.take(ctx, f, plan); err != nil {
		return err
	}
	if p.o.DeleteAfter == nil {
		return nil
	}
	return p.remove(ctx, f, list)
}

// begin puts on record that a folder is read, and reports whether it is another one than the one that is known: its UIDVALIDITY changed, or its UIDNEXT
// went back, as it does where a folder is restored from a copy. Whatever is known of its messages then counts no more, and they are recognised by bytes.
func (p *puller) begin(ctx context.Context, f folder, next uint32) (anew bool, err error) {
	known, ok, err := p.o.Book.Folder(ctx, p.place(f))
	if err != nil {
		return false, ownError{err}
	}
	anew = !ok || known.UIDValidity != p.uidValidity || next != 0 && next < known.UIDNext
	if p.o.DryRun || !anew && known.UIDNext == next {
		return anew, nil
	}
	if err := p.o.Book.SetFolder(ctx, p.place(f), p.uidValidity, next, anew); err != nil {
		return anew, ownError{err}
	}
	return anew, nil
}

// listed is a message as a folder lists it.
type listed struct {
	uid  uint32
	size int64
	date time.Time
	done bool // it is on record as taken, and shows no change
}

// same reports whether the message is the one that is known under its UID, as far as the list shows.
func (l *listed) same(m *source.Message) bool { return l.size == m.Size && l.date.Equal(m.Date) }

// maxMessages is how many messages of a folder are listed.
const maxMessages = 5_000_000

// listed lists the folder that is open, by UID.
func (c *client) listed() ([]listed, error) {
	if c.exists == 0 {
		return nil, nil
	}
	var list []listed
	c.fetchInto = func(f *fetched) error {
		switch {
		case f.size < 0: // a change of flags
		case len(list) == maxMessages:
			return fmt.Errorf("%w: more than %d messages", errProtocol, maxMessages)
		default:
			list = append(list, listed{uid: f.uid, size: f.size, date: f.date.UTC()})
		}
		return nil
	}
	defer func() { c.fetchInto = nil }()
	if err := c.command(time.Hour, "UID FETCH", "1:* (UID RFC822.SIZE INTERNALDATE)"); err != nil {
		return nil, err
	}
	slices.SortStableFunc(list, func(a, b listed) int { return int(int64(a.uid) - int64(b.uid)) })
	return slices.CompactFunc(list, func(a, b listed) bool { return a.uid == b.uid }), nil
}

// plan is what is to be done with a folder.
type plan struct {
	fetch []listed // new, or not what is known under its UID
	retry []listed // the last run could not take it
}

func (l *plan) result(f folder) Result {
	r := Result{State: StateFolder, SourceFolder: f.name, Messages: len(l.fetch) + len(l.retry)}
	for _, m := range append(l.fetch[:len(l.fetch):len(l.fetch)], l.retry...) {
		r.Size += m.size
	}
	return r
}

// compare compares the list of a folder with what is known of it.
func (p *puller) compare(ctx context.Context, f folder, list []listed, anew bool) (plan, error) {
	retry := make(map[uint32]bool)
	var gone []uint32
	i := 0
	for m, err := range p.o.Book.Messages(ctx, p.place(f)) {
		if err != nil {
			return plan{}, ownError{err}
		}
		if anew {
			break // a dry run, which has not removed them
		}
		for i < len(list) && list[i].uid < m.UID {
			i++
		}
		switch {
		case i == len(list) || list[i].uid != m.UID:
			gone = append(gone, m.UID)
		case list[i].same(&m) && m.State == source.Taken:
			list[i].done = true
		case list[i].same(&m):
			retry[m.UID] = true
		}
	}
	var todo plan
	for _, m := range list {
		switch {
		case m.done:
		case retry[m.uid]:
			todo.retry = append(todo.retry, m)
		default:
			todo.fetch = append(todo.fetch, m)
		}
	}
	for !p.o.DryRun && len(gone) > 0 {
		n := min(len(gone), 1000)
		if err := p.o.Book.Note(ctx, p.place(f), nil, gone[:n]); err != nil {
			return todo, ownError{err}
		}
		gone = gone[n:]
	}
	return todo, nil
}

// dryRun tells what would be done with a folder.
func (p *puller) dryRun(ctx context.Context, f folder, todo plan, anew bool) error {
	for _, m := range append(todo.fetch, todo.retry...) {
		r := p.result(f, m, archive.KeptNew, "")
		if m.size > p.o.MaxMessage {
			r.State = archive.KeptTooLarge
		}
		if err := p.tell(r); err != nil {
			return err
		}
	}
	if p.o.DeleteAfter == nil || anew {
		return nil
	}
	for m, err := range p.o.Book.Messages(ctx, p.place(f)) {
		if err != nil {
			return ownError{err}
		}
		if p.due(&m) {
			r := p.result(f, listed{uid: m.UID, size: m.Size, date: m.Date}, StateWouldDelete, "")
			if err := p.tell(r); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *puller) result(f folder, m listed, state, detail string) Result {
	return Result{State: state, SourceFolder: f.name, SourceUID: m.uid, Size: m.size, Date: m.date, Detail: detail}
}
