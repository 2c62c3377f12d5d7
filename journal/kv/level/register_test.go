package level

import (
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

	"copialettere/journal/kv"
)

// closedArchive is a folder with the settings and two volumes. Each store holds its own name.
func closedArchive(t *testing.T, keys ...Key) *onFiles {
	t.Helper()
	f := &onFiles{dir: t.TempDir(), opts: Options{Keys: keys}}
	e := f.Open(t)
	settings, err := e.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	putOne(t, settings, "name", settingsName)
	for _, m := range []kv.Month{"2026-10", "2026-11"} {
		putOne(t, openVolume(t, e, m), "name", string(m))
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return f
}

// storeOf returns the store of that name. It never creates a volume.
func storeOf(t *testing.T, e kv.Engine, name string) (kv.Store, error) {
	if name == settingsName {
		return e.Settings(t.Context())
	}
	return e.Volume(t.Context(), kv.Month(name), false)
}

// wantName checks that the store of that name opens, and holds it.
func wantName(t *testing.T, e kv.Engine, name string) {
	t.Helper()
	s, err := storeOf(t, e, name)
	if err != nil {
		t.Errorf("store %s: %v", name, err)
		return
	}
	if v, err := s.Get(t.Context(), []byte("name")); err != nil || string(v) != name {
		t.Errorf("store %s holds %q, %v", name, v, err)
	}
}

// tree lists the files in and below a folder, with their sizes.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil || d.IsDir():
			return err
		}
		info, err := d.Info()
		list = append(list, fmt.Sprint(strings.TrimPrefix(path, dir), " ", info.Size()))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(list, "\n")
}

// TestForeign puts something else in the place of a store. Opening must be an error that names it; nothing in it may be touched; the other
// stores must work, and so must the right one once it is put back.
func TestForeign(t *testing.T) {
	other := closedArchive(t)
	remove := func(pattern string) func(t *testing.T, folder string) {
		return func(t *testing.T, folder string) {
			paths, err := filepath.Glob(filepath.Join(folder, pattern))
			if err != nil || len(paths) == 0 {
				t.Fatal(paths, err)
			}
			for _, path := range paths {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for what, replace := range map[string]func(t *testing.T, folder string){
		"absent": func(t *testing.T, folder string) { must(t, os.RemoveAll(folder)) },
		"empty":  func(t *testing.T, folder string) { must(t, os.RemoveAll(folder)); must(t, os.Mkdir(folder, 0o700)) },
		"a file": func(t *testing.T, folder string) {
			must(t, os.RemoveAll(folder))
			must(t, os.WriteFile(folder, []byte("x"), 0o600))
		},
		"the tag alone": func(t *testing.T, folder string) {
			remove("[^S]*")(t, folder)
		},
		"without its tag": remove(tagName),
		"a half tag": func(t *testing.T, folder string) {
			must(t, os.Truncate(filepath.Join(folder, tagName), 10))
		},
		"another archive's": func(t *testing.T, folder string) {
			must(t, os.RemoveAll(folder))
			must(t, os.CopyFS(folder, os.DirFS(filepath.Join(other.dir, filepath.Base(folder)))))
		},
		"another store's": func(t *testing.T, folder string) {
			must(t, os.RemoveAll(folder))
			must(t, os.CopyFS(folder, os.DirFS(filepath.Join(filepath.Dir(folder), "2026-11"))))
		},
	} {
		for _, name := range []string{"2026-10", settingsName} {
			t.Run(name+" "+what, func(t *testing.T) {
				f := closedArchive(t)
				folder := filepath.Join(f.dir, name)
				backup := filepath.Join(t.TempDir(), name)
				must(t, os.CopyFS(backup, os.DirFS(folder)))
				replace(t, folder)
				before := tree(t, folder)
				e := f.Open(t)
				defer func() { e.Close() }()
				for range 2 {
					_, err := storeOf(t, e, name)
					if !errors.Is(err, kv.ErrUnavailable) || !strings.Contains(err.Error(), folder) {
						t.Errorf("%v, want unavailable, with the path %s", err, folder)
					}
				}
				if _, err := e.Volume(t.Context(), "2026-10", true); name == "2026-10" && !errors.Is(err, kv.ErrUnavailable) {
					t.Errorf("to be created: %v, want unavailable", err)
				}
				if after := tree(t, folder); after != before && what != "the tag alone" {
					t.Errorf("the folder held\n%s\nand now\n%s", before, after)
				}
				wantName(t, e, "2026-11")
				must(t, e.Close())
				must(t, os.RemoveAll(folder))
				must(t, os.Rename(backup, folder))
				e = f.Open(t)
				for _, name := range []string{"2026-10", "2026-11", settingsName} {
					wantName(t, e, name)
				}
			})
		}
	}
}

// TestOfArchive opens folders by the id of their archive.
func TestOfArchive(t *testing.T) {
	f := closedArchive(t)
	r, err := readRegister(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	empty, absent := t.TempDir(), filepath.Join(t.TempDir(), "journal")
	for _, c := range []struct {
		name, dir string
		opts      Options
		want      error // nil: none
		says      string
	}{
		{"its own", f.dir, Options{Archive: r.Archive}, nil, ""},
		{"its own, to be created", f.dir, Options{Archive: r.Archive, Create: true}, nil, ""},
		{"another one's", f.dir, Options{Archive: "other"}, nil, "belongs to archive " + r.Archive},
		{"another one's, to be created", f.dir, Options{Archive: "other", Create: true}, nil, "belongs to archive " + r.Archive},
		{"absent", absent, Options{Archive: r.Archive}, ErrAbsent, absent},
		{"empty", empty, Options{Archive: r.Archive}, ErrAbsent, empty},
		{"empty, to be taken in", empty, Options{Archive: r.Archive, TakeIn: true}, ErrAbsent, empty},
	} {
		e, err := Open(c.dir, c.opts)
		switch {
		case c.says == "":
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			wantName(t, e, "2026-11")
			e.Close()
		case err == nil || !strings.Contains(err.Error(), c.says) || c.want != nil && !errors.Is(err, c.want):
			t.Errorf("%s: %v, want it to say %q", c.name, err, c.says)
		}
	}
	if got := tree(t, empty); got != "" {
		t.Errorf("a folder that was not to be made an archive holds %s", got)
	}
	if _, err := os.Stat(absent); err == nil {
		t.Error("an absent folder was made")
	}
}

// TestDamagedRegister opens folders whose register is absent or damaged. That must be an error: nobody knows which stores must be there.
func TestDamagedRegister(t *testing.T) {
	for name, change := range map[string]func(s string) string{
		"empty":           func(string) string { return "" },
		"cut":             func(s string) string { return s[:len(s)/2] },
		"more behind it":  func(s string) string { return s + "{}" },
		"another format":  func(s string) string { return strings.Replace(s, `"format": 1`, `"format": 2`, 1) },
		"no settings":     func(s string) string { return strings.Replace(s, `"settings": {`, `"2026-09": {`, 1) },
		"unknown store":   func(s string) string { return strings.Replace(s, `"2026-10"`, `"2026-1p"`, 1) },
		"unknown field":   func(s string) string { return strings.Replace(s, `"archive"`, `"erchive"`, 1) },
		"path as a month": func(s string) string { return strings.Replace(s, `"2026-10": `, `"../2026-10": `, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			f := closedArchive(t)
			path := filepath.Join(f.dir, registerName)
			b, err := os.ReadFile(path)
			if err == nil {
				err = os.WriteFile(path, []byte(change(string(b))), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			if e, err := Open(f.dir, Options{}); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("%v, %v, want an error that names %s", e, err, path)
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if e, err := Open(f.dir, Options{}); !errors.Is(err, ErrAbsent) || !strings.Contains(err.Error(), path) {
				t.Errorf("%v, %v, want that the register is absent", e, err)
			}
		})
	}
}

// removeTags turns a folder into one from before registers.
func removeTags(t *testing.T, dir string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*", tagName))
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	for _, path := range append(paths, filepath.Join(dir, registerName)) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTakeIn opens a folder from before registers. Whatever is in it must be there from then on.
func TestTakeIn(t *testing.T) {
	f := closedArchive(t)
	removeTags(t, f.dir)
	if err := os.Mkdir(filepath.Join(f.dir, "2026-09"), 0o700); err != nil { // a volume that lost its content
		t.Fatal(err)
	}
	if e, err := Open(f.dir, Options{Archive: "id"}); !errors.Is(err, ErrAbsent) {
		t.Fatalf("not to be taken in: %v, %v", e, err)
	}
	open := func() kv.Engine {
		t.Helper()
		e, err := Open(f.dir, Options{Archive: "id", TakeIn: true, Logger: testLogger(t)})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	for range 2 {
		e := open()
		for _, name := range []string{"2026-10", "2026-11", settingsName} {
			wantName(t, e, name)
		}
		if _, err := e.Volume(t.Context(), "2026-09", true); !errors.Is(err, kv.ErrUnavailable) {
			t.Errorf("an empty folder: %v, want unavailable", err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(filepath.Join(f.dir, "2026-10")); err != nil {
		t.Fatal(err)
	}
	e := open()
	if _, err := e.Volume(t.Context(), "2026-10", true); !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("an absent folder: %v, want unavailable", err)
	}
	if got, err := e.Volumes(t.Context()); err != nil || fmt.Sprint(got) != "[2026-09 2026-10 2026-11]" {
		t.Errorf("volumes: %v, %v", got, err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}

	removeTags(t, f.dir)
	if err := os.RemoveAll(filepath.Join(f.dir, settingsName)); err != nil {
		t.Fatal(err)
	}
	if e, err := Open(f.dir, Options{Archive: "id", TakeIn: true}); !errors.Is(err, ErrAbsent) || !strings.Contains(err.Error(), settingsName) {
		t.Errorf("without settings: %v, %v", e, err)
	}
}

// TestPutBack brings back a dropped volume from a backup, and one of another archive beside it.
func TestPutBack(t *testing.T) {
	f, other := closedArchive(t), closedArchive(t)
	backup := filepath.Join(t.TempDir(), "2026-10")
	if err := os.CopyFS(backup, os.DirFS(filepath.Join(f.dir, "2026-10"))); err != nil {
		t.Fatal(err)
	}
	e := f.Open(t)
	if err := e.Drop(t.Context(), "2026-10"); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	stranger := filepath.Join(f.dir, "2025-01")
	for from, to := range map[string]string{backup: filepath.Join(f.dir, "2026-10"), filepath.Join(other.dir, "2026-10"): stranger} {
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	e = f.Open(t)
	defer func() { e.Close() }()
	wantName(t, e, "2026-10")
	if got, err := e.Volumes(t.Context()); err != nil || fmt.Sprint(got) != "[2025-01 2026-10 2026-11]" {
		t.Errorf("volumes: %v, %v", got, err)
	}
	before := tree(t, stranger)
	for _, create := range []bool{false, true} {
		if _, err := e.Volume(t.Context(), "2025-01", create); !errors.Is(err, kv.ErrUnavailable) || !strings.Contains(err.Error(), stranger) {
			t.Errorf("a stranger: %v, want unavailable", err)
		}
	}
	if err := e.Drop(t.Context(), "2025-01"); err == nil {
		t.Error("a stranger was dropped")
	}
	if after := tree(t, stranger); after != before {
		t.Errorf("a stranger held\n%s\nand now\n%s", before, after)
	}
	if err := os.RemoveAll(stranger); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Volume(t.Context(), "2025-01", false); !errors.Is(err, kv.ErrNoVolume) {
		t.Errorf("a stranger that was moved away: %v, want that there is no such volume", err)
	}
	if got, err := e.Volumes(t.Context()); err != nil || fmt.Sprint(got) != "[2026-10 2026-11]" {
		t.Errorf("volumes: %v, %v", got, err)
	}
}

// steps are the changes of names. The tests fail, and kill the process, at each step of each of them.
var steps = map[string]func(t testing.TB, dir string, opts Options) error{
	"init": func(t testing.TB, dir string, opts Options) error {
		e, err := Open(filepath.Join(dir, "new"), opts)
		if err != nil {
			return err
		}
		_, err = e.Settings(t.Context())
		return errors.Join(err, e.Close())
	},
	"create": func(t testing.TB, dir string, opts Options) error {
		e, err := Open(dir, opts)
		if err != nil {
			return err
		}
		s, err := e.Volume(t.Context(), "2026-12", true)
		if err == nil {
			err = tryPut(t, s, "name", "2026-12")
		}
		return errors.Join(err, e.Close())
	},
	"drop": func(t testing.TB, dir string, opts Options) error {
		e, err := Open(dir, opts)
		if err != nil {
			return err
		}
		return errors.Join(e.Drop(t.Context(), "2026-10"), e.Close())
	},
	"take in": func(t testing.TB, dir string, opts Options) error {
		opts.TakeIn, opts.Archive = true, "id"
		e, err := Open(dir, opts)
		if err != nil {
			return err
		}
		return e.Close()
	},
}

// checkSteps checks a folder in which a change was done or interrupted. The rest must be as it was, the change must be done wholly or not at
// all, and it must be possible to do it now.
func checkSteps(t *testing.T, f *onFiles, change string, done bool) {
	t.Helper()
	if change == "init" {
		e, err := Open(filepath.Join(f.dir, "new"), Options{Logger: testLogger(t)})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		if _, err := e.Settings(t.Context()); err != nil {
			t.Errorf("Settings: %v", err)
		}
		return
	}
	if change == "take in" {
		if err := steps[change](t, f.dir, Options{Logger: testLogger(t)}); err != nil {
			t.Fatal(err)
		}
	}
	e := f.Open(t)
	defer e.Close()
	months, err := e.Volumes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantName(t, e, settingsName)
	wantName(t, e, "2026-11")
	switch there := slices.Contains(months, "2026-10"); {
	case there:
		wantName(t, e, "2026-10")
	case change != "drop":
		t.Error("2026-10 is gone")
	default:
		if _, err := e.Volume(t.Context(), "2026-10", false); !errors.Is(err, kv.ErrNoVolume) {
			t.Errorf("dropped: %v", err)
		}
	}
	if done && change == "drop" && slices.Contains(months, "2026-10") {
		t.Error("2026-10 is there")
	}
	s, err := e.Volume(t.Context(), "2026-12", true)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := s.Get(t.Context(), []byte("name")); done && change == "create" && (err != nil || string(v) != "2026-12") {
		t.Errorf("2026-12 holds %q, %v", v, err)
	}
	putOne(t, s, "name", "2026-12")
	if err := e.Drop(t.Context(), "2026-10"); err != nil {
		t.Errorf("Drop: %v", err)
	}
	for _, left := range []string{"2026-10", "2026-10.dropped"} {
		if _, err := os.Stat(filepath.Join(f.dir, left)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, want it gone", left, err)
		}
	}
	if got, err := e.Volumes(t.Context()); err != nil || fmt.Sprint(got) != "[2026-11 2026-12]" {
		t.Errorf("volumes: %v, %v", got, err)
	}
}

func stepsArchive(t *testing.T, change string) *onFiles {
	t.Helper()
	f := closedArchive(t)
	if change == "take in" {
		removeTags(t, f.dir)
	}
	return f
}

// TestStepFaults fails each change of names at each of its steps.
func TestStepFaults(t *testing.T) {
	for change, do := range steps {
		t.Run(change, func(t *testing.T) {
			t.Parallel()
			for n, failed := 1, true; failed; n++ {
				f := stepsArchive(t, change)
				failed = false
				count, where := 0, ""
				err := do(t, f.dir, Options{Logger: testLogger(t), step: func(what string) error {
					if count++; count != n {
						return nil
					}
					failed, where = true, what
					return syscall.EIO
				}})
				inStore := strings.Contains(where, "/2026-1") || strings.Contains(where, "/"+settingsName)
				if want := failed && !(change == "take in" && inStore); want != errors.Is(err, syscall.EIO) || !want && err != nil {
					// A store that cannot be given a tag yet does not prevent the start.
					t.Errorf("fault at step %d, %s: %v", n, where, err)
				}
				checkSteps(t, f, change, err == nil)
				if !failed && n < 4 {
					t.Errorf("there were %d steps only", n-1)
				}
			}
		})
	}
}

// TestStepOrder checks the order of steps, on which recovery from a crash between two of them depends.
func TestStepOrder(t *testing.T) {
	for change, want := range map[string]string{
		"create": "write REGISTER, rename REGISTER, sync ., make 2026-12, write 2026-12/STORE, rename 2026-12/STORE, sync 2026-12, " +
			"write REGISTER, rename REGISTER, sync .",
		"drop": "rename 2026-10, sync ., write REGISTER, rename REGISTER, sync ., remove 2026-10.dropped",
	} {
		f := closedArchive(t)
		var trace []string
		err := steps[change](t, f.dir, Options{step: func(what string) error {
			verb, path, _ := strings.Cut(what, " ")
			name, err := filepath.Rel(f.dir, path)
			trace = append(trace, verb+" "+name)
			return err
		}})
		if got := strings.Join(trace, ", "); err != nil || got != want {
			t.Errorf("%s: %v\n%s\nwant\n%s", change, err, got, want)
		}
	}
}

// With these environment variables the test binary does a change and kills itself at one of its steps.
const (
	stepFolder = "COPIALETTERE_TEST_STEP_FOLDER"
	stepChange = "COPIALETTERE_TEST_STEP_CHANGE"
	stepNumber = "COPIALETTERE_TEST_STEP_NUMBER"
)

// TestStepChild is the process that kills itself.
func TestStepChild(t *testing.T) {
	dir := os.Getenv(stepFolder)
	if dir == "" {
		t.Skip("it is run by TestStepKills")
	}
	n, err := strconv.Atoi(os.Getenv(stepNumber))
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	do := steps[os.Getenv(stepChange)]
	if do == nil {
		do = changeKey
	}
	err = do(t, dir, Options{step: func(string) error {
		if count++; count == n {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
}

// TestStepKills kills the process at each step of each change.
func TestStepKills(t *testing.T) {
	for change := range steps {
		t.Run(change, func(t *testing.T) {
			t.Parallel()
			for n, killed := 1, true; killed; n++ {
				f := stepsArchive(t, change)
				killed = killedAt(t, f.dir, change, n)
				checkSteps(t, f, change, !killed)
				if !killed && n < 4 {
					t.Errorf("there were %d steps only", n-1)
				}
			}
		})
	}
}

// killedAt has another process do a change, and kill itself at step n. It reports whether there was such a step.
func killedAt(t *testing.T, dir, change string, n int) bool {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestStepChild$")
	child.Env = append(os.Environ(), stepFolder+"="+dir, stepChange+"="+change, stepNumber+"="+strconv.Itoa(n))
	out, err := child.CombinedOutput()
	var exit *exec.ExitError
	killed := errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
	if err != nil && !killed {
		t.Fatalf("%v %s", err, out)
	}
	return killed
}

// TestOldBackup puts back a volume from a backup older than its tag, by the command in the error.
func TestOldBackup(t *testing.T) {
	f := closedArchive(t)
	if err := os.Remove(filepath.Join(f.dir, "2026-10", tagName)); err != nil {
		t.Fatal(err)
	}
	e := f.Open(t)
	defer e.Close()
	_, err := e.Volume(t.Context(), "2026-10", false)
	if !errors.Is(err, kv.ErrUnavailable) {
		t.Fatalf("Volume: %v, want unavailable", err)
	}
	_, command, _ := strings.Cut(err.Error(), "write that: ")
	if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v %s", command, err, out)
	}
	time.Sleep(retryAfter)
	wantName(t, e, "2026-10")
}
