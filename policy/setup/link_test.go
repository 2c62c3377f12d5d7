package setup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"copialettere/journal/kv"
	"copialettere/journal/kv/level"
)

// openSettings opens the settings store in a folder. close closes it, as the end of the test does.
func openSettings(t *testing.T, folder string) (settings kv.Store, close func()) {
	t.Helper()
	engine, err := level.Open(folder, level.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if settings, err = engine.Settings(t.Context()); err != nil {
		t.Fatal(err)
	}
	once := sync.OnceFunc(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(once)
	return settings, once
}

func makeLink(t *testing.T, l *Links, archive string, account Account, now time.Time) string {
	t.Helper()
	token, until, err := l.Make(t.Context(), archive, Choice{account, IMAP}, now)
	if err != nil || !until.Equal(now.Add(LinkLife)) || len(token) != 22 {
		t.Fatalf("%q until %s, %v", token, until, err)
	}
	return token
}

func TestLinks(t *testing.T) {
	settings, _ := openSettings(t, t.TempDir())
	l := NewLinks(settings)
	now := time.Now()
	expect := func(step, token string, at time.Time, works bool) {
		t.Helper()
		if _, err := l.Look(t.Context(), token, at); (err == nil) != works || err != nil && !errors.Is(err, ErrNoLink) {
			t.Errorf("%s: look: %v", step, err)
		}
	}
	use := func(step, token string, at time.Time, works bool) {
		t.Helper()
		link, err := l.Use(t.Context(), token, at)
		if (err == nil) != works || err != nil && !errors.Is(err, ErrNoLink) {
			t.Errorf("%s: use: %v", step, err)
		}
		if works && (link.Archive != "mario@alpha.test" || link.Incoming != IMAP) {
			t.Errorf("%s: %+v", step, link)
		}
	}
	first := makeLink(t, l, "mario@alpha.test", AccountArchive, now)
	for range 3 {
		expect("to look does not use it up", first, now, true)
	}
	use("once", first, now, true)
	use("twice", first, now, false)
	expect("used", first, now, false)

	late := makeLink(t, l, "mario@alpha.test", AccountArchive, now)
	expect("in the last moment", late, now.Add(LinkLife-time.Second), true)
	expect("too late", late, now.Add(LinkLife), false)
	use("too late", late, now.Add(LinkLife), false)
	use("in the last moment", late, now.Add(LinkLife-time.Second), true)

	old := makeLink(t, l, "mario@alpha.test", AccountArchive, now)
	mailbox := makeLink(t, l, "mario@alpha.test", AccountMailbox, now)
	makeLink(t, l, "anna@alpha.test", AccountArchive, now)
	fresh := makeLink(t, l, "mario@alpha.test", AccountArchive, now)
	expect("the one before", old, now, false)
	expect("of the other account", mailbox, now, true)
	if until, err := l.Waiting(t.Context(), "mario@alpha.test"); len(until) != 2 || err != nil || !until[0].Equal(now.Add(LinkLife)) {
		t.Errorf("waiting until %v, %v", until, err)
	}
	use("the newest", fresh, now, true)

	for _, token := range []string{"", "x", strings.Repeat("A", 22), strings.Repeat("A", 21), strings.Repeat("A", 43), fresh + "=", "../../m", mailbox[:21] + "\n", mailbox + mailbox} {
		expect("no token", token, now, false)
		use("no token", token, now, false)
	}
	if n, err := l.Sweep(t.Context(), now); n != 0 || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
	if n, err := l.Sweep(t.Context(), now.Add(LinkLife)); n != 2 || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
	for pair, err := range settings.Scan(t.Context(), []byte(linkPrefix), nil) {
		t.Errorf("left: %q, %v", pair.Key, err)
	}
}

// TestLinkAtRest: the store has the digest of a token, and not the token.
func TestLinkAtRest(t *testing.T) {
	settings, _ := openSettings(t, t.TempDir())
	token := makeLink(t, NewLinks(settings), "mario@alpha.test", AccountArchive, time.Now())
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(raw)
	n := 0
	for pair, err := range settings.Scan(t.Context(), []byte{1}, nil) {
		if err != nil {
			t.Fatal(err)
		}
		stored := bytes.Join([][]byte{pair.Key, pair.Value}, nil)
		if bytes.Contains(stored, []byte(token)) || bytes.Contains(stored, raw) {
			t.Errorf("the token is in %q", stored)
		}
		if bytes.Equal(pair.Key, append([]byte("p"), sum[:]...)) {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d keys of the token", n)
	}
}

// TestLinkRace has many use one link at the same time: one succeeds.
func TestLinkRace(t *testing.T) {
	settings, _ := openSettings(t, t.TempDir())
	l := NewLinks(settings)
	token := makeLink(t, l, "mario@alpha.test", AccountArchive, time.Now())
	var used atomic.Int64
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if _, err := l.Use(t.Context(), token, time.Now()); err == nil {
				used.Add(1)
			} else if !errors.Is(err, ErrNoLink) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := used.Load(); n != 1 {
		t.Errorf("used %d times", n)
	}
}

// TestLinkRestart: a link survives the end of the program, and one that was used does not come back.
func TestLinkRestart(t *testing.T) {
	folder := t.TempDir()
	settings, stop := openSettings(t, folder)
	l := NewLinks(settings)
	used, waits := makeLink(t, l, "anna@alpha.test", AccountArchive, time.Now()), makeLink(t, l, "mario@alpha.test", AccountArchive, time.Now())
	if _, err := l.Use(t.Context(), used, time.Now()); err != nil {
		t.Fatal(err)
	}
	stop()
	settings, _ = openSettings(t, folder)
	l = NewLinks(settings)
	if _, err := l.Use(t.Context(), used, time.Now()); !errors.Is(err, ErrNoLink) {
		t.Errorf("a used link: %v", err)
	}
	if _, err := l.Use(t.Context(), waits, time.Now()); err != nil {
		t.Errorf("a link that waits: %v", err)
	}
}

// faultyStore fails every update, having applied it or not.
type faultyStore struct {
	kv.Store
	applies bool
}

var errDisk = errors.New("the disk is gone")

func (s faultyStore) Update(ctx context.Context, locks []string, fn func(kv.Tx) error) error {
	if s.applies {
		if err := s.Store.Update(ctx, locks, fn); err != nil {
			return err
		}
	}
	return errDisk
}

// TestLinkFault: nobody gets what a link is for unless its use is durable.
func TestLinkFault(t *testing.T) {
	settings, _ := openSettings(t, t.TempDir())
	good := NewLinks(settings)
	for _, applies := range []bool{false, true} {
		token := makeLink(t, good, "mario@alpha.test", AccountArchive, time.Now())
		bad := NewLinks(faultyStore{settings, applies})
		if link, err := bad.Use(t.Context(), token, time.Now()); !errors.Is(err, errDisk) || link != (Link{}) {
			t.Errorf("%+v, %v", link, err)
		}
		if _, err := good.Use(t.Context(), token, time.Now()); (err == nil) == applies {
			t.Errorf("after a fault: %v", err)
		}
		if token, _, err := bad.Make(t.Context(), "mario@alpha.test", Choice{}, time.Now()); !errors.Is(err, errDisk) || token != "" {
			t.Errorf("%q, %v", token, err)
		}
		if _, err := bad.Sweep(t.Context(), time.Now()); !errors.Is(err, errDisk) {
			t.Error(err)
		}
	}
}
