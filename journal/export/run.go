package export

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"copialettere/journal/durable"
	"copialettere/journal/export/sincro"
	"copialettere/policy/archive"
)

// Form is the form in which messages are exported.
type Form string

// The forms: see the package comment.
const (
	FormEML     Form = "eml"
	FormMbox    Form = "mbox"
	FormMaildir Form = "maildir"
	FormZIP     Form = "zip"
)

// Forms returns all forms.
func Forms() []Form { return []Form{FormEML, FormMbox, FormMaildir, FormZIP} }

var (
	// ErrOther says that Options.To holds something else than the export that is asked for.
	ErrOther = errors.New("it holds something else")
	// ErrBusy says that another Run writes to the same place.
	ErrBusy = errors.New("another export writes there")
	// ErrGone says that a message is no longer where the plan has it.
	ErrGone = errors.New("moved or deleted")
	// ErrUnreadable says that a message cannot be read. A Run notes that and goes on.
	ErrUnreadable = errors.New("it cannot be read")
)

// Source is where messages come from.
type Source interface {
	// Plan yields what List does. For what cannot be read it yields an error that wraps ErrUnreadable, and goes on; any other one ends the Run.
	Plan(ctx context.Context) iter.Seq2[Line, error]
	// Copy writes the bytes of a message. It is called concurrently. The error wraps ErrGone or ErrUnreadable where a Run can go on. The Run compares size and digest itself.
	Copy(ctx context.Context, m *Message, to io.Writer) error
}

// ManySource is a Source that reads many messages in less time than it takes one by one.
type ManySource interface {
	Source
	// CopyMany calls got with the place of a message in the list, and its bytes, one after the other. It may leave some out, and end early, with an error
	// or without one: these are asked for by Copy. It ends with the error of got. It is called concurrently.
	CopyMany(ctx context.Context, list []*Message, got func(i int, content io.Reader) error) error
}

// Options say what a Run does. All but the functions are required.
type Options struct {
	Source    Source
	Mailbox   string
	Selection Selection
	Form      Form
	To        string // the folder, or of FormZIP the file

	// Sincro is who answers for the export before a service for legal preservation: PIndex.xml is then added. May be nil. Program is the version in it.
	Sincro  *sincro.Agent
	Program string
	// Time is what the tables of FormZIP and PIndex.xml say of when the export was made, so that the same messages make the same bytes; zero for now.
	Time time.Time

	// Key seals all that is written, also in the work folder: see package sealing. Only of FormZIP; nil for what anybody is to read.
	Key *[32]byte

	// Told is told what became of each message, once that is durable, in the order of the plan. May be nil.
	Told func(Result) error
	// Progress is called after each message; the plan is known by then. May be nil.
	Progress func(Progress)

	// Step is called before everything that can fail on the disk, with what is done: see disk.step. What it returns ends the Run. It is called by several
	// goroutines at once. May be nil.
	Step func(what string) error
}

// Result is what became of a message. Others script against its names.
type Result struct {
	Status Status `json:"status"`
	File   string `json:"file,omitempty"` // under Options.To
	*Message
}

// Progress is how far a Run has come.
type Progress struct {
	Messages, Of uint64
	Bytes, OfAll int64
}

// Report is what a Run did. Others script against its names.
type Report struct {
	Messages   uint64   `json:"messages"`             // that are there now, verified
	Kept       uint64   `json:"kept,omitempty"`       // of them: that were there before
	Bytes      int64    `json:"bytes"`                // of the messages
	Damaged    uint64   `json:"damaged,omitempty"`    // messages that cannot be read
	Gone       uint64   `json:"gone,omitempty"`       // messages that were moved or deleted meanwhile: the same Run again finds where they are
	Unreadable []string `json:"unreadable,omitempty"` // what else cannot be read
	SHA256     string   `json:"sha256,omitempty"`     // of the ZIP
}

// Complete reports whether nothing is missing.
func (r *Report) Complete() bool { return r.Damaged == 0 && r.Gone == 0 && r.Unreadable == nil }

// The names of files beside the messages.
const (
	orderName      = "export.json"
	manifestName   = "manifest.csv"
	gapsName       = "gaps.csv"
	sumsName       = "SHA256SUMS"
	incompleteName = "INCOMPLETE.txt"
	indexName      = "PIndex.xml"

	gapsUnread = gapsName + ": some gaps cannot be read"
)

// form writes messages in one form.
type form interface {
	// foresee is told of the messages that come next, before keep is called for each of them, and needs reports whether one of them will surely be put.
	foresee(list []*Message)
	needs(m *Message) bool
	// keep reports whether a message is there already, as it must be. Messages come in the order of the plan, and put is called for those that are not.
	keep(m *Message) (place, bool, error)
	// put adds a message that was read into memory or a file, and has the right size and digest.
	put(m *Message, content io.Reader) (place, error)
	// settled reports whether all that was put is durable and was read back.
	settled() bool
	// settle makes it so, as far as the form can before its end.
	settle() error
	// end ends what is written, and adds to the sums what is not there yet.
	end(t *tables) error
	// finish puts the tables beside the messages. It returns the SHA-256 of a ZIP.
	finish(t *tables) (digest string, err error)
	// abandon closes what is open.
	abandon()
}

// run is one Run.
type run struct {
	Options
	order   []byte
	disk    *disk // of work
	work    string
	lock    *os.File
	plan    file
	form    form
	tables  *tables
	report  Report
	waiting []Result // of messages that are not settled
	done    Progress
}

// Run exports messages. What cannot be read is in the Report, and no error. After an error the same Run again goes on.
func Run(ctx context.Context, o Options) (*Report, error) {
	if err := o.Selection.Check(); err != nil {
		return nil, err
	}
	if o.Step == nil {
		o.Step = func(string) error { return nil }
	}
	r := &run{Options: o, order: order{1, o.Mailbox, o.Form, o.Selection, o.Sincro}.file()}
	defer r.close()
	err := r.open()
	if err == nil {
		err = r.write(ctx)
	}
	if err != nil {
		err = fmt.Errorf("export to %s: %w", o.To, r.remedy(err))
	}
	return &r.report, err
}

// open finds out whether the place is free, or has this export, and locks it.
func (r *run) open() error {
	// A disk that is not mounted must not become a folder of the one below it.
	_, err := os.Stat(filepath.Dir(r.To))
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: see whether the disk is mounted, or make the folder first", err)
	}
	if err != nil {
		return err
	}
	switch r.Form {
	case FormZIP:
		r.work = r.To + ".part"
		r.form, err = openZIP(r)
	case FormEML, FormMaildir, FormMbox:
		r.work = filepath.Join(r.To, ".part")
		err = r.openFolder()
	default:
		err = fmt.Errorf("form %.20q: want one of %q", r.Form, Forms())
	}
	return err
}

// openFolder opens the folder of a form that has one.
func (r *run) openFolder() error {
	if err := durable.MakeFolder(r.To); err != nil {
		return err
	}
	entries, err := os.ReadDir(r.To)
	if err != nil {
		return err
	}
	there, err := os.ReadFile(filepath.Join(r.To, orderName))
	switch {
	case err == nil && string(there) != string(r.order):
		return fmt.Errorf("%w: another export; choose another folder", ErrOther)
	case errors.Is(err, os.ErrNotExist) && len(entries) > 0 && !(len(entries) == 1 && entries[0].Name() == filepath.Base(r.work)):
		return fmt.Errorf("%w: the folder is not empty; choose another one", ErrOther)
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return err
	}
	if err := r.begin(r.To); err != nil {
		return err
	}
	if there == nil {
		order := batch{disk: r.disk}
		if err := order.add(r.temporary(orderName), orderName, bytes.NewReader(r.order), time.Time{}); err != nil {
			return err
		}
		if err := order.commit(); err != nil {
			return err
		}
	}
	if r.Form == FormMbox {
		r.form = &mboxForm{run: r, names: newNames(time.UTC)}
	} else {
		r.form = newFilesForm(r)
	}
	return nil
}

// begin makes the work folder, and locks it. Names on the disk are then relative to root.
func (r *run) begin(root string) error {
	r.disk = &disk{root: root, key: r.Key, step: r.Step}
	if err := durable.MakeFolder(r.work); err != nil {
		return err
	}
	var err error
	if r.lock, err = os.OpenFile(filepath.Join(r.work, "lock"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	if err := unix.Flock(int(r.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return ErrBusy
	}
	return nil // a disk without locks is still written to
}

// temporary returns the name of a file in the work folder.
func (r *run) temporary(name string) string {
	work, err := filepath.Rel(r.disk.root, r.work)
	if err != nil {
		panic(err) // the work folder lies in the root
	}
	return work + "/" + name
}

// write does the work: the plan, the messages, the tables.
func (r *run) write(ctx context.Context) error {
	if err := r.makePlan(ctx); err != nil {
		return err
	}
	var err error
	if r.tables, err = r.newTables(); err != nil {
		return err
	}
	if err := r.messages(ctx); err != nil {
		return err
	}
	if err := r.settle(); err != nil {
		return err
	}
	return r.finish()
}

// messages keeps or writes all messages of the plan.
func (r *run) messages(ctx context.Context) error {
	f := newFetcher(ctx, r)
	defer f.close()
	var next []*Message
	some := func() error {
		r.form.foresee(next)
		for i, m := range next {
			f.ahead(next[i:])
			if err := r.message(ctx, m, f); err != nil {
				return err
			}
		}
		next = next[:0]
		return nil
	}
	for l, err := range r.lines() {
		if err != nil {
			return err
		}
		if l.Message == nil {
			continue
		}
		if next = append(next, l.Message); len(next) < batchFiles {
			continue
		}
		if err := some(); err != nil {
			return err
		}
	}
	return some()
}

// remedy adds to an error what to do about it.
func (r *run) remedy(err error) error {
	const again = "run the same command again: it goes on where it stopped"
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%w: %s", err, again)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: make room there, then %s", err, again)
	case errors.Is(err, syscall.EFBIG):
		return fmt.Errorf("%w: that disk takes no file as large as that; choose a form with a file for each message", err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: give the user that runs this a folder to write to", err)
	case errors.Is(err, syscall.EINVAL) && r.Form == FormMaildir:
		return fmt.Errorf("%w: that disk may not take the names of a Maildir, which have colons; choose another form", err)
	}
	return err
}

// makePlan writes the plan to a file, so the archive need not wait for the disk.
func (r *run) makePlan(ctx context.Context) error {
	f, err := r.disk.create(r.temporary("plan"))
	if err != nil {
		return err
	}
	r.plan = f.file
	w := bufio.NewWriterSize(f, 256<<10)
	enc := json.NewEncoder(w)
	for l, err := range r.Source.Plan(ctx) {
		if errors.Is(err, ErrUnreadable) {
			r.report.Unreadable = append(r.report.Unreadable, err.Error())
			continue
		}
		if err == nil {
			err = enc.Encode(l)
		}
		if err != nil {
			return err
		}
		if l.Message != nil {
			r.done.Of++
			r.done.OfAll += l.Message.Size
		}
	}
	return w.Flush()
}

// lines yields the plan.
func (r *run) lines() iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		dec := json.NewDecoder(io.NewSectionReader(r.plan, 0, 1<<62))
		for {
			var l Line
			err := dec.Decode(&l)
			if err == io.EOF || !yield(l, err) || err != nil {
				return
			}
		}
	}
}

// message keeps or writes one message.
func (r *run) message(ctx context.Context, m *Message, f *fetcher) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p, kept, err := r.form.keep(m)
	if err != nil {
		return err
	}
	status := StatusKept
	if !kept {
		got := f.take(m)
		defer f.done(got)
		if status, err = got.status, got.err; err != nil {
			return err
		}
		p = place{}
		if status == StatusExported {
			if p, err = r.form.put(m, got.content.reader()); err != nil {
				return err
			}
		}
	}
	r.count(m, status)
	if err := r.tables.add(m, status, p, r.Form); err != nil {
		return err
	}
	r.waiting = append(r.waiting, Result{status, p.file, m})
	if r.form.settled() || len(r.waiting) >= mostWaiting {
		return r.settle()
	}
	return nil
}

// mostWaiting is how many messages may not be settled.
const mostWaiting = 1000

func (r *run) count(m *Message, s Status) {
	r.done.Messages++
	r.done.Bytes += m.Size
	if r.Progress != nil {
		r.Progress(r.done)
	}
	switch s {
	case StatusDamaged:
		r.report.Damaged++
		return
	case StatusGone:
		r.report.Gone++
		return
	case StatusKept:
		r.report.Kept++
	}
	r.report.Messages++
	r.report.Bytes += m.Size
}

// settle makes durable what was put, and tells of it.
func (r *run) settle() error {
	if err := r.form.settle(); err != nil {
		return err
	}
	for _, one := range r.waiting {
		if r.Told != nil {
			if err := r.Told(one); err != nil {
				return err
			}
		}
	}
	r.waiting = r.waiting[:0]
	return nil
}

// finish writes the tables, and removes the work folder.
func (r *run) finish() error {
	if err := r.form.end(r.tables); err != nil {
		return err
	}
	r.tables.missing = append(r.tables.missing, r.report.Unreadable...)
	gaps := func(yield func(archive.Gap, error) bool) {
		for l, err := range r.lines() {
			switch {
			case err != nil:
				yield(archive.Gap{}, err)
				return
			case l.Gap != nil && !yield(*l.Gap, nil):
				return
			}
		}
	}
	if err := r.tables.close(gaps, r.order); err != nil {
		return err
	}
	var err error
	if r.report.SHA256, err = r.form.finish(r.tables); err != nil {
		return err
	}
	if err := os.RemoveAll(r.work); err != nil {
		return err
	}
	return r.disk.syncFolder(".")
}

func (r *run) close() {
	if r.form != nil {
		r.form.abandon()
	}
	if r.tables != nil {
		r.tables.abandon()
	}
	if r.plan != nil {
		r.plan.Close()
	}
	if r.lock != nil {
		r.lock.Close()
	}
}

// digestOf returns the SHA-256 of some bytes.
func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
