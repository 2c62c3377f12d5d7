package archive

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/journal/kv/level"
	"copialettere/policy"
)

// failingEngine fails the updates of volumes after a number of successes; below 0 it never does.
type failingEngine struct {
	kv.Engine
	left atomic.Int64
}

func (e *failingEngine) Volume(ctx context.Context, m kv.Month, create bool) (kv.Store, error) {
	s, err := e.Engine.Volume(ctx, m, create)
	if err != nil {
		return nil, err
	}
	return failingStore{s, e}, nil
}

type failingStore struct {
	kv.Store
	e *failingEngine
}

func (s failingStore) Update(ctx context.Context, locks []string, fn func(kv.Tx) error) error {
	if s.e.left.Load() == 0 {
		return fmt.Errorf("test: %w", kv.ErrUnavailable)
	}
	s.e.left.Add(-1)
	return s.Store.Update(ctx, locks, fn)
}

func (s failingStore) Stage(ctx context.Context, pairs []kv.Pair) (kv.Staged, error) {
	return nil, s.Update(ctx, nil, func(tx kv.Tx) error {
		for _, p := range pairs {
			tx.Put(p.Key, p.Value)
		}
		return nil
	})
}

// TestExpired runs the retention over 150 messages that are too old, and checks which deletions are reported.
func TestExpired(t *testing.T) {
	for _, c := range []struct {
		name    string
		request ExpireRequest
		months  string // the retention of the mailbox
		updates int64  // of a volume before it fails; -1 for never
		err     error
		want    []uint64 // entries of each report that was told
	}{
		{"dry run", ExpireRequest{DryRun: true}, "6", -1, nil, nil},
		{"refused", ExpireRequest{}, "6", -1, journal.ErrAbnormal, nil},
		{"nothing to delete", ExpireRequest{}, "none", -1, nil, nil},
		{"done", ExpireRequest{Yes: true}, "6", -1, nil, []uint64{150}},
		{"broken off before anything", ExpireRequest{Yes: true}, "6", 0, kv.ErrUnavailable, nil},
		{"broken off", ExpireRequest{Yes: true}, "6", 1, kv.ErrUnavailable, []uint64{100}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, engine := old(t)
			a, err := policy.ParseAddress("anna@alpha.test")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := o.Policy.Set(t.Context(), a, policy.Actor{Role: policy.RoleOperator, Name: "test"},
				[]policy.Assignment{{Key: policy.KeyRetention, Value: c.months}}); err != nil {
				t.Fatal(err)
			}
			var told []uint64
			o.Expired = func(report *journal.ExpireReport) { told = append(told, report.Removed.Entries) }
			engine.left.Store(c.updates)
			_, err = New(o).Expire(t.Context(), c.request)
			if !errors.Is(err, c.err) {
				t.Errorf("error %v, want %v", err, c.err)
			}
			if fmt.Sprint(told) != fmt.Sprint(c.want) {
				t.Errorf("told of %d, want %d", told, c.want)
			}
			engine.left.Store(-1)
			if report, err := o.Journal.Verify(t.Context(), journal.EvidenceOptions{}, nil); err != nil || report.Faults > 0 {
				t.Errorf("verify: %+v, %v", report, err)
			}
		})
	}
}

// old is an archive with 150 messages of anna that arrived 8 months ago, and one of bruno.
func old(t *testing.T) (Options, *failingEngine) {
	t.Helper()
	inner, err := level.Open(t.TempDir(), level.Options{})
	if err != nil {
		t.Fatal(err)
	}
	engine := &failingEngine{Engine: inner}
	engine.left.Store(-1)
	fill(t, inner)
	j, err := journal.Open(engine, journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(j.Close(), inner.Close()); err != nil {
			t.Error(err)
		}
	})
	settings, err := inner.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Open(t.Context(), settings, policy.Config{Domains: []policy.Domain{{Name: "alpha.test"}}})
	if err != nil {
		t.Fatal(err)
	}
	return Options{Journal: j, Policy: p}, engine
}

func fill(t *testing.T, engine kv.Engine) {
	t.Helper()
	then := time.Now().AddDate(0, -8, 0)
	j, err := journal.Open(engine, journal.Options{Now: func() time.Time { return then }})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 151 {
		mailbox := "anna@alpha.test"
		if i == 0 {
			mailbox = "bruno@alpha.test"
		}
		d := j.NewDraft(t.Context())
		fmt.Fprintf(d, "Subject: %d\r\n\r\nText\r\n", i)
		_, err := d.Commit(t.Context(), journal.Envelope{Transaction: "T"}, []journal.Intent{{Mailbox: mailbox, Direction: journal.Received}}, nil)
		d.Discard()
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestPreviewRetention counts what each retention would delete, and compares that with what a dry run of it counts.
func TestPreviewRetention(t *testing.T) {
	o, _ := old(t)
	a := New(o)
	anna, root := policy.Address{Local: "anna", Domain: "alpha.test"}, policy.Actor{Role: policy.RoleOperator, Name: "test"}
	set := func(value string) {
		t.Helper()
		if _, err := o.Policy.Set(t.Context(), anna, root, []policy.Assignment{{Key: policy.KeyRetention, Value: value}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		inForce, value   string
		wanted, retained string // the retention of the answer, and the one in force
		entries          uint64
	}{
		{"none", "", "none", "none", 0},
		{"none", "6", "6", "none", 150},
		{"none", "12", "12", "none", 0},
		{"6", "", "6", "6", 150},
		{"6", "none", "none", "6", 0},
		{"6", "12", "12", "6", 0},
	} {
		set(c.inForce)
		v, err := a.PreviewRetention(t.Context(), anna, c.value)
		if err != nil || v.Mailbox != "anna@alpha.test" || v.Retention != c.wanted || v.InForce != c.retained || v.Entries != c.entries || v.Held != nil ||
			(v.Oldest == nil) != (c.entries == 0) || (v.Bytes == 0) != (c.entries == 0) || (len(v.Months) == 1) != (c.entries > 0) ||
			c.entries > 0 && (v.Months[0].Entries != v.Entries || v.Months[0].Month != kv.MonthOf(*v.Oldest)) {
			t.Errorf("%q with %q in force: %+v, %v", c.value, c.inForce, v, err)
		}
		if c.value == "" {
			report, err := a.Expire(t.Context(), ExpireRequest{DryRun: true})
			if err != nil && !errors.Is(err, journal.ErrAbnormal) || report.Removed.Entries != v.Entries || report.Removed.Bytes != v.Bytes {
				t.Errorf("a dry run with %q in force counts %+v, %v; the preview %+v", c.inForce, report, err, v)
			}
		}
	}
	for _, value := range []string{"7", "-6", "6 months", "all"} {
		if v, err := a.PreviewRetention(t.Context(), anna, value); !errors.Is(err, policy.ErrSetting) {
			t.Errorf("%q: %+v, %v", value, v, err)
		}
	}
	if _, err := o.Policy.Hold(t.Context(), anna, root, "case 12"); err != nil {
		t.Fatal(err)
	}
	if v, err := a.PreviewRetention(t.Context(), anna, "6"); err != nil || v.Entries != 0 || v.Held == nil || v.Held.Reason != "case 12" {
		t.Errorf("under a hold: %+v, %v", v, err)
	}
}
