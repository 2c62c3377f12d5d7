package level

import (
	"strings"
	"testing"

	"copialettere/journal/kv"
)

func putOne(t testing.TB, s kv.Store, key, value string) {
	t.Helper()
	if err := tryPut(t, s, key, value); err != nil {
		t.Fatalf("put %q: %v", key, err)
	}
}

func tryPut(t testing.TB, s kv.Store, key, value string) error {
	return s.Update(t.Context(), nil, func(tx kv.Tx) error {
		tx.Put([]byte(key), []byte(value))
		return nil
	})
}

func openVolume(t testing.TB, e kv.Engine, m kv.Month) kv.Store {
	t.Helper()
	s, err := e.Volume(t.Context(), m, true)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestTrace pins the order of storage operations, so a missing sync is noticed.
func TestTrace(t *testing.T) {
	f := newBadDisk(t)
	f.tracing = true
	e := f.Open(t)
	defer e.Close()
	s := openVolume(t, e, "2026-11")
	wantTrace(t, f, "creation", `
		create MANIFEST-000000
		write MANIFEST-000000
		sync MANIFEST-000000
		sync names
		current MANIFEST-000000
		create 000001.log
		write MANIFEST-000000
		sync MANIFEST-000000`)
	putOne(t, s, "a", "1")
	wantTrace(t, f, "first update", `
		write 000001.log
		sync 000001.log
		sync names`)
	putOne(t, s, "b", "2")
	wantTrace(t, f, "second update", `
		write 000001.log
		sync 000001.log`)
	if err := s.Update(t.Context(), nil, func(tx kv.Tx) error { _, err := tx.Get([]byte("a")); return err }); err != nil {
		t.Fatal(err)
	}
	wantTrace(t, f, "update that writes nothing", ``)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	wantTrace(t, f, "close", ``)
}

func wantTrace(t *testing.T, f *onBadDisk, what, trace string) {
	t.Helper()
	f.mu.Lock()
	got := f.trace
	f.trace = nil
	f.mu.Unlock()
	if wanted := strings.TrimSpace(strings.ReplaceAll(trace, "\t", "")); strings.Join(got, "\n") != wanted {
		t.Errorf("%s:\n%s\nwant:\n%s", what, strings.Join(got, "\n"), wanted)
	}
}
