package journal

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"copialettere/journal/kv"
)

func limited(mailbox string, limit uint64, when WhenFull) Intent {
	in := received(mailbox)
	in.Quota = Quota{Limit: limit, WhenFull: when}
	return in
}

// sized is a letter of that subject and size.
func sized(subject string, size int) []byte {
	b := letter(subject)
	return append(b, strings.Repeat("x", size-len(b))...)
}

func (f *fixture) wantUsage(mailbox string, want uint64) {
	f.t.Helper()
	for _, how := range []string{"as followed", "as read"} {
		if got, err := f.Usage(f.ctx(), mailbox); got != want || err != nil {
			f.t.Errorf("%s: usage of %s is %d, %v; want %d", how, mailbox, got, err, want)
		}
		f.usages.forget(mailbox)
	}
}

func (f *fixture) reasons(mailbox string) []string {
	f.t.Helper()
	var list []string
	for _, r := range f.records(mailbox) {
		text := r.Reason
		if r.Entries > 0 {
			text = fmt.Sprintf("%s %d/%d", r.Reason, r.Entries, r.Bytes)
		}
		list = append(list, text)
	}
	return list
}

func TestQuotaSkips(t *testing.T) {
	f := openFixture(t)
	if p := f.file(sized("1", 600), limited(mario, 1000, SkipFull))[0]; p.UID != 1 || p.Crossed != 0 {
		t.Errorf("first at %+v", p)
	}
	f.clock.set(november.AddDate(0, 2, 0))
	if p := f.file(sized("2", 150), limited(mario, 1000, SkipFull))[0]; p.UID != 1 || p.Crossed != 75 {
		t.Errorf("second at %+v", p)
	}
	placed := f.file(sized("3", 251), limited(mario, 1000, SkipFull), limited(anna, 251, SkipFull), received("m"))
	if p := placed[0]; p != (Placement{Ref: Ref{Mailbox: mario}, Skipped: ReasonFull}) {
		t.Errorf("third at %+v", p)
	}
	if placed[1].UID != 1 || placed[1].Crossed != 100 || placed[2].UID != 1 {
		t.Errorf("the others' at %+v", placed[1:])
	}
	if got := f.reasons(mario); !slices.Equal(got, []string{ReasonFull}) {
		t.Errorf("records %q", got)
	}
	if r := f.records(mario)[0]; r.Kind != Gap || r.MessageID != "<same@ext.test>" || r.RcptTo != mario || r.MailFrom != giove {
		t.Errorf("record %+v", r)
	}
	// The retry of what is there is no new message.
	if p := f.file(sized("2", 150), limited(mario, 1, SkipFull))[0]; !p.Found || p.Crossed != 0 {
		t.Errorf("repetition at %+v", p)
	}
	if p := f.file(sized("4", 249), limited(mario, 1000, SkipFull))[0]; p.UID != 2 || p.Crossed != 90 {
		t.Errorf("fourth at %+v", p)
	}
	f.wantUsage(mario, 999)
	f.wantUsage(anna, 251)
	f.wantUsage("nobody", 0)
	if _, err := f.Usage(f.ctx(), ""); err == nil {
		t.Error("usage of no mailbox")
	}
}

func TestQuotaDefers(t *testing.T) {
	f := openFixture(t)
	f.file(sized("1", 600), received(mario))
	p := f.file(sized("2", 401), received(anna), limited(mario, 1000, DeferFull))
	if p[0].UID == 0 || !p[1].Waits || p[1].UID != 0 || p[1].Skipped != "" {
		t.Errorf("placed at %+v", p)
	}
	f.wantUsage(anna, 401)
	f.wantUsage(mario, 600)
	if f.records(mario) != nil {
		t.Error("a deferral is on record")
	}
	// One that is archived already needs no room, and does not wait.
	if p := f.file(sized("1", 600), limited(mario, 1000, DeferFull)); !p[0].Found || p[0].Waits {
		t.Errorf("placed at %+v", p)
	}
	f.file(sized("2", 401), received(anna), limited(mario, 1001, DeferFull))
	f.wantUsage(mario, 1001)
	f.wantUsage(anna, 401)
	// One that is larger than the quota will never have room: it must not wait for ever.
	if p := f.file(sized("3", 1002), limited(mario, 1001, DeferFull), received(anna)); p[0].Skipped != ReasonFull || p[1].UID == 0 {
		t.Errorf("placed at %+v", p)
	}
	if got := f.reasons(mario); !slices.Equal(got, []string{"full"}) {
		t.Errorf("records %q", got)
	}
}

func TestQuotaMakesRoom(t *testing.T) {
	f := openFixture(t)
	start := november
	var refs []Ref
	for i := range 6 {
		f.clock.set(start.AddDate(0, i/2, i%2))
		in := received(mario)
		in.Direction = Direction(1 + i%2)
		refs = append(refs, f.file(sized(fmt.Sprint(i), 100), in)[0].Ref)
	}
	if err := f.Hold(f.ctx(), refs[0], "operator", "case 1"); err != nil {
		t.Fatal(err)
	}
	// 600 of 650 are taken: two of the oldest that are not held must go, of two folders and months.
	p := f.file(sized("new", 250), limited(mario, 650, MakeRoom))[0]
	if p.UID == 0 || p.Skipped != "" || p.Crossed != 100 {
		t.Fatalf("placed at %+v", p)
	}
	f.want(mario, "INBOX/2026-11 1 unknown", "Sent/2026-12 1 unknown", "INBOX/2027-01 1 unknown", "INBOX/2027-01 2 unknown", "Sent/2027-01 1 unknown")
	f.wantUsage(mario, 650)
	if got := f.reasons(mario); !slices.Equal(got, []string{"made-room 1/100", "made-room 1/100"}) {
		t.Errorf("records %q", got)
	}
	// The late retry of what made room does not come back.
	f.clock.set(start.AddDate(0, 1, 20))
	in := limited(mario, 650, MakeRoom)
	if p := f.file(sized("2", 100), in)[0]; p.Skipped != ReasonDeleted || p.UID != 0 {
		t.Errorf("retry of a deleted message at %+v", p)
	}
	// What does not fit at all deletes nothing.
	if p := f.file(sized("large", 651), in)[0]; p.Skipped != ReasonFull {
		t.Errorf("too large: %+v", p)
	}
	if p := f.file(sized("held", 551), in)[0]; p.Skipped != ReasonFull {
		t.Errorf("larger than what is not held: %+v", p)
	}
	f.wantUsage(mario, 650)
	if p := f.file(sized("fits", 550), in)[0]; p.UID == 0 {
		t.Errorf("as large as what is not held: %+v", p)
	}
	f.wantUsage(mario, 650)
}

func TestRoomOfManySmallOnes(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	var wg sync.WaitGroup
	for i := range 250 {
		wg.Go(func() {
			if _, err := f.try(sized(fmt.Sprint(i), 200), "t", received(mario)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	f.file(sized("large", 240*200), limited(mario, 250*200, MakeRoom))
	f.wantUsage(mario, 250*200)
	if got := f.reasons(mario); !slices.Equal(got, []string{"made-room 240/48000"}) {
		t.Errorf("records %q", got)
	}
}

// TestQuotaIsExact has many deliveries at once, in two months, to mailboxes that have room for some of them.
func TestQuotaIsExact(t *testing.T) {
	t.Parallel()
	for name, when := range map[string]WhenFull{"skip": SkipFull, "defer": DeferFull, "make room": MakeRoom} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := openFixture(t)
			const size, room, tries = 200, 7, 40
			f.file(sized("before", size), received(mario), received(anna))
			var wg sync.WaitGroup
			var mu sync.Mutex
			made := 0
			for i := range tries {
				wg.Go(func() {
					mu.Lock()
					f.clock.set(time.Date(2026, 12, 1, 0, 0, -30+60*(i%2), 0, time.UTC))
					d := f.NewDraft(f.ctx())
					mu.Unlock()
					defer d.Discard()
					d.Write(sized(fmt.Sprint(i), size))
					env := Envelope{MailFrom: giove, Transaction: fmt.Sprint(i)}
					placed, err := d.Commit(f.ctx(), env, []Intent{limited(mario, size*(room+1)+size/2, when), received(anna)}, nil)
					if err != nil {
						if when != DeferFull {
							t.Error(err)
						}
						return
					}
					if placed[0].UID != 0 {
						mu.Lock()
						made++
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			if when == MakeRoom {
				if made != tries {
					t.Errorf("%d were made of %d", made, tries)
				}
			} else if made != room {
				t.Errorf("%d were made, there was room for %d", made, room)
			}
			f.wantUsage(mario, size*(room+1))
			if when != DeferFull {
				f.wantUsage(anna, size*(tries+1))
			}
		})
	}
}

func TestUsageAfterFaults(t *testing.T) {
	f, h := hookedFixture(t)
	f.file(sized("1", 300), limited(mario, 1000, SkipFull))
	h.set(unavailable)
	_, err := f.try(sized("2", 300), "t", limited(mario, 1000, SkipFull))
	wantErr(t, "commit", err, kv.ErrUnavailable)
	h.set(nil)
	f.wantUsage(mario, 300)
	p := f.file(sized("2", 700), limited(mario, 1000, DeferFull))[0]
	f.wantUsage(mario, 1000)
	if withdrawn, err := f.Withdraw(f.ctx(), p.Ref, "file 2", refusal("file 2")); !withdrawn || err != nil {
		t.Fatal(withdrawn, err)
	}
	f.wantUsage(mario, 300)
}

func TestCrossed(t *testing.T) {
	for _, c := range []struct {
		limit, used, size uint64
		want              int
	}{
		{0, 5, 5, 0}, {1000, 0, 749, 0}, {1000, 0, 750, 75}, {1000, 750, 1, 0}, {1000, 749, 151, 90}, {1000, 0, 1000, 100},
		{1000, 900, 99, 0}, {1000, 999, 1, 100}, {math.MaxUint64, 0, math.MaxUint64, 100}, {7, 0, 5, 75}, {1, 0, 1, 100},
	} {
		if c.limit == 0 {
			continue
		}
		if got := (Quota{Limit: c.limit}).crossed(c.used, c.size); got != c.want {
			t.Errorf("%d behind %d of %d cross %d, want %d", c.size, c.used, c.limit, got, c.want)
		}
	}
	if got := (Quota{}).crossed(5, 5); got != 0 {
		t.Errorf("without a limit %d is crossed", got)
	}
}

func TestVerifyFindsTotalDamage(t *testing.T) {
	t.Parallel()
	ref := Ref{mario, "2026-11", "INBOX", 1}
	for _, c := range []struct {
		name   string
		damage func(f *fixture)
		want   string
	}{
		{"total missing", func(f *fixture) { f.put1(totalKey(mario), nil) }, "the total of mario@alpha.test says 0 bytes"},
		{"total cut short", func(f *fixture) { f.put1(totalKey(mario), []byte{1}) }, "total of a mailbox: malformed value"},
		{"total of nobody", func(f *fixture) { f.put1(totalKey("x"), []byte{0, 0, 0, 0, 0, 0, 0, 1}) }, "the total of x says 1 bytes"},
		{"total too large", func(f *fixture) { f.put1(totalKey(mario), []byte{0, 0, 0, 0, 0, 0, 9, 1}) }, "the total of mario"},
		{"tombstone of what is there", func(f *fixture) {
			e, err := f.Entry(f.ctx(), ref)
			if err != nil {
				f.t.Fatal(err)
			}
			f.put1(deliveryKey(mario, deliveryDigest(mario, Received, e.MailFrom, e.SHA256)), encodeTombstone(ref))
		}, "says that mario@alpha.test INBOX/2026-11 1 is gone"},
		{"spare chunk cut short", func(f *fixture) { f.put1([]byte("x12"), []byte{}) }, "malformed key of a spare chunk"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := openFixture(t)
			f.put(mario, letter("1"))
			f.FlushOutcomes(f.ctx())
			f.verify()
			f.damaged()
			c.damage(f)
			f.wantFault(c.want)
		})
	}
}
