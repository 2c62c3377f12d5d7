package housekeeping

import (
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv/kvtest"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
	"copialettere/policy/setup"
)

// TestLinksGoByThemselves keeps house before and after the end of links that nobody used.
func TestLinksGoByThemselves(t *testing.T) {
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
	now := time.Now()
	logins := auth.New(auth.Options{Policy: p, Settings: settings, Now: func() time.Time { return now }})
	defer logins.Close()
	acts := archive.New(archive.Options{Journal: j, Policy: p, Auth: logins})
	anna, root := address(t, "anna@alpha.test"), policy.Actor{Role: policy.RoleOperator, Name: "root"}
	if _, err := acts.Enable(t.Context(), root, anna); err != nil {
		t.Fatal(err)
	}
	var erased []string
	k := New(Options{
		Journal: j, Policy: p, Settings: settings, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Erased: func(archive string) { erased = append(erased, archive) },
	})
	k.Configure(Schedule{Archive: acts, KeepSkips: 90 * 24 * time.Hour})
	if _, _, err := setup.NewLinks(settings).Make(t.Context(), "anna@alpha.test", setup.Choice{Account: setup.AccountArchive, Incoming: setup.IMAP}, now); err != nil {
		t.Fatal(err)
	}
	if _, _, err := logins.MakeSignIn(t.Context(), root, anna); err != nil {
		t.Fatal(err)
	}
	waiting := func() (n int) {
		for _, prefix := range []string{"p", "ik"} {
			end := []byte(prefix)
			end[len(end)-1]++
			for _, err := range settings.Scan(t.Context(), []byte(prefix), end) {
				if err != nil {
					t.Fatal(err)
				}
				n++
			}
		}
		return n
	}
	k.Keep(t.Context(), now)
	if n := waiting(); n != 2 || len(erased) > 0 {
		t.Errorf("%d links wait at once; erased %q", n, erased)
	}
	if _, err := acts.Disable(t.Context(), root, anna, anna.String(), true); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Hour)
	k.Keep(t.Context(), now)
	if n := waiting(); n != 0 || !slices.Equal(erased, []string{anna.String()}) {
		t.Errorf("%d links wait after an hour; erased %q", n, erased)
	}
}
