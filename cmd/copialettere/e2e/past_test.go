package e2e

import (
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/journal/kv/level"
)

// pastMail is a message that arrived in the middle of an earlier month. It cannot come through the daemon: by its clock all mail arrives now.
type pastMail struct {
	mailbox string
	months  int // how many months ago
	message []byte
}

// monthBefore returns the month that is so many months before that of now.
func monthBefore(now time.Time, months int) kv.Month {
	return kv.MonthOf(kv.MonthOf(now).Start().AddDate(0, -months, 0))
}

// openJournal opens the journal in the data folder of a daemon that does not run. The function that it returns closes the journal and gives
// all files to the daemon's user.
func openJournal(t *testing.T, d *rig.Daemon, clock func() time.Time) (*journal.Journal, func()) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	engine, err := level.Open(filepath.Join(d.Data, "journal"), level.Options{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(engine, journal.Options{Logger: log, Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.BeginLogs(t.Context()); err != nil { // as the program does when it opens the folder
		t.Fatal(err)
	}
	return j, func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
		d.Own(t)
	}
}

// archivePast puts mail of earlier months into the data folder of a daemon that does not run, for each mailbox in the order given.
func archivePast(t *testing.T, d *rig.Daemon, now time.Time, mails []pastMail) {
	t.Helper()
	byMonth := make(map[int]map[string][][]byte)
	oldest := 0
	for _, m := range mails {
		if byMonth[m.months] == nil {
			byMonth[m.months] = make(map[string][][]byte)
		}
		byMonth[m.months][m.mailbox] = append(byMonth[m.months][m.mailbox], m.message)
		oldest = max(oldest, m.months)
	}
	var clock atomic.Int64
	j, done := openJournal(t, d, func() time.Time { return time.Unix(clock.Load(), 0) })
	defer done()
	for months := oldest; months > 0; months-- {
		clock.Store(monthBefore(now, months).Start().AddDate(0, 0, 14).Add(12 * time.Hour).Unix())
		var filing sync.WaitGroup
		for mailbox, messages := range byMonth[months] {
			filing.Go(func() {
				for _, message := range messages {
					if err := file(t, j, mailbox, message); err != nil {
						t.Errorf("file a message of %s: %v", mailbox, err)
						return
					}
				}
			})
		}
		filing.Wait()
	}
}

// file makes an entry of a message, in the state delivered.
func file(t *testing.T, j *journal.Journal, mailbox string, message []byte) error {
	draft := j.NewDraft(t.Context())
	defer draft.Discard()
	if _, err := draft.Write(message); err != nil {
		return err
	}
	placed, err := draft.Commit(t.Context(), journal.Envelope{MailFrom: ester, Transaction: "PAST"},
		[]journal.Intent{{Mailbox: mailbox, Direction: journal.Received, RcptTo: mailbox, ORCPT: "rfc822;" + mailbox, Class: "ordinary"}}, nil)
	if err != nil {
		return err
	}
	j.Delivered(placed[0].Ref, "PAST")
	return nil
}

// heldBytes reads all messages of a mailbox from a journal. It returns by digest how often the journal holds these bytes.
func heldBytes(t *testing.T, j *journal.Journal, mailbox string) map[[sha256.Size]byte]int {
	t.Helper()
	held := make(map[[sha256.Size]byte]int)
	for e, err := range j.List(t.Context(), mailbox) {
		if err != nil {
			t.Fatal(err)
		}
		body, err := j.Body(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		digest := sha256.New()
		if n, err := io.Copy(digest, body); err != nil || n != e.Size {
			t.Fatalf("%s %s %d: %d bytes of %d, %v", mailbox, e.FolderName(), e.UID, n, e.Size, err)
		}
		held[[sha256.Size]byte(digest.Sum(nil))]++
	}
	return held
}

// letter returns a message of that many bytes, at least 200. Each name has another one.
func letter(name string, size int) []byte {
	text := fmt.Appendf(nil, "From: Ester <%s>\r\nSubject: %s\r\nMessage-ID: <%s@ext.test>\r\n\r\n", ester, name, name)
	for len(text) < size-72 {
		text = append(text, "Con la presente si conferma quanto convenuto per le vie brevi.\r\n"...)
	}
	for len(text) < size-2 {
		text = append(text, '-')
	}
	return append(text, "\r\n"...)
}
