package housekeeping

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv/kvtest"
	"copialettere/policy"
	"copialettere/policy/archive"
)

// TestDeletedGoByThemselves has a Keeper run for days. What was deleted by hand goes by itself when it can no longer be brought back, with its
// bytes; what is held, or was brought back, stays.
func TestDeletedGoByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := kvtest.NewMemory(kvtest.NoWeakness).Open(t)
		settings, err := engine.Settings(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p, err := policy.Open(t.Context(), settings, policy.Config{Domains: []policy.Domain{{Name: "alpha.test"}}})
		if err != nil {
			t.Fatal(err)
		}
		j, err := journal.Open(kvtest.Eager(engine), journal.Options{
			Settings: &journal.Settings{Lock: policy.SettingsLock, Open: policy.ArchiveOn, Held: policy.AnyHeld},
		})
		if err != nil {
			t.Fatal(err)
		}
		acts := archive.New(archive.Options{Journal: j, Policy: p})
		k := New(Options{Journal: j, Policy: p, Settings: settings, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
		k.Configure(Schedule{Archive: acts, KeepSkips: 90 * 24 * time.Hour})
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { k.Run(ctx) })
		defer func() {
			stop()
			running.Wait()
			if err := errors.Join(j.Close(), engine.Close()); err != nil {
				t.Error(err)
			}
		}()

		anna, bruno := address(t, "anna@alpha.test"), address(t, "bruno@alpha.test")
		root := policy.Actor{Role: policy.RoleOperator, Name: "root"}
		var folders []journal.Ref
		for _, a := range []policy.Address{anna, bruno} {
			if _, err := p.Enable(t.Context(), a, root); err != nil {
				t.Fatal(err)
			}
			if _, err := acts.Set(t.Context(), root, a, []policy.Assignment{{Key: policy.KeyManualDelete, Value: "on"}}); err != nil {
				t.Fatal(err)
			}
			for i := range 3 {
				folders = append(folders, deliver(t, j, a, byte('0'+i)))
			}
		}
		folders = []journal.Ref{folders[0], folders[3]}
		all := verify(t, j).Chunks
		for i, a := range []policy.Address{anna, bruno} {
			if d, err := acts.Empty(t.Context(), policy.Actor{Role: policy.RoleOwner, Name: a.String()}, folders[i]); err != nil || d.UIDs.Count() != 3 {
				t.Fatalf("empty: %+v, %v", d, err)
			}
		}
		if _, err := acts.HoldMailbox(t.Context(), root, bruno, "case 1"); err != nil {
			t.Fatal(err)
		}
		aside := func(a policy.Address) (n int) {
			for _, err := range j.Aside(t.Context(), a.String()) {
				if err != nil {
					t.Fatal(err)
				}
				n++
			}
			return n
		}
		owner := policy.Actor{Role: policy.RoleOwner, Name: anna.String()}
		time.Sleep(journal.DeletedGrace - time.Minute)
		if d, err := acts.Undelete(t.Context(), owner, folders[0].Only()); err != nil || d.To.UID != 4 {
			t.Fatalf("undelete a minute before the end: %+v, %v", d, err)
		}
		time.Sleep(time.Minute)
		second := folders[0]
		second.UID = 2
		if _, err := acts.Undelete(t.Context(), owner, second.Only()); !errors.Is(err, journal.ErrGone) {
			t.Errorf("undelete at the end: %v", err)
		}
		time.Sleep(purgeEvery + time.Minute)
		if a, b := aside(anna), aside(bruno); a != 0 || b != 3 {
			t.Errorf("an hour later %d and %d deleted messages are left, want none and the 3 that are held", a, b)
		}
		if _, err := acts.Undelete(t.Context(), owner, second.Only()); !errors.Is(err, journal.ErrGone) {
			t.Errorf("undelete afterwards: %v", err)
		}
		time.Sleep(2*sweepEvery + time.Minute)
		held := verify(t, j)
		if held.Orphans > 0 || held.Chunks >= all {
			t.Errorf("%d chunks of %d are left, %d of them of no message", held.Chunks, all, held.Orphans)
		}
		if _, err := acts.ReleaseMailbox(t.Context(), root, bruno); err != nil {
			t.Fatal(err)
		}
		time.Sleep(purgeEvery + 2*sweepEvery + time.Minute)
		if r := verify(t, j); aside(bruno) != 0 || r.Orphans > 0 || r.Chunks >= held.Chunks {
			t.Errorf("after the release %d deleted messages are left, and %d chunks of %d, %d of no message", aside(bruno), r.Chunks, held.Chunks, r.Orphans)
		}
	})
}

func address(t *testing.T, text string) policy.Address {
	t.Helper()
	a, err := policy.ParseAddress(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// deliver archives a message of one letter, and returns its place.
func deliver(t *testing.T, j *journal.Journal, a policy.Address, letter byte) journal.Ref {
	t.Helper()
	d := j.NewDraft(t.Context())
	defer d.Discard()
	text := make([]byte, 10_000)
	for i := range text {
		text[i] = letter
	}
	if _, err := d.Write(append([]byte("Subject: "+a.String()+"\r\n\r\n"), text...)); err != nil {
		t.Fatal(err)
	}
	placed, err := d.Commit(t.Context(), journal.Envelope{Transaction: "T"}, []journal.Intent{{Mailbox: a.String(), Direction: journal.Received}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	j.Delivered(placed[0].Ref, "T")
	return placed[0].Ref
}

func verify(t *testing.T, j *journal.Journal) *journal.Report {
	t.Helper()
	r, err := j.Verify(t.Context(), journal.EvidenceOptions{}, nil)
	if err != nil || r.Faults > 0 {
		t.Fatalf("verify: %v %q", err, r.Details)
	}
	return r
}
