package housekeeping

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv/kvtest"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/setup"
)

// TestSetUpLinksGoByThemselves keeps house before and after the end of a link that nobody used.
func TestSetUpLinksGoByThemselves(t *testing.T) {
	engine := kvtest.NewMemory(kvtest.NoWeakness).Open(t)
	settings, err := engine.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Open(t.Context(), settings, policy.Config{Domains: []policy.Domain{{Name: "alpha.test"}}})
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(kvtest.Eager(engine), journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(j.Close(), engine.Close()); err != nil {
			t.Error(err)
		}
	}()
	k := New(Options{Journal: j, Policy: p, Settings: settings, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	k.Configure(Schedule{Archive: archive.New(archive.Options{Journal: j, Policy: p}), KeepSkips: 90 * 24 * time.Hour})
	now := time.Now()
	if _, _, err := setup.NewLinks(settings).Make(t.Context(), "anna@alpha.test", setup.Choice{Account: setup.AccountArchive, Incoming: setup.IMAP}, now); err != nil {
		t.Fatal(err)
	}
	waiting := func() (n int) {
		for _, err := range settings.Scan(t.Context(), []byte("p"), []byte("q")) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		return n
	}
	k.Keep(t.Context(), now)
	if n := waiting(); n != 1 {
		t.Errorf("%d links wait at once", n)
	}
	k.Keep(t.Context(), now.Add(time.Hour))
	if n := waiting(); n != 0 {
		t.Errorf("%d links wait after an hour", n)
	}
}
