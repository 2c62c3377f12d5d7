package journal

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"copialettere/journal/kv"
)

func (f *fixture) move(r Ref, folder string) Ref {
	f.t.Helper()
	d, err := f.Move(f.ctx(), r.Only(), folder, "owner")
	if err != nil {
		f.t.Fatal(err)
	}
	return d.To
}

func (f *fixture) remove(r Ref) {
	f.t.Helper()
	wantErr(f.t, "delete", f.deleteErr(r), nil)
}

// deleteErr tries to delete an entry.
func (f *fixture) deleteErr(r Ref) error {
	_, err := f.Delete(f.ctx(), r.Only(), "owner")
	return err
}

// undelete tries to bring an entry back, and returns its new place.
func (f *fixture) undelete(r Ref) (Ref, error) {
	d, err := f.Undelete(f.ctx(), r.Only(), "owner")
	if err != nil {
		return Ref{}, err
	}
	return d.To, nil
}

func (f *fixture) aside(mailbox string) []*Deleted {
	f.t.Helper()
	var list []*Deleted
	for d, err := range f.Aside(f.ctx(), mailbox) {
		if err != nil {
			f.t.Fatal(err)
		}
		list = append(list, d)
	}
	return list
}

func TestMove(t *testing.T) {
	f := openFixture(t)
	one := f.file(enclosed(1, 50), linked(mario, "id"))[0].Ref
	two := f.put(mario, letter("2"))
	usage, _ := f.Usage(f.ctx(), mario)
	if err := f.Hold(f.ctx(), one, "operator", "case 1"); err != nil {
		t.Fatal(err)
	}
	moved := f.move(one, Trash)
	if want := (Ref{mario, "2026-11", Trash, 1}); moved != want {
		t.Errorf("moved to %v, want %v", moved, want)
	}
	f.want(mario, "INBOX/2026-11 2 delivered", "Trash/2026-11 1 unknown")
	f.wantLinked(mario, "id", moved)
	f.wantBytes(moved, enclosed(1, 50))
	f.wantUsage(mario, usage)
	f.verify()
	wantErr(t, "delete what is held", f.deleteErr(moved), ErrHeld)
	// The retry of its delivery finds it, and its transaction can go on with it.
	p := f.deliver(mario, enclosed(1, 50), "again")
	if p.Ref != moved || !p.Found {
		t.Errorf("retry at %+v", p)
	}
	f.Delivered(p.Ref, "again")
	back := f.move(moved, "INBOX")
	if back.UID != 3 {
		t.Errorf("moved back to %v: no UID is used twice", back)
	}
	again := f.move(two, Trash)
	if again.UID != 2 {
		t.Errorf("moved to %v", again)
	}
	f.want(mario, "INBOX/2026-11 3 delivered", "Trash/2026-11 2 delivered")
	for name, folder := range map[string]string{"other folder": "Other", "zero byte": "a\x00b", "no name": ""} {
		_, err := f.Move(f.ctx(), back.Only(), folder, "owner")
		wantErr(t, name, err, ErrFolder)
	}
	for name, r := range map[string]Ref{"old place": one, "no month": {mario, "2020-01", "INBOX", 1}, "no entry": {anna, "2026-11", "INBOX", 1}} {
		_, err := f.Move(f.ctx(), r.Only(), Trash, "owner")
		wantErr(t, name, err, ErrNotFound)
	}
	_, err := f.Move(f.ctx(), Ref{"", "2026-11", "INBOX", 1}.Only(), Trash, "owner")
	wantErr(t, "no mailbox", err, ErrMailbox)
	want := []string{"hold by operator: INBOX/2026-11 1", "move by owner: INBOX/2026-11 1 to Trash/2026-11 1",
		"move by owner: Trash/2026-11 1 to INBOX/2026-11 3", "move by owner: INBOX/2026-11 2 to Trash/2026-11 2"}
	if got := f.acts(mario); !slices.Equal(got, want) {
		t.Errorf("acts %q, want %q", got, want)
	}
}

func TestDeleteAndUndelete(t *testing.T) {
	f := openFixture(t)
	message := enclosed(1, 50)
	one := f.file(message, linked(mario, "id"))[0].Ref
	f.Delivered(one, "file 1")
	two := f.put(mario, letter("2"))
	f.remove(one)
	f.want(mario, "INBOX/2026-11 2 delivered")
	f.wantLinked(mario, "id")
	f.wantUsage(mario, uint64(len(letter("2"))))
	f.verify()
	list := f.aside(mario)
	if len(list) != 1 || list[0].Ref != one || list[0].Who != "owner" || !list[0].At.After(november) || list[0].Size != int64(len(message)) {
		t.Errorf("deleted: %+v", list)
	}
	wantErr(t, "delete it again", f.deleteErr(one), ErrNotFound)
	// A late retry does not bring it back, in its month or the next one.
	for _, at := range []time.Time{november, november.AddDate(0, 1, 0)} {
		f.clock.set(at)
		if p := f.deliver(mario, message, "late"); p.Skipped != ReasonDeleted || p.UID != 0 {
			t.Errorf("late retry at %+v", p)
		}
	}
	if got := f.reasons(mario); !slices.Equal(got, []string{ReasonDeleted, ReasonDeleted}) {
		t.Errorf("records %q", got)
	}
	f.clock.set(november.Add(time.Hour))
	back, err := f.undelete(one)
	if err != nil || back != (Ref{mario, "2026-11", "INBOX", 3}) {
		t.Fatal(back, err)
	}
	f.want(mario, "INBOX/2026-11 2 delivered", "INBOX/2026-11 3 delivered")
	f.wantLinked(mario, "id", back)
	f.wantBytes(back, message)
	f.wantUsage(mario, uint64(len(message)+len(letter("2"))))
	_, err = f.undelete(one)
	wantErr(t, "bring it back again", err, ErrNotFound)
	if p := f.deliver(mario, message, "again"); !p.Found || p.Ref != back {
		t.Errorf("retry at %+v", p)
	}
	f.remove(two)
	f.remove(back)
	f.verify()

	if got := len(f.acts(mario)); got != 4 {
		t.Errorf("acts %q", f.acts(mario))
	}
}

// TestGrace has the grace of deleted entries pass: nothing held goes, and what is gone is told from what never was.
func TestGrace(t *testing.T) {
	f, held := newFixture(t), false
	f.held = func(_ kv.View, mailboxes ...string) (bool, error) {
		return held && slices.Contains(mailboxes, mario), nil
	}
	f.open()
	message := enclosed(1, 50)
	one := f.file(message, received(mario))[0].Ref
	two, kept := f.put(mario, letter("2")), f.put(mario, letter("kept"))
	f.remove(one)
	f.remove(two)
	deleted := f.aside(mario)[1].At
	for _, c := range []struct {
		name   string
		after  time.Duration
		held   bool
		left   int
		purged Purged
	}{
		{"in the grace", DeletedGrace - time.Second, false, 2, Purged{}},
		{"behind the grace, held", DeletedGrace + time.Second, true, 2, Purged{}},
		{"behind the grace", DeletedGrace + time.Second, false, 0, Purged{Removed: Removed{2, uint64(len(message) + len(letter("2")))}}},
		{"once more", DeletedGrace + time.Hour, false, 0, Purged{}},
	} {
		f.clock.set(deleted.Add(c.after))
		held = c.held
		if purged, err := f.PurgeDeleted(f.ctx()); err != nil || purged != c.purged || len(f.aside(mario)) != c.left {
			t.Errorf("%s: %+v purged, %v; %d left, want %+v and %d", c.name, purged, err, len(f.aside(mario)), c.purged, c.left)
		}
		f.verify()
	}
	for name, c := range map[string]struct {
		ref  Ref
		want error
	}{"purged": {one, ErrGone}, "there": {kept, ErrNotFound}, "never there": {Ref{mario, "2026-11", "INBOX", 9}, ErrNotFound}} {
		_, err := f.undelete(c.ref)
		wantErr(t, "bring back what is "+name, err, c.want)
	}
	if p := f.deliver(mario, message, "late"); p.Skipped != ReasonDeleted {
		t.Errorf("late retry at %+v", p)
	}
	want := []string{"delete by owner: INBOX/2026-11 1", "delete by owner: INBOX/2026-11 2"}
	if got := f.acts(mario); !slices.Equal(got, want) {
		t.Errorf("acts %q, want %q", got, want)
	}
	f.verify()
}

// TestGraceOver refuses to bring back what is over its grace and still there, unless a hold on the mailbox has kept it.
func TestGraceOver(t *testing.T) {
	f := openFixture(t)
	r := f.put(mario, letter("1"))
	f.remove(r)
	f.clock.set(f.aside(mario)[0].At.Add(DeletedGrace))
	_, err := f.undelete(r)
	wantErr(t, "behind the grace", err, ErrGone)
	if err := f.set(f.ctx(), "held", mario); err != nil {
		t.Fatal(err)
	}
	if back, err := f.undelete(r); err != nil || back.UID != 2 {
		t.Errorf("held: %v, %v", back, err)
	}
	f.want(mario, "INBOX/2026-11 2 delivered")
	f.verify()
}

// TestPurgeDoubtsTheClock removes nothing while the clock seems to be ahead.
func TestPurgeDoubtsTheClock(t *testing.T) {
	f := openFixture(t)
	f.expire(ExpireOptions{Mailboxes: keepFor(0)})
	f.remove(f.put(mario, letter("1")))
	f.clock.set(november.Add(DefaultMaxPause + time.Hour))
	_, err := f.PurgeDeleted(f.ctx())
	wantErr(t, "after a long pause", err, ErrAbnormal)
	if got := len(f.aside(mario)); got != 1 {
		t.Errorf("%d deleted entries, want 1", got)
	}
	f.clock.set(november.Add(DeletedGrace + time.Hour))
	if purged, err := f.PurgeDeleted(f.ctx()); err != nil || purged.Entries != 1 {
		t.Errorf("%+v purged, %v", purged, err)
	}
}

func TestActsFail(t *testing.T) {
	f, h := hookedFixture(t)
	r := f.put(mario, letter("1"))
	f.FlushOutcomes(f.ctx())
	h.set(unavailable)
	_, err := f.Move(f.ctx(), r.Only(), Trash, "owner")
	wantErr(t, "move", err, kv.ErrUnavailable)
	wantErr(t, "delete", f.deleteErr(r), kv.ErrUnavailable)
	wantErr(t, "hold", f.Hold(f.ctx(), r, "operator", ""), kv.ErrUnavailable)
	h.set(nil)
	f.want(mario, "INBOX/2026-11 1 delivered")
	if got := f.acts(mario); got != nil {
		t.Errorf("acts %q", got)
	}
}

// TestActsAtOnce has several act on the same entries, while they are listed and verified.
func TestActsAtOnce(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	for i := range 20 {
		f.put(mario, sized(fmt.Sprint(i), 200))
	}
	var acting sync.WaitGroup
	for w := range 4 {
		acting.Go(func() {
			for round := range 8 {
				for e, err := range f.List(f.ctx(), mario) {
					if err != nil {
						t.Error(err)
						return
					}
					if (w+round)%2 == 0 {
						_, _ = f.Move(f.ctx(), e.Only(), []string{Trash, "INBOX"}[round/2%2], "owner")
					} else if f.deleteErr(e.Ref) == nil {
						if _, err := f.undelete(e.Ref); err != nil {
							t.Error(err)
						}
					}
				}
			}
		})
	}
	done := make(chan struct{})
	var verifying sync.WaitGroup
	verifying.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				r, err := f.Verify(f.ctx(), EvidenceOptions{}, nil)
				if err != nil || r.Faults > 0 {
					t.Errorf("verify: %v %q", err, r.Details)
					return
				}
			}
		}
	})
	acting.Wait()
	close(done)
	verifying.Wait()
	if got := len(f.list(mario)) + len(f.aside(mario)); got != 20 {
		t.Errorf("%d entries of 20 are left", got)
	}
	f.wantUsage(mario, uint64(200*len(f.list(mario))))
}

func TestHoldings(t *testing.T) {
	f := openFixture(t)
	r := f.put(mario, letter("1"))
	none := Ref{mario, "2026-11", "INBOX", 9}
	wantErr(t, "hold nothing", f.Hold(f.ctx(), none, "operator", ""), ErrNotFound)
	wantErr(t, "release nothing", f.Release(f.ctx(), none, "operator", ""), ErrNotFound)
	if err := f.Release(f.ctx(), r, "operator", ""); err != nil || len(f.acts(mario)) != 0 {
		t.Errorf("release of what is not held: %v %q", err, f.acts(mario))
	}
	for _, reason := range []string{"case 1", "case 2"} {
		if err := f.Hold(f.ctx(), r, "operator", reason); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for h, err := range f.Holdings(f.ctx(), mario) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(h.FolderName(), h.UID, h.Who, h.Reason, h.Time.After(november)))
	}
	if want := []string{"INBOX/2026-111operatorcase 2true"}; !slices.Equal(got, want) {
		t.Errorf("holds %q, want %q", got, want)
	}
}

func TestVerifyFindsDamageOfActs(t *testing.T) {
	t.Parallel()
	here, gone := Ref{mario, "2026-11", "INBOX", 1}, Ref{mario, "2026-11", "INBOX", 2}
	for _, c := range []struct {
		name   string
		damage func(f *fixture)
		want   string
	}{
		{"hold on nothing", func(f *fixture) { f.put1(holdKey(gone), (&Holding{Time: november}).encode()) }, "a hold leads to mario"},
		{"hold cut short", func(f *fixture) { f.put1(holdKey(here), []byte{tagWho, 9}) }, "hold of mario"},
		{"hold of no mailbox", func(f *fixture) { f.put1([]byte("lmario"), []byte{}) }, "hold: key"},
		{"act cut short", func(f *fixture) { f.put1(actKey(mario, november, 0), []byte{tagWho, 9}) }, "act on mario"},
		{"act of no mailbox", func(f *fixture) { f.put1([]byte("amario"), []byte{}) }, "act: malformed key"},
		{"deleted entry cut short", func(f *fixture) { f.put1(asideKey(gone), []byte{tagWho, 9}) }, "deleted entry mario"},
		{"deleted entry without its tombstone", func(f *fixture) {
			d := f.aside(mario)[0]
			f.put1(deliveryKey(mario, deliveryDigest(mario, Received, d.MailFrom, d.SHA256)), nil)
		}, "its delivery key: no such key"},
		{"deleted entry that is there", func(f *fixture) {
			d := f.aside(mario)[0]
			parts, _ := d.Parts.AppendBinary(nil)
			f.put1(entryKey(gone), d.encode(parts))
		}, "it is there as well"},
		{"deleted entry without its bytes", func(f *fixture) { f.put1(chunkKey(f.aside(mario)[0].Chunks[0].ID), nil) }, "deleted entry mario@alpha.test INBOX/2026-11 2: entry"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := openFixture(t)
			f.put(mario, letter("1"))
			f.remove(f.put(mario, letter("2")))
			f.FlushOutcomes(f.ctx())
			f.verify()
			f.damaged()
			c.damage(f)
			f.wantFault(c.want)
		})
	}
}

func TestClassStats(t *testing.T) {
	f := openFixture(t)
	for i, class := range []string{"rem", "ordinary", "rem"} {
		in := received(mario)
		in.Class = class
		f.file(sized(fmt.Sprint(i), 200+i), in)
	}
	f.file(letter("sent"), Intent{Mailbox: mario, Direction: Sent, Class: "ordinary"})
	got, err := f.ClassStats(f.ctx(), mario)
	want := []ClassStats{
		{mario, "received", "ordinary", 1, 201}, {mario, "received", "rem", 2, 402}, {mario, "sent", "ordinary", 1, uint64(len(letter("sent")))},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	if _, err := f.ClassStats(f.ctx(), ""); err == nil {
		t.Error("stats of no mailbox")
	}
}

// FuzzDecodeActs reads what may be in the values of holds, acts and deleted entries, and in the keys of links.
func FuzzDecodeActs(f *testing.F) {
	r := Ref{mario, "2026-11", "INBOX", 1}
	e := sampleEntry(f)
	f.Add((&Holding{Time: november, Who: "w", Reason: "r"}).encode())
	f.Add((&Act{Mailbox: mario, Time: november, Kind: ActMove, Who: "w", From: r, To: r, Detail: "d"}).encode())
	f.Add((&aside{at: november, who: "w", entry: encoded(f, e), outcome: outcome{}.encode()}).encode())
	f.Add((&aside{at: november, by: &delivery{"2026-11", Digest{1}}, entry: encoded(f, e), outcome: outcome{}.encode()}).encode())
	f.Add(linkKey("id", r))
	f.Add(encodeTombstone(r))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := decodeHolding(r, b); err == nil && !h.Time.IsZero() {
			if again, err := decodeHolding(r, h.encode()); err != nil || *again != *h {
				t.Errorf("hold %+v, again %+v, %v", h, again, err)
			}
		}
		if a, err := decodeAct(mario, b); err == nil && a.From.UID > 0 && a.From.Month != "" && a.To.Month == a.From.Month {
			if again, err := decodeAct(mario, a.encode()); err != nil || again.Kind != a.Kind || again.From != a.From || again.Who != a.Who {
				t.Errorf("act %+v, again %+v, %v", a, again, err)
			}
		}
		_, _, _ = decodeAside(r, b)
		if link, ref, err := splitLinkKey("2026-11", b); err == nil {
			if again := linkKey(link, ref); string(again[1:]) != string(b[1:]) {
				t.Errorf("link key %q, again %q", b, again)
			}
		}
		if place, gone := isTombstone(b); gone {
			if ref, err := decodePlace(mario, "2026-11", place); err != nil || string(encodeTombstone(ref)) != string(b) {
				t.Errorf("tombstone %q leads to %v, %v", b, ref, err)
			}
		}
	})
}

// TestRetryWhileMoving has the owner move or delete an entry just when its retry, a month later, has found it.
func TestRetryWhileMoving(t *testing.T) {
	for name, c := range map[string]struct {
		act  func(f *fixture, r Ref)
		want Placement
	}{
		"move":   {func(f *fixture, r Ref) { f.move(r, Trash) }, Placement{Ref: Ref{mario, "2026-11", Trash, 1}, Found: true}},
		"delete": {func(f *fixture, r Ref) { f.remove(r) }, Placement{Ref: Ref{Mailbox: mario}, Skipped: ReasonDeleted}},
	} {
		t.Run(name, func(t *testing.T) {
			f, h := hookedFixture(t)
			r := f.put(mario, letter("1"))
			f.FlushOutcomes(f.ctx())
			f.clock.set(november.AddDate(0, 1, 0))
			d := f.NewDraft(f.ctx())
			defer d.Discard()
			d.Write(letter("1"))
			h.set(func(ctx context.Context, next func(context.Context) error) error {
				h.set(nil)
				c.act(f, r)
				return next(ctx)
			})
			placed, err := d.Commit(f.ctx(), Envelope{MailFrom: giove, Transaction: "t"}, []Intent{received(mario)}, nil)
			if err != nil || placed[0] != c.want {
				t.Errorf("retry at %+v, %v; want %+v", placed, err, c.want)
			}
		})
	}
}
