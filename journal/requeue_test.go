package journal

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/journal/kv"
)

// arrived is what a client's message looks like, as Postfix queues it.
const arrived = "Received: from client.ext.test (unknown [192.0.2.7])\r\n\tby mx.alpha.test (Postfix) with ESMTP id C06D4984A47;\r\n" +
	"\tSat, 28 Nov 2026 22:02:50 +0000 (UTC)\r\n"

// onTop is what Postfix puts on top of a message that is requeued.
func onTop(id string) string {
	return "Received: by mx.alpha.test (Postfix, from userid 102)\r\n\tid " + id + "; Sat, 28 Nov 2026 22:02:51 +0000 (UTC)\r\n"
}

// requeued is a message that was requeued as often as there are ids, the newest first.
func requeued(message []byte, ids ...string) []byte {
	var top strings.Builder
	for _, id := range ids {
		top.WriteString(onTop(id))
	}
	return append([]byte(top.String()), message...)
}

func queued(body []byte) []byte { return append([]byte(arrived), body...) }

// queue takes in a message as the MTA hands it on in a transaction.
func (f *fixture) queue(message []byte, transaction string, change func(*Envelope, *Intent)) Placement {
	f.t.Helper()
	env, in := Envelope{MailFrom: giove, QueueID: "C06D4984A47", Transaction: transaction}, received(mario)
	if change != nil {
		change(&env, &in)
	}
	d := f.NewDraft(f.ctx())
	defer d.Discard()
	for p := range slices.Chunk(message, 7000) {
		d.Write(p)
	}
	placed, err := d.Commit(f.ctx(), env, []Intent{in}, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	return placed[0]
}

// wantSuperseded compares the superseded entries of mario@, each as "INBOX/2026-11 1 by INBOX/2026-11 2".
func (f *fixture) wantSuperseded(entries ...string) {
	f.t.Helper()
	var got []string
	for e, err := range f.Superseded(f.ctx(), mario) {
		if err != nil {
			f.t.Fatal(err)
		}
		text := fmt.Sprintf("%s %d", e.FolderName(), e.UID)
		if e.By.UID > 0 {
			text += fmt.Sprintf(" by %s %d", e.By.FolderName(), e.By.UID)
		}
		got = append(got, text)
		if one, err := f.Entry(f.ctx(), e.Ref); err != nil || one.State != Superseded || e.State != Superseded {
			f.t.Errorf("%s: Entry says %v, %v", text, one, err)
		}
	}
	if !slices.Equal(got, entries) {
		f.t.Errorf("superseded are %q, want %q", got, entries)
	}
}

func (f *fixture) defer1(p Placement, transaction string) {
	f.t.Helper()
	if err := f.Deferred(f.ctx(), p.Ref, transaction); err != nil {
		f.t.Fatal(err)
	}
}

// TestRequeued requeues a message that waits, small and in many chunks, once and more often, with and without a try in between.
func TestRequeued(t *testing.T) {
	t.Parallel()
	for name, body := range map[string][]byte{"small": letter("a"), "large": enclosed(1, 600)} {
		t.Run(name, func(t *testing.T) {
			f := openFixture(t)
			m0 := queued(body)
			m1, m3 := requeued(m0, "D94"), requeued(m0, "D3", "D2", "D94")
			in := func(_ *Envelope, in *Intent) {
				in.Links = []string{"practice"}
				in.Quota = Quota{Limit: uint64(len(m3) + 10)}
			}
			p0 := f.queue(m0, "t0", in)
			f.defer1(p0, "t0")
			f.want(mario, "INBOX/2026-11 1 deferred")
			f.wantSuperseded()

			// The room of the old entry is that of the new one.
			p1 := f.queue(m1, "t1", in)
			if p1.Found || p1.Skipped != "" || p1.UID != 2 {
				t.Fatalf("requeued: %+v", p1)
			}
			f.defer1(p1, "t1")
			f.want(mario, "INBOX/2026-11 2 deferred")
			f.wantSuperseded("INBOX/2026-11 1 by INBOX/2026-11 2")
			f.wantUsage(mario, uint64(len(m1)))
			f.verify()

			p3 := f.queue(m3, "t3", in)
			f.Delivered(p3.Ref, "t3")
			f.want(mario, "INBOX/2026-11 3 delivered")
			f.wantSuperseded("INBOX/2026-11 1 by INBOX/2026-11 3", "INBOX/2026-11 2 by INBOX/2026-11 3")
			f.wantLinked(mario, "practice", p3.Ref)
			f.wantUsage(mario, uint64(len(m3)))
			stats, err := f.Stats(f.ctx(), mario)
			if err != nil || len(stats) != 1 || stats[0].Entries != 1 || stats[0].Bytes != uint64(len(m3)) {
				t.Errorf("stats: %+v, %v", stats, err)
			}
			f.wantBytes(p0.Ref, m0)
			f.wantBytes(p1.Ref, m1)
			f.wantBytes(p3.Ref, m3)
			if len(f.aside(mario)) != 0 {
				t.Errorf("deleted by hand: %v", f.aside(mario))
			}
			_, err = f.undelete(p0.Ref)
			wantErr(t, "undelete what is superseded", err, ErrNotFound)

			// It goes where the newer one goes, stays as long as the retention says, and keeps its chunks.
			f.move(p3.Ref, Trash)
			f.wantSuperseded("INBOX/2026-11 1 by Trash/2026-11 1", "INBOX/2026-11 2 by Trash/2026-11 1")
			f.reopen()
			f.pass(100 * time.Hour)
			f.expire(ExpireOptions{Mailboxes: func(string) (int, bool) { return 6, false }})
			f.sweep(SweepOptions{All: true})
			f.pass(2 * time.Hour)
			f.sweep(SweepOptions{All: true})
			f.wantBytes(p0.Ref, m0)
			f.verify()
			f.clock.set(november.AddDate(0, 7, 0))
			f.expire(ExpireOptions{Mailboxes: func(string) (int, bool) { return 6, false }, Yes: true})
			f.wantSuperseded()
			f.want(mario)
		})
	}
}

// TestNotRequeued has messages that are only similar, and entries that were delivered: none of them is superseded.
func TestNotRequeued(t *testing.T) {
	t.Parallel()
	m0 := queued(letter("a"))
	client := "Received: from evil.test (evil.test [192.0.2.66])\r\n\tby mx.alpha.test (Postfix) with ESMTP id E1;\r\n\tSat, 28 Nov 2026 22:02:50 +0000 (UTC)\r\n"
	old := []string{"INBOX/2026-11 1 deferred", "INBOX/2026-11 2 unknown"}
	for name, c := range map[string]struct {
		before  func(f *fixture, p Placement)
		message []byte
		change  func(*Envelope, *Intent)
		want    []string // nil: old
	}{
		"by a client":                       {message: append([]byte(client), m0...)},
		"by a client, requeue below":        {message: append([]byte(client), requeued(m0, "D94")...)},
		"other bytes at the end":            {message: requeued(append(bytes.Clone(m0), "P.S.\r\n"...), "D94")},
		"a field between":                   {message: requeued(append([]byte("X-Spam: no\r\n"), m0...), "D94")},
		"the same content, another arrival": {message: requeued(append([]byte(client), letter("a")...), "D94")},
		"without the old Received":          {message: requeued(letter("a"), "D94")},
		"the same content by another user":  {message: append([]byte(strings.Replace(onTop("D94"), "102", "1000", 1)), letter("a")...)},
		"MTA's own Received":                {message: append([]byte("Received: by mx.alpha.test (Postfix)\r\n\tid D94; Sat, 28 Nov 2026 22:02:51 +0000 (UTC)\r\n"), m0...)},
		"other queue id":                    {message: requeued(m0, "D94"), change: func(env *Envelope, _ *Intent) { env.QueueID = "E1" }},
		"no queue id":                       {message: requeued(m0, "D94"), change: func(env *Envelope, _ *Intent) { env.QueueID = "" }},
		"other sender":                      {message: requeued(m0, "D94"), change: func(env *Envelope, _ *Intent) { env.MailFrom = "x@ext.test" }},
		"sent":                              {message: requeued(m0, "D94"), change: func(_ *Envelope, in *Intent) { in.Direction = Sent }, want: []string{"INBOX/2026-11 1 deferred", "Sent/2026-11 1 unknown"}},
		"other mailbox":                     {message: requeued(m0, "D94"), change: func(_ *Envelope, in *Intent) { in.Mailbox = anna }, want: []string{"INBOX/2026-11 1 deferred"}},
		"more often than is looked for":     {message: requeued(m0, strings.Fields("9 8 7 6 5 4 3 2 1")...)},
		"delivered": {before: func(f *fixture, p Placement) {
			f.queue(m0, "t1", nil)
			f.Delivered(p.Ref, "t1")
		}, message: requeued(m0, "D94"), want: []string{"INBOX/2026-11 1 delivered", "INBOX/2026-11 2 unknown"}},
		"held": {before: func(f *fixture, p Placement) {
			if err := f.Hold(f.ctx(), p.Ref, "operator", "case 1"); err != nil {
				f.t.Fatal(err)
			}
		}, message: requeued(m0, "D94")},
		"deleted by hand": {before: func(f *fixture, p Placement) { f.remove(p.Ref) }, message: requeued(m0, "D94"), want: []string{"INBOX/2026-11 2 unknown"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := openFixture(t)
			p := f.queue(m0, "t0", nil)
			f.defer1(p, "t0")
			if c.before != nil {
				c.before(f, p)
			}
			f.queue(c.message, "t2", c.change)
			if c.want == nil {
				c.want = old
			}
			f.want(mario, c.want...)
			f.wantSuperseded()
			f.verify()
		})
	}
}

// TestRequeuedMonths requeues over the end of a month, where two volumes are written.
func TestRequeuedMonths(t *testing.T) {
	t.Parallel()
	m0 := queued(letter("a"))
	for name, script := range map[string]struct {
		end  func(f *fixture, p Placement)
		old  bool // the older entry is still there, superseded
		list []string
	}{
		"delivered": {func(f *fixture, p Placement) { f.Delivered(p.Ref, "t1") }, true, []string{"INBOX/2026-12 1 delivered"}},
		"deferred":  {func(f *fixture, p Placement) { f.defer1(p, "t1") }, true, []string{"INBOX/2026-12 1 deferred"}},
		"refused": {func(f *fixture, p Placement) {
			if withdrawn, err := f.Withdraw(f.ctx(), p.Ref, "t1", refusal("t1")); !withdrawn || err != nil {
				f.t.Errorf("withdrawn %v, %v", withdrawn, err)
			}
		}, false, nil},
		"held, then refused": {func(f *fixture, p Placement) {
			f.settings.Held = func(kv.View, ...string) (bool, error) { return true, nil }
			if withdrawn, err := f.Withdraw(f.ctx(), p.Ref, "t1", refusal("t1")); withdrawn || err != nil {
				f.t.Errorf("withdrawn %v, %v", withdrawn, err)
			}
		}, true, []string{"INBOX/2026-12 1 refused"}},
		"held when the newer one is gone": {func(f *fixture, p Placement) {
			asked := 0
			f.settings.Held = func(kv.View, ...string) (bool, error) {
				asked++
				return asked > 1, nil
			}
			if withdrawn, err := f.Withdraw(f.ctx(), p.Ref, "t1", refusal("t1")); !withdrawn || err != nil {
				f.t.Errorf("withdrawn %v, %v", withdrawn, err)
			}
		}, false, []string{"INBOX/2026-11 2 refused"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := openFixture(t)
			if f.memory != nil {
				f.memory.RunOnce() // a script counts how often it is asked
			}
			f.clock.set(time.Date(2026, 11, 30, 23, 59, 58, 0, time.UTC))
			f.defer1(f.queue(m0, "t0", nil), "t0")
			f.clock.set(time.Date(2026, 12, 1, 0, 0, 2, 0, time.UTC))
			f.reopen()
			p := f.queue(requeued(m0, "D94"), "t1", nil)
			script.end(f, p)
			f.want(mario, script.list...)
			if script.old {
				f.wantSuperseded("INBOX/2026-11 1 by INBOX/2026-12 1")
			} else {
				f.wantSuperseded()
			}
			f.verify()
		})
	}
}

// TestRequeuedRefused has the next hop refuse the requeued message for good.
func TestRequeuedRefused(t *testing.T) {
	t.Parallel()
	m0 := queued(letter("a"))
	m1, m2 := requeued(m0, "D94"), requeued(m0, "D95", "D94")
	for name, c := range map[string]struct {
		before  func(f *fixture)
		entries []string
	}{
		"deferred before": {func(f *fixture) { f.defer1(f.queue(m0, "t0", nil), "t0") }, nil},
		"deferred twice": {func(f *fixture) {
			f.defer1(f.queue(m0, "t0", nil), "t0")
			f.defer1(f.queue(m1, "t1", nil), "t1")
		}, nil},
		"unknown before": {func(f *fixture) { f.queue(m0, "t0", nil) }, []string{"INBOX/2026-11 3 unknown refused-later"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := openFixture(t)
			c.before(f)
			p := f.queue(m2, "t2", nil)
			if withdrawn, err := f.Withdraw(f.ctx(), p.Ref, "t2", refusal("t2")); !withdrawn || err != nil {
				t.Errorf("withdrawn %v, %v", withdrawn, err)
			}
			f.want(mario, c.entries...)
			f.wantSuperseded()
			f.verify()
			if c.entries == nil {
				f.wantUsage(mario, 0)
				// Nothing is in the way of the same message.
				if p := f.queue(m0, "t3", nil); p.Found || p.Skipped != "" {
					t.Errorf("sent again: %+v", p)
				}
				f.verify()
			}
		})
	}
}

// TestSupersededReturns has the old message come again, or be delivered after all: it has an entry of its own then.
func TestSupersededReturns(t *testing.T) {
	t.Parallel()
	m0 := queued(letter("a"))
	november30 := time.Date(2026, 11, 30, 23, 59, 58, 0, time.UTC)
	t.Run("comes again", func(t *testing.T) {
		f := openFixture(t)
		f.defer1(f.queue(m0, "t0", nil), "t0")
		f.Delivered(f.queue(requeued(m0, "D94"), "t1", nil).Ref, "t1")
		again := f.queue(m0, "t2", nil)
		if !again.Found || again.UID != 3 {
			t.Errorf("it is at %+v", again)
		}
		f.want(mario, "INBOX/2026-11 2 delivered", "INBOX/2026-11 3 unknown")
		f.wantSuperseded()
		f.verify()
		if withdrawn, err := f.Withdraw(f.ctx(), again.Ref, "t2", refusal("t2")); !withdrawn || err != nil {
			t.Errorf("withdrawn %v, %v", withdrawn, err)
		}
		f.want(mario, "INBOX/2026-11 2 delivered")
	})
	t.Run("comes again in the next month", func(t *testing.T) {
		f := openFixture(t)
		f.clock.set(november30)
		f.defer1(f.queue(m0, "t0", nil), "t0")
		f.Delivered(f.queue(requeued(m0, "D94"), "t1", nil).Ref, "t1")
		f.clock.set(november30.Add(time.Minute))
		if again := f.queue(m0, "t2", nil); !again.Found || again.UID != 3 || again.Month != "2026-11" {
			t.Errorf("it is at %+v", again)
		}
		f.want(mario, "INBOX/2026-11 2 delivered", "INBOX/2026-11 3 unknown")
		f.verify()
	})
	t.Run("was delivered after all", func(t *testing.T) {
		f := openFixture(t)
		p := f.queue(m0, "t0", nil)
		newer := f.queue(requeued(m0, "D94"), "t1", nil)
		f.wantSuperseded("INBOX/2026-11 1 by INBOX/2026-11 2")
		f.Delivered(p.Ref, "t0")
		f.Delivered(newer.Ref, "t1")
		f.want(mario, "INBOX/2026-11 2 delivered", "INBOX/2026-11 3 delivered")
		f.wantSuperseded()
		f.verify()
	})
	t.Run("is delivered while the newer one comes", func(t *testing.T) {
		f := openFixture(t)
		p := f.queue(m0, "t0", nil)
		f.Delivered(p.Ref, "t0") // in memory
		f.queue(requeued(m0, "D94"), "t1", nil)
		f.want(mario, "INBOX/2026-11 1 delivered", "INBOX/2026-11 2 unknown")
	})
	t.Run("is refused for now while the newer one comes", func(t *testing.T) {
		f := openFixture(t)
		p := f.queue(m0, "t0", nil)
		newer := f.queue(requeued(m0, "D94"), "t1", nil)
		f.defer1(p, "t0")
		if withdrawn, err := f.Withdraw(f.ctx(), newer.Ref, "t1", refusal("t1")); !withdrawn || err != nil {
			t.Errorf("withdrawn %v, %v", withdrawn, err)
		}
		f.want(mario)
		f.wantSuperseded()
		f.verify()
	})
}

// TestMovedMeanwhile moves or deletes an entry while its outcome is awaited.
func TestMovedMeanwhile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		act  func(f *fixture, p Placement)
		end  func(f *fixture, p Placement)
		want []string
	}{
		"moved, delivered": {func(f *fixture, p Placement) { f.move(p.Ref, Trash) },
			func(f *fixture, p Placement) { f.Delivered(p.Ref, "t1") }, []string{"Trash/2026-11 1 delivered"}},
		"moved twice, delivered": {func(f *fixture, p Placement) { f.move(f.move(p.Ref, Trash), "INBOX") },
			func(f *fixture, p Placement) { f.Delivered(p.Ref, "t1") }, []string{"INBOX/2026-11 2 delivered"}},
		"moved, deferred": {func(f *fixture, p Placement) { f.move(p.Ref, Trash) },
			func(f *fixture, p Placement) { f.defer1(p, "t1") }, []string{"Trash/2026-11 1 deferred"}},
		"moved, refused": {func(f *fixture, p Placement) { f.move(p.Ref, Trash) },
			func(f *fixture, p Placement) {
				if withdrawn, err := f.Withdraw(f.ctx(), p.Ref, "t1", refusal("t1")); !withdrawn || err != nil {
					f.t.Errorf("withdrawn %v, %v", withdrawn, err)
				}
			}, nil},
		"moved, tried again, the first delivered": {func(f *fixture, p Placement) {
			f.move(p.Ref, Trash)
			f.deliver(mario, letter("a"), "t2")
		}, func(f *fixture, p Placement) { f.Delivered(p.Ref, "t1") }, []string{"Trash/2026-11 1 delivered"}},
		"deleted and brought back, delivered": {func(f *fixture, p Placement) {
			f.remove(p.Ref)
			f.Delivered(p.Ref, "t1")
			f.FlushOutcomes(f.ctx())
			if _, err := f.undelete(p.Ref); err != nil {
				f.t.Fatal(err)
			}
		}, func(*fixture, Placement) {}, []string{"INBOX/2026-11 2 delivered"}},
		"moved, a stranger": {func(f *fixture, p Placement) { f.move(p.Ref, Trash) },
			func(f *fixture, p Placement) { f.Delivered(p.Ref, "t9") }, []string{"Trash/2026-11 1 unknown"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := openFixture(t)
			p := f.deliver(mario, letter("a"), "t1")
			c.act(f, p)
			c.end(f, p)
			f.want(mario, c.want...)
			f.verify()
		})
	}
}

// TestRequeuedFaults has the store fail where a requeued message has an older entry in another month: the message goes on, and what could not
// be written is written with the next try.
func TestRequeuedFaults(t *testing.T) {
	t.Parallel()
	f, h := hookedFixture(t)
	m0 := queued(letter("a"))
	f.clock.set(time.Date(2026, 11, 30, 23, 59, 58, 0, time.UTC))
	f.defer1(f.queue(m0, "t0", nil), "t0")
	f.clock.set(time.Date(2026, 12, 1, 0, 0, 2, 0, time.UTC))
	commits := 0
	h.set(func(ctx context.Context, next func(context.Context) error) error {
		if commits++; commits > 2 { // the UIDVALIDITY of the new folder is one by itself
			return kv.ErrUnavailable
		}
		return next(ctx)
	})
	p := f.queue(requeued(m0, "D94"), "t1", nil)
	h.set(nil)
	f.defer1(p, "t1")
	f.want(mario, "INBOX/2026-11 1 deferred", "INBOX/2026-12 1 deferred")
	f.verify()
	if again := f.queue(requeued(m0, "D94"), "t2", nil); !again.Found {
		t.Errorf("the next try: %+v", again)
	}
	f.want(mario, "INBOX/2026-12 1 unknown")
	f.wantSuperseded("INBOX/2026-11 1 by INBOX/2026-12 1")
	f.verify()
	if _, err := f.Erase(f.ctx(), mario, EraseOptions{}); err != nil {
		t.Fatal(err)
	}
	f.wantSuperseded()
	f.verify()
}

// FuzzRequeues reads the top of a header as hostile mail may have it.
func FuzzRequeues(f *testing.F) {
	f.Add(requeued(queued(letter("a")), "D95", "D94"))
	f.Add([]byte("Received: by a (b, from userid"))
	f.Add([]byte("received: BY a from userid\r\n \r\n\r\n"))
	f.Fuzz(func(t *testing.T, header []byte) {
		before := 0
		for _, b := range requeues(header) {
			if b.skip <= before || b.skip >= len(header) {
				t.Fatalf("a field ends at %d, the one before at %d, the header at %d", b.skip, before, len(header))
			}
			before = b.skip
		}
	})
}
