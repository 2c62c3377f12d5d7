package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"copialettere/journal"
	"copialettere/journal/datafolder"
	"copialettere/journal/evidence"
	"copialettere/journal/kv"
)

const (
	mario = "mario@alpha.test"
	anna  = "anna@alpha.test"
)

// place is a data folder, and what the doctor is asked of it.
type place struct {
	t      *testing.T
	o      Options
	signer string
}

func newPlace(t *testing.T, keys ...datafolder.Key) *place {
	t.Helper()
	p := &place{t: t, o: Options{Folder: filepath.Join(t.TempDir(), "data"), Keys: keys}}
	if _, err := datafolder.Make(t.Context(), p.o.Folder, p.o.folder()); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *place) path(names ...string) string {
	return filepath.Join(append([]string{p.o.Folder}, names...)...)
}

func (p *place) do(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// with opens the journal of the data folder, and closes it again.
func (p *place) with(fn func(j *journal.Journal)) {
	p.t.Helper()
	o := p.o.folder()
	o.Mending, o.Logger = true, slog.New(slog.DiscardHandler)
	f, err := datafolder.Open(context.Background(), p.o.Folder, o)
	p.do(err)
	j, err := journal.Open(f.Engine, journal.Options{GapSpool: f.GapSpool, SpoolKeys: f.SpoolKeys, Logger: o.Logger})
	p.do(err)
	p.do(j.BeginLogs(context.Background()))
	fn(j)
	p.do(errors.Join(j.Close(), f.Close()))
}

// letter is the message of a number.
func letter(n int) []byte {
	return fmt.Appendf(nil, "Subject: letter %d\r\n\r\n%s\r\n", n, bytes.Repeat(fmt.Appendf(nil, "%d text ", n), 50))
}

// put archives a message in a mailbox.
func (p *place) put(j *journal.Journal, mailbox string, message []byte) journal.Ref {
	p.t.Helper()
	d := j.NewDraft(p.t.Context())
	defer d.Discard()
	_, err := d.Write(message)
	p.do(err)
	placed, err := d.Commit(p.t.Context(), journal.Envelope{MailFrom: "ester@ext.test", Transaction: "t"},
		[]journal.Intent{{Mailbox: mailbox, Direction: journal.Received, RcptTo: mailbox}}, nil)
	p.do(err)
	j.Delivered(placed[0].Ref, "t")
	return placed[0].Ref
}

// archive files messages of two mailboxes, some deleted and one of a mailbox that is erased, with a checkpoint, so that they lie in tables.
func (p *place) archive(count int) {
	p.t.Helper()
	p.with(func(j *journal.Journal) {
		for n := range count {
			p.put(j, mario, letter(n))
			p.put(j, anna, letter(n))
		}
		p.put(j, "carla@alpha.test", letter(0))
		month := j.Month()
		if _, err := j.Delete(p.t.Context(), journal.Selection{Mailbox: mario, Month: month, Folder: "INBOX", UIDs: journal.UIDsOf([]uint32{1, 2})}, "mario"); err != nil {
			p.t.Fatal(err)
		}
		if _, err := j.Erase(p.t.Context(), "carla@alpha.test", journal.EraseOptions{}); err != nil {
			p.t.Fatal(err)
		}
		p.checkpoint(j)
	})
	p.with(func(j *journal.Journal) { p.verify(j) }) // which writes the log of LevelDB to tables
}

func (p *place) checkpoint(j *journal.Journal) {
	p.t.Helper()
	if p.signer == "" {
		signing, verifier, err := evidence.NewKey("archivio.alpha.test")
		p.do(err)
		p.signer = signing
		p.do(os.WriteFile(p.path("evidence.key"), []byte(signing+"\n"), 0o600))
		p.do(os.WriteFile(p.path("evidence.pub"), []byte(verifier+"\n"), 0o644))
	}
	_, err := j.Checkpoint(p.t.Context(), "archivio.alpha.test", func(n evidence.Note) ([]byte, error) { return n.Sign(p.signer) })
	p.do(err)
}

func (p *place) verify(j *journal.Journal) *journal.Report {
	p.t.Helper()
	r, err := j.Verify(p.t.Context(), journal.EvidenceOptions{}, nil)
	p.do(err)
	if r.Faults > 0 {
		p.t.Fatalf("verify found %d faults:\n%s", r.Faults, strings.Join(r.Details, "\n"))
	}
	return r
}

// examine examines the data folder, and finds that this has changed nothing.
func (p *place) examine() []Finding {
	p.t.Helper()
	before := p.contents()
	found, err := Examine(p.t.Context(), p.o)
	p.do(err)
	if !slices.Equal(before, p.contents()) {
		p.t.Error("to examine it has changed the data folder")
	}
	for _, f := range found {
		if f.What == "" || f.Fault && (f.Means == "" || f.Remedy == "") {
			p.t.Errorf("%+v does not say enough", f)
		}
	}
	return found
}

// contents lists the files of the data folder with their sizes, times and modes.
func (p *place) contents() (list []string) {
	p.do(filepath.WalkDir(p.o.Folder, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		list = append(list, fmt.Sprint(path, info.Size(), info.ModTime(), info.Mode()))
		return err
	}))
	return list
}

// months returns the name of the only month.
func (p *place) month() string {
	p.t.Helper()
	found, err := filepath.Glob(p.path("journal", "20??-??"))
	if err != nil || len(found) != 1 {
		p.t.Fatal(found, err)
	}
	return filepath.Base(found[0])
}

// flip flips a bit in the largest table of a store, at a place of so many hundredths.
func (p *place) flip(store string, at int) {
	p.t.Helper()
	tables, err := filepath.Glob(p.path("journal", store, "*.ldb"))
	p.do(err)
	var largest string
	var content []byte
	for _, table := range tables {
		b, err := os.ReadFile(table)
		p.do(err)
		if len(b) > len(content) {
			largest, content = table, b
		}
	}
	if largest == "" {
		p.t.Fatal("there is no table")
	}
	content[len(content)*at/100] ^= 4
	p.do(os.WriteFile(largest, content, 0o600))
}

// removeAll removes files of a store.
func (p *place) removeAll(store, pattern string) {
	p.t.Helper()
	list, err := filepath.Glob(p.path("journal", store, pattern))
	if err != nil || len(list) == 0 {
		p.t.Fatal(list, err)
	}
	for _, file := range list {
		p.do(os.Remove(file))
	}
}

func TestExamine(t *testing.T) {
	for _, test := range []struct {
		name  string
		keys  []datafolder.Key
		spoil func(p *place)
		kinds []string // of faults
		notes []string // kinds of the rest
		says  string
	}{
		{name: "sound", spoil: func(p *place) {}},
		{name: "an earlier format", spoil: func(p *place) {
			b, err := os.ReadFile(p.path("identity"))
			p.do(err)
			p.do(os.WriteFile(p.path("identity"), bytes.Replace(b, fmt.Appendf(nil, `"format":%d`, p.o.folder().Format()), []byte(`"format":3`), 1), 0o600))
		}, notes: []string{KindFormat}, says: "the data folder has format 3"},
		{name: "others can read it", spoil: func(p *place) {
			p.do(os.Chmod(p.o.Folder, 0o711))
			p.do(os.Chmod(p.path("evidence.key"), 0o644))
		}, kinds: []string{KindMode}, says: "mode 0644: other users of the machine can read it"},
		{name: "others can read it, and cannot get there", spoil: func(p *place) { p.do(os.Chmod(p.path("evidence.key"), 0o644)) }},
		{name: "a file of another user", spoil: func(p *place) {
			if os.Geteuid() != 0 {
				p.t.Skip("only root can give a file away")
			}
			p.do(os.Chown(p.path("evidence.key"), 4711, 4711))
		}, kinds: []string{KindOwner}, says: "it belongs to the user 4711"},
		{name: "no signing key", spoil: func(p *place) { p.do(os.Remove(p.path("evidence.key"))) }, kinds: []string{KindSigningKey}, says: "cannot be read"},
		{name: "a signing key that is none", spoil: func(p *place) { p.do(os.WriteFile(p.path("evidence.key"), []byte("x"), 0o600)) }, kinds: []string{KindSigningKey}},
		{name: "another signing key", spoil: func(p *place) {
			signing, _, err := evidence.NewKey("archivio.alpha.test")
			p.do(err)
			p.do(os.WriteFile(p.path("evidence.key"), []byte(signing+"\n"), 0o600))
		}, kinds: []string{KindSigningKey}, says: "another one than that of the last checkpoint, 0 of "},
		{name: "a new signing key", spoil: func(p *place) {
			signing, verifier, err := evidence.NewKey("archivio.alpha.test")
			p.do(err)
			old, err := os.ReadFile(p.path("evidence.pub"))
			p.do(err)
			p.do(os.WriteFile(p.path("evidence.pub"), append(old, verifier+"\n"...), 0o600))
			p.do(os.WriteFile(p.path("evidence.key"), []byte(signing+"\n"), 0o600))
		}, notes: []string{KindSigningKey}},
		{name: "a configured signing key that is not there", spoil: func(p *place) { p.o.SigningKey = p.path("elsewhere") }, kinds: []string{KindSigningKey}},
		{name: "a damaged line in the spool", spoil: func(p *place) {
			p.do(os.WriteFile(p.path("gaps"), []byte("{\"kind\":2,\"mailbox\":\"a\",\"time\":\"2026-11-21T12:00:00Z\",\"reason\":\"disabled\"}\nx\n"), 0o600))
		}, kinds: []string{KindSpool}, says: "1 of the 2 records"},
		{name: "a key that cannot be had", spoil: func(p *place) { p.o.KeysErr = errors.New("exit status 1") }, kinds: []string{KindKeyCommand}, says: "exit status 1"},
		{name: "another key than that of the journal", keys: []datafolder.Key{{1}}, spoil: func(p *place) { p.o.Keys = []datafolder.Key{{2}} },
			kinds: []string{KindKeys, "key", "key"}, says: "name the key that it was encrypted with"},
		{name: "leftovers", spoil: func(p *place) {
			p.do(os.WriteFile(p.path("identity.new"), nil, 0o600))
			p.do(os.MkdirAll(p.path("exports", "ABC"), 0o700))
			p.do(os.MkdirAll(p.path("journal", "2020-01.dropped"), 0o700))
			p.do(os.WriteFile(p.path("journal", "notes.txt"), nil, 0o600))
		}, notes: []string{"foreign", "half", KindLeftover, KindLeftover}},
		{name: "a month that is not there", spoil: func(p *place) { p.do(os.RemoveAll(p.path("journal", p.month()))) }, kinds: []string{"absent"},
			says: "copialettere volume forget"},
		{name: "a damaged table", spoil: func(p *place) { p.flip(p.month(), 50) }, kinds: []string{"table"}, says: "copialettere doctor -mend mends it, with the loss"},
		{name: "damaged settings", spoil: func(p *place) { p.flip("settings", 20) }, kinds: []string{"table"}, says: "The settings are not mended with a loss"},
		{name: "no manifest named", spoil: func(p *place) { p.do(os.Remove(p.path("journal", p.month(), "CURRENT"))) }, kinds: []string{"current"}, says: "without loss"},
		{name: "no manifest", spoil: func(p *place) { p.removeAll(p.month(), "MANIFEST-*") }, kinds: []string{"manifest"}, says: "without loss"},
		{name: "no manifest, and no copy", spoil: func(p *place) { p.removeAll(p.month(), "*MANIFEST-*") }, kinds: []string{"manifest"},
			says: "copialettere restore-backup"},
		{name: "no register", spoil: func(p *place) { p.do(os.Remove(p.path("journal", "REGISTER"))) }, kinds: []string{"register"}, says: "put "},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, test.keys...)
			p.archive(3)
			test.spoil(p)
			var kinds, notes []string
			var said strings.Builder
			for _, f := range p.examine() {
				fmt.Fprintln(&said, f.Kind, f.File, f.What, f.Means, f.Remedy)
				if f.Fault {
					kinds = append(kinds, f.Kind)
				} else {
					notes = append(notes, f.Kind)
				}
			}
			slices.Sort(notes)
			if !slices.Equal(kinds, test.kinds) || !slices.Equal(notes, test.notes) || !strings.Contains(said.String(), test.says) {
				t.Errorf("faults %q, want %q; notes %q, want %q; %q in:\n%s", kinds, test.kinds, notes, test.notes, test.says, said.String())
			}
		})
	}
}

func TestFull(t *testing.T) {
	for _, test := range []struct {
		name string
		stat syscall.Statfs_t
		want []string
	}{
		{"room", syscall.Statfs_t{Bsize: 4096, Bavail: 1 << 20, Files: 1000, Ffree: 900}, nil},
		{"no room", syscall.Statfs_t{Bsize: 4096, Bavail: 10, Files: 1000, Ffree: 900}, []string{"the disk is full: 40960 bytes are free"}},
		{"no inodes", syscall.Statfs_t{Bsize: 4096, Bavail: 1 << 20, Files: 1000, Ffree: 3}, []string{"the file system has no inodes left: 3 of 1000 are free"}},
		{"inodes that are not counted", syscall.Statfs_t{Bsize: 4096, Bavail: 1 << 20}, nil},
	} {
		var said []string
		for _, f := range full("/data", test.stat) {
			said = append(said, f.What)
		}
		if !slices.Equal(said, test.want) {
			t.Errorf("%s: %q, want %q", test.name, said, test.want)
		}
	}
}

func TestExamineCannotLook(t *testing.T) {
	p := newPlace(t)
	p.with(func(*journal.Journal) {
		if _, err := Examine(t.Context(), p.o); !errors.Is(err, datafolder.ErrInUse) {
			t.Errorf("while it is open: %v", err)
		}
	})
	p.do(os.WriteFile(p.path("identity"), []byte(`{"format":99}`), 0o600))
	if _, err := Examine(t.Context(), p.o); err == nil || !strings.Contains(err.Error(), "format 99") {
		t.Errorf("a newer format: %v", err)
	}
	p.do(os.RemoveAll(p.o.Folder))
	if _, err := Examine(t.Context(), p.o); !errors.Is(err, datafolder.ErrAbsent) {
		t.Errorf("no folder: %v", err)
	}
}

// TestMend damages a month at one place after the other, in the clear and sealed. Mended, the archive is sound, each message is there or told as lost,
// nothing that was deleted or erased is back, and mail goes on.
func TestMend(t *testing.T) {
	var lost atomic.Int64
	t.Cleanup(func() {
		if lost.Load() == 0 {
			t.Error("nothing was ever lost")
		}
	})
	for _, keys := range [][]datafolder.Key{nil, {{1}}} {
		for at := 1; at < 100; at += 14 + 20*len(keys) {
			t.Run(fmt.Sprint(len(keys), " keys, at ", at), func(t *testing.T) {
				t.Parallel()
				p := newPlace(t, keys...)
				const count = 25
				p.archive(count)
				p.flip(p.month(), at)
				found := p.examine()
				if Faults(found) == 0 {
					t.Skip("nothing reads what was damaged") // as between two blocks
				}
				done := p.mend(found)
				var losses journal.Losses
				if l := done[0].Losses; l != nil {
					losses = *l
				}
				lost.Add(losses.Count + int64(len(losses.Gaps)))
				p.with(func(j *journal.Journal) {
					p.verify(j)
					there := make(map[string]map[string]bool)
					for _, mailbox := range []string{mario, anna, "carla@alpha.test"} {
						there[mailbox] = make(map[string]bool)
						for e, err := range j.List(t.Context(), mailbox) {
							p.do(err)
							there[mailbox][e.Subject] = true
						}
					}
					if there[mario]["letter 0"] || there[mario]["letter 1"] || len(there["carla@alpha.test"]) > 0 {
						t.Error("what was deleted or erased is back")
					}
					missing := 2*count - 2 - len(there[mario]) - len(there[anna])
					told := 0
					for _, m := range losses.Messages {
						if !m.Deleted {
							told++
						}
					}
					if missing != told && len(losses.Gaps) == 0 {
						t.Errorf("%d messages are missing, and %d are told as lost: %+v", missing, told, losses)
					}
					p.put(j, mario, letter(1000))
					p.checkpoint(j)
					p.verify(j)
				})
				for _, f := range p.examine() {
					if f.Fault {
						t.Errorf("afterwards: %+v", f)
					}
				}
			})
		}
	}
}

// mend mends and settles.
func (p *place) mend(found []Finding) []Mending {
	p.t.Helper()
	done, err := Mend(p.t.Context(), p.o, found)
	p.do(err)
	if len(done) == 0 {
		p.t.Fatalf("nothing was mended of %+v", found)
	}
	p.with(func(j *journal.Journal) { p.do(Settle(p.t.Context(), j, done)) })
	return done
}

// TestMendBrokenOff breaks off behind the mending of the store. Nothing opens the data folder then but the doctor, which ends it.
func TestMendBrokenOff(t *testing.T) {
	p := newPlace(t)
	p.archive(30)
	p.flip(p.month(), 60)
	first, err := Mend(t.Context(), p.o, p.examine())
	p.do(err)
	if _, err := datafolder.Open(t.Context(), p.o.Folder, p.o.folder()); !errors.Is(err, datafolder.ErrUnsettled) || !strings.Contains(err.Error(), "doctor -mend") {
		t.Errorf("opened: %v", err)
	}
	found := p.examine()
	if !slices.ContainsFunc(found, func(f Finding) bool { return f.Kind == string(datafolder.FaultMended) && f.Fault }) {
		t.Errorf("found %+v", found)
	}
	again := p.mend(found)
	if len(again) != 1 || again[0].Old != first[0].Old {
		t.Errorf("%+v, and before %+v", again, first)
	}
	p.with(func(j *journal.Journal) { p.verify(j) })
	f, err := datafolder.Open(t.Context(), p.o.Folder, p.o.folder())
	p.do(err)
	p.do(f.Close())
}

// TestMendRest mends what is no store: modes and leftovers. Settings that would lose something are not mended, and a month beside them is.
func TestMendRest(t *testing.T) {
	p := newPlace(t)
	p.archive(30)
	p.do(os.Chmod(p.o.Folder, 0o711))
	p.do(os.Chmod(p.path("evidence.key"), 0o644))
	p.do(os.WriteFile(p.path("identity.new"), nil, 0o600))
	p.flip(p.month(), 50)
	before := p.contents()
	settings := func(list []string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return !strings.Contains(s, "/settings") })
	}
	p.flip("settings", 20)
	damaged := p.contents()
	done, err := Mend(t.Context(), p.o, p.examine())
	p.do(err)
	if len(done) != 1 || done[0].Month != kv.Month(p.month()) {
		t.Errorf("mended %+v", done)
	}
	if !slices.Equal(settings(p.contents()), settings(damaged)) || slices.Equal(settings(before), settings(damaged)) {
		t.Error("the settings were changed")
	}
	if info, err := os.Stat(p.path("evidence.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := os.Stat(p.path("identity.new")); !errors.Is(err, os.ErrNotExist) {
		t.Error("a leftover is still there")
	}
}
