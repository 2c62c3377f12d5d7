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
	"copialettere/journal/kv/keyed"
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
	if err != nil || id.Format != formatPacked || time.Since(id.Created) > time.Minute {
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

// TestRaise has Make and Open bring a folder of each earlier format to the newest: with a key, to the one that is encrypted.
func TestRaise(t *testing.T) {
	for format := 1; format < Format; format++ {
		for name, c := range map[string]struct {
			raise func(folder string, o Options) error
			o     Options
		}{
			"make":            {func(folder string, o Options) error { _, err := Make(t.Context(), folder, o); return err }, Options{}},
			"open":            {opensWith(t), Options{}},
			"make, encrypted": {func(folder string, o Options) error { _, err := Make(t.Context(), folder, o); return err }, Options{Keys: []Key{{1}}}},
			"open, encrypted": {opensWith(t), Options{Keys: []Key{{1}}}},
		} {
			if isKeyed(format) && c.o.Keys == nil {
				continue // TestRaiseSealed
			}
			t.Run(fmt.Sprint(format, " ", name), func(t *testing.T) {
				folder := made(t)
				if isKeyed(format) {
					if _, err := Make(t.Context(), folder, c.o); err != nil {
						t.Fatal(err)
					}
				}
				want, err := readIdentity(folder)
				if err := errors.Join(err, writeIdentity(folder, want, format), c.raise(folder, c.o)); err != nil {
					t.Fatal(err)
				}
				want.Format = formatOf(c.o.Keys)
				if after, err := readIdentity(folder); err != nil || after != want {
					t.Errorf("identity %+v, %v, want %+v", after, err, want)
				}
				if err := opensWith(t)(folder, c.o); err != nil {
					t.Error(err)
				}
				if c.o.Keys != nil {
					fails(t, opens(t, folder), ErrSealed, folder, "[encryption]")
				}
			})
		}
	}
}

// TestRaiseSealed has neither Make nor Open touch an encrypted folder without a key.
func TestRaiseSealed(t *testing.T) {
	for _, format := range []int{formatKeyed, formatPackedKeyed} {
		folder := filepath.Join(t.TempDir(), "data")
		_, err := Make(t.Context(), folder, Options{Keys: []Key{{1}}})
		want, err2 := readIdentity(folder)
		want.Format = format
		if err := errors.Join(err, err2, writeIdentity(folder, want, format)); err != nil {
			t.Fatal(err)
		}
		if _, err := Make(t.Context(), folder, Options{}); err != nil {
			t.Error(err)
		}
		fails(t, opens(t, folder), ErrSealed, folder, "[encryption]")
		if after, err := readIdentity(folder); err != nil || after != want {
			t.Errorf("identity %+v, %v, want %+v", after, err, want)
		}
	}
}

// TestLostKeys opens an encrypted folder that has lost the keys of the mailboxes. It makes no new ones where the lost ones may come back.
func TestLostKeys(t *testing.T) {
	folder, o := filepath.Join(t.TempDir(), "data"), Options{Keys: []Key{{1}}}
	if _, err := Make(t.Context(), folder, o); err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(folder, mailboxKeysFile)
	if err := errors.Join(os.Remove(keys), opensWith(t)(folder, o)); err != nil {
		t.Errorf("with the other file: %v", err)
	}
	if err := errors.Join(os.Remove(keys), os.Remove(keys+keyed.CopySuffix)); err != nil {
		t.Fatal(err)
	}
	_, made := Make(t.Context(), folder, o)
	for _, err := range []error{opensWith(t)(folder, o), errors.Join(made, opensWith(t)(folder, o))} {
		fails(t, err, ErrAbsent, keys, "put it back from a backup", `write "format":7 into `+filepath.Join(folder, IdentityFile))
	}
	id, err := readIdentity(folder)
	if err := errors.Join(err, writeIdentity(folder, id, formatPacked), opensWith(t)(folder, o)); err != nil {
		t.Errorf("given up for lost: %v", err)
	}
}

// opensWith returns opens with options.
func opensWith(t *testing.T) func(folder string, o Options) error {
	return func(folder string, o Options) error {
		f, err := Open(t.Context(), folder, o)
		if err != nil {
			return err
		}
		return f.Close()
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

// TestAbsentAdvice finds a folder that is no data folder, and gives the advice that fits what is in it.
func TestAbsentAdvice(t *testing.T) {
	for _, c := range []struct {
		name, holds, want string
	}{
		{"nothing", "", "make it with \"copialettere init\", or of a backup"},
		{"something else", "photos", "make it with \"copialettere init\", or of a backup"},
		{"half-restored", "restoring", "a restore into it was broken off: run \"copialettere restore-backup DIR\" again"},
		{"restored but for the identity", "journal restoring", "run \"copialettere restore-backup DIR\" again"},
		{"a journal without an identity", "journal", "its file identity is missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			folder := t.TempDir()
			for _, name := range strings.Fields(c.holds) {
				if err := os.Mkdir(filepath.Join(folder, name), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			err := Check(folder)
			fails(t, err, ErrAbsent, folder, c.want)
			if strings.Contains(c.want, "init") {
				return
			}
			if strings.Contains(err.Error(), "init") {
				t.Errorf("it advises to make one: %v", err)
			}
			_, err = Make(t.Context(), folder, Options{})
			fails(t, err, nil, folder, c.want)
			if strings.Contains(err.Error(), "empty it") {
				t.Errorf("it advises to empty it: %v", err)
			}
		})
	}
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
		"identity":                     {IdentityFile, Format, []string{`although it holds a journal: its file identity is missing`, "restore-backup"}},
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
		"newer format":           {`{"format":9,"id":{"archive":7},"created":[]}`, []string{folder + " has format 9, and this program knows 1 to 8"}},
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
