package kvtest

import (
	"errors"
	"strings"
	"testing"
	"time"

	"copialettere/journal/kv"
)

// wantAbsent checks the error of a store that must be there and is not.
func wantAbsent(t testing.TB, doing string, err error, name string) {
	t.Helper()
	wantErr(t, doing, err, kv.ErrUnavailable)
	if errors.Is(err, kv.ErrNoVolume) || err != nil && !strings.Contains(err.Error(), name) {
		t.Errorf("%s: %v, want an error that names %q", doing, err, name)
	}
}

// putMonths puts a value into the volumes of some months and into the settings, and closes the engine.
func putMonths(t testing.TB, f Absent, months ...kv.Month) {
	t.Helper()
	e := f.Open(t)
	for _, m := range months {
		s, err := e.Volume(t.Context(), m, true)
		if err != nil {
			t.Fatal(err)
		}
		put(t, s, "month", string(m))
	}
	s, err := e.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "month", "none")
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

func testAbsentVolume(t *testing.T, f Absent) {
	putMonths(t, f, "2026-10", "2026-11")
	putBack := f.TakeAway(t, "2026-10")
	e := open(t, f)
	for range 2 {
		if got := months(t, e); got != "[2026-10 2026-11]" {
			t.Errorf("volumes: %s", got)
		}
		for _, create := range []bool{false, true} {
			_, err := e.Volume(t.Context(), "2026-10", create)
			wantAbsent(t, "Volume of an absent month", err, "2026-10")
		}
		if err := e.Drop(t.Context(), "2026-10"); err == nil {
			t.Error("an absent volume was dropped")
		}
		s, err := e.Volume(t.Context(), "2026-11", true)
		if err != nil {
			t.Fatal(err)
		}
		want(t, s, "month", "2026-11")
		// The engine still knows it after reopening.
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		e = open(t, f)
	}
	if s, err := e.Volume(t.Context(), "2026-12", true); err != nil {
		t.Errorf("a new volume beside an absent one: %v", err)
	} else {
		put(t, s, "month", "2026-12")
	}
	if _, err := e.Volume(t.Context(), "2026-10", true); err == nil {
		t.Fatal("an absent volume was opened")
	}
	putBack()
	deadline := time.Now().Add(30 * time.Second)
	for {
		s, err := e.Volume(t.Context(), "2026-10", false)
		if err == nil {
			want(t, s, "month", "2026-10")
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("Volume of a month that was put back: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := e.Drop(t.Context(), "2026-10"); err != nil {
		t.Errorf("Drop of a month that was put back: %v", err)
	}
	if got := months(t, e); got != "[2026-11 2026-12]" {
		t.Errorf("volumes: %s", got)
	}
}

func testAbsentSettings(t *testing.T, f Absent) {
	putMonths(t, f, "2026-11")
	putBack := f.TakeAway(t, "")
	e := open(t, f)
	for range 2 {
		_, err := e.Settings(t.Context())
		wantAbsent(t, "absent Settings", err, "settings")
	}
	if s, err := e.Volume(t.Context(), "2026-11", false); err != nil {
		t.Errorf("a volume without the settings: %v", err)
	} else {
		want(t, s, "month", "2026-11")
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	putBack()
	s, err := open(t, f).Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want(t, s, "month", "none")
}

func testForget(t *testing.T, f Absent) {
	ctx := t.Context()
	putMonths(t, f, "2026-10", "2026-11")
	putBack := f.TakeAway(t, "2026-10")
	e := open(t, f)
	wantErr(t, "Forget of a month that never was", e.Forget(ctx, "2026-09"), kv.ErrNoVolume)
	if err := e.Forget(ctx, "2026-11"); err == nil || errors.Is(err, kv.ErrNoVolume) {
		t.Errorf("Forget of a volume that is there: %v, want it refused", err)
	}
	s, err := e.Volume(ctx, "2026-11", false)
	if err != nil {
		t.Fatal(err)
	}
	want(t, s, "month", "2026-11")
	if err := e.Forget(ctx, "2026-10"); err != nil {
		t.Errorf("Forget: %v", err)
	}
	wantErr(t, "Forget again", e.Forget(ctx, "2026-10"), kv.ErrNoVolume)
	for range 2 {
		if got := months(t, e); got != "[2026-11]" {
			t.Errorf("volumes: %s", got)
		}
		_, err := e.Volume(ctx, "2026-10", false)
		wantErr(t, "Volume of a forgotten month", err, kv.ErrNoVolume)
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		e = open(t, f)
	}
	// Created anew, it is not the one that was forgotten.
	if s, err = e.Volume(ctx, "2026-10", true); err != nil {
		t.Fatal(err)
	}
	want(t, s, "month", "-")
	put(t, s, "month", "new")
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	f.TakeAway(t, "2026-10")
	putBack()
	_, err = open(t, f).Volume(ctx, "2026-10", true)
	wantAbsent(t, "Volume whose place another one has", err, "2026-10")
}
