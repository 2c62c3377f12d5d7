package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/datafolder"
	"copialettere/journal/kv"
)

const anna = "anna@alpha.test"

// house is a data folder, its backup, and a place to restore to.
type house struct {
	t               testing.TB
	data, disk, new string
	keys            []datafolder.Key // what the folder is encrypted with; may be nil
}

func newHouse(t testing.TB, keys ...datafolder.Key) *house {
	t.Helper()
	dir := t.TempDir()
	h := &house{t, filepath.Join(dir, "data"), filepath.Join(dir, "disk"), filepath.Join(dir, "new"), keys}
	_, err := datafolder.Make(context.Background(), h.data, datafolder.Options{Keys: keys})
	h.must(err)
	h.must(os.WriteFile(filepath.Join(h.data, "key"), []byte("a secret\n"), 0o600))
	return h
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// open opens a data folder.
func (h *house) open(data string) (*datafolder.Folder, *journal.Journal) {
	h.t.Helper()
	f, err := datafolder.Open(context.Background(), data, datafolder.Options{Keys: h.keys})
	h.must(err)
	j, err := journal.Open(f.Engine, journal.Options{})
	h.must(err)
	return f, j
}

func (h *house) close(f *datafolder.Folder, j *journal.Journal) {
	h.t.Helper()
	h.must(errors.Join(j.Close(), f.Close()))
}

// file archives messages.
func (h *house) file(subjects ...string) {
	h.t.Helper()
	f, j := h.open(h.data)
	for _, s := range subjects {
		d := j.NewDraft(context.Background())
		fmt.Fprintf(d, "Subject: %s\r\n\r\n%s\r\n", s, strings.Repeat(s, 1000))
		placed, err := d.Commit(context.Background(), journal.Envelope{Transaction: s}, []journal.Intent{{Mailbox: anna, Direction: journal.Received}}, nil)
		h.must(err)
		j.Delivered(placed[0].Ref, s)
		d.Discard()
	}
	h.close(f, j)
}

// source is the data folder as Write wants it.
func source(f *datafolder.Folder, data string) (Source, error) {
	id, err := datafolder.ID(data)
	return Source{Archive: id, Data: data, Freeze: func(ctx context.Context) (*Frozen, error) {
		s, err := f.Snapshot(ctx)
		if err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, func() { s.Release() })
		frozen := &Frozen{Taken: s.Taken, Unread: s.Unread}
		for _, file := range s.Files {
			frozen.Files = append(frozen.Files, SourceFile{datafolder.JournalFolder + "/" + file.Name, file.Path, file.Size, file.Changed})
		}
		return frozen, nil
	}}, err
}

func (h *house) write(o Options) (*Report, error) {
	h.t.Helper()
	f, err := datafolder.Open(context.Background(), h.data, datafolder.Options{Keys: h.keys})
	h.must(err)
	defer f.Close()
	s, err := source(f, h.data)
	h.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	return Write(ctx, h.disk, s, o)
}

func archives(on ...string) func(context.Context, kv.Store) ([]string, []string, error) {
	return func(context.Context, kv.Store) ([]string, []string, error) { return on, nil, nil }
}

func (h *house) restore(o RestoreOptions) (*Restored, error) {
	h.t.Helper()
	o.Archives, o.Keys = archives(anna), h.keys
	return Restore(context.Background(), h.disk, h.new, o)
}

// wantRestored verifies the restored folder and compares its messages.
func (h *house) wantRestored(what string, subjects ...string) {
	h.t.Helper()
	f, j := h.open(h.new)
	defer h.close(f, j)
	r, err := j.Verify(context.Background(), journal.EvidenceOptions{}, nil)
	h.must(err)
	if r.Faults > 0 {
		h.t.Errorf("%s: faults: %q", what, r.Details)
	}
	var got []string
	for e, err := range j.List(context.Background(), anna) {
		h.must(err)
		got = append(got, e.Transaction)
	}
	if !slices.Equal(got, subjects) {
		h.t.Errorf("%s: restored %q, want %q", what, got, subjects)
	}
	gaps := 0
	for g, err := range j.Records(context.Background(), anna) {
		h.must(err)
		if g.Reason == journal.ReasonRestored {
			gaps++
		}
	}
	if key, err := os.ReadFile(filepath.Join(h.new, "key")); gaps != 1 || string(key) != "a secret\n" {
		h.t.Errorf("%s: %d gaps; the file beside the journal: %q, %v", what, gaps, key, err)
	}
	if left, err := os.ReadDir(filepath.Join(h.new, restoringName)); err == nil {
		h.t.Errorf("%s: left of the restore: %v", what, left)
	}
}

func (h *house) wantChecked(what string, generations int) {
	h.t.Helper()
	f, err := Open(h.disk, Options{})
	h.must(err)
	c, err := f.Check(context.Background())
	h.must(errors.Join(err, f.Close()))
	if len(c.Faults) > 0 || c.Generations != generations {
		h.t.Errorf("%s: %d generations, want %d; faults %q", what, c.Generations, generations, c.Faults)
	}
}

// TestIncremental copies nothing of a month that has not changed, and removes what no generation needs any more.
func TestIncremental(t *testing.T) {
	h := newHouse(t)
	h.file("a", "b")
	h.file() // makes a table of the log
	first, err := h.write(Options{Begin: true})
	h.must(err)
	if first.New < first.Bytes/2 || first.Files < 8 {
		t.Errorf("first: %+v", first)
	}
	for range 4 {
		again, err := h.write(Options{})
		h.must(err)
		if again.New > 4<<10 || again.Files != first.Files {
			t.Errorf("again, though nothing changed: %+v, first %+v", again, first)
		}
	}
	h.wantChecked("after five", LeastKept)
	_, err = h.restore(RestoreOptions{})
	h.must(err)
	h.wantRestored("newest", "a", "b")

	h.file("c")
	_, err = h.write(Options{Begin: true, Keep: 3})
	h.must(err)
	h.wantChecked("after six", 3)
	h.must(os.RemoveAll(h.new))
	_, err = h.restore(RestoreOptions{})
	h.must(err)
	h.wantRestored("the last", "a", "b", "c")
}

// TestEncrypted backs an encrypted data folder up, and restores it. Nothing of a message is in the clear on the way.
func TestEncrypted(t *testing.T) {
	h := newHouse(t, datafolder.Key{1})
	h.file("segreta")
	h.file() // makes a table of the log
	h.file("segretissima")
	_, err := h.write(Options{Begin: true})
	h.must(err)
	h.wantChecked("encrypted", 1)
	_, err = h.restore(RestoreOptions{})
	h.must(err)
	h.wantRestored("encrypted", "segreta", "segretissima")
	files := 0
	for _, folder := range []string{h.data, h.disk, h.new} {
		h.must(filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			files++
			b, err := os.ReadFile(path)
			if bytes.Contains(b, []byte("segret")) || bytes.Contains(b, []byte(anna)) {
				t.Errorf("%s has a message or an address in the clear", path)
			}
			return err
		}))
	}
	if files < 30 {
		t.Errorf("only %d files were looked at", files)
	}
}

// TestRefused says no to what cannot be right.
func TestRefused(t *testing.T) {
	h, other := newHouse(t), newHouse(t)
	h.file("a")
	wantErr := func(what string, err error, text string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v, want %q", what, err, text)
		}
	}
	_, err := h.write(Options{})
	wantErr("no backup", err, "is no backup: see whether its disk is mounted, and whether the path is right; to begin one there: ")
	h.must(os.Mkdir(h.disk, 0o700))
	h.must(os.WriteFile(filepath.Join(h.disk, "photo.jpg"), nil, 0o600))
	_, err = h.write(Options{Begin: true})
	wantErr("a folder of something else", err, "is not empty")
	h.must(os.Remove(filepath.Join(h.disk, "photo.jpg")))
	_, err = h.write(Options{Begin: true})
	h.must(err)
	other.disk = h.disk
	_, err = other.write(Options{})
	wantErr("another archive", err, "is a backup of archive")
	f, err := Open(h.disk, Options{})
	h.must(err)
	_, err = h.write(Options{})
	wantErr("in use", err, "in use by another process")
	h.must(f.Close())

	h.new = h.data
	_, err = h.restore(RestoreOptions{})
	wantErr("a data folder", err, "is not empty")
	h.new = other.data + "2"
	h.must(f.eachContent(func(_, path string) error { return os.Truncate(path, 1) }))
	_, err = h.restore(RestoreOptions{})
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("damaged contents: %v", err)
	}
	if _, err := os.Stat(filepath.Join(h.new, datafolder.IdentityFile)); err == nil {
		t.Error("a data folder came of damaged contents")
	}
}

// TestDamagedContent has a check find a damaged file, and the next backup copy it anew.
func TestDamagedContent(t *testing.T) {
	h := newHouse(t)
	h.file("a")
	h.file()
	_, err := h.write(Options{Begin: true})
	h.must(err)
	f, err := Open(h.disk, Options{})
	h.must(err)
	list, err := f.Generations()
	h.must(err)
	damaged := 0
	for _, file := range list[0].Files {
		if strings.HasSuffix(file.Name, ".ldb") {
			b, err := os.ReadFile(f.content(file.SHA256))
			h.must(err)
			b[len(b)/2] ^= 1
			h.must(os.WriteFile(f.content(file.SHA256), b, 0o600))
			damaged++
		}
	}
	c, err := f.Check(context.Background())
	h.must(errors.Join(err, f.Close()))
	if len(c.Faults) != damaged || damaged == 0 {
		t.Errorf("%d damaged, found %q", damaged, c.Faults)
	}
	_, err = h.write(Options{})
	h.must(err)
	h.wantChecked("copied anew", 2)
	_, err = h.restore(RestoreOptions{})
	h.must(err)
	h.wantRestored("copied anew", "a")
}

// TestUnread keeps of a month that is damaged what the generation before has.
func TestUnread(t *testing.T) {
	h := newHouse(t)
	h.file("a")
	first, err := h.write(Options{Begin: true})
	h.must(err)
	month := string(kv.MonthOf(time.Now()))
	h.must(os.Remove(filepath.Join(h.data, datafolder.JournalFolder, month, "CURRENT")))
	for range 3 { // until the first generation is gone
		r, err := h.write(Options{})
		h.must(err)
		if r.Unread[month] == "" {
			t.Errorf("not read: %v", r.Unread)
		}
	}
	r, err := h.restore(RestoreOptions{})
	h.must(err)
	if !r.Older[month].Equal(first.Taken) {
		t.Errorf("older: %v, want %v", r.Older, first.Taken)
	}
	h.wantRestored("a month of the generation before", "a")
}

var errInjected = errors.New("injected")

// failAt fails the step of that number, from 0, and counts.
func failAt(n int, count *int) func(string) error {
	return func(string) error {
		*count++
		if *count == n+1 {
			return errInjected
		}
		return nil
	}
}

// stridesOf returns of how many steps of a backup, and of a restore, a test tries one. COPIALETTERE_ALL_STEPS=1 has it try each.
func stridesOf(backup, restore int) [2]int {
	if os.Getenv("COPIALETTERE_ALL_STEPS") != "" {
		return [2]int{1, 1}
	}
	return [2]int{backup, restore}
}

// TestFaults lets steps of a backup fail, one after the other: the generation before stays whole, and the next try succeeds. Then it lets steps of a
// restore fail.
func TestFaults(t *testing.T) {
	strides := stridesOf(11, 24)
	h := newHouse(t)
	h.file("a")
	_, err := h.write(Options{Begin: true})
	h.must(err)
	for n, more := 0, true; more; n += strides[0] {
		count := 0
		h.file(fmt.Sprint("n", n))
		_, err := h.write(Options{step: failAt(n, &count)})
		more = errors.Is(err, errInjected)
		if more != (count == n+1) || err != nil && !more {
			t.Fatalf("step %d of %d: %v", n, count, err)
		}
		f, err := Open(h.disk, Options{})
		h.must(err)
		list, err := f.Generations()
		h.must(errors.Join(err, f.Close()))
		if len(list) == 0 {
			t.Fatalf("step %d: no generation is left", n)
		}
		for _, g := range list {
			for _, file := range g.Files {
				if info, err := os.Stat(f.content(file.SHA256)); err != nil || info.Size() != file.Size {
					t.Fatalf("step %d: %s of %v: %v", n, file.Name, g.Taken, err)
				}
			}
		}
	}
	h.wantChecked("after all faults", LeastKept)
	f, j := h.open(h.data)
	var all []string
	for e, err := range j.List(t.Context(), anna) {
		h.must(err)
		all = append(all, e.Transaction)
	}
	h.close(f, j)
	for n, more := 0, true; more; n += strides[1] {
		count := 0
		h.must(os.RemoveAll(h.new))
		_, err := h.restore(RestoreOptions{step: failAt(n, &count)})
		if left := datafolder.Check(h.new); err != nil && (left == nil || !strings.Contains(left.Error(), "restore-backup DIR\" again")) {
			t.Errorf("step %d: the half-restored folder: %v", n, left)
		}
		if more = errors.Is(err, errInjected); !more {
			h.must(err)
			break
		}
		_, err = h.restore(RestoreOptions{})
		h.must(err)
		h.wantRestored(fmt.Sprint("after step ", n), all...)
	}
}

// killEnv has the step at which the child kills itself, and what it does.
const killEnv = "COPIALETTERE_BACKUP_KILL"

// TestMain is the child of TestKills.
func TestMain(m *testing.M) {
	at, doing, ok := strings.Cut(os.Getenv(killEnv), " ")
	if !ok {
		os.Exit(m.Run())
	}
	n, _ := strconv.Atoi(at)
	step := func(string) error {
		if n--; n < 0 {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		return nil
	}
	what, rest, _ := strings.Cut(doing, " ")
	place := strings.Split(rest, "\x1f")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var err error
	if what == "restore" {
		_, err = Restore(ctx, place[1], place[2], RestoreOptions{Archives: archives(anna), step: step})
	} else {
		var f *datafolder.Folder
		var s Source
		if f, err = datafolder.Open(ctx, place[0], datafolder.Options{}); err == nil {
			if s, err = source(f, place[0]); err == nil {
				_, err = Write(ctx, place[1], s, Options{step: step})
			}
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// kill runs a child that kills itself at a step, and reports whether it did.
func (h *house) kill(n int, what string) bool {
	h.t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), fmt.Sprint(killEnv, "=", n, " ", what, " ", strings.Join([]string{h.data, h.disk, h.new}, "\x1f")))
	out, err := child.CombinedOutput()
	if err == nil {
		return false
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		h.t.Fatalf("child: %v\n%s", err, out)
	}
	return true
}

// TestKills kills a backup and a restore, each at several places, and does them again. After each kill all generations are whole.
func TestKills(t *testing.T) {
	strides := stridesOf(13, 17)
	h := newHouse(t)
	h.file("a")
	_, err := h.write(Options{Begin: true})
	h.must(err)
	h.file("b")
	kills := 0
	for n := 0; h.kill(n, "backup"); n += strides[0] {
		kills++
		f, err := Open(h.disk, Options{})
		h.must(err)
		c, err := f.Check(t.Context())
		h.must(errors.Join(err, f.Close()))
		if len(c.Faults) > 0 || c.Generations < 1 {
			t.Errorf("a backup killed at %d: %d generations, %q", n, c.Generations, c.Faults)
		}
	}
	_, err = h.write(Options{})
	h.must(err)
	h.wantChecked("after all kills", LeastKept)
	for n := 0; h.kill(n, "restore"); n += strides[1] {
		kills++
		_, err := h.restore(RestoreOptions{})
		h.must(err)
		h.wantRestored(fmt.Sprint("killed at ", n), "a", "b")
		h.must(os.RemoveAll(h.new))
	}
	h.wantRestored("not killed", "a", "b")
	t.Logf("%d kills", kills)
}

// TestFullDisk has the disk of the backup full at one write after the other. The error names the remedy, what was there can be restored, and with room the next
// backup is whole.
func TestFullDisk(t *testing.T) {
	stride := stridesOf(4, 0)[0]
	h := newHouse(t)
	h.file("a")
	_, err := h.write(Options{Begin: true})
	h.must(err)
	h.file("b")
	full := 0
	for n := 0; ; n += stride {
		writes := 0
		_, err := h.write(Options{step: func(what string) error {
			if strings.HasPrefix(what, "write ") || strings.HasPrefix(what, "rename ") {
				if writes++; writes > n {
					return fmt.Errorf("%s: %w", what, syscall.ENOSPC)
				}
			}
			return nil
		}})
		if err == nil {
			break
		}
		full++
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "make room on the disk of "+h.disk) {
			t.Fatalf("write %d: %v", n, err)
		}
		if n > 0 {
			continue
		}
		_, err = h.restore(RestoreOptions{})
		h.must(err)
		h.wantRestored("what was there", "a")
		h.must(os.RemoveAll(h.new))
	}
	h.wantChecked("with room", LeastKept)
	_, err = h.restore(RestoreOptions{})
	h.must(err)
	h.wantRestored("with room", "a", "b")
	if full < 3 {
		t.Errorf("full only %d times", full)
	}
}

// TestDecode reads lines of a generation that are not as they were written.
func TestDecode(t *testing.T) {
	g := Generation{Archive: "A", Taken: time.Date(2026, 11, 30, 6, 0, 0, 1, time.UTC), Files: []File{
		{Name: "identity", Size: 3, SHA256: strings.Repeat("ab", 32)}, {Name: "journal/2026-11/000001.ldb", Size: 4, SHA256: strings.Repeat("cd", 32)},
	}}
	b, err := g.encode()
	if err != nil {
		t.Fatal(err)
	}
	whole := string(b)
	if got, err := decode(strings.NewReader(whole)); err != nil || got.Bytes != 7 || len(got.Files) != 2 || !got.Taken.Equal(g.Taken) {
		t.Fatalf("%+v, %v", got, err)
	}
	lines := strings.SplitAfter(whole, "\n")
	for name, text := range map[string]string{
		"empty":          "",
		"cut":            whole[:len(whole)/2],
		"no last line":   lines[0] + lines[1] + lines[2],
		"a line less":    lines[0] + lines[2] + lines[3],
		"a line twice":   lines[0] + lines[1] + lines[1] + lines[2] + lines[3],
		"more behind":    whole + lines[1],
		"another size":   strings.Replace(whole, `"size":3`, `"size":5`, 1),
		"newer":          strings.Replace(whole, `"format":1`, `"format":2`, 1),
		"outside":        strings.Replace(whole, "journal/2026-11/000001.ldb", "../../etc/passwd", 1),
		"root":           strings.Replace(whole, "journal/2026-11/000001.ldb", "/etc/passwd", 1),
		"another digest": strings.Replace(whole, "abab", "zzzz", 1),
		"not JSON":       strings.Replace(whole, "{", "[", 2),
	} {
		if _, err := decode(strings.NewReader(text)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	g := Generation{Archive: "A", Files: []File{{Name: "identity", Size: 3, SHA256: strings.Repeat("ab", 32)}}}
	b, err := g.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("{}\n{}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := decode(bytes.NewReader(b))
		if err != nil {
			return
		}
		for _, file := range g.Files {
			if path := filepath.Join("/data", file.Name); !strings.HasPrefix(path, "/data/") {
				t.Errorf("%q leads out", file.Name)
			}
		}
		again, err := g.encode()
		if err != nil {
			t.Fatal(err)
		}
		if h, err := decode(bytes.NewReader(again)); err != nil || len(h.Files) != len(g.Files) || h.Bytes != g.Bytes {
			t.Errorf("written again: %v", err)
		}
	})
}
