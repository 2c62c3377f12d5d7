package preserve

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv/kvtest"
	"copialettere/policy/pec"
	"copialettere/policy/preservation"
)

// certified journals a certified message for anna, at noon of a day.
func (r *rig) certified(day string) {
	r.t.Helper()
	r.day(day)
	r.file("busta "+day, journal.Intent{Mailbox: anna, Direction: journal.Received, RcptTo: anna, Class: string(pec.PostaCertificata)})
}

// killEnv has the folder of the rig of a child, and before which step, from 0, it kills itself.
const killEnv = "COPIALETTERE_PRESERVE_KILL"

// TestKillChild is the child of TestKills.
func TestKillChild(t *testing.T) {
	dir, at, ok := strings.Cut(os.Getenv(killEnv), "\x1f")
	if !ok {
		t.Skip("only as a child of TestKills")
	}
	n, err := strconv.Atoi(at)
	if err != nil {
		t.Fatal(err)
	}
	r := openRig(t, dir)
	r.step = func(string) error {
		if n--; n < 0 {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		return nil
	}
	r.look(1)
}

// TestKills kills the program before steps of the daily work. What lies in the folder for packages is whole and on record, whenever the service looks; after
// the next start the day was handed over once. COPIALETTERE_ALL_STEPS=1 kills before each step, and not only before the first of each kind.
func TestKills(t *testing.T) {
	var steps []string
	dry := newRig(t)
	dry.certified(today)
	dry.step = func(what string) error {
		steps = append(steps, strings.Replace(what, dry.name(), "NAME", 1))
		return nil
	}
	dry.look(1)
	if len(steps) < 20 {
		t.Fatalf("the steps: %q", steps)
	}
	kinds := make(map[string]bool)
	for n, step := range steps {
		kind, _, _ := strings.Cut(step, " ")
		if ours := step == "rename NAME" || step == "sync NAME"; kinds[kind] && !ours && os.Getenv("COPIALETTERE_ALL_STEPS") == "" {
			continue
		}
		kinds[kind] = true
		t.Run(fmt.Sprint(n, " ", step), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			dir := filepath.Dir(r.drop)
			r.certified(today)
			name := r.name()
			r.close()
			child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKillChild$")
			child.Env = append(os.Environ(), killEnv+"="+dir+"\x1f"+strconv.Itoa(n))
			var exit *exec.ExitError
			if out, err := child.CombinedOutput(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("not killed: %v\n%s", err, out)
			}
			r = openRig(t, dir)
			r.take()
			r.look(1)
			r.take()
			if !slices.Equal(r.taken, []string{name}) || len(r.exports()) != 1 {
				t.Errorf("handed over %q, on record %q", r.taken, r.exports())
			}
			if list := r.packages(anna, 1); len(list) != 1 || list[0].Placed == nil {
				t.Errorf("%+v", list)
			}
			if left := r.names(filepath.Join(r.drop, workFolder)); left != nil {
				t.Errorf("left: %q", left)
			}
		})
	}
}

// TestDropFaults has the folder for packages fail in all ways from the first day on. Nothing of the days is lost, and the operator is told once.
func TestDropFaults(t *testing.T) {
	work := func(r *rig) string { return filepath.Join(r.drop, workFolder) }
	for _, test := range []struct {
		name        string
		spoil, mend func(r *rig)
		says        string
	}{
		{"absent", func(r *rig) { r.must(os.Rename(r.drop, r.drop+".away")) }, func(r *rig) { r.must(os.Rename(r.drop+".away", r.drop)) }, "no such file or directory"},
		{"a file", func(r *rig) { r.must(errors.Join(os.Remove(r.drop), os.WriteFile(r.drop, nil, 0o600))) },
			func(r *rig) { r.must(errors.Join(os.Remove(r.drop), os.Mkdir(r.drop, 0o755))) }, "not a directory"},
		{"full", func(r *rig) { r.failing("write", syscall.ENOSPC) }, func(r *rig) { r.step = nil }, "no space left on device"},
		{"fails to sync", func(r *rig) { r.failing("sync", syscall.EIO) }, func(r *rig) { r.step = nil }, "input/output error"},
		{"read-only", func(r *rig) { r.failing("create", syscall.EROFS) }, func(r *rig) { r.step = nil }, "read-only file system"},
		{"read-only at the end", func(r *rig) { r.failing("rename", syscall.EROFS) }, func(r *rig) { r.step = nil }, "read-only file system"},
		{"nothing hidden can be made", func(r *rig) { r.must(os.WriteFile(work(r), nil, 0o600)) }, func(r *rig) { r.must(os.Remove(work(r))) }, "not a directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			first := r.clock()
			test.spoil(r)
			var want []string
			for n := range 3 {
				day := first.AddDate(0, 0, n).Format(time.DateOnly)
				r.certified(day)
				want = append(want, r.name())
				for _, minutes := range []int{0, 15, 59, 61, 75} {
					r.service.Look(t.Context(), start(next(day)).Add(2*time.Hour+time.Duration(minutes)*time.Minute))
				}
			}
			if len(r.told) != 1 || !strings.Contains(r.told[0], "Certified mail is not handed to the service") || !strings.Contains(r.told[0], test.says) {
				t.Errorf("told %q, want once, of %q", r.told, test.says)
			}
			metrics := r.metrics()
			if n := metrics["copialettere_preservation_days_behind"]; n != 3 {
				t.Errorf("%v days behind, want 3", n)
			}
			if n := metrics["copialettere_preservation_failures_total"]; n < 9 {
				t.Errorf("%v failures", n)
			}
			test.mend(r)
			r.look(1)
			r.service.Look(t.Context(), start(next(r.today)).Add(5*time.Hour))
			r.take()
			if !slices.Equal(r.taken, want) || r.metrics()["copialettere_preservation_days_behind"] != 0 {
				t.Errorf("handed over %q, want %q; metrics %v", r.taken, want, r.metrics())
			}
		})
	}
}

// failing lets each step of a kind fail.
func (r *rig) failing(kind string, err error) {
	r.step = func(what string) error {
		if strings.HasPrefix(what, kind+" ") {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	}
}

// TestStoreFaults has the settings refuse one write after the other, and all from then on: a day is handed over once, with its record, when they take writes again.
func TestStoreFaults(t *testing.T) {
	r := newRig(t)
	for n := 0; ; n++ {
		r.certified(start("2026-10-01").AddDate(0, 0, n).Format(time.DateOnly))
		writes := 0
		r.refuse = func() bool {
			writes++
			return writes > n
		}
		r.look(1)
		failed := writes > n
		r.refuse = nil
		r.service.Look(t.Context(), start(next(r.today)).Add(2*time.Hour+retryAfter))
		r.take()
		if !slices.Equal(r.taken, []string{r.name()}) {
			t.Errorf("write %d refused: handed over %q", n, r.taken)
		}
		if r.taken = nil; !failed {
			if n < 4 {
				t.Errorf("only %d writes", n)
			}
			break
		}
	}
	list := r.packages(anna, 1)
	for _, p := range list {
		if p.Placed == nil {
			t.Errorf("%s: not noted as handed over", p.Name)
		}
	}
	if got := r.exports(); len(got) != len(list) {
		t.Errorf("%d packages, and in the log %q", len(list), got)
	}
}

// TestLost loses a package between its record and its place: it is made again. One that was renamed is not, wherever the configuration leads by then.
func TestLost(t *testing.T) {
	elsewhere := func(r *rig) {
		r.drop = filepath.Join(filepath.Dir(r.drop), "elsewhere")
		r.must(os.Mkdir(r.drop, 0o755))
	}
	for _, test := range []struct {
		name   string
		before string // the step at which the work breaks off
		lose   func(r *rig)
		again  int // how many packages come after that
	}{
		{"its folder is gone", "rename", func(r *rig) { r.must(os.RemoveAll(filepath.Join(r.drop, workFolder))) }, 1},
		{"another disk is mounted", "rename", func(r *rig) { r.must(errors.Join(os.RemoveAll(r.drop), os.Mkdir(r.drop, 0o755))) }, 1},
		{"another folder is named", "rename", elsewhere, 1},
		{"another folder, the old one is gone", "rename", func(r *rig) { r.must(os.RemoveAll(r.drop)); elsewhere(r) }, 1},
		{"a byte is flipped", "rename", func(r *rig) {
			path := filepath.Join(r.drop, workFolder, r.name())
			b, err := os.ReadFile(path)
			r.must(err)
			b[len(b)/2] ^= 1
			r.must(os.WriteFile(path, b, 0o600))
		}, 1},
		{"renamed", "note", func(*rig) {}, 1},
		{"renamed and taken away", "note", func(r *rig) { r.take(); r.taken = nil }, 0},
		{"renamed, and another folder is named", "note", func(r *rig) { r.take(); r.taken = nil; elsewhere(r) }, 0},
		{"renamed, and nothing hidden is left", "note", func(r *rig) { r.must(os.RemoveAll(filepath.Join(r.drop, workFolder))) }, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.certified(today)
			name := r.name()
			recorded := false
			r.step = func(what string) error {
				recorded = recorded || what == "record "+name
				if kind, _, _ := strings.Cut(what, " "); kind == test.before && recorded {
					return errPower
				}
				return nil
			}
			r.look(1)
			r.step = nil
			test.lose(r)
			r.start()
			r.look(1)
			r.take()
			if len(r.taken) != test.again || test.again == 1 && r.taken[0] != name {
				t.Errorf("handed over %q, want %d times %s", r.taken, test.again, name)
			}
			if list := r.packages(anna, 1); len(list) != 1 || list[0].Placed == nil || len(r.exports()) != 1 {
				t.Errorf("%+v, in the log %q", list, r.exports())
			}
			r.start()
			r.look(1)
			if got := r.names(r.drop); got != nil {
				t.Errorf("once more: %q", got)
			}
		})
	}
}

// TestWrongClock looks when the clock is years ahead, and then right again: the days after that are handed over.
func TestWrongClock(t *testing.T) {
	r := newRig(t)
	r.certified(today)
	r.look(1)
	r.service.Look(t.Context(), start("2031-01-01"))
	r.start()
	r.look(2)
	for n := range 3 {
		r.certified(start("2026-11-22").AddDate(0, 0, n).Format(time.DateOnly))
		r.look(1)
	}
	r.take()
	if want := []string{"2026-11-20_" + anna + ".zip", "2026-11-22_" + anna + ".zip", "2026-11-23_" + anna + ".zip", "2026-11-24_" + anna + ".zip"}; !slices.Equal(r.taken, want) {
		t.Errorf("%q, want %q", r.taken, want)
	}
}

// TestNewMailbox has the first day of an archive handed over although the program was down when it was due.
func TestNewMailbox(t *testing.T) {
	r := newRig(t)
	r.look(0) // nothing, for anna and bruno
	carla := "carla@alpha.test"
	_, err := r.archive.Enable(t.Context(), operator, r.address(carla))
	r.must(err)
	r.file("busta", journal.Intent{Mailbox: carla, Direction: journal.Received, RcptTo: carla, Class: string(pec.PostaCertificata)})
	r.start()
	r.look(4)
	if got, want := r.names(r.drop), []string{today + "_" + carla + ".zip"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestRun runs the service for weeks, with days on which it is down and on which the folder is away: each day comes once, at its time, and what is missed as
// soon as it can. Receipts are noted as they come; the operator is told of the one that does not.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := &rig{t: t, drop: filepath.Join(dir, "drop"), receipts: filepath.Join(dir, "receipts")}
		r.must(errors.Join(os.Mkdir(r.drop, 0o755), os.Mkdir(r.receipts, 0o755)))
		engine := kvtest.NewMemory(kvtest.NoWeakness).Open(t)
		r.with(kvtest.Eager(engine))
		r.engine = engine
		defer r.close()
		_, err := r.archive.Enable(t.Context(), operator, r.address(anna))
		r.must(err)
		var stop context.CancelFunc
		var running sync.WaitGroup
		run := func() {
			r.start()
			var ctx context.Context
			ctx, stop = context.WithCancel(t.Context())
			running.Go(func() { r.service.Run(ctx) })
		}
		end := func() {
			stop()
			running.Wait()
		}
		// until sleeps until an hour of the day of that number, from 1.
		until := func(day int, hour time.Duration) {
			time.Sleep(time.Until(start("2000-01-01").AddDate(0, 0, day-1).Add(hour)))
			synctest.Wait()
		}
		wants := func(what string, days ...int) {
			t.Helper()
			var want []string
			for _, day := range days {
				want = append(want, fmt.Sprintf("2000-01-%02d_%s.zip", day, anna))
			}
			if got := r.names(r.drop); !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
		mail := func(day int) {
			until(day, 12*time.Hour)
			r.file(fmt.Sprint("busta ", day), journal.Intent{Mailbox: anna, Direction: journal.Received, RcptTo: anna, Class: string(pec.PostaCertificata)})
		}
		run()
		mail(1)
		until(2, 59*time.Minute)
		wants("before its time")
		until(2, 62*time.Minute)
		wants("the first day", 1)
		mail(2)
		mail(3)
		until(3, 20*time.Hour)
		end()
		until(8, 5*time.Hour)
		wants("while the program is down", 1, 2)
		run()
		until(8, 5*time.Hour+time.Second)
		wants("after it was down", 1, 2, 3)
		mail(8)
		r.must(os.Rename(r.drop, r.drop+".away"))
		mail(9)
		until(10, 2*time.Hour)
		r.must(os.Rename(r.drop+".away", r.drop))
		until(10, 2*time.Hour+11*time.Minute)
		wants("after the folder was away", 1, 2, 3, 8, 9)
		r.now = time.Time{}
		receipt := filepath.Join(r.receipts, "2000-01-08_"+anna+".xml")
		r.must(os.WriteFile(receipt, []byte("<ricevuta/>"), 0o644))
		r.must(os.Chtimes(receipt, time.Now(), time.Now()))
		until(10, 2*time.Hour+14*time.Minute)
		for n, p := range r.packages(anna, 0) {
			if received := len(p.Receipts) == 1; received != (n == 3) {
				t.Errorf("%s: receipts %v", p.Name, p.Receipts)
			}
		}
		until(30, 0)
		end()
		told := strings.Join(r.told, "\n")
		if strings.Count(told, ".zip, made") != 4 || strings.Contains(told, "2000-01-08_") {
			t.Errorf("told %q", r.told)
		}
		if metrics := r.metrics(); metrics["copialettere_preservation_overdue"] != 4 || metrics["copialettere_preservation_receipts_total"] != 1 {
			t.Errorf("%v", metrics)
		}
	})
}

// FuzzReceipt puts a file of any name and content into the folder for receipts. It counts for the package that it names, with its digest, or not at all.
func FuzzReceipt(f *testing.F) {
	for _, name := range []string{"X.xml", "X.zip", "X.zip.p7m", "X", "X.org", "X.org.zip.xml", ".X.xml", "X.part", "..", "X/../X.xml", "x.xml", "X.xml.\x00", "X.\xff.xml"} {
		f.Add(strings.Replace(name, "X", today+"_"+anna, 1), []byte("<ricevuta/>"))
	}
	f.Fuzz(func(t *testing.T, name string, content []byte) {
		if strings.ContainsAny(name, "/\x00") || name == "" || name == "." || name == ".." || len(name) > 255 {
			return // no name of a file
		}
		dir := t.TempDir()
		r := &rig{t: t, drop: filepath.Join(dir, "drop"), receipts: filepath.Join(dir, "receipts")}
		r.must(errors.Join(os.Mkdir(r.drop, 0o755), os.Mkdir(r.receipts, 0o755)))
		r.engine = kvtest.NewMemory(kvtest.NoWeakness).Open(t)
		r.with(r.engine)
		defer r.close()
		_, err := r.archive.Enable(t.Context(), operator, r.address(anna))
		r.must(err)
		p := preservation.Package{Day: today, Name: today + "_" + anna + ".zip", Made: start(today)}
		_, err = r.archive.AddPackage(t.Context(), anna, p)
		r.must(err)
		r.day(today)
		r.start()
		path := filepath.Join(r.receipts, name)
		r.must(os.WriteFile(path, content, 0o600))
		old := start(today)
		r.must(os.Chtimes(path, old, old))
		r.look(1)
		got := r.packages(anna, 1)[0].Receipts
		rest, mine := strings.CutPrefix(name, today+"_"+anna)
		if len(got) > 0 && (!mine || got[0].Name != name || got[0].Size != int64(len(content)) || got[0].SHA256 != hexOf(content)) {
			t.Errorf("%q: %+v", name, got)
		}
		if len(got) == 0 && mine && slices.Contains([]string{"", ".xml", ".zip", ".zip.p7m", ".P7M"}, rest) {
			t.Errorf("%q does not count", name)
		}
	})
}

// TestReceiptFolder has what is no file of its own in the folder for receipts: nothing of it counts, and nothing is waited for. A file that cannot be read is tried again,
// not at each look.
func TestReceiptFolder(t *testing.T) {
	r := newRig(t)
	r.certified(today)
	r.look(1)
	base := filepath.Join(r.receipts, strings.TrimSuffix(r.name(), ".zip"))
	secret := filepath.Join(t.TempDir(), "secret")
	r.must(errors.Join(os.WriteFile(secret, []byte("secret"), 0o600), os.Symlink(secret, base+".xml"), syscall.Mkfifo(base+".pdf", 0o600), os.Mkdir(base+".txt", 0o700)))
	r.look(2)
	if got := r.packages(anna, 2)[0].Receipts; got != nil {
		t.Errorf("counts: %+v", got)
	}
	for _, name := range []string{base + ".xml", base + ".pdf", base + ".txt"} {
		if digest, _, err := digestOf(t.Context(), name); err == nil {
			t.Errorf("%s is read: %s", name, digest)
		}
	}
	r.must(errors.Join(os.Remove(base+".xml"), os.WriteFile(base+".xml", []byte("<ricevuta/>"), 0o600)))
	old := start(today)
	r.must(os.Chtimes(base+".xml", old, old))
	failures := func() float64 { return r.metrics()["copialettere_preservation_failures_total"] }
	begin := start(next(next(today))).Add(3 * time.Hour)
	r.refuse = func() bool { return true } // the record cannot be changed
	for minute := range 10 {
		r.service.Look(t.Context(), begin.Add(time.Duration(minute)*time.Minute))
	}
	if got := failures(); got != 1 {
		t.Errorf("tried %v times in ten minutes", got)
	}
	r.refuse = nil
	r.service.Look(t.Context(), begin.Add(retryAfter))
	if got := r.packages(anna, 2)[0].Receipts; len(got) != 1 || got[0].SHA256 != hexOf([]byte("<ricevuta/>")) {
		t.Errorf("in the end: %+v", got)
	}
}
