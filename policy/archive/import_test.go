package archive

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/journal/kv/kvtest"
	"copialettere/policy"
)

var importer = policy.Actor{Role: policy.RoleOperator, Name: "root"}

// importing begins an import for the operator.
func (r *typeRig) importing(o ImportOptions) *Importing {
	r.t.Helper()
	i, err := r.archive.Import(r.t.Context(), importer, r.anna, o)
	r.check(err)
	return i
}

// piece returns a piece with a text.
func piece(folder, text string) Piece {
	return Piece{Folder: folder, Source: "prova.mbox at 4711", Quoting: QuotingNone, Size: int64(len(text)), Message: strings.NewReader(text)}
}

// keep keeps a piece, and returns what became of it as "imported Imported/Lavoro/2026-01 1".
func (r *typeRig) keep(i *Importing, p Piece) string {
	r.t.Helper()
	kept, err := i.Keep(r.t.Context(), p)
	r.check(err)
	if kept.UID == 0 {
		return strings.TrimSpace(kept.State + " " + kept.Folder)
	}
	return fmt.Sprintf("%s %s %d", kept.State, kept.Folder, kept.UID)
}

func (r *typeRig) wantKept(i *Importing, p Piece, want string) {
	r.t.Helper()
	if got := r.keep(i, p); got != want {
		r.t.Errorf("%s: %s, want %s", p.Folder, got, want)
	}
}

const importedText = "Date: Mon, 6 May 2019 07:08:09 +0000\r\nFrom: Mario <mario@alpha.test>\r\nSubject: Prova\r\n\r\nTesto\r\n"

func TestImport(t *testing.T) {
	r := newTypeRig(t)
	i := r.importing(ImportOptions{From: "/mnt/vecchia"})
	r.wantKept(i, piece("Lavoro/2019", importedText), "imported Imported/Lavoro/2019/2026-01 1")
	ref := journal.Ref{Mailbox: r.anna.String(), Month: "2026-01", Folder: "Imported/Lavoro/2019", UID: 1}
	e, err := r.archive.journal.Entry(t.Context(), ref)
	r.check(err)
	want := journal.Import{Who: importer.String(), Date: time.Date(2019, 5, 6, 7, 8, 9, 0, time.UTC), Source: "prova.mbox at 4711", Quoting: QuotingNone, Once: true}
	if e.Imported == nil || *e.Imported != want || e.State != journal.Delivered || e.Direction != journal.Received {
		t.Errorf("entry %+v, imported %+v", e, e.Imported)
	}

	t.Run("duplicates", func(t *testing.T) {
		r.wantKept(i, piece("Altro", importedText), "duplicate Imported/Lavoro/2019/2026-01 1")
		r.wantKept(i, piece("Altro", strings.ReplaceAll(importedText, "\r\n", "\n")), "duplicate Imported/Lavoro/2019/2026-01 1")
		r.wantKept(i, piece("Altro", importedText+"\r\n"), "imported Imported/Altro/2026-01 1")
		// It is found where it was moved, and after the month.
		moved, err := r.archive.Move(t.Context(), importer, ref.Only(), "INBOX")
		r.check(err)
		r.wantKept(i, piece("Altro", importedText), "duplicate INBOX/2026-01 "+journal.UIDsOf([]uint32{moved.To.UID}).String())
		r.clock("2026-02")
		r.wantKept(r.importing(ImportOptions{}), piece("", importedText), "duplicate INBOX/2026-01 1")
		// What was deleted is not there: who imports it again has it again, and then no more.
		_, err = r.archive.Delete(t.Context(), importer, journal.Selection{Mailbox: r.anna.String(), Month: "2026-01", Folder: "INBOX", UIDs: journal.UIDRange{First: 1, Last: 1}.Set()})
		r.check(err)
		r.wantKept(i, piece("", importedText), "imported Imported/2026-02 1")
		r.wantKept(i, piece("", importedText), "duplicate Imported/2026-02 1")
		_, err = r.archive.Delete(t.Context(), importer, journal.Selection{Mailbox: r.anna.String(), Month: "2026-02", Folder: "Imported", UIDs: journal.UIDRange{First: 1, Last: 1}.Set()})
		r.check(err)
		r.wantKept(i, piece("", importedText), "imported Imported/2026-02 2")
		r.wantKept(i, piece("", importedText), "duplicate Imported/2026-02 2")
		// What was journaled is recognised too.
		journaled := r.file(journal.Intent{Direction: journal.Received})
		e, err := r.archive.journal.Entry(t.Context(), journaled)
		r.check(err)
		body, err := r.archive.journal.Body(t.Context(), e)
		r.check(err)
		text, err := io.ReadAll(io.NewSectionReader(body, 0, e.Size))
		r.check(err)
		r.wantKept(i, piece("", string(text)), "duplicate INBOX/2026-02 1")
	})
	report, err := r.archive.Verify(t.Context(), nil)
	r.check(err)
	if report.Faults > 0 {
		t.Errorf("verify: %v", report.Details)
	}
	n := 0
	for c, err := range r.archive.Log(t.Context(), r.anna) {
		r.check(err)
		if c.Key == KeyImport && c.After == "/mnt/vecchia" && c.Who == importer.Name {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d imports on record, want 1", n)
	}
}

// TestImportTwiceAtOnce imports the same messages from several sides at once, with a Known each, as several processes have.
func TestImportTwiceAtOnce(t *testing.T) {
	r := newTypeRig(t)
	const sides, messages = 4, 30
	var group sync.WaitGroup
	states := make([][]string, sides)
	for side := range sides {
		options := r.archive.options
		options.Known = nil
		i, err := New(options).Import(t.Context(), importer, r.anna, ImportOptions{From: "server"})
		r.check(err)
		group.Go(func() {
			for n := range messages {
				kept, err := i.Keep(t.Context(), piece("Posta", importedText+strings.Repeat("a", n)))
				if err != nil {
					t.Error(err)
				}
				states[side] = append(states[side], kept.State)
			}
		})
	}
	group.Wait()
	imported := 0
	for _, list := range states {
		for _, s := range list {
			if s == KeptImported {
				imported++
			} else if s != KeptDuplicate {
				t.Errorf("state %s", s)
			}
		}
	}
	uids, err := r.archive.journal.UIDs(t.Context(), r.anna.String(), "2026-01", "Imported/Posta", 1)
	r.check(err)
	if imported != messages || len(uids) != messages {
		t.Errorf("%d imported, %d there, want %d", imported, len(uids), messages)
	}
}

func TestImportRefused(t *testing.T) {
	r := newTypeRig(t)
	owner := policy.Actor{Role: policy.RoleOwner, Name: r.anna.String()}
	try := func(who policy.Actor) error {
		_, err := r.archive.Import(t.Context(), who, r.anna, ImportOptions{})
		return err
	}
	want := func(name string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	want("another owner", try(policy.Actor{Role: policy.RoleOwner, Name: "bruno@alpha.test"}), policy.ErrForbidden)
	want("owner, append=on", try(owner), nil)
	i := r.importing(ImportOptions{})
	r.set("append=off")
	want("owner, append=off", try(owner), ErrReadOnly)
	want("operator, append=off", try(importer), nil)

	r.set("quota=1000B")
	big := piece("Lavoro", importedText+strings.Repeat("a", 2000))
	r.wantKept(i, big, "full")
	r.wantKept(i, piece("Lavoro", importedText), "imported Imported/Lavoro/2026-01 1")
	r.wantKept(i, Piece{Size: -1, Message: strings.NewReader(importedText + strings.Repeat("b", 2000))}, "full")
	r.archive.options.MaxMessage = 500
	r.wantKept(i, piece("Lavoro", importedText+strings.Repeat("c", 500)), "too-large")
	r.wantKept(i, Piece{Size: -1, Message: strings.NewReader(importedText + strings.Repeat("c", 500))}, "too-large")

	p := piece("Lavoro", importedText+"d")
	p.Size++
	_, err := i.Keep(t.Context(), p)
	want("cut short", err, io.ErrUnexpectedEOF)
	_, err = r.archive.Pause(t.Context(), importer, r.anna)
	r.check(err)
	want("paused", try(importer), ErrNotOn)
	_, err = i.Keep(t.Context(), piece("", importedText+"e"))
	want("paused meanwhile", err, ErrNotOn)
}

func TestImportDryRun(t *testing.T) {
	r := newTypeRig(t)
	r.wantKept(r.importing(ImportOptions{}), piece("A", importedText), "imported Imported/A/2026-01 1")
	i := r.importing(ImportOptions{DryRun: true})
	r.wantKept(i, piece("B", importedText), "duplicate Imported/A/2026-01 1")
	r.wantKept(i, piece("B", importedText+"b"), "new Imported/B/2026-01")
	r.wantKept(i, piece("B", importedText+"b"), "new Imported/B/2026-01")
	if stats, err := r.archive.journal.Stats(t.Context(), r.anna.String()); err != nil || len(stats) != 1 {
		t.Errorf("%+v, %v", stats, err)
	}
}

func TestImportDirection(t *testing.T) {
	r := newTypeRig(t)
	i := r.importing(ImportOptions{})
	for _, test := range []struct {
		name, header string
		want         journal.Direction
	}{
		{"another's", "From: mario@alpha.test\r\n", journal.Received},
		{"own", "From: Anna <ANNA@alpha.test>\r\n", journal.Sent},
		{"own, delivered", "From: anna@alpha.test\r\nReceived: from x by y; Mon, 6 May 2019 07:08:09 +0000\r\n", journal.Received},
	} {
		kept, err := i.Keep(t.Context(), piece(test.name, test.header+"\r\n"+test.name))
		r.check(err)
		folder, month, err := journal.ParseFolder(kept.Folder)
		r.check(err)
		e, err := r.archive.journal.Entry(t.Context(), journal.Ref{Mailbox: r.anna.String(), Month: month, Folder: folder, UID: kept.UID})
		r.check(err)
		if e.Direction != test.want {
			t.Errorf("%s: %v, want %v", test.name, e.Direction, test.want)
		}
	}
}

func TestImportFolder(t *testing.T) {
	for source, want := range map[string]string{
		"":                            "Imported",
		"Lavoro/Fatture":              "Imported/Lavoro/Fatture",
		"/Lavoro//Fatture/":           "Imported/Lavoro/Fatture",
		"Attività":                    "Imported/Attività",
		"../../etc":                   "Imported/__/__/etc",
		"a\x00b\nc%*\"\\":             "Imported/a_b_c____",
		"\xff\xfe":                    "Imported/__",
		"INBOX/2026-11":               "Imported/INBOX/2026_11",
		"1/2/3/4/5/6/7/8/9/10":        "Imported/1/2/3/4/5/6/7/8-9-10",
		strings.Repeat("à", 80):       "Imported/" + strings.Repeat("à", 50),
		" Posta /  ":                  "Imported/Posta",
		"x" + strings.Repeat("à", 80): "Imported/x" + strings.Repeat("à", 49),
	} {
		if got := importFolder(source); got != want {
			t.Errorf("%q: %q, want %q", source, got, want)
		}
	}
}

// TestImportedFolders shows what was imported to mail programs, in both layouts: each folder after the one that it lies in.
func TestImportedFolders(t *testing.T) {
	r := newTypeRig(t)
	i := r.importing(ImportOptions{})
	for n, folder := range []string{"Lavoro/Fatture", "Lavoro 2", "", "Lavoro/Altro"} {
		r.keep(i, piece(folder, importedText+strings.Repeat("n", n)))
	}
	names := func() string {
		list, err := r.reader.Folders(t.Context())
		r.check(err)
		var all []string
		for _, f := range list {
			name := f.Name
			if f.Holds != nil {
				name += ":"
			}
			all = append(all, name)
		}
		return strings.Join(all, "\n")
	}
	byType := `INBOX
Posta inviata
Archiviati a mano
Cestino:
2026
2026/01
2026/01/Importati:
2026/01/Importati/Lavoro
2026/01/Importati/Lavoro/Altro:
2026/01/Importati/Lavoro/Fatture:
2026/01/Importati/Lavoro 2:`
	if got := names(); got != byType {
		t.Errorf("by type:\n%s", got)
	}
	r.set("layout=month")
	byMonth := `INBOX
Posta inviata
Archiviati a mano
Cestino:
Importati
Importati/2026-01:
Importati/Lavoro
Importati/Lavoro/Altro
Importati/Lavoro/Altro/2026-01:
Importati/Lavoro/Fatture
Importati/Lavoro/Fatture/2026-01:
Importati/Lavoro 2
Importati/Lavoro 2/2026-01:`
	if got := names(); got != byMonth {
		t.Errorf("by month:\n%s", got)
	}
	f, err := r.reader.Folder(t.Context(), "Importati/Lavoro/Fatture/2026-01")
	r.check(err)
	uids, err := r.reader.UIDs(t.Context(), f, 1)
	if err != nil || !slices.Equal(uids, []uint32{1}) {
		t.Errorf("UIDs %v, %v", uids, err)
	}
}

// TestKnown finds messages among many, with others that begin with the same bytes.
func TestKnown(t *testing.T) {
	r := newTypeRig(t)
	i := r.importing(ImportOptions{})
	const n = 50
	for k := range n {
		r.keep(i, piece("", importedText+strings.Repeat("k", k)))
	}
	known, end, err := r.archive.known.begin(t.Context(), r.anna.String())
	r.check(err)
	defer end()
	r.check(known.bring(t.Context(), r.archive.journal))
	for range mostFresh { // all are sorted in
		known.add(knownMessage{prefix: 7, folder: 0, uid: 1})
	}
	ref := journal.Ref{Mailbox: r.anna.String(), Month: "2026-01", Folder: "Imported", UID: n}
	e, err := r.archive.journal.Entry(t.Context(), ref)
	r.check(err)
	got, ok, err := known.find(t.Context(), r.archive.journal, e.SHA256)
	if !ok || err != nil || got != ref {
		t.Errorf("found %v, %v, %v", got, ok, err)
	}
	e.SHA256[31]++
	if got, ok, err = known.find(t.Context(), r.archive.journal, e.SHA256); ok || err != nil {
		t.Errorf("found %v for other bytes, %v", got, err)
	}
}

// TestImportFaults imports while the disk fails: nothing is there after the error, and the same message again is there once.
func TestImportFaults(t *testing.T) {
	r := newTypeRig(t)
	i := r.importing(ImportOptions{From: "server"})
	r.wantKept(i, piece("", importedText), "imported Imported/2026-01 1")
	r.clock("2026-02")
	bad := kv.Month("2026-02")
	r.engine.bad.Store(&bad)
	for range 2 {
		if kept, err := i.Keep(t.Context(), piece("", importedText+"a")); err == nil {
			t.Errorf("on a bad disk: %+v", kept)
		}
	}
	r.engine.bad.Store(nil)
	r.wantKept(i, piece("", importedText+"a"), "imported Imported/2026-02 1")
	r.wantKept(i, piece("", importedText+"a"), "duplicate Imported/2026-02 1")

	// A month that cannot be read is told of: what is in it comes once more.
	bad = "2026-01"
	j, err := journal.Open(r.engine, journal.Options{Now: func() time.Time { return *r.now.Load() }})
	r.check(err)
	defer j.Close()
	r.engine.bad.Store(&bad)
	options := r.archive.options
	options.Journal, options.Known = j, nil
	again, err := New(options).Import(t.Context(), importer, r.anna, ImportOptions{})
	r.check(err)
	kept, err := again.Keep(t.Context(), piece("", importedText))
	r.check(err)
	if kept.State != KeptImported || !slices.Equal(kept.Unread, []kv.Month{"2026-01"}) {
		t.Errorf("with a month that cannot be read: %+v", kept)
	}
}

// TestImportWritesFail imports while each write fails in turn, in all ways, also those of the settings and of the log. What was said to be imported is there,
// and the same once more makes the rest: every message is there once.
func TestImportWritesFail(t *testing.T) {
	r := newTypeRig(t)
	want := make(map[string]int) // how often each message must be there, by its digest
	for _, failure := range kvtest.Failures() {
		met := 0
		for n := 1; ; n++ {
			texts := []string{importedText + "a", importedText + "b", importedText + strings.Repeat("0123456789abcdef\r\n", 100_000), importedText + "a"}
			folder := fmt.Sprintf("%s %d", failure, n)
			i := r.importing(ImportOptions{From: folder})
			run := func() (states []string, err error) {
				for _, text := range texts {
					kept, err := i.Keep(t.Context(), piece(folder, folder+": "+text))
					if err != nil {
						return states, err
					}
					states = append(states, kept.State)
					if kept.State == KeptImported {
						want[kept.SHA256]++
					}
				}
				return states, nil
			}
			r.failing.Fail(n, failure)
			states, err := run()
			if !r.failing.Heal() {
				r.check(err)
				break
			}
			if met++; err == nil && failure != kvtest.Unknown { // what was done all the same is found, and needs no error
				t.Errorf("%s: nothing is told, %v", folder, states)
			}
			again, err := run()
			if err != nil || len(again) != len(texts) || slices.ContainsFunc(again, func(s string) bool { return s != KeptImported && s != KeptDuplicate }) {
				t.Errorf("%s: once more: %v, %v", folder, again, err)
			}
			stats, err := r.archive.journal.Folder(t.Context(), r.anna.String(), "2026-01", importFolder(folder))
			if err != nil || stats.Entries != 3 {
				t.Errorf("%s: %d messages, %v", folder, stats.Entries, err)
			}
		}
		if met < 5 {
			t.Errorf("%s: only %d writes", failure, met)
		}
	}
	for digest, times := range want {
		if times != 1 {
			t.Errorf("%s was imported %d times", digest, times)
		}
	}
	report, err := r.archive.Verify(t.Context(), nil)
	if r.check(err); report.Faults > 0 {
		t.Errorf("verify: %v", report.Details)
	}
}
