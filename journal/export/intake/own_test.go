package intake

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"copialettere/journal/export"
	"copialettere/policy/archive"
)

// messages is an archive of messages in memory, by their UIDs from 1.
type messages struct {
	texts [][]byte
}

func (m *messages) message(i int) *export.Message {
	sum := sha256.Sum256(m.texts[i])
	date := time.Date(2026, 11, 29, 10, 11, 12, 0, time.UTC).Add(time.Duration(i) * time.Minute)
	folder := []string{"INBOX/2026-11", "Imported/Attività/2026-11", "Sent/2026-11"}[i*3/len(m.texts)]
	return &export.Message{Mailbox: "anna@alpha.test", Direction: "received", Folder: folder, UID: uint32(i + 1), Time: date, Date: date,
		MailFrom: "mario@alpha.test", Subject: "=cmd", Size: int64(len(m.texts[i])), SHA256: hex.EncodeToString(sum[:])}
}

// Plan implements export.Source.
func (m *messages) Plan(context.Context) iter.Seq2[export.Line, error] {
	return func(yield func(export.Line, error) bool) {
		for i := range m.texts {
			if !yield(export.Line{Message: m.message(i)}, nil) {
				return
			}
		}
	}
}

// Copy implements export.Source.
func (m *messages) Copy(_ context.Context, one *export.Message, to io.Writer) error {
	_, err := to.Write(m.texts[one.UID-1])
	return err
}

// oddMessages are messages that a form has to change, or that look like something else.
func oddMessages() [][]byte {
	texts := []string{
		one + "From me\n", one + ">From me\n>>From you\n", "From a@alpha.test Mon May  6 07:08:09 2019\n" + one, "no header\n", "\n", "\n\n\n", one + "\n\n", strings.TrimSuffix(one, "\n"),
		one + "From ", "From ", ">From ", "\xef\xbb\xbf" + one, "\n\n" + one, one + strings.Repeat(">", 200_000) + "From me\n", one + strings.Repeat("x", 200_000) + "\nFrom you\n",
		"Content-Length: 4\n\n" + one + "\n" + dated + two, one + "\r", one + "a\r\nFrom b\n", "PK\x03\x04", "\xd0\xcf\x11\xe0", "X-Mozilla-Status: 0009\n" + one, "17\n" + one,
	}
	var list [][]byte
	for _, text := range texts {
		list = append(list, []byte(crlf(text)))
	}
	return list
}

// TestOwnExports takes back what this program has exported, in all forms: the same bytes, dates and folders.
func TestOwnExports(t *testing.T) {
	names, err := filepath.Glob("../../../testdata/messages/*.eml")
	if err != nil || len(names) == 0 {
		t.Fatalf("no messages: %v", err)
	}
	all := &messages{texts: oddMessages()}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all.texts = append(all.texts, bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n")))
	}
	for _, form := range export.Forms() {
		t.Run(string(form), func(t *testing.T) {
			to := filepath.Join(t.TempDir(), "anna."+string(form))
			report, err := export.Run(t.Context(), export.Options{Source: all, Mailbox: "anna@alpha.test", Form: form, To: to})
			if err != nil || !report.Complete() {
				t.Fatalf("%+v, %v", report, err)
			}
			checkOwn(t, all, to, len(all.texts))
		})
	}
}

// checkOwn walks an export, and compares it with what was exported. Files of messages come in the order of their names.
func checkOwn(t testing.TB, all *messages, path string, want int) {
	t.Helper()
	left := make(map[string]int) // by digest: which message
	for i := range all.texts {
		left[all.message(i).SHA256] = i
	}
	n := 0
	for f, err := range Walk(t.Context(), path, Options{Limits: DefaultLimits(), Temp: t.TempDir()}) {
		if err != nil {
			t.Fatal(err)
		}
		if f.Left != nil {
			if f.Kind != Skipped {
				t.Errorf("left %+v", f.Left)
			}
			continue
		}
		n++
		sum := sha256.New()
		if _, err := io.Copy(sum, f.Message); err != nil {
			t.Fatal(err)
		}
		digest := hex.EncodeToString(sum.Sum(nil))
		i, ok := left[digest]
		if !ok || f.SHA256 != digest {
			t.Errorf("%s: digest %s, the manifest says %s", f.Piece.Source, digest, f.SHA256)
			continue
		}
		m := all.message(i)
		if folder := strings.TrimPrefix(strings.TrimSuffix(m.Folder, "/2026-11"), "Imported/"); f.Folder != folder || !f.Date.Equal(m.Date) {
			t.Errorf("%s: folder %s, want %s, date %v, want %v", f.Piece.Source, f.Folder, folder, f.Date, m.Date)
		}
	}
	if n != want {
		t.Errorf("%d messages, want %d", n, want)
	}
}

// TestOwnDamaged takes an export back whose mbox was changed since: the digests that the manifest says tell of it.
func TestOwnDamaged(t *testing.T) {
	all := &messages{texts: [][]byte{[]byte(crlf(one)), []byte(crlf(two)), []byte(crlf(one + "x"))}}
	to := filepath.Join(t.TempDir(), "anna")
	if _, err := export.Run(t.Context(), export.Options{Source: all, Mailbox: "anna@alpha.test", Form: export.FormMbox, To: to}); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(to, "INBOX", "2026-11.mbox")
	text, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(name, bytes.Replace(text, []byte("Ciao"), []byte("Cia0"), 1), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for f, err := range Walk(t.Context(), to, Options{Limits: DefaultLimits()}) {
		if err != nil {
			t.Fatal(err)
		}
		if f.Piece != nil {
			text, err := io.ReadAll(f.Message)
			if err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256(text)
			got += fmt.Sprint(hex.EncodeToString(sum[:]) == f.SHA256, " ")
		}
	}
	if got != "false true true " {
		t.Errorf("right: %s", got)
	}
}

// TestOwnDownload takes a ZIP back that the pages have made: it has no list of what was asked for, and its manifest may have parts.
func TestOwnDownload(t *testing.T) {
	all := &messages{texts: oddMessages()}
	name := filepath.Join(t.TempDir(), "anna.zip")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	z := export.NewZIP(f, time.UTC)
	for i, text := range all.texts {
		if err := z.Add(all.message(i), bytes.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(z.Close(func(func(archive.Gap, error) bool) {}), f.Close()); err != nil {
		t.Fatal(err)
	}
	checkOwn(t, all, name, len(all.texts))
}

// FuzzManifest reads anything as a manifest: what is kept of it is bounded, and a row that is kept can undo what an mbox has changed.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(columns + rows(3, "INBOX/2026-11/")))
	f.Add([]byte(columns + "x.mbox,Imported/a/2026-11,2019-05-06T07:08:09Z," + strings.Repeat("0", 64) + ",quoted final bare-lf,10,20\n"))
	f.Add([]byte("\xef\xbb\xbf\"file\",folder,date,sha256,changed,offset,length\r\n\"\n\",,,,,-1,x\r\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		const most = 20
		w := newWalk(t.Context(), Options{Limits: Limits{Entry: 1 << 20, All: 1 << 20, Entries: 10, Depth: 1, Rows: most}}, func(Found, error) bool { return true })
		if err := w.readManifest(source{name: "manifest.csv", key: "manifest.csv", base: "manifest.csv", r: bytes.NewReader(content), size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if len(w.manifest.rows) > most+1 || w.manifest.bytes > mostFolders+mostRow {
			t.Errorf("%d rows, %d bytes of folders", len(w.manifest.rows), w.manifest.bytes)
		}
		for _, r := range w.manifest.rows {
			if int(r.folder) > 0 && int(r.folder) >= len(w.manifest.folders) {
				t.Errorf("folder %d of %d", r.folder, len(w.manifest.folders))
			}
			if _, err := io.Copy(io.Discard, r.undo(io.NewSectionReader(bytes.NewReader(content), 0, int64(len(content))))); err != nil {
				t.Error(err)
			}
		}
	})
}
