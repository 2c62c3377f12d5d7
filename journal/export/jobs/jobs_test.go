package jobs

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/export"
	"copialettere/journal/kv/level"
	"copialettere/journal/sealing"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
)

const (
	anna  = "anna@alpha.test"
	bruno = "bruno@alpha.test"
)

var (
	operator = policy.Actor{Role: policy.RoleOperator, Name: "root"}
	owner    = policy.Actor{Role: policy.RoleOwner, Name: anna}
	delegate = policy.Actor{Role: policy.RoleDelegate, Name: bruno}
)

// rig is jobs over a real journal: anna has an archive with messages, bruno an empty one.
type rig struct {
	t       *testing.T
	journal *journal.Journal
	archive *archive.Archive
	auth    *auth.Authenticator
	folder  string
	box     *sealing.Box
	jobs    *Jobs
	config  Config
	mu      sync.Mutex
	now     time.Time // guarded by mu
	room    int64     // guarded by mu
	held    *held     // if not nil, Room waits there; guarded by mu
}

// held is where a job stops when it asks for room, until it is let go.
type held struct {
	asked chan struct{} // gets a value each time, as long as somebody waits for it
	next  chan struct{} // a value lets it ask once more; closed, it goes on
}

// hold makes jobs stop when they ask for room.
func (r *rig) hold() *held {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = &held{make(chan struct{}), make(chan struct{})}
	return r.held
}

// release lets a job go on for good.
func (h *held) release() { close(h.next) }

// wait is called by the job.
func (h *held) wait() {
	select {
	case h.asked <- struct{}{}:
		<-h.next
	case <-h.next:
	}
}

func newRig(t *testing.T, messages int) *rig {
	t.Helper()
	r := &rig{t: t, folder: filepath.Join(t.TempDir(), "exports"), now: time.Now(), room: 1 << 40}
	engine, err := level.Open(t.TempDir(), level.Options{})
	r.must(err)
	t.Cleanup(func() { r.must(engine.Close()) })
	settings, err := engine.Settings(t.Context())
	r.must(err)
	p, err := policy.Open(t.Context(), settings, policy.Config{Domains: []policy.Domain{{Name: "alpha.test", Postmasters: []string{"post@alpha.test"}}}})
	r.must(err)
	r.journal, err = journal.Open(engine, journal.Options{Settings: &journal.Settings{Lock: policy.SettingsLock, Open: policy.ArchiveOn, Held: policy.AnyHeld}})
	r.must(err)
	t.Cleanup(func() { r.must(r.journal.Close()) })
	r.auth = auth.New(auth.Options{Policy: p, Settings: settings})
	t.Cleanup(func() { r.must(r.auth.Close()) })
	r.archive = archive.New(archive.Options{Journal: r.journal, Policy: p, Auth: r.auth})
	for _, mailbox := range []string{anna, bruno} {
		_, err = r.archive.Enable(t.Context(), operator, r.address(mailbox))
		r.must(err)
	}
	for i := range messages {
		r.received(fmt.Sprintf("From: mario@ext.test\r\nSubject: Lettera %d\r\n\r\n%s", i, strings.Repeat("Testo.\r\n", 100)))
	}
	r.config = Config{Archive: r.archive, Keep: 7 * 24 * time.Hour, MaxSize: 1 << 40}
	r.open()
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) address(s string) policy.Address {
	r.t.Helper()
	a, err := policy.ParseMailbox(s)
	r.must(err)
	return a
}

// open opens the jobs as a start of the program does.
func (r *rig) open() {
	r.t.Helper()
	jobs, err := New(Options{Folder: r.folder, Box: r.box, Logger: slog.New(slog.NewTextHandler(r.t.Output(), nil)), Now: r.clock, Room: func() (int64, error) {
		r.mu.Lock()
		room, held := r.room, r.held
		r.mu.Unlock()
		if held != nil {
			held.wait()
		}
		return room, nil
	}})
	r.must(err)
	jobs.Configure(r.config)
	r.jobs = jobs
}

// clock is a millisecond later each time.
func (r *rig) clock() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = r.now.Add(time.Millisecond)
	return r.now
}

func (r *rig) received(message string) {
	r.t.Helper()
	draft := r.journal.NewDraft(r.t.Context())
	defer draft.Discard()
	_, err := draft.Write([]byte(message))
	r.must(err)
	_, err = draft.Commit(context.Background(), journal.Envelope{MailFrom: "mario@ext.test", Transaction: r.journal.NewTransaction()},
		[]journal.Intent{{Mailbox: anna, Direction: journal.Received, RcptTo: anna}}, nil)
	r.must(err)
}

// start begins a job of anna.
func (r *rig) start(who policy.Actor, s export.Selection) Job {
	r.t.Helper()
	v, err := r.jobs.Start(r.t.Context(), who, r.address(anna), s, nil)
	r.must(err)
	return v
}

// work runs all jobs that wait.
func (r *rig) work() { r.jobs.Work(r.t.Context()) }

// get returns a job as anna sees it.
func (r *rig) get(id string) Job {
	r.t.Helper()
	v, err := r.jobs.Get(r.t.Context(), owner, r.address(anna), id)
	r.must(err)
	return v
}

// folders returns the names of what is in the folder of the jobs.
func (r *rig) folders() (names []string) {
	r.t.Helper()
	entries, err := os.ReadDir(r.folder)
	if !errors.Is(err, fs.ErrNotExist) {
		r.must(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// messagesIn downloads the ZIP of a job, compares it with its digest, and returns how many messages it has.
func (r *rig) messagesIn(v Job) int {
	r.t.Helper()
	f, err := r.jobs.Open(r.t.Context(), owner, r.address(anna), v.ID)
	r.must(err)
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, f)
	r.must(err)
	if got := hex.EncodeToString(sum.Sum(nil)); got != v.SHA256 || n != v.Size {
		r.t.Errorf("%d bytes with the digest %s, want %d and %s", n, got, v.Size, v.SHA256)
	}
	z, err := zip.NewReader(f.file, n)
	r.must(err)
	count := 0
	for _, one := range z.File {
		if strings.HasSuffix(one.Name, ".eml") {
			count++
		}
	}
	return count
}

// TestJob takes jobs from the beginning to the end.
func TestJob(t *testing.T) {
	r := newRig(t, 5)
	all, none := r.start(owner, export.Selection{}), r.start(operator, export.Selection{Folder: "Sent"})
	if all.State != StateWaiting || all.By != "owner "+anna || !all.Unended() {
		t.Errorf("begun: %+v", all)
	}
	if _, err := r.jobs.Open(t.Context(), owner, r.address(anna), all.ID); !errors.Is(err, ErrUnfinished) {
		t.Errorf("a ZIP that is not written: %v", err)
	}
	r.work()
	all, none = r.get(all.ID), r.get(none.ID)
	if all.State != StateDone || all.Messages != 5 || all.Of != 5 || all.Bytes != all.OfBytes || all.Missing != 0 || all.Unended() || all.Expires.Sub(all.Ended) != r.config.Keep {
		t.Errorf("ended: %+v", all)
	}
	if n, m := r.messagesIn(all), r.messagesIn(none); n != 5 || m != 0 {
		t.Errorf("%d and %d messages", n, m)
	}
	list, err := r.jobs.List(t.Context(), owner, r.address(anna))
	if err != nil || len(list) != 2 || list[0].ID != none.ID || list[1].ID != all.ID {
		t.Errorf("list: %+v, %v", list, err)
	}
	var noted []string
	for c, err := range r.archive.Log(t.Context(), r.address(anna)) {
		r.must(err)
		if c.Key == archive.KeyExport {
			noted = append(noted, c.Who+" "+c.After)
		}
	}
	if want := []string{"anna@alpha.test all", "root folder:Sent"}; !slices.Equal(noted, want) {
		t.Errorf("on record: %q, want %q", noted, want)
	}
	// All of it is for the daemon's user alone.
	r.must(filepath.WalkDir(r.folder, func(path string, d fs.DirEntry, err error) error {
		info, err2 := d.Info()
		if err := errors.Join(err, err2); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
		return nil
	}))
	// The next start finds them.
	r.open()
	if again := r.get(all.ID); again != all {
		t.Errorf("after a restart: %+v, want %+v", again, all)
	}
	if last, err := r.jobs.Remove(t.Context(), owner, r.address(anna), all.ID); err != nil || last.ID != all.ID {
		t.Errorf("removed: %+v, %v", last, err)
	}
	if _, err := r.jobs.Get(t.Context(), owner, r.address(anna), all.ID); !errors.Is(err, ErrNone) || !slices.Equal(r.folders(), []string{none.ID}) {
		t.Errorf("after it was removed: %v, %q", err, r.folders())
	}
}

// TestWhoHasJobs asks for jobs of anna's archive as others.
func TestWhoHasJobs(t *testing.T) {
	r := newRig(t, 1)
	mine := r.start(owner, export.Selection{})
	r.work()
	for _, c := range []struct {
		name    string
		who     policy.Actor
		mailbox string
		id      string
		want    error
	}{
		{"the owner", owner, anna, mine.ID, nil},
		{"an operator", operator, anna, mine.ID, nil},
		{"the owner of another one", policy.Actor{Role: policy.RoleOwner, Name: bruno}, anna, mine.ID, policy.ErrForbidden},
		{"nobody's delegate", delegate, anna, mine.ID, policy.ErrForbidden},
		{"a postmaster", policy.Actor{Role: policy.RolePostmaster, Name: "post@alpha.test"}, anna, mine.ID, policy.ErrForbidden},
		{"by another archive", policy.Actor{Role: policy.RoleOwner, Name: bruno}, bruno, mine.ID, ErrNone},
		{"an operator by another archive", operator, bruno, mine.ID, ErrNone},
		{"another name", owner, anna, strings.ToLower(mine.ID), ErrNone},
		{"a path", owner, anna, "../exports/" + mine.ID, ErrNone},
		{"nothing", owner, anna, "", ErrNone},
	} {
		t.Run(c.name, func(t *testing.T) {
			mailbox := r.address(c.mailbox)
			_, err := r.jobs.Get(t.Context(), c.who, mailbox, c.id)
			zip, err2 := r.jobs.Open(t.Context(), c.who, mailbox, c.id)
			if err2 == nil {
				r.must(zip.Close())
			}
			if !errors.Is(err, c.want) || !errors.Is(err2, c.want) {
				t.Errorf("get: %v, open: %v, want %v", err, err2, c.want)
			}
			if c.want == nil {
				return
			}
			if _, err := r.jobs.Remove(t.Context(), c.who, mailbox, c.id); !errors.Is(err, c.want) {
				t.Errorf("remove: %v, want %v", err, c.want)
			}
			if c.want != policy.ErrForbidden {
				return
			}
			_, err = r.jobs.Start(t.Context(), c.who, mailbox, export.Selection{}, nil)
			_, err2 = r.jobs.List(t.Context(), c.who, mailbox)
			if !errors.Is(err, c.want) || !errors.Is(err2, c.want) {
				t.Errorf("start: %v, list: %v, want %v", err, err2, c.want)
			}
		})
	}
	if v := r.get(mine.ID); v.State != StateDone {
		t.Errorf("in the end: %+v", v)
	}
}

// TestJobsEnd ends the right to a job, in each way, while it waits, while it is written and while its ZIP is downloaded: it goes, and so does the ZIP.
func TestJobsEnd(t *testing.T) {
	for _, c := range []struct {
		name   string
		who    policy.Actor
		happen func(r *rig)
		stays  bool
	}{
		{"a pause", owner, func(r *rig) { r.do(r.archive.Pause(r.t.Context(), operator, r.address(anna))) }, true},
		{"somebody signs out", owner, func(r *rig) {
			_, err := r.auth.EndSessions(r.t.Context(), r.address(anna), func(string) bool { return true })
			r.must(err)
		}, true},
		{"the archive is switched off", owner, func(r *rig) {
			r.do(r.archive.Disable(r.t.Context(), operator, r.address(anna), anna, false))
		}, false},
		{"the address comes to somebody else", owner, func(r *rig) { r.do(r.archive.HandOver(r.t.Context(), operator, r.address(anna), anna)) }, false},
		{"the address comes to somebody else, and an operator asked", operator, func(r *rig) {
			r.do(r.archive.HandOver(r.t.Context(), operator, r.address(anna), anna))
		}, false},
		{"the right of a delegate ends", delegate, func(r *rig) {
			r.must(r.auth.RevokeDelegate(r.t.Context(), operator, r.address(anna), r.address(bruno)))
		}, false},
		{"the archive is erased", owner, func(r *rig) { r.jobs.Forget(anna) }, false},
		{"it expires", owner, func(r *rig) {
			r.mu.Lock()
			r.now = r.now.Add(r.config.Keep)
			r.mu.Unlock()
		}, false},
	} {
		for _, when := range []string{"waiting", "written", "downloaded"} {
			if c.name == "it expires" && when != "downloaded" {
				continue // only what has ended expires
			}
			t.Run(c.name+", "+when, func(t *testing.T) {
				r := newRig(t, 3)
				if c.who == delegate {
					_, err := r.archive.AddDelegate(t.Context(), owner, r.address(anna), r.address(bruno), time.Now().Add(time.Hour))
					r.must(err)
				}
				var held *held
				if when == "written" {
					held = r.hold()
				}
				v := r.start(c.who, export.Selection{})
				var zip *ZIP
				switch when {
				case "written":
					var working sync.WaitGroup
					working.Go(r.work)
					<-held.asked
					c.happen(r)
					r.jobs.look(t.Context())
					held.release()
					working.Wait()
				case "downloaded":
					r.work()
					var err error
					zip, err = r.jobs.Open(t.Context(), c.who, r.address(anna), v.ID)
					r.must(err)
					defer zip.Close()
					_, err = zip.Read(make([]byte, 10))
					r.must(err)
					fallthrough
				default:
					c.happen(r)
					r.jobs.look(t.Context())
					r.work()
				}
				if left := len(r.folders()); left != map[bool]int{true: 1}[c.stays] {
					t.Errorf("%d jobs on the disk", left)
				}
				if zip != nil {
					if _, err := zip.Read(make([]byte, 10)); errors.Is(err, ErrNone) == c.stays {
						t.Errorf("the ZIP that is being downloaded: %v", err)
					}
				}
				if r.open(); len(r.jobs.list(func(*job) bool { return true })) != map[bool]int{true: 1}[c.stays] {
					t.Error("a restart finds otherwise")
				}
			})
		}
	}
}

// do requires that an act succeeds.
func (r *rig) do(_ any, err error) {
	r.t.Helper()
	r.must(err)
}

// startHalf starts a job, and lets it write roomEvery messages. stop ends the run of it.
func (r *rig) startHalf() (v Job, stop func()) {
	r.t.Helper()
	held := r.hold()
	v = r.start(owner, export.Selection{})
	ctx, cancel := context.WithCancel(r.t.Context())
	var running sync.WaitGroup
	running.Go(func() { r.jobs.Run(ctx) })
	<-held.asked
	held.next <- struct{}{}
	<-held.asked // roomEvery messages later
	return v, func() {
		cancel()
		held.release()
		running.Wait()
	}
}

// TestRestart stops a job in the middle. The next start goes on, and writes it on record no second time.
func TestRestart(t *testing.T) {
	r := newRig(t, 200)
	v, stop := r.startHalf()
	if now := r.get(v.ID); now.State != StateRunning || now.Messages != roomEvery+1 || now.Of != 200 {
		t.Errorf("while it runs: %+v", now)
	}
	stop()
	if now := r.get(v.ID); now.State != StateWaiting {
		t.Errorf("after the stop: %+v", now)
	}
	r.open()
	r.work()
	if v = r.get(v.ID); v.State != StateDone || r.messagesIn(v) != 200 {
		t.Errorf("in the end: %+v", v)
	}
	noted := 0
	for c, err := range r.archive.Log(t.Context(), r.address(anna)) {
		r.must(err)
		if c.Key == archive.KeyExport {
			noted++
		}
	}
	if noted != 1 {
		t.Errorf("%d times on record", noted)
	}
}

// TestBounds asks for more than there is room for.
func TestBounds(t *testing.T) {
	t.Run("number of an archive", func(t *testing.T) {
		r := newRig(t, 1)
		for range mostOfArchive {
			r.start(owner, export.Selection{})
		}
		if _, err := r.jobs.Start(t.Context(), owner, r.address(anna), export.Selection{}, nil); !errors.Is(err, ErrMany) {
			t.Errorf("one more: %v", err)
		}
		if _, err := r.jobs.Start(t.Context(), operator, r.address(bruno), export.Selection{}, nil); err != nil {
			t.Errorf("of another archive: %v", err)
		}
	})
	t.Run("number that wait", func(t *testing.T) {
		r := newRig(t, 1)
		for i := range mostUnended {
			r.must(r.jobs.admit(&job{record: record{ID: fmt.Sprint(i), Archive: fmt.Sprint(i)}}))
		}
		if _, err := r.jobs.Start(t.Context(), owner, r.address(anna), export.Selection{}, nil); !errors.Is(err, ErrMany) {
			t.Errorf("one more: %v", err)
		}
	})
	for _, c := range []struct {
		name      string
		room, max int64
	}{{"the disk is at its watermark", -1, 1 << 40}, {"the disk has too little room", 1000, 1 << 40}, {"exports have too little room", 1 << 40, 1000}} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, 3)
			r.room, r.config.MaxSize = c.room, c.max
			r.jobs.Configure(r.config)
			v := r.start(owner, export.Selection{})
			r.work()
			if v = r.get(v.ID); v.State != StateFailed || v.Reason != ReasonRoom || v.Expires.IsZero() {
				t.Errorf("without room: %+v", v)
			}
			if files, _ := filepath.Glob(filepath.Join(r.folder, v.ID, "*")); len(files) != 1 {
				t.Errorf("left on the disk: %q", files)
			}
			r.room, r.config.MaxSize = 1<<40, 1<<40
			r.jobs.Configure(r.config)
			again := r.start(owner, export.Selection{})
			r.work()
			if again = r.get(again.ID); again.State != StateDone {
				t.Errorf("with room: %+v", again)
			}
		})
	}
}

// TestFaults has the disk refuse each step of a record: nothing of a job that could not begin stays, and the end of one is written again.
func TestFaults(t *testing.T) {
	broken := errors.New("broken")
	for _, step := range []string{"write", "rename", "sync"} {
		t.Run(step, func(t *testing.T) {
			r := newRig(t, 1)
			fail := func(what string) error {
				if strings.HasPrefix(what, step) {
					return broken
				}
				return nil
			}
			r.jobs.options.step = fail
			if _, err := r.jobs.Start(t.Context(), owner, r.address(anna), export.Selection{}, nil); !errors.Is(err, broken) || len(r.folders()) > 0 {
				t.Errorf("%v, and on the disk %q", err, r.folders())
			}
			r.jobs.options.step = nil
			v := r.start(owner, export.Selection{})
			r.jobs.options.step = fail
			r.work()
			if v = r.get(v.ID); v.State != StateDone {
				t.Errorf("a job whose end is not on record: %+v", v)
			}
			r.open()
			r.work()
			if v = r.get(v.ID); v.State != StateDone || r.messagesIn(v) != 1 {
				t.Errorf("after a restart: %+v", v)
			}
		})
	}
}

// TestRubbish starts on a folder with what no job is: it goes, and the rest stays.
func TestRubbish(t *testing.T) {
	r := newRig(t, 1)
	v := r.start(owner, export.Selection{})
	r.work()
	whole, err := os.ReadFile(filepath.Join(r.folder, v.ID, recordName))
	r.must(err)
	for name, text := range map[string]string{
		"EMPTY": "", "TORN": string(whole[:20]), "ELSEWHERE": string(whole), "LATER": strings.Replace(string(whole), `"layout":1`, `"layout":2`, 1), "NONE": "",
	} {
		folder := filepath.Join(r.folder, name)
		r.must(os.Mkdir(folder, 0o700))
		r.must(os.WriteFile(filepath.Join(folder, zipName), []byte("PK"), 0o600))
		if name != "NONE" {
			r.must(os.WriteFile(filepath.Join(folder, recordName), []byte(text), 0o600))
		}
	}
	r.open()
	if got := r.folders(); !slices.Equal(got, []string{v.ID}) || r.messagesIn(r.get(v.ID)) != 1 {
		t.Errorf("left: %q", got)
	}
}

// FuzzRecord reads records that anything may have written to.
func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"layout":1,"id":"A","mailbox":"anna@alpha.test","archive":"anna@alpha.test","role":"owner","name":"anna@alpha.test","asked":"2026-11-30T00:00:00Z"}`))
	f.Add([]byte(`{"layout":1,"id":"A","mailbox":"anna@alpha.test","archive":"x","role":"owner","name":"","asked":"2026-11-30T00:00:00Z","class":"certified","ended":{"at":"2026-11-30T00:00:00Z","messages":1,"bytes":2}}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parse(b)
		if err != nil {
			return
		}
		if r.address() == (policy.Address{}) || r.Selection.Check() != nil || r.Asked.IsZero() {
			t.Errorf("%s was read as %+v", b, r)
		}
	})
}
