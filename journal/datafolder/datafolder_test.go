package datafolder

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"copialettere/journal/kv"
)

// made returns a data folder that Make made.
func made(t *testing.T) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "data")
	if made, err := Make(t.Context(), folder, Options{}); err != nil || !made {
		t.Fatal(made, err)
	}
	return folder
}

// opens opens a data folder and closes it.
func opens(t *testing.T, folder string) error {
	t.Helper()
	f, err := Open(t.Context(), folder, Options{})
	if err != nil {
		return err
	}
	return f.Close()
}

// fails compares an error with what it must be, if that is not nil, and must say.
func fails(t *testing.T, err, is error, texts ...string) {
	t.Helper()
	if err == nil || is != nil && !errors.Is(err, is) {
		t.Fatalf("error %v, want %v", err, is)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error %v, want %q", err, text)
		}
	}
}

func TestMake(t *testing.T) {
	folder := made(t)
	if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	id, err := readIdentity(folder)
	if err != nil || id.Format != Format || time.Since(id.Created) > time.Minute {
		t.Errorf("identity %+v, %v", id, err)
	}
	if made, err := Make(t.Context(), folder, Options{}); err != nil || made {
		t.Errorf("made again: %t, %v", made, err)
	}
	if again, err := readIdentity(folder); err != nil || again != id {
		t.Errorf("identity %+v, %v, want %+v", again, err, id)
	}
	if err := opens(t, folder); err != nil {
		t.Error(err)
	}
}

// TestMakeBrokenOff has Make be broken off at each step.
func TestMakeBrokenOff(t *testing.T) {
	for name, leave := range map[string]func(folder string) error{
		"before the identity": func(folder string) error {
			return errors.Join(os.Mkdir(folder, 0o755), os.WriteFile(filepath.Join(folder, IdentityFile+".new"), []byte("{"), 0o600))
		},
		"before the journal": func(folder string) error { _, err := makeFolder(folder); return err },
		"before the last write": func(folder string) error {
			_, err := Make(t.Context(), folder, Options{})
			id, readErr := readIdentity(folder)
			return errors.Join(err, readErr, writeIdentity(folder, id, formatUnregistered))
		},
	} {
		t.Run(name, func(t *testing.T) {
			folder := filepath.Join(t.TempDir(), "data")
			if err := leave(folder); err != nil {
				t.Fatal(err)
			}
			if _, err := Make(t.Context(), folder, Options{}); err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
			if err := opens(t, folder); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRaise has Make and Open bring a folder of each earlier format to the newest.
func TestRaise(t *testing.T) {
	for format := 1; format < Format; format++ {
		for name, raise := range map[string]func(folder string) error{
			"make": func(folder string) error { _, err := Make(t.Context(), folder, Options{}); return err },
			"open": func(folder string) error { return opens(t, folder) },
		} {
			t.Run(fmt.Sprint(format, " ", name), func(t *testing.T) {
				folder := made(t)
				before, err := readIdentity(folder)
				if err := errors.Join(err, writeIdentity(folder, before, format), raise(folder)); err != nil {
					t.Fatal(err)
				}
				if after, err := readIdentity(folder); err != nil || after != before {
					t.Errorf("identity %+v, %v, want %+v", after, err, before)
				}
				if err := opens(t, folder); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestMakeRefusesAFullFolder(t *testing.T) {
	folder := t.TempDir()
	if err := os.Mkdir(filepath.Join(folder, "photos"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := Make(t.Context(), folder, Options{})
	fails(t, err, nil, folder, "is not empty and is no data folder")
}

func TestInUse(t *testing.T) {
	folder := made(t)
	f, err := Open(t.Context(), folder, Options{})
	if err != nil {
		t.Fatal(err)
	}
	fails(t, opens(t, folder), ErrInUse, folder)
	if _, err := Probe(folder); err != nil {
		t.Errorf("probe of an open folder: %v", err)
	}
	if err := errors.Join(f.Close(), f.Close(), opens(t, folder)); err != nil {
		t.Error(err)
	}
}

func TestAbsent(t *testing.T) {
	for name, c := range map[string]struct {
		remove string // in the folder
		format int
		texts  []string
	}{
		"folder":                       {"", Format, []string{`if its disk is mounted, make it with "copialettere init"`}},
		"identity":                     {IdentityFile, Format, []string{`if its disk is mounted, make it with "copialettere init"`}},
		"journal":                      {journalFolder, Format, []string{journalFolder, "mount its disk"}},
		"register":                     {journalFolder + "/REGISTER", Format, []string{"REGISTER", `write "format":1 into`}},
		"settings":                     {journalFolder + "/settings", Format, []string{"settings"}},
		"journal that never was":       {journalFolder, formatUnregistered, []string{journalFolder, `make it with "copialettere init"`}},
		"settings before the register": {journalFolder + "/settings", formatUnregistered, []string{"settings"}},
	} {
		t.Run(name, func(t *testing.T) {
			folder := made(t)
			if c.format == formatUnregistered {
				id, err := readIdentity(folder)
				if err := errors.Join(err, writeIdentity(folder, id, c.format), os.Remove(filepath.Join(folder, journalFolder, "REGISTER"))); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.RemoveAll(filepath.Join(folder, c.remove)); err != nil {
				t.Fatal(err)
			}
			fails(t, opens(t, folder), ErrAbsent, append(c.texts, folder)...)
		})
	}
}

func TestIdentity(t *testing.T) {
	folder := made(t)
	file := filepath.Join(folder, IdentityFile)
	for name, c := range map[string]struct {
		content string
		texts   []string
	}{
		"newer format":           {`{"format":6,"id":{"archive":7},"created":[]}`, []string{folder + " has format 6, and this program knows 1 to 5"}},
		"no format":              {`{"id":"A"}`, []string{file, "no format", "put it back from a backup"}},
		"format 0":               {`{"format":0,"id":"A"}`, []string{file, "no format"}},
		"negative format":        {`{"format":-1,"id":"A"}`, []string{file, "no format"}},
		"a format that is words": {`{"format":"2"}`, []string{file, "put it back from a backup"}},
		"no id":                  {`{"format":2}`, []string{file, "no id"}},
		"no names":               {`{}`, []string{file, "no format"}},
		"empty":                  {``, []string{file, "put it back from a backup"}},
		"a list":                 {`[2]`, []string{file, "put it back from a backup"}},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(file, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Make(t.Context(), folder, Options{})
			fails(t, err, nil, c.texts...)
			fails(t, opens(t, folder), nil, c.texts...)
			fails(t, Check(folder), nil, c.texts...)
			if b, err := os.ReadFile(file); err != nil || string(b) != c.content {
				t.Errorf("the identity is %q now, %v", b, err)
			}
		})
	}
}

func TestProbe(t *testing.T) {
	folder := made(t)
	took, err := Probe(folder)
	if err != nil || took <= 0 {
		t.Errorf("took %s, %v", took, err)
	}
	if _, err := os.Lstat(filepath.Join(folder, "check")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the probe is still there: %v", err)
	}
	if err := os.Chmod(folder, 0o711); err != nil {
		t.Fatal(err)
	}
	if _, err := Probe(folder); err != nil { // Dovecot passes through to its own folder
		t.Error(err)
	}
	if err := os.Chmod(folder, 0o750); err != nil {
		t.Fatal(err)
	}
	_, err = Probe(folder)
	fails(t, err, nil, folder, "mode 0750", "chmod 0700")
	if err := errors.Join(os.Chmod(folder, 0o700), os.Mkdir(filepath.Join(folder, "check.new"), 0o700)); err != nil {
		t.Fatal(err)
	}
	_, err = Probe(folder)
	fails(t, err, nil, folder, "write to the data folder", "run this as the daemon's user")
}

func TestProbeVolumes(t *testing.T) {
	folder := made(t)
	f, err := Open(t.Context(), folder, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []kv.Month{"2026-10", "2026-11"} {
		if _, err := f.Engine.Volume(t.Context(), m, true); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := f.ProbeVolumes(t.Context()); n != 2 || err != nil {
		t.Errorf("%d volumes, %v", n, err)
	}
	if err := errors.Join(f.Close(), os.RemoveAll(filepath.Join(folder, journalFolder, "2026-10"))); err != nil {
		t.Fatal(err)
	}
	if f, err = Open(t.Context(), folder, Options{}); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n, err := f.ProbeVolumes(t.Context())
	fails(t, err, nil, "1 of 2 volumes cannot be used", "2026-10")
	if n != 2 {
		t.Errorf("%d volumes", n)
	}
}
