package bundle

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/journal/export"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
	"copialettere/policy/pec"
	"copialettere/policy/pec/practice"
)

// Source is the archive of one mailbox that a bundle is made from.
type Source interface {
	// Message returns an entry and the bytes of its message. The error wraps journal.ErrNotFound or journal.ErrDamaged where a bundle can do without.
	Message(ctx context.Context, ref journal.Ref) (*journal.Entry, io.ReaderAt, error)
	// Practices returns the practices of a sent message, or that with an identifier: see practice.Linked.
	Practices(ctx context.Context, chosen practice.Chosen, now time.Time) ([]*practice.Practice, error)
	// Note puts on record what is taken out. It is called before anything else; an error ends the bundle.
	Note(ctx context.Context, what string) error
	// Proof returns the proof that a message was in the archive. The error wraps journal.ErrNoLog or journal.ErrNoCheckpoint where there is none; with
	// any other one but policy.ErrForbidden the bundle does without, and says so.
	Proof(ctx context.Context, ref journal.Ref) (*Proof, error)
	// Changes and Accesses are archive.EvidenceLog and archive.EvidenceAccesses. An error that wraps policy.ErrForbidden leaves them out.
	Changes(ctx context.Context, messages []journal.Ref, since time.Time) iter.Seq2[archive.Change, error]
	Accesses(ctx context.Context, since time.Time) iter.Seq2[auth.Access, error]
}

// Options say what a bundle is of. All but Practice and Logger are required.
type Options struct {
	Source   Source
	Mailbox  string
	Ref      journal.Ref // the message; of a practice any message of it
	Practice bool        // all of the practice that the message belongs to
	Program  string      // version of this program
	Now      time.Time
	Zone     *time.Location // of the times in the sheet
	Logger   *slog.Logger   // told of what cannot be read
}

// Version is that of the layout of bundles.
const Version = 1

// Kind says what a bundle is of.
type Kind string

// The kinds of bundles.
const (
	OfMessage  Kind = "message"
	OfPractice Kind = "practice"
)

// Manifest is bundle.json: what a bundle is. Others script against its names.
type Manifest struct {
	Layout   int       `json:"layout"` // Version
	Kind     Kind      `json:"kind"`
	Program  string    `json:"program"` // that made it, with its version
	Created  time.Time `json:"created"` // UTC
	Mailbox  string    `json:"mailbox"`
	Messages []Listed  `json:"messages"`
	// Missing names what belongs to the bundle and could not be read: receipts, proofs, parts of the logs.
	Missing []string `json:"missing,omitempty"`
	// NoLog says why log/ is absent.
	NoLog string `json:"no_log,omitempty"`
}

// Listed is one message of a bundle.
type Listed struct {
	Folder      string     `json:"folder"`                 // in the bundle
	Of          string     `json:"of"`                     // its folder in the archive: "INBOX/2026-11"
	UID         uint32     `json:"uid"`                    //
	Class       string     `json:"class"`                  // what kind of message it is believed to be
	Size        int64      `json:"size"`                   // bytes
	SHA256      string     `json:"sha256"`                 //
	Result      pec.Result `json:"signature"`              // as Report.Result
	NotBelieved string     `json:"not_believed,omitempty"` // why a receipt does not count
	NoProof     string     `json:"no_proof,omitempty"`     // why there is no proof of it in evidence/
}

// maxMessages is the most messages of one bundle: package practice reads no more of one practice.
const maxMessages = 2000

// ErrNoPractice says that a message belongs to no practice.
var ErrNoPractice = errors.New("the message belongs to no practice of certified mail")

// plan is what goes into a bundle.
type plan struct {
	Options
	main      *message
	practices []*practice.Practice
	listed    []planned
}

// planned is one message that is to go into a bundle.
type planned struct {
	folder      string // in the bundle
	ref         journal.Ref
	notBelieved string
}

// Bundle is a bundle that is ready to be written: its first message was read and is whole.
type Bundle struct{ plan }

// Open finds what goes into a bundle, reads its message through, and puts on record that it is taken out. The error wraps journal.ErrNotFound,
// journal.ErrDamaged, policy.ErrForbidden or ErrNoPractice where that is so.
func Open(ctx context.Context, o Options) (*Bundle, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	p := plan{Options: o}
	e, body, err := o.Source.Message(ctx, o.Ref)
	if err != nil {
		return nil, err
	}
	if p.main, err = readMessage(e, body); err != nil {
		return nil, fmt.Errorf("%s %d: %w", e.FolderName(), e.UID, err)
	}
	if o.Practice {
		err = p.choosePractice(ctx)
	} else {
		p.listed = []planned{{folder: "message", ref: e.Ref}}
	}
	if err != nil {
		return nil, err
	}
	return &Bundle{p}, o.Source.Note(ctx, noteOf(o))
}

// noteOf returns how the log tells of a bundle: see archive.KeyExport.
func noteOf(o Options) string {
	what := "bundle"
	if o.Practice {
		what = "practice"
	}
	return fmt.Sprintf("%s:%d folder:%s", what, o.Ref.UID, o.Ref.FolderName())
}

// choosePractice finds the messages of the practices that the message belongs to: one sent message may have several.
func (p *plan) choosePractice(ctx context.Context) error {
	seen := make(map[string]bool)
	for _, chosen := range practice.Of(p.main.entry) {
		list, err := p.Source.Practices(ctx, chosen, p.Now)
		if errors.Is(err, journal.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		for _, one := range list {
			if !seen[one.Identifier] && (len(one.Receipts) > 0 || p.main.entry.SentTo == "certified") {
				seen[one.Identifier] = true
				p.practices = append(p.practices, one)
			}
		}
	}
	if len(p.practices) == 0 {
		return fmt.Errorf("%s %d: %w", p.main.entry.FolderName(), p.main.entry.UID, ErrNoPractice)
	}
	there := make(map[journal.Ref]bool)
	add := func(folder, where string, uid uint32, notBelieved string) error {
		name, month, err := journal.ParseFolder(where)
		if err != nil {
			return err
		}
		ref := journal.Ref{Mailbox: p.main.entry.Mailbox, Month: month, Folder: name, UID: uid}
		if !there[ref] && len(p.listed) < maxMessages {
			there[ref] = true
			p.listed = append(p.listed, planned{folder, ref, notBelieved})
		}
		return nil
	}
	number := 0
	for i, one := range p.practices {
		if one.Folder != "" && i == 0 {
			if err := add("sent", one.Folder, one.UID, ""); err != nil {
				return err
			}
		}
		for _, r := range one.Receipts {
			number++
			class := r.Class
			if r.Equivalent != "" {
				class = r.Equivalent
			}
			if err := add(fmt.Sprintf("receipts/%02d-%s", number, strings.ToLower(export.PlainName(class, 40))), r.Folder, r.UID, r.NotBelieved); err != nil {
				return err
			}
		}
	}
	return nil
}

// Name returns a name for the file of the bundle: "mario@alpha.test-INBOX-2026-11-7.zip".
func (b *Bundle) Name() string {
	kind := ""
	if b.Practice {
		kind = "-practice"
	}
	return export.PlainName(fmt.Sprintf("%s-%s-%d%s", b.Mailbox, b.main.entry.FolderName(), b.main.entry.UID, kind), 100) + ".zip"
}

// writer writes a bundle.
type writer struct {
	*files
	plan
	ctx      context.Context
	manifest Manifest
	shown    []shown // for the sheet and the text
}

// shown is what the sheet tells of a message.
type shown struct {
	Folder   string
	Envelope *Envelope
	Report   *Report
	SHA512   string
	Facts    facts
	Proof    *Proof       // nil for none
	NoProof  policy.Label // why
	Listed   Listed
	ref      journal.Ref
}

// facts are what the certification data of a message say, as far as the sheet tells it.
type facts struct {
	Type, Identifier, Provider, Delivery, Error string
	Time                                        time.Time
	None                                        string // why there are none; empty for a message that needs none
}

func factsOf(m *pec.Message) facts {
	if m.Data == nil {
		return facts{None: m.DataError}
	}
	d := m.Data
	return facts{Type: d.Type, Identifier: d.Identifier, Provider: d.Provider, Delivery: d.Delivery, Error: d.ErrorDetail, Time: d.Time}
}

// Write writes the ZIP. With an error it is not whole.
func (b *Bundle) Write(ctx context.Context, to io.Writer) error {
	w := &writer{files: &files{out: zip.NewWriter(to), now: b.Now}, plan: b.plan, ctx: ctx}
	w.manifest = Manifest{Layout: Version, Kind: OfMessage, Program: "copialettere " + b.Program, Created: b.Now.UTC(), Mailbox: b.Mailbox, Messages: []Listed{}}
	if b.Practice {
		w.manifest.Kind = OfPractice
	}
	for _, one := range w.listed {
		if err := w.addMessage(one); err != nil {
			return err
		}
	}
	if w.Practice {
		if err := w.writePractices(); err != nil {
			return err
		}
	}
	if err := w.writeLog(); err != nil {
		return err
	}
	return w.finish()
}

// addMessage adds a planned message. One that cannot be read any more is noted as missing.
func (w *writer) addMessage(one planned) error {
	m := w.main
	if one.ref != m.entry.Ref {
		e, body, err := w.Source.Message(w.ctx, one.ref)
		if err == nil {
			m, err = readMessage(e, body)
		}
		if w.ctx.Err() != nil {
			return w.ctx.Err()
		}
		if errors.Is(err, journal.ErrNotFound) || errors.Is(err, journal.ErrDamaged) {
			w.Logger.Error("left out of a bundle", "mailbox", w.Mailbox, "folder", one.ref.FolderName(), "uid", one.ref.UID, "error", err)
			w.manifest.Missing = append(w.manifest.Missing, fmt.Sprintf("%s %d (%s)", one.ref.FolderName(), one.ref.UID, one.folder))
			return nil
		}
		if err != nil {
			return err
		}
	}
	report, err := w.writeMessage(one.folder, m)
	if err != nil {
		return err
	}
	proof, noProof, err := w.proofOf(one.folder, m)
	if err != nil {
		return err
	}
	e := m.entry
	listed := Listed{
		Folder: one.folder, Of: e.FolderName(), UID: e.UID, Class: e.Class, Size: e.Size, SHA256: e.SHA256.String(), Result: report.Result, NotBelieved: one.notBelieved,
		NoProof: noProof.English,
	}
	w.manifest.Messages = append(w.manifest.Messages, listed)
	w.shown = append(w.shown, shown{Folder: one.folder, Envelope: m.envelope, Report: report, SHA512: m.sha512, Facts: factsOf(m.found), Listed: listed, ref: one.ref, Proof: proof, NoProof: noProof})
	return nil
}

// writePractices adds what the receipts say.
func (w *writer) writePractices() error {
	if err := w.addJSON(practiceName, w.practices); err != nil {
		return err
	}
	t, err := practiceRows(w.practices)
	if err != nil {
		return err
	}
	return t.into(w.files, tableName)
}

// practiceRows returns what receipts say as a table.
func practiceRows(list []*practice.Practice) (*rows, error) {
	t, err := newRows("identifier", "recipient", "kind", "status", "accepted", "delivered", "receipt", "refused", "failed", "late", "reason", "brief", "waiting")
	if err != nil {
		return nil, err
	}
	for _, p := range list {
		for _, r := range p.Recipients {
			t.add(p.Identifier, r.Address, r.Kind, string(r.Status), timeText(r.Accepted), timeText(r.Delivered), r.Receipt, timeText(r.Refused), timeText(r.Failed),
				timeText(r.Late), r.Reason, r.Brief, r.Waiting)
		}
	}
	return t, nil
}

// finish adds what tells of all the rest.
func (w *writer) finish() error {
	if err := w.addJSON(manifestName, w.manifest); err != nil {
		return err
	}
	if len(w.manifest.Missing) > 0 {
		if err := w.addBytes(incompleteName, []byte(w.manifest.incompleteText())); err != nil {
			return err
		}
	}
	text := w.verifyText()
	if err := w.addBytes(verifyName, []byte(text)); err != nil {
		return err
	}
	sheet, err := w.sheet()
	if err != nil {
		return err
	}
	if err := w.addBytes(sheetName, sheet); err != nil {
		return err
	}
	return w.close()
}

// incompleteText returns INCOMPLETE.txt.
func (m *Manifest) incompleteText() string {
	return "Not everything that belongs to this bundle could be read. The operator is told.\nNon tutto ciò che fa parte di questo pacchetto si è potuto leggere. Il gestore è avvisato.\n\n" +
		strings.Join(m.Missing, "\n") + "\n"
}

// Of returns the Source of a mailbox for an actor, whose rights the archive checks. It is for one bundle.
func Of(a *archive.Archive, who policy.Actor, mailbox policy.Address) Source {
	return &archived{a, who, mailbox, a.NewProver(who)}
}

// archived is the Source of an archive.
type archived struct {
	archive *archive.Archive
	who     policy.Actor
	mailbox policy.Address
	prover  *archive.Prover
}

// Message implements Source.
func (s *archived) Message(ctx context.Context, ref journal.Ref) (*journal.Entry, io.ReaderAt, error) {
	if err := s.archive.May(ctx, s.who, archive.RightRead, s.mailbox); err != nil {
		return nil, nil, err
	}
	ref.Mailbox = s.mailbox.String()
	e, body, err := s.archive.Message(ctx, ref)
	if err != nil {
		return nil, nil, err
	}
	return e, body, nil
}

// Practices implements Source.
func (s *archived) Practices(ctx context.Context, chosen practice.Chosen, now time.Time) ([]*practice.Practice, error) {
	return s.archive.LinkedPractices(ctx, s.mailbox, chosen, now)
}

// Note implements Source.
func (s *archived) Note(ctx context.Context, what string) error {
	return s.archive.NoteExport(ctx, s.who, s.mailbox, what)
}

// Changes implements Source.
func (s *archived) Changes(ctx context.Context, messages []journal.Ref, since time.Time) iter.Seq2[archive.Change, error] {
	return s.archive.EvidenceLog(ctx, s.who, s.mailbox, messages, since)
}

// Accesses implements Source.
func (s *archived) Accesses(ctx context.Context, since time.Time) iter.Seq2[auth.Access, error] {
	return s.archive.EvidenceAccesses(ctx, s.who, s.mailbox, since)
}
