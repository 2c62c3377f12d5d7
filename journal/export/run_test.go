package export

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"copialettere/policy/archive"
)

// archived is a Source in memory.
type archived struct {
	messages []*Message
	bytes    map[string][]byte // by digest
	gaps     []archive.Gap
	unread   []string
	mu       sync.Mutex
	copied   int // guarded by mu
}

// add adds a message with the next UID of its folder.
func (a *archived) add(folder, subject string, date time.Time, content []byte) *Message {
	sum := sha256.Sum256(content)
	uid := uint32(1)
	for _, m := range a.messages {
		if m.Folder == folder {
			uid = m.UID + 1
		}
	}
	m := &Message{
		Mailbox: "anna@alpha.test", Direction: "received", Folder: folder, UID: uid, Time: date, Date: date, MailFrom: "bruno@beta.test", From: "Bruno <bruno@beta.test>",
		Who: "Bruno", Subject: subject, State: "delivered", Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:]),
	}
	if a.bytes == nil {
		a.bytes = make(map[string][]byte)
	}
	a.bytes[m.SHA256] = content
	a.messages = append(a.messages, m)
	return m
}

// Plan implements Source.
func (a *archived) Plan(context.Context) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		for _, m := range a.messages {
			if !yield(Line{Message: m}, nil) {
				return
			}
		}
		for _, text := range a.unread {
			if !yield(Line{}, fmt.Errorf("%s: %w", text, ErrUnreadable)) {
				return
			}
		}
		for _, g := range a.gaps {
			if !yield(Line{Gap: &g}, nil) {
				return
			}
		}
	}
}

// Copy implements Source.
func (a *archived) Copy(_ context.Context, m *Message, to io.Writer) error {
	a.mu.Lock()
	a.copied++
	a.mu.Unlock()
	content, ok := a.bytes[m.SHA256]
	switch {
	case !ok:
		return ErrGone
	case content == nil:
		return ErrUnreadable
	}
	for piece := range slices.Chunk(content, 1000) {
		if _, err := to.Write(piece); err != nil {
			return err
		}
	}
	return nil
}

var november = time.Date(2026, 11, 29, 10, 11, 12, 0, time.UTC)

// oddMessages are what forms have trouble with.
var oddMessages = map[string]string{
	"From lines":         "Subject: x\r\n\r\nFrom here\r\n>From there\r\n>>>From \r\n>Fromage\r\n> From\r\n",
	"ends in From":       "Subject: x\r\n\r\nFrom ",
	"no line end":        "Subject: x\r\n\r\nText",
	"empty":              "",
	"one line end":       "\r\n",
	"only line ends":     "\r\n\r\n\r\n",
	"blank lines at end": "Subject: x\r\n\r\n\r\n\r\n",
	"begins with From":   "From x Sat\r\nSubject: x\r\n\r\n\r\n",
	"CR":                 "Subject: x\r\n\r\na\rb\r\r\n\r",
	"NUL and 8 bit":      "Subject: x\r\n\r\n\x00\xff\xfe\r\n",
	"only >":             ">>>\r\n>",
	"bare LF":            "Subject: x\n\nText\r\n",
	"long line":          "Subject: x\r\n\r\n" + strings.Repeat("x", 200_000) + "\r\n" + strings.Repeat(">", 150_000) + "From x\r\n" + strings.Repeat("y", 65_533) + "\r\n",
	"large":              "Subject: x\r\n\r\n" + strings.Repeat("0123456789abcdef\r\n", maxHeld/16),
}

// fixtures returns an archive with all messages of the project and the odd ones.
func fixtures(t *testing.T) *archived {
	t.Helper()
	a := &archived{}
	files, err := filepath.Glob("../../testdata/messages/*.eml")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d messages, %v", len(files), err)
	}
	for i, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		content = bytes.ReplaceAll(bytes.ReplaceAll(content, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
		a.add("INBOX/2026-11", filepath.Base(file), november.Add(time.Duration(i)*time.Hour), content)
	}
	for _, name := range slices.Sorted(maps.Keys(oddMessages)) {
		a.add("Sent/2026-11", name, november, []byte(oddMessages[name]))
	}
	a.add("Imported/Città/2026-12", "=2+3", time.Date(1970, 1, 2, 3, 4, 5, 0, time.UTC), []byte("Subject: old\r\n\r\nx\r\n")).Imported = true
	a.add("Imported/Citta\\/2026-12", "../../etc/passwd", time.Date(2110, 1, 2, 3, 4, 5, 0, time.UTC), []byte("Subject: new\r\n\r\nx\r\n")).MailFrom = "a b\n@x.test"
	from := november
	a.gaps = []archive.Gap{{Mailbox: "anna@alpha.test", Kind: archive.GapMissing, From: &from, Reason: "full", MailFrom: "+39@ext.test"}}
	return a
}

// exported is what a Run has written: files by name, without export.json of a ZIP's time.
func exported(t *testing.T, f Form, to string) map[string][]byte {
	t.Helper()
	var from fs.FS
	if f == FormZIP {
		z, err := zip.OpenReader(to)
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		for _, one := range z.File {
			if y := one.Modified.Year(); y < 1980 || y > 2107 {
				t.Errorf("%s is of %s", one.Name, one.Modified)
			}
		}
		from = z
	} else {
		from = os.DirFS(to)
	}
	files := make(map[string][]byte)
	err := fs.WalkDir(from, ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files[path], err = fs.ReadFile(from, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// rowsOf returns the lines of a table as maps.
func rowsOf(t *testing.T, table []byte) (list []map[string]string) {
	t.Helper()
	rows, err := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(table, []byte(byteOrderMark)))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows[1:] {
		line := make(map[string]string)
		for i, name := range rows[0] {
			line[name] = row[i]
		}
		list = append(list, line)
	}
	return list
}

// check compares files with the archive, and with what the manifest and SHA256SUMS say of them.
func (a *archived) check(t *testing.T, f Form, files map[string][]byte) {
	t.Helper()
	rows := rowsOf(t, files[manifestName])
	if len(rows) != len(a.messages) {
		t.Fatalf("%d lines for %d messages", len(rows), len(a.messages))
	}
	named := map[string]bool{sumsName: true, manifestName: true, gapsName: true, orderName: true}
	for i, m := range a.messages {
		row := rows[i]
		if row["folder"] != m.Folder || row["uid"] != fmt.Sprint(m.UID) || row["sha256"] != m.SHA256 || row["size"] != fmt.Sprint(m.Size) || row["status"] != "exported" {
			t.Errorf("%s %d: line %v", m.Folder, m.UID, row)
		}
		named[row["file"]] = true
		want, got := a.bytes[m.SHA256], files[row["file"]]
		if f == FormMbox {
			var offset, length int
			fmt.Sscan(row["offset"], &offset)
			fmt.Sscan(row["length"], &length)
			if offset+length > len(got) {
				t.Fatalf("%s %d: at %d+%d of %d bytes", m.Folder, m.UID, offset, length, len(got))
			}
			got = undo(t, got[offset:offset+length], row["changed"])
			if strings.Contains(row["changed"], ChangedBareLF) {
				want = bytes.ReplaceAll(bytes.ReplaceAll(want, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
			}
		} else if row["changed"] != "" {
			t.Errorf("%s %d: changed %s", m.Folder, m.UID, row["changed"])
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s %d (%s): %d bytes, want %d", m.Folder, m.UID, m.Subject, len(got), len(want))
		}
	}
	sums := make(map[string]bool)
	for line := range strings.Lines(string(files[sumsName])) {
		digest, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		if sums[name] = true; digest != digestOf(files[name]) {
			t.Errorf("another digest of %q", name)
		}
	}
	for name := range files {
		if !named[name] {
			t.Errorf("%s is in no table", name)
		}
		if !sums[name] && name != sumsName {
			t.Errorf("%s is not in %s", name, sumsName)
		}
	}
	if gaps := rowsOf(t, files[gapsName]); len(gaps) != len(a.gaps) {
		t.Errorf("gaps %v", gaps)
	}
}

// undo takes a message out of an mbox by what the package comment says.
func undo(t *testing.T, piece []byte, changed string) []byte {
	t.Helper()
	separator, rest, ok := bytes.Cut(piece, []byte("\n"))
	if !ok || !bytes.HasPrefix(separator, []byte("From ")) || !bytes.HasSuffix(rest, []byte("\n")) {
		t.Fatalf("%.100q is no message of an mbox", piece)
	}
	rest = rest[:len(rest)-1]
	if strings.Contains(changed, ChangedFinal) {
		rest = rest[:len(rest)-1]
	}
	lines := bytes.Split(rest, []byte("\n"))
	for i, line := range lines {
		if bytes.HasPrefix(line, []byte(">")) && bytes.HasPrefix(bytes.TrimLeft(line, ">"), []byte("From ")) {
			lines[i] = line[1:]
		}
	}
	return bytes.Join(lines, []byte("\r\n"))
}

func (a *archived) options(f Form, to string) Options {
	return Options{Source: a, Mailbox: "anna@alpha.test", Form: f, To: to}
}

// scratch returns a folder in memory, where there is one, in which syncing takes no time.
func scratch(t *testing.T) string {
	t.Helper()
	folder, err := os.MkdirTemp("/dev/shm", "export")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	return folder
}

// TestRun exports all messages in each form, and once more, which keeps them all.
func TestRun(t *testing.T) {
	for _, f := range Forms() {
		t.Run(string(f), func(t *testing.T) {
			a := fixtures(t)
			to := filepath.Join(scratch(t), "anna.zip")
			var told []Result
			o := a.options(f, to)
			o.Told = func(r Result) error { told = append(told, r); return nil }
			var last Progress
			o.Progress = func(p Progress) { last = p }
			report, err := Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if report.Messages != uint64(len(a.messages)) || report.Kept != 0 || !report.Complete() || last.Messages != last.Of || last.Bytes != report.Bytes {
				t.Errorf("%+v, %+v", report, last)
			}
			first := exported(t, f, to)
			a.check(t, f, first)
			if len(told) != len(a.messages) || told[3].Message.SHA256 != a.messages[3].SHA256 || told[3].Status != StatusExported {
				t.Errorf("told %d", len(told))
			}
			if left, _ := filepath.Glob(filepath.Join(filepath.Dir(to), "*.part")); left != nil {
				t.Errorf("left over: %q", left)
			}
			a.copied = 0
			report, err = Run(t.Context(), o)
			kept := uint64(len(a.messages) - a.copied)
			if f != FormMbox && a.copied > 0 || a.copied > len(oddMessages) { // in an mbox, those from a bare LF on
				t.Errorf("%d messages were read again", a.copied)
			}
			if err != nil || report.Kept != kept || report.Messages != uint64(len(a.messages)) {
				t.Errorf("again: %+v, %v", report, err)
			}
			if again := exported(t, f, to); !reflect.DeepEqual(again, first) {
				t.Errorf("again: other files")
			}
			// Another selection does not touch it.
			o.Selection.Folder = "INBOX"
			if _, err := Run(t.Context(), o); !errors.Is(err, ErrOther) {
				t.Errorf("another export: %v", err)
			}
		})
	}
}

// TestRunFaults fails a Run at each of its steps in turn, on a full disk; the same Run then goes on, to what it is when nothing fails.
func TestRunFaults(t *testing.T) {
	for _, f := range Forms() {
		t.Run(string(f), func(t *testing.T) {
			a := &archived{}
			for n := range 5 {
				a.add([]string{"INBOX/2026-10", "INBOX/2026-11"}[n/3], fmt.Sprint(n), november, fmt.Appendf(nil, "Subject: %d\r\n\r\nFrom %s\r\n", n, strings.Repeat("x", 100<<n)))
			}
			folder := scratch(t)
			var mu sync.Mutex
			n, at, failed := 0, -1, ""
			run := func(to string, fail int) error {
				n, at, failed = 0, fail, ""
				o := a.options(f, to)
				o.Step = func(what string) error {
					mu.Lock()
					defer mu.Unlock()
					if n++; n == at {
						failed = what
						return syscall.ENOSPC
					}
					return nil
				}
				_, err := Run(t.Context(), o)
				return err
			}
			if err := run(filepath.Join(folder, "whole"), -1); err != nil {
				t.Fatal(err)
			}
			want := exported(t, f, filepath.Join(folder, "whole"))
			steps := n
			for fail := 1; fail <= steps; fail++ {
				to := filepath.Join(folder, fmt.Sprint(fail))
				if err := run(to, fail); !errors.Is(err, syscall.ENOSPC) {
					t.Errorf("step %d of %d, %s: %v", fail, steps, failed, err)
				}
				what := failed
				if err := run(to, -1); err != nil {
					t.Errorf("after %s: %v", what, err)
					continue
				}
				if got := exported(t, f, to); !reflect.DeepEqual(got, want) {
					t.Errorf("after %s: %q, want %q", what, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
				}
			}
			if steps < 15 {
				t.Errorf("%d steps", steps)
			}
		})
	}
}

// TestRunDamaged exports what is there, and names the rest.
func TestRunDamaged(t *testing.T) {
	for _, f := range Forms() {
		t.Run(string(f), func(t *testing.T) {
			a := &archived{unread: []string{"month 2026-01"}}
			var list []*Message
			for n := range 5 {
				list = append(list, a.add("INBOX/2026-11", fmt.Sprint(n), november, fmt.Appendf(nil, "Subject: %d\r\n\r\nx\r\n", n)))
			}
			whole := maps.Clone(a.bytes)
			a.bytes[list[0].SHA256] = nil
			delete(a.bytes, list[2].SHA256)
			a.bytes[list[4].SHA256] = []byte("spoilt")
			to := filepath.Join(scratch(t), "out")
			report, err := Run(t.Context(), a.options(f, to))
			if err != nil || report.Complete() || report.Messages != 2 || report.Damaged != 2 || report.Gone != 1 || len(report.Unreadable) != 1 {
				t.Fatalf("%+v, %v", report, err)
			}
			files := exported(t, f, to)
			for i, row := range rowsOf(t, files[manifestName]) {
				want := []Status{StatusDamaged, StatusExported, StatusGone, StatusExported, StatusDamaged}[i]
				if row["status"] != string(want) || (row["file"] == "") != (want != StatusExported) {
					t.Errorf("%d: %v", i, row)
				}
			}
			for _, text := range []string{"2026-11 1: it cannot", "2026-11 3: it was moved", "2026-11 5: it cannot", "month 2026-01"} {
				if !strings.Contains(string(files[incompleteName]), text) {
					t.Errorf("%s does not say %q:\n%s", incompleteName, text, files[incompleteName])
				}
			}
			// When the archive is mended, the same Run mends the export.
			a.bytes, a.unread = whole, nil
			if report, err := Run(t.Context(), a.options(f, to)); err != nil || !report.Complete() {
				t.Fatalf("%+v, %v", report, err)
			}
			a.check(t, f, exported(t, f, to))
		})
	}
}

// TestRunMends spoils what is there: a byte of each file in turn, or its end. The same Run mends it.
func TestRunMends(t *testing.T) {
	for _, f := range Forms() {
		t.Run(string(f), func(t *testing.T) {
			a := &archived{}
			for n := range 4 {
				a.add("INBOX/2026-11", fmt.Sprint(n), november, fmt.Appendf(nil, "Subject: %d\r\n\r\n%s\r\n", n, strings.Repeat("x", 50)))
			}
			to := filepath.Join(scratch(t), "out")
			if _, err := Run(t.Context(), a.options(f, to)); err != nil {
				t.Fatal(err)
			}
			want := exported(t, f, to)
			var paths []string
			filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
				if err == nil && !d.IsDir() && d.Name() != orderName {
					paths = append(paths, path)
				}
				return err
			})
			for _, path := range paths {
				content, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				step := max(1, len(content)/6)
				first := 0
				if f == FormZIP {
					first = 200 // behind export.json
				}
				for at := first; at < len(content); at += step {
					spoilt := bytes.Clone(content)
					spoilt[at] ^= 4
					for name, b := range map[string][]byte{"cut": content[:at], "spoilt": spoilt, "longer": append(bytes.Clone(content), content[at:]...)} {
						if err := os.WriteFile(path, b, 0o600); err != nil {
							t.Fatal(err)
						}
						if _, err := Run(t.Context(), a.options(f, to)); err != nil {
							t.Fatalf("%s %s at %d: %v", path, name, at, err)
						}
						if !reflect.DeepEqual(exported(t, f, to), want) {
							t.Errorf("%s %s at %d is not mended", path, name, at)
						}
					}
				}
			}
		})
	}
}

// TestRunEmpty exports an archive that holds nothing, and once more what has come since.
func TestRunEmpty(t *testing.T) {
	for _, f := range Forms() {
		t.Run(string(f), func(t *testing.T) {
			a := &archived{}
			to := filepath.Join(scratch(t), "out")
			for n, folder := range []string{"", "Sent/2026-11", "INBOX/2026-11", "Sent/2026-11"} {
				if folder != "" {
					a.add(folder, fmt.Sprint(n), november, fmt.Appendf(nil, "Subject: %d\r\n\r\nx\r\n", n))
					slices.SortStableFunc(a.messages, func(m, n *Message) int { return strings.Compare(m.Folder, n.Folder) })
				}
				report, err := Run(t.Context(), a.options(f, to))
				if err != nil || !report.Complete() || report.Messages != uint64(n) || report.Kept > uint64(n) {
					t.Fatalf("%d messages: %+v, %v", n, report, err)
				}
				a.check(t, f, exported(t, f, to))
			}
		})
	}
}

// TestRunInterrupted ends when it is told to, and says what to do.
func TestRunInterrupted(t *testing.T) {
	a := &archived{}
	for n := range 3 {
		a.add("INBOX/2026-11", fmt.Sprint(n), november, fmt.Appendf(nil, "Subject: %d\r\n\r\nx\r\n", n))
	}
	ctx, cancel := context.WithCancel(t.Context())
	o := a.options(FormEML, filepath.Join(scratch(t), "out"))
	o.Progress = func(Progress) { cancel() }
	report, err := Run(ctx, o)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "run the same command again") || report.Messages != 1 {
		t.Errorf("%+v, %v", report, err)
	}
}

// TestRunRefuses does not write where something else is.
func TestRunRefuses(t *testing.T) {
	a := &archived{}
	a.add("INBOX/2026-11", "x", november, []byte("Subject: x\r\n\r\n"))
	folder := scratch(t)
	file := filepath.Join(folder, "photo.jpg")
	if err := os.WriteFile(file, []byte("photo"), 0o600); err != nil {
		t.Fatal(err)
	}
	busy := &run{Options: Options{Step: func(string) error { return nil }}, work: filepath.Join(folder, "busy", ".part")}
	if err := busy.begin(filepath.Join(folder, "busy")); err != nil {
		t.Fatal(err)
	}
	defer busy.close()
	for name, c := range map[string]struct {
		form Form
		to   string
		want error
	}{
		"a folder with something else": {FormEML, folder, ErrOther},
		"a file that is no ZIP":        {FormZIP, file, ErrOther},
		"a folder for a ZIP":           {FormZIP, folder, ErrOther},
		"another export under way":     {FormMbox, filepath.Join(folder, "busy"), ErrBusy},
		"a file above":                 {FormMaildir, filepath.Join(file, "x"), syscall.ENOTDIR},
		"no folder above":              {FormEML, filepath.Join(folder, "disk", "x"), os.ErrNotExist},
		"no folder above a ZIP":        {FormZIP, filepath.Join(folder, "disk", "x.zip"), os.ErrNotExist},
	} {
		if _, err := Run(t.Context(), a.options(c.form, c.to)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "photo" {
		t.Errorf("the file is %q, %v", b, err)
	}
	if _, err := os.Stat(filepath.Join(folder, "disk")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder was made in the place of a disk: %v", err)
	}
	o := a.options("tar", filepath.Join(folder, "x"))
	if _, err := Run(t.Context(), o); err == nil {
		t.Error("a form that there is not")
	}
	o = a.options(FormEML, filepath.Join(folder, "x"))
	o.Selection.Class = "letters"
	if _, err := Run(t.Context(), o); !errors.Is(err, ErrSelection) {
		t.Errorf("a class that there is not: %v", err)
	}
}
