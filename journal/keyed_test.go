package journal

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"copialettere/journal/kv"
	"copialettere/journal/kv/keyed"
	"copialettere/journal/kv/level"
)

// keyedFixture is a journal whose values are sealed under the keys of mailboxes.
func keyedFixture(t *testing.T) *fixture {
	f := newFixture(t)
	f.keys = filepath.Join(f.dir, "mailbox.keys")
	f.open()
	return f
}

// stored yields what the engine below the keys has, with the journal closed.
func (f *fixture) stored() (pairs []kv.Pair) {
	f.t.Helper()
	f.close()
	var e kv.Engine
	if f.memory != nil {
		e = f.memory.Open(f.t)
	} else {
		var err error
		if e, err = level.Open(filepath.Join(f.dir, "journal"), f.level); err != nil {
			f.t.Fatal(err)
		}
	}
	defer e.Close()
	months, err := e.Volumes(f.ctx())
	if err != nil {
		f.t.Fatal(err)
	}
	for _, m := range months {
		s, err := e.Volume(f.ctx(), m, false)
		if err != nil {
			f.t.Fatal(err)
		}
		for p, err := range s.Scan(f.ctx(), nil, nil) {
			if err != nil {
				f.t.Fatal(err)
			}
			pairs = append(pairs, p)
		}
	}
	return pairs
}

// TestKeyed has everything that names people sealed under the key of its mailbox, also where it is moved and deleted, and nothing else.
func TestKeyed(t *testing.T) {
	f := keyedFixture(t)
	f.office(3)
	entries := f.list(mario)
	if err := f.deleteErr(entries[0].Ref); err != nil {
		t.Fatal(err)
	}
	f.verify()
	kinds := make(map[string]int)
	for _, p := range f.stored() {
		what := string(p.Key[:1])
		if p.Key[0] == 'g' && isSkip(p.Value) {
			what = "skip"
		}
		sealed := len(p.Value) > 0 && p.Value[0] == kv.Sealed
		if sealed != (what == "e" || what == "t" || what == "skip") {
			t.Errorf("%q: sealed is %t", p.Key, sealed)
		}
		kinds[what]++
	}
	if kinds["e"] < 6 || kinds["t"] != 1 || kinds["skip"] != 3 || kinds["g"] == 0 || kinds["a"] == 0 || kinds["c"] == 0 {
		t.Errorf("kinds: %v", kinds)
	}
	f.open()
}

// TestEraseKeyed destroys the key of a mailbox with its erasure, and only then.
func TestEraseKeyed(t *testing.T) {
	f := keyedFixture(t)
	f.office(5)
	others := len(f.list(anna))
	content := func() []byte {
		t.Helper()
		b, err := os.ReadFile(f.keys)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	held := f.list(mario)[3]
	if err := f.Hold(f.ctx(), held.Ref, "operator", "case 1"); err != nil {
		t.Fatal(err)
	}
	before := content()
	if _, err := f.Erase(f.ctx(), mario, EraseOptions{}); !errors.Is(err, ErrHeld) {
		t.Fatalf("erase under a hold: %v", err)
	}
	if _, changed := keyed.Scrub(before, content()); changed {
		t.Error("a key was destroyed under a hold")
	}
	f.bytes(held.Ref)
	if err := f.Release(f.ctx(), held.Ref, "operator", "closed"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Erase(f.ctx(), mario, EraseOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, changed := keyed.Scrub(before, content()); !changed {
		t.Error("no key was destroyed")
	}
	f.put(mario, letter("a new beginning"))
	f.reopen()
	if got := f.list(mario); len(got) != 1 || got[0].Subject != "a new beginning" {
		t.Errorf("after the erasure: %v", got)
	}
	if got := f.list(anna); len(got) != others {
		t.Errorf("%d entries of another mailbox, want %d", len(got), others)
	}
}

// TestEraseKeyedAgain breaks off each erasure where the key is to be destroyed: the next one destroys it.
func TestEraseKeyedAgain(t *testing.T) {
	f := keyedFixture(t)
	f.office(2)
	before, err := os.ReadFile(f.keys)
	if err != nil {
		t.Fatal(err)
	}
	f.close()
	f.wrap = func(e kv.Engine) kv.Engine { return brokenKeys{e} }
	f.open()
	if _, err := f.Erase(f.ctx(), mario, EraseOptions{}); !errors.Is(err, errBroken) {
		t.Fatalf("erase: %v", err)
	}
	f.wrap = nil
	f.reopen()
	if got := f.list(mario); len(got) != 0 {
		t.Errorf("%d entries are left", len(got))
	}
	if _, err := f.Erase(f.ctx(), mario, EraseOptions{}); err != nil {
		t.Fatal(err)
	}
	if now, err := os.ReadFile(f.keys); err != nil {
		t.Fatal(err)
	} else if _, changed := keyed.Scrub(before, now); !changed {
		t.Error("the key was not destroyed")
	}
}

var errBroken = errors.New("broken off")

// brokenKeys is an engine that destroys no key.
type brokenKeys struct{ kv.Engine }

func (b brokenKeys) RetireKeys(mailbox string) { b.Engine.(kv.Keyed).RetireKeys(mailbox) }

func (b brokenKeys) DestroyKeys(context.Context, string) error { return errBroken }

// TestLostKey has mail go on where the key of a mailbox is lost: it is told what is wrong, what comes now can be read, a retry is journaled once more, and the
// mailbox can be erased.
func TestLostKey(t *testing.T) {
	f := keyedFixture(t)
	first := f.deliver(anna, letter("one"), "t1").Ref
	sent := Intent{Mailbox: anna, Direction: Sent, Recipients: []string{mario}}
	if _, err := f.try(letter("sent"), "t2", sent); err != nil {
		t.Fatal(err)
	}
	f.close()
	for _, path := range []string{f.keys, f.keys + keyed.CopySuffix} {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b[bytes.LastIndexByte(b, 0)-100] ^= 1
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f.open()
	_, err := f.Entry(f.ctx(), first)
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "put the file of these keys back from a backup") {
		t.Errorf("an entry whose key is lost: %v", err)
	}
	if r, err := f.Verify(f.ctx(), EvidenceOptions{}, nil); err != nil || r.Faults == 0 {
		t.Errorf("verify: %v, %v", r, err)
	}
	f.put(anna, letter("two"))
	sent.Recipients = []string{giove}
	for _, one := range []struct {
		message []byte
		intent  Intent
	}{{letter("one"), received(anna)}, {letter("sent"), sent}} {
		p, err := f.try(one.message, "t3", one.intent)
		if err != nil || p[0].Found {
			t.Errorf("a retry of what cannot be read: %v, %v", p, err)
			continue
		}
		f.wantBytes(p[0].Ref, one.message)
	}
	var log bytes.Buffer
	f.Journal.log = slog.New(slog.NewTextHandler(&log, nil))
	if e, err := f.Erase(f.ctx(), anna, EraseOptions{}); err != nil || e.Damaged == 0 {
		t.Fatalf("erase: %+v, %v", e, err)
	}
	if log.Len() > 0 {
		t.Errorf("whoever restores an older backup is told to mend what an erasure destroyed: %s", &log)
	}
	if got := f.list(anna); len(got) != 0 {
		t.Errorf("%d entries are left", len(got))
	}
}
