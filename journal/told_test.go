package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"copialettere/journal/kv"
)

// TestRecorded has each way in which a gap goes on record: the journal tells of it once it is durable, and not before.
func TestRecorded(t *testing.T) {
	const fault, full, room, erased = mario + " journal-fault", mario + " full", mario + " made-room 1/100", mario + " erased 2/200"
	fill := func(f *fixture) {
		f.file(sized("1", 100), received(mario))
		f.file(sized("2", 100), received(mario))
	}
	for _, c := range []struct {
		name  string
		doing func(f *fixture, h *hooked)
		want  []string
	}{
		{"nothing", func(f *fixture, _ *hooked) { fill(f) }, nil},
		{"skips", func(f *fixture, _ *hooked) {
			if err := f.Record(f.ctx(), Record{Kind: Skip, Mailbox: mario, Time: november, Reason: "alias"}); err != nil {
				f.t.Fatal(err)
			}
		}, nil},
		{"gaps of two months", func(f *fixture, _ *hooked) { f.gap(gap("a", november)); f.gap(gap("b", november.AddDate(0, 1, 0))) }, []string{fault, fault}},
		{"of all mailboxes", func(f *fixture, _ *hooked) { f.gap(Record{Kind: Gap, Time: november, Reason: ReasonLost}) }, []string{" lost"}},
		{"no room", func(f *fixture, _ *hooked) { fill(f); f.file(sized("3", 100), limited(mario, 250, SkipFull)) }, []string{full}},
		{"no room, and none can be made", func(f *fixture, _ *hooked) { fill(f); f.file(sized("3", 300), limited(mario, 250, MakeRoom)) }, []string{full}},
		{"room made", func(f *fixture, _ *hooked) { fill(f); f.file(sized("3", 100), limited(mario, 250, MakeRoom)) }, []string{room}},
		{"room made twice", func(f *fixture, _ *hooked) {
			fill(f)
			f.file(sized("3", 100), limited(mario, 250, MakeRoom))
			f.file(sized("4", 100), limited(mario, 250, MakeRoom))
		}, []string{room, room}},
		{"deferred for want of room", func(f *fixture, _ *hooked) {
			fill(f)
			if p := f.file(sized("3", 100), limited(mario, 250, DeferFull)); !p[0].Waits {
				f.t.Errorf("placed at %+v", p)
			}
		}, nil},
		{"erased", func(f *fixture, _ *hooked) {
			fill(f)
			if _, err := f.Erase(f.ctx(), mario, EraseOptions{}); err != nil {
				f.t.Fatal(err)
			}
		}, []string{erased}},
		{"no room, and the store fails", func(f *fixture, h *hooked) {
			fill(f)
			h.set(unavailable)
			_, err := f.try(sized("3", 100), "t", limited(mario, 250, SkipFull))
			wantErr(f.t, "commit", err, kv.ErrUnavailable)
			h.set(nil)
		}, nil},
		{"room to make, and the store fails", func(f *fixture, h *hooked) {
			fill(f)
			if _, err := f.Usage(f.ctx(), mario); err != nil {
				f.t.Fatal(err)
			}
			updates, fails := 0, 2
			if !f.alone {
				fails = 3 // it is asked once more what the mailbox holds
			}
			h.set(func(ctx context.Context, next func(context.Context) error) error {
				if updates++; updates == fails {
					return unavailable(ctx, next)
				}
				return next(ctx)
			})
			_, err := f.try(sized("3", 100), "t", limited(mario, 250, MakeRoom))
			wantErr(f.t, "commit", err, kv.ErrUnavailable)
			h.set(nil)
			f.want(mario, "INBOX/2026-11 1 unknown", "INBOX/2026-11 2 unknown")
		}, nil},
		{"erasure fails", func(f *fixture, h *hooked) {
			fill(f)
			h.set(unavailable)
			_, err := f.Erase(f.ctx(), mario, EraseOptions{})
			wantErr(f.t, "erase", err, kv.ErrUnavailable)
			h.set(nil)
		}, nil},
		{"spooled", func(f *fixture, h *hooked) {
			h.set(unavailable)
			f.gap(gap("a", november))
			h.set(nil)
		}, nil},
		{"spooled and taken in", func(f *fixture, h *hooked) {
			h.set(unavailable)
			f.gap(gap("a", november))
			h.set(nil)
			for range 2 {
				if err := f.Unspool(f.ctx()); err != nil {
					f.t.Fatal(err)
				}
			}
		}, []string{fault}},
		{"a damaged line of the spool", func(f *fixture, _ *hooked) {
			if err := os.WriteFile(f.spool, []byte("damaged\n"), 0o600); err != nil {
				f.t.Fatal(err)
			}
			if err := f.Unspool(f.ctx()); err != nil {
				f.t.Fatal(err)
			}
		}, []string{" lost"}},
		{"deletion by hand, retention and sweep", func(f *fixture, _ *hooked) {
			f.remove(f.put(mario, sized("1", 100)))
			f.put(mario, sized("2", 100))
			f.expire(ExpireOptions{Mailboxes: keepFor(6), Now: november.AddDate(1, 0, 0)})
			f.sweep(SweepOptions{})
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, h := hookedFixture(t)
			c.doing(f, h)
			f.wantTold("in all", c.want...)
			if got := f.Journal.gaps.Value(); got > int64(len(c.want)) {
				t.Errorf("%d gaps are counted, %d told", got, len(c.want))
			}
		})
	}
}

// gap puts a gap on record, in the journal or in the spool.
func (f *fixture) gap(r Record) {
	f.t.Helper()
	if err := f.Keep(f.ctx(), r); err != nil {
		f.t.Fatal(err)
	}
}

// TestRecordedWhenDurable has an update take its time: nothing is told before it is done.
func TestRecordedWhenDurable(t *testing.T) {
	f, h := hookedFixture(t)
	h.set(func(ctx context.Context, next func(context.Context) error) error {
		f.wantTold("before the update")
		err := next(ctx)
		f.wantTold("before it returns")
		return err
	})
	f.gap(gap("a", november))
	f.wantTold("afterwards", mario+" journal-fault")
	// An update whose outcome is unknown is not told; its repetition is.
	h.set(func(ctx context.Context, next func(context.Context) error) error {
		return errors.Join(next(ctx), fmt.Errorf("test: %w", kv.ErrUnavailable))
	})
	f.gap(gap("b", november.Add(time.Second)))
	f.wantTold("unknown")
	h.set(nil)
	if err := f.Unspool(f.ctx()); err != nil {
		t.Fatal(err)
	}
	f.wantTold("repeated", mario+" journal-fault")
	if got := len(f.records(mario)); got != 2 {
		t.Errorf("%d records, want 2", got)
	}
}
