package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"copialettere/journal/export/intake"
	"copialettere/journal/kv"
	"copialettere/policy"
	"copialettere/policy/archive"
)

const importHelp = `Usage: copialettere import ADDR -from PATH [-folder F] [-dry-run] [-config FILE] [-json]
       copialettere import ADDR -from imaps://USER@HOST [-folder F] [-dry-run] [-delete-after 30d] [-ca FILE] [-password-file FILE] [-plaintext]

Puts older mail into an archive: that from before the archive was turned on, or of a gap. PATH is a file or a folder, with .eml files, mboxes,
Maildirs, .emlx files of Apple Mail, ZIPs, or what "export" wrote. What a file is, is found out by its content.

A message keeps its bytes, and a date of its own. It lies in the folder Imported, in the folders of its source (with -folder, in those within F), in
the month of today; its retention counts from today. It is marked as imported, with who, when and from where, and never counts as journaled.
What the archive has already, byte for byte, is not taken again: if an import breaks off, run the same command again.
-dry-run finds out what would become of each message, and writes nothing.

What is not taken is listed, with why and where (for an mbox, the offset in bytes). With -json there is a line for each message too, for what is no
mail, and remarks on what looks odd. Outlook's .msg and .pst, encrypted ZIPs and compressed files are not read; the list says what to do instead.

Of an IMAP account the same command again fetches what has come since, and goes on where it stopped; -folder is one there. "copialettere pull -h" tells
of its flags, and of profiles that do so by themselves. -plaintext sends a password over an open line (imap://), which otherwise only imaps:// and
imap+starttls:// reach.

The exit status is 1 when something was not taken or nothing was found. The archive must be on; its quota counts.

Example: copialettere import mario@alpha.test -from /mnt/old/Maildir
`

func defineImport(flags *flag.FlagSet) runner {
	var account accountFlags
	account.define(flags)
	dry := flags.Bool("dry-run", false, "")
	plaintext := flags.Bool("plaintext", false, "")
	return func(ctx context.Context, in *invocation, args []string) error {
		if isAccount(account.from) {
			if err := want(args, "ADDR"); err != nil {
				return err
			}
			return importAccount(ctx, in, args, &account, *dry, *plaintext)
		}
		if account.deleteAfter != "" || account.ca != "" || account.passwordFile != "" || *plaintext || len(account.folders) > 1 {
			return fmt.Errorf("%w: -delete-after, -ca, -password-file and -plaintext are for accounts: -from imaps://USER@HOST", errUsage)
		}
		return runImport(ctx, in, args, importFlags{account.from, strings.Join(account.folders, ""), *dry})
	}
}

type importFlags struct {
	from, folder string
	dry          bool
}

func runImport(ctx context.Context, in *invocation, args []string, o importFlags) error {
	if err := want(args, "ADDR"); err != nil {
		return err
	}
	if o.from == "" {
		return fmt.Errorf("%w: say what: -from /mnt/old/Maildir", errUsage)
	}
	address, err := policy.ParseMailbox(args[0])
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	from, err := filepath.Abs(o.from)
	if err != nil {
		return err
	}
	c, err := in.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	m := &importer{in: in, client: c, mailbox: address.String(), from: from, importFlags: o, seen: make(map[string]bool)}
	if err := m.all(ctx); err != nil {
		in.progress("")
		return m.ended(err)
	}
	in.progress("")
	return m.end()
}

// all imports all that is found, up to the first message for which there is no room.
func (m *importer) all(ctx context.Context) error {
	defer m.group.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for found, err := range intake.Walk(ctx, m.from, intake.Options{Limits: intake.DefaultLimits()}) {
		switch {
		case errors.Is(err, intake.ErrSource):
			return fmt.Errorf("%w: -from: %w", errUsage, err)
		case err != nil:
			return err
		}
		if err := m.add(ctx, found); err != nil {
			return err
		}
		if m.full {
			break
		}
	}
	return m.settle(0)
}

// importer imports messages, a few at a time. All is told in the order in which it was found.
type importer struct {
	importFlags
	group sync.WaitGroup // of those that are asked
	queue []*asked       // that are not told yet, oldest first
	begun bool           // the first message was asked

	in      *invocation
	client  *client
	mailbox string
	from    string // as an absolute path

	imported, duplicates, refused, skipped, notes, differ uint64
	bytes                                                 uint64
	full                                                  bool
	free                                                  *int64 // before a dry run: what the quota has room for
	unread                                                []kv.Month
	seen                                                  map[string]bool // of a dry run: the beginnings of the digests of what would be imported
	shown                                                 time.Time
}

// importedLine is a line about one message, or about what was left. Others script against its names.
type importedLine struct {
	*archive.Kept
	State   string `json:"state"` // that of Kept, or the kind of what was left
	Source  string `json:"source"`
	Quoting string `json:"quoting,omitempty"`
	Why     string `json:"why,omitempty"`
}

// What is asked at a time. Small messages are held in memory; a large one waits until the others are done.
const (
	askAtOnce = 4
	smallMail = 256 << 10
)

// asked is something that was found. What became of a message is there when done is closed.
type asked struct {
	intake.Found
	done chan struct{}
	kept archive.Kept
	err  error
}

// add takes up what was found, and tells of what is done, so that not too much is under way.
func (m *importer) add(ctx context.Context, found intake.Found) error {
	a := &asked{Found: found, done: make(chan struct{})}
	m.queue = append(m.queue, a)
	if found.Piece == nil {
		close(a.done)
		return m.settle(askAtOnce)
	}
	held, err := io.ReadAll(io.LimitReader(found.Message, smallMail+1))
	if err != nil {
		return fmt.Errorf("%s: %w", found.Piece.Source, err)
	}
	if len(held) <= smallMail && m.begun {
		quiet := *m.in
		quiet.stderr = io.Discard // of this goroutine only
		m.group.Go(func() { m.ask(ctx, &quiet, a, bytes.NewReader(held)) })
		return m.settle(askAtOnce)
	}
	// The first one goes alone: what forbids the import is told once.
	if err := m.settle(1); err != nil {
		return err
	}
	m.begun = true
	m.ask(ctx, m.in, a, io.MultiReader(bytes.NewReader(held), found.Message))
	return m.settle(0)
}

// ask asks for the import of a message.
func (m *importer) ask(ctx context.Context, in *invocation, a *asked, message io.Reader) {
	defer close(a.done)
	p := a.Piece
	values := url.Values{"mailbox": {m.mailbox}, "who": {whoami()}, "source": {p.Source}, "from": {m.from}}
	if folder := strings.Trim(m.folder+"/"+p.Folder, "/"); folder != "" {
		values.Set("folder", folder)
	}
	if !p.Date.IsZero() {
		values.Set("date", p.Date.Format(time.RFC3339))
	}
	if p.Quoting != "" {
		values.Set("quoting", p.Quoting)
	}
	if m.dry {
		values.Set("dry_run", "true")
	}
	body, err := in.do(ctx, m.client, http.MethodPost, mailboxPath+"/import", values, message)
	if err != nil {
		a.err = fmt.Errorf("%s: %w", p.Source, err)
		return
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(&a.kept); err != nil {
		a.err = fmt.Errorf("%s: the answer broke off, as when the daemon is stopped: %w", p.Source, err)
	}
}

// settle waits until at most so many are not told of.
func (m *importer) settle(most int) error {
	for len(m.queue) > most {
		a := m.queue[0]
		<-a.done
		m.queue = m.queue[1:]
		err := a.err
		switch {
		case err != nil:
		case a.Left != nil:
			err = m.left(a.Left)
		default:
			err = m.message(a.Piece, &a.kept)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// message tells what became of a message.
func (m *importer) message(p *intake.Piece, kept *archive.Kept) error {
	why := m.count(p, kept)
	m.progress()
	if m.in.json {
		return m.in.printJSON(importedLine{kept, kept.State, p.Source, p.Quoting, why})
	}
	if why != "" {
		m.tell(p.Source, why)
	}
	return nil
}

// count counts what became of a message, and says what is to be said of it.
func (m *importer) count(p *intake.Piece, kept *archive.Kept) (why string) {
	m.unread = kept.Unread
	if m.free == nil {
		m.free = kept.Free
	}
	if kept.State == archive.KeptNew {
		if m.seen[kept.SHA256[:16]] {
			kept.State = archive.KeptDuplicate
		}
		m.seen[kept.SHA256[:16]] = true
	}
	switch kept.State {
	case archive.KeptDuplicate:
		m.duplicates++
	case archive.KeptTooLarge:
		m.refused++
		return "larger than the archive takes: see max_message_size in the configuration"
	case archive.KeptFull:
		m.full = true
		return "the archive is full"
	default:
		m.imported++
		m.bytes += uint64(kept.Size)
	}
	if p.SHA256 != "" && kept.SHA256 != p.SHA256 {
		m.differ++
		return "its bytes are not those that the manifest of the export names: it was changed since"
	}
	return ""
}

// left tells of what is not taken.
func (m *importer) left(l *intake.Left) error {
	switch l.Kind {
	case intake.Refused:
		m.refused++
	case intake.Skipped:
		m.skipped++
	case intake.Noted:
		m.notes++
	}
	if m.in.json {
		return m.in.printJSON(importedLine{State: string(l.Kind), Source: l.Source, Why: l.Why})
	}
	if l.Kind == intake.Refused {
		m.tell(l.Source, l.Why)
	}
	return nil
}

func (m *importer) tell(source, why string) {
	m.in.progress("")
	fmt.Fprintf(m.in.stdout, "%s: %s\n", printable(source), printable(why))
}

func (m *importer) progress() {
	if now := time.Now(); now.Sub(m.shown) > 200*time.Millisecond {
		m.shown = now
		m.in.progress(fmt.Sprintf("%d messages, %s ", m.imported+m.duplicates, policy.English.Size(m.bytes)))
	}
}

// ended adds to an error how far the import came.
func (m *importer) ended(err error) error {
	if m.dry || m.imported == 0 {
		return err
	}
	return fmt.Errorf("%w; %d messages are imported: run the same command again, and it goes on", err, m.imported)
}

// end prints what was done. The error is errFailed if something was not taken, and errNothing if there was nothing.
func (m *importer) end() error {
	if !m.in.json {
		did := "imported"
		if m.dry {
			did = "would be imported"
		}
		fmt.Fprintf(m.in.stdout, "%s: %d messages of %s %s, %d were there already\n", m.from, m.imported, policy.English.Size(m.bytes), did, m.duplicates)
		for _, more := range []struct {
			n    uint64
			text string
		}{
			{m.refused, "not taken, see above"}, {m.skipped, "no mail, or deleted by its mail program: -json lists them"}, {m.notes, "remarks: -json lists them"},
			{m.differ, "changed since they were exported, see above"},
		} {
			if more.n > 0 {
				fmt.Fprintf(m.in.stdout, "%d %s\n", more.n, more.text)
			}
		}
	}
	if len(m.unread) > 0 {
		fmt.Fprintf(m.in.stderr, "copialettere: these months cannot be read, and what is in them is not recognised as there: %v\n", m.unread)
	}
	switch {
	case m.dry && m.free != nil && m.bytes > uint64(*m.free):
		return fmt.Errorf("the archive has room for %s of them only: give it more before (copialettere mailbox set ADDR quota=SIZE)", policy.English.Size(uint64(*m.free)))
	case m.full:
		return errors.New("stopped: the archive is full; give it more room (copialettere mailbox set ADDR quota=SIZE), and run the same command again: it goes on")
	case m.refused > 0 || m.differ > 0:
		return errFailed
	case m.imported+m.duplicates == 0:
		return errNothing
	}
	return nil
}
