package checkpoint

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/evidence"
	"copialettere/journal/kv/kvtest"
	"copialettere/policy/checkpoint/tsatest"
)

// rig is a journal with a Maker.
type rig struct {
	t       *testing.T
	dir     string
	journal *journal.Journal
	maker   *Maker
	now     time.Time
	mailed  []string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), now: time.Date(2026, 11, 30, 4, 0, 0, 0, time.UTC)}
	var err error
	engine := kvtest.NewMemory(kvtest.NoWeakness).Open(t)
	if r.journal, err = journal.Open(engine, journal.Options{Now: func() time.Time { return r.now }}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.journal.Close() })
	if _, err := r.journal.Adopt(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.maker = New(Options{
		Journal: r.journal, KeyFile: r.path("evidence.key"), PublicFile: r.path("evidence.pub"), Name: "archivio.alpha.test",
		Mail: func(text string) { r.mailed = append(r.mailed, text) },
	}, Settings{})
	return r
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

func (r *rig) deliver(n int) {
	r.t.Helper()
	d := r.journal.NewDraft(r.t.Context())
	defer d.Discard()
	fmt.Fprintf(d, "From: anna@ext.test\r\nSubject: %d\r\n\r\nText\r\n", n)
	_, err := d.Commit(r.t.Context(), journal.Envelope{MailFrom: "anna@ext.test", Transaction: fmt.Sprint("t", n)},
		[]journal.Intent{{Mailbox: "mario@alpha.test", Direction: journal.Received, RcptTo: "mario@alpha.test", Class: "ordinary"}}, nil)
	if err != nil {
		r.t.Fatal(err)
	}
}

// make makes a checkpoint a day later.
func (r *rig) make() *Made {
	r.t.Helper()
	r.now = r.now.AddDate(0, 0, 1)
	made, err := r.maker.Make(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return made
}

// verify returns what a verification finds.
func (r *rig) verify() []string {
	r.t.Helper()
	o, err := r.maker.Evidence()
	if err != nil {
		r.t.Fatal(err)
	}
	report, err := r.journal.Verify(r.t.Context(), o, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return report.Details
}

func TestKeys(t *testing.T) {
	r := newRig(t)
	r.deliver(1)
	r.make() // makes the key
	info, err := os.Stat(r.path("evidence.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	if found := r.verify(); len(found) > 0 {
		t.Fatal(found)
	}
	if err := os.Remove(r.path("evidence.key")); err != nil {
		t.Fatal(err)
	}
	_, err = r.maker.Make(t.Context())
	if !errors.Is(err, ErrKey) || !strings.Contains(err.Error(), "checkpoint -new-key") {
		t.Fatalf("a lost key: %v", err)
	}
	verifier, err := r.maker.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	r.make()
	if found := r.verify(); len(found) > 0 {
		t.Errorf("after a new key: %q", found)
	}
	// Whoever trusts only keys that the data folder cannot add to finds the change.
	r.maker.Configure(Settings{VerifierKeys: []string{verifier}})
	if found := strings.Join(r.verify(), "\n"); !strings.HasPrefix(found, "checkpoint 0: its note: it is signed by archivio.alpha.test+") || strings.Contains(found, "checkpoint 1") {
		t.Errorf("with the new key alone: %s", found)
	}
	if err := os.WriteFile(r.path("mine"), []byte("PRIVATE+KEY+x+1+2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.maker.Configure(Settings{KeyFile: r.path("mine")})
	if _, err := r.maker.Make(t.Context()); !errors.Is(err, ErrKey) {
		t.Errorf("a malformed key: %v", err)
	}
	if _, err := r.maker.NewKey(); !errors.Is(err, ErrKey) || !strings.Contains(err.Error(), "signing_key") {
		t.Errorf("a new key in place of a configured one: %v", err)
	}
	signing, verifier, err := evidence.NewKey("mine")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.path("mine"), []byte(signing+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if keys, err := r.maker.Keys(); err != nil || len(keys) != 3 || keys[2] != verifier {
		t.Errorf("%q, %v", keys, err)
	}
}

// TestOutside keeps checkpoints in a folder, which is not always there, and finds an archive that was put back as a whole.
func TestOutside(t *testing.T) {
	r := newRig(t)
	folder := r.path("outside")
	r.maker.Configure(Settings{Folder: folder, Mail: true})
	r.deliver(1)
	if made := r.make(); len(made.Faults) != 1 || !errors.Is(made.Faults[0], os.ErrNotExist) || made.Outside != "" {
		t.Fatalf("without the folder: %+v", made)
	}
	if _, err := r.maker.Evidence(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without the folder: %v", err)
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	r.deliver(2)
	made := r.make()
	if len(made.Faults) > 0 || filepath.Base(made.Outside) != "checkpoint-000001-20261202T040000Z.txt" {
		t.Fatalf("%+v", made)
	}
	files, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil || len(files) != 3 {
		t.Errorf("%q, %v", files, err)
	}
	if len(r.mailed) != 2 || !strings.Contains(r.mailed[1], "\n\n"+made.Note) {
		t.Errorf("mailed: %q", r.mailed)
	}
	if found := r.verify(); len(found) > 0 {
		t.Fatal(found)
	}

	// An older copy of the archive has another second checkpoint.
	older := newRig(t)
	for _, name := range []string{"evidence.key", "evidence.pub"} {
		b, err := os.ReadFile(r.path(name))
		if err == nil {
			err = os.WriteFile(older.path(name), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	older.maker.Configure(Settings{Folder: folder})
	older.deliver(1)
	older.now = older.now.Add(time.Hour)
	older.make()
	if found := strings.Join(older.verify(), "\n"); !strings.Contains(found, "checkpoint-000001-20261202T040000Z.txt: it is of checkpoint 1, and the archive has 1 in all: the archive was put back to an earlier state") {
		t.Errorf("an older copy: %s", found)
	}
	older.make()
	if found := strings.Join(older.verify(), "\n"); !strings.Contains(found, "checkpoint-000001-20261202T040000Z.txt: it is signed for another history than that of checkpoint 1") {
		t.Errorf("an older copy that went on: %s", found)
	}
}

// TestKeyFaults fails each step of making a key. A key that signs must be among the public ones.
func TestKeyFaults(t *testing.T) {
	for at := range 20 {
		dir := t.TempDir()
		key, public := filepath.Join(dir, "evidence.key"), filepath.Join(dir, "evidence.pub")
		steps := 0
		_, err := MakeKey(key, public, "archivio", func(string) error {
			if steps++; steps > at {
				return errors.New("invented")
			}
			return nil
		})
		signing, readErr := readKey(key)
		if readErr != nil && !errors.Is(readErr, os.ErrNotExist) {
			t.Fatal(readErr)
		}
		if readErr == nil {
			verifier, err := evidence.VerifierKey(signing)
			known, readErr := readLines(public)
			if err != nil || readErr != nil || len(known) != 1 || known[0] != verifier {
				t.Errorf("%d steps: the key is %s, and the public ones are %q, %v", at, verifier, known, errors.Join(err, readErr))
			}
		}
		if err == nil {
			if at < 2 || readErr != nil {
				t.Errorf("%d steps made a key: %v", at, readErr)
			}
			return
		}
	}
	t.Error("no key was made")
}

// TestStamp has an authority made with openssl stamp a checkpoint, and openssl check it.
func TestStamp(t *testing.T) {
	a := tsatest.New(t)
	r := newRig(t)
	folder := r.path("outside")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	settings := Settings{StampURL: a.Serve(), StampCA: a.CA, Folder: folder}
	r.maker.Configure(settings)
	r.deliver(1)
	made := r.make()
	if len(made.Faults) > 0 || made.Stamped == nil || made.Stamped.Signer != "CN=Prova TSA" || time.Since(made.Stamped.Time) > time.Minute {
		t.Fatalf("%+v", made)
	}
	stamp := strings.TrimSuffix(made.Outside, ".txt") + ".tsr"
	if out := a.Run("ts", "-verify", "-data", made.Outside, "-in", stamp, "-CAfile", a.CA); !strings.Contains(string(out), "Verification: OK") {
		t.Errorf("openssl says %s", out)
	}
	if found := r.verify(); len(found) > 0 {
		t.Error(found)
	}
	digest := sha256.Sum256([]byte(made.Note))
	for name, check := range map[string]func() error{
		"another note": func() error {
			roots, _ := stampRoots(settings)
			_, err := evidence.CheckStamp(made.Stamp, sha256.Sum256([]byte("x")), roots)
			return err
		},
		"a flipped bit": func() error {
			roots, _ := stampRoots(settings)
			b := append([]byte(nil), made.Stamp...)
			b[len(b)-20] ^= 1
			_, err := evidence.CheckStamp(b, digest, roots)
			return err
		},
		"another authority": func() error {
			roots, err := stampRoots(Settings{StampCA: tsatest.New(t).CA})
			if err != nil {
				t.Fatal(err)
			}
			_, err = evidence.CheckStamp(made.Stamp, digest, roots)
			return err
		},
		"no answer": func() error {
			_, err := evidence.CheckStamp(nil, digest, nil)
			return err
		},
	} {
		if err := check(); !errors.Is(err, evidence.ErrStamp) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNoStamp has an authority fail in several ways: the checkpoint stands, and the fault is told.
func TestNoStamp(t *testing.T) {
	refusal := []byte{0x30, 0x05, 0x30, 0x03, 0x02, 0x01, 0x02} // PKIStatus 2, rejection, and no token
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		says    string
	}{
		"an error":  {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusServiceUnavailable) }, "503"},
		"a refusal": {func(w http.ResponseWriter, _ *http.Request) { w.Write(refusal) }, "the authority refused: status 2"},
		"nonsense":  {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }, "malformed answer"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(test.handler)
			defer server.Close()
			r := newRig(t)
			r.maker.Configure(Settings{StampURL: server.URL})
			r.deliver(1)
			made := r.make()
			if len(made.Faults) != 1 || !strings.Contains(made.Faults[0].Error(), test.says) || !strings.Contains(made.Faults[0].Error(), "checkpoint 0 has no time stamp") {
				t.Errorf("%v", made.Faults)
			}
			if found := r.verify(); len(found) > 0 {
				t.Error(found)
			}
		})
	}
	r := newRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.maker.Make(ctx); err == nil {
		t.Error("a checkpoint was made after the end of its context")
	}
}
