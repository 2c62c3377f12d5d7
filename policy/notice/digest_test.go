package notice

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"copialettere/journal/kv"
	"copialettere/policy"
)

// certified returns the notice of certified message number i, that long after the start.
func certified(i int, at time.Duration) Notice {
	return Notice{
		Event: policy.NotifyCertified, ID: fmt.Sprint("INBOX/2026-11/", i), Time: start().Add(at), Sender: "bruno@beta.test",
		Subject: fmt.Sprintf("number %d.", i),
	}
}

// flood adds count notices within some minutes, from number first on, that long after the start.
func (r *rig) flood(first, count int, at time.Duration) {
	for i := range count {
		r.add(certified(first+i, at+time.Duration(i)*time.Second))
	}
}

// left counts the stored notices that digests list.
func (r *rig) left() (n int) {
	r.t.Helper()
	for _, err := range r.store.Scan(r.t.Context(), []byte("wd"), []byte("we")) {
		if err != nil {
			r.t.Fatal(err)
		}
		n++
	}
	return n
}

// lists returns which of the numbers up to n a message names.
func (r *rig) lists(message string, n int) (list []int) {
	_, body := decoded(r.t, []byte(message))
	for i := range n {
		if strings.Contains(body, fmt.Sprintf(" number %d. ", i)) {
			list = append(list, i)
		}
	}
	return list
}

// TestCap adds more notices than the daily limit on several days: what is over it comes in one message when the day ends.
func TestCap(t *testing.T) {
	r := newRig(t)
	for i := range 10 {
		r.add(certified(i, time.Duration(i)*time.Hour))
		if i == 5 {
			r.restart(3)
		}
	}
	r.deliver(start().Add(Window - time.Second))
	r.expect("first day", 3, 1)
	r.deliver(start().Add(Window))
	r.expect("its end", 4, 0)
	if got := fmt.Sprint(r.lists(r.sent[3].message, 20)); got != "[3 4 5 6 7 8 9]" {
		t.Errorf("the digest lists %s:\n%s", got, r.sent[3].message)
	}
	_, body := decoded(t, []byte(r.sent[3].message))
	if want := "- 21/11/2026, 13:30 (+0100)  Messaggio certificato per anna@alpha.test: number 3. (bruno@beta.test)\n"; !strings.Contains(body, want) {
		t.Errorf("the digest has no %q:\n%s", want, body)
	}
	for i := range 4 {
		r.add(certified(10+i, Window+time.Duration(i)*time.Hour))
	}
	r.deliver(start().Add(Window + 10*time.Hour))
	r.expect("next day", 7, 1)
	r.deliver(start().Add(2 * Window))
	r.expect("its end", 8, 0)
	if got := fmt.Sprint(r.lists(r.sent[7].message, 20)); got != "[13]" {
		t.Errorf("the second digest lists %s", got)
	}
	r.add(certified(20, 3*Window))
	r.deliver(start().Add(5 * Window))
	r.expect("a quiet day", 9, 0)
	if n := r.left(); n != 0 {
		t.Errorf("%d listed notices are left in the store", n)
	}
	if err := r.queue.Add(t.Context(), Notice{Mailbox: "no address", Event: policy.NotifyFull, Time: start()}); err == nil {
		t.Error("a notice of no mailbox was queued")
	}
}

// TestDigestIsBounded floods the owner: the digest lists so many, and counts the rest.
func TestDigestIsBounded(t *testing.T) {
	r := newRig(t)
	r.flood(0, 3+maxListed+7, 0)
	if n := r.left(); n != maxListed {
		t.Errorf("%d notices are kept for the digest, want %d", n, maxListed)
	}
	r.deliver(start().Add(Window))
	r.expect("sent", 4, 0)
	digest := r.sent[3].message
	_, body := decoded(t, []byte(digest))
	if n := strings.Count(body, "\n- "); n != maxListed || !strings.Contains(body, "perché erano troppi in un giorno: 7.\n") || len(digest) > 100_000 {
		t.Errorf("the digest has %d bytes, lists %d, and ends:\n%s", len(digest), n, body[len(body)-200:])
	}
}

// TestDigestOnce lists the same event once, however often it comes.
func TestDigestOnce(t *testing.T) {
	r := newRig(t)
	r.flood(0, 4, 0)
	for range 3 {
		r.add(certified(3, time.Minute))
	}
	r.deliver(start().Add(Window))
	_, body := decoded(t, []byte(r.sent[3].message))
	if n := strings.Count(body, "\n- "); len(r.sent) != 4 || n != 1 {
		t.Errorf("%d sent, and the digest lists %d:\n%s", len(r.sent), n, body)
	}
}

// TestDigestWanted changes the settings before the digest is due. Nothing stays behind in the store.
func TestDigestWanted(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*rig)
		want   string // what the digest lists; "" if there is none
	}{
		{"as before", func(*rig) {}, "[3 4]"},
		{"one kind not wanted", func(r *rig) { r.set("notify_on=full") }, "[]"},
		{"nothing wanted", func(r *rig) { r.set("notify_on=gap") }, ""},
		{"no address", func(r *rig) { r.set("notify=none") }, ""},
		{"archive off", func(r *rig) {
			if _, err := r.policy.Disable(r.t.Context(), r.address(anna), r.operator(), anna, time.Hour); err != nil {
				r.t.Fatal(err)
			}
		}, ""},
		{"forgotten", func(r *rig) {
			if err := Forget(r.t.Context(), r.store, anna); err != nil {
				r.t.Fatal(err)
			}
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.flood(0, 5, 0)
			r.add(full(75))
			r.deliver(start().Add(time.Hour))
			r.expect("within the limit", 3, 1)
			c.change(r)
			r.deliver(start().Add(Window))
			want := 4
			if c.want == "" {
				want = 3
			}
			r.expect("the day is over", want, 0)
			if c.want != "" {
				if got := fmt.Sprint(r.lists(r.sent[3].message, 9)); got != c.want || !strings.Contains(r.sent[3].message, "75%") {
					t.Errorf("the digest lists %s, want %s:\n%s", got, c.want, r.sent[3].message)
				}
			}
			if n := r.left(); n != 0 {
				t.Errorf("%d listed notices are left in the store", n)
			}
		})
	}
}

// TestDigestRelayDown cannot send the digest for hours: it goes out once and unchanged, and what is kept back meanwhile comes in the next one.
func TestDigestRelayDown(t *testing.T) {
	for _, answer := range []error{errors.New("450 later"), ErrUnreachable, ErrUnknown} {
		t.Run(answer.Error(), func(t *testing.T) {
			r := newRig(t)
			r.flood(0, 5, 0)
			r.deliver(start())
			r.answer = func(string) error { return answer }
			r.deliver(start().Add(Window))
			r.flood(10, 5, Window+time.Minute)
			first := r.sent[3].message
			r.answer = nil
			r.deliver(start().Add(Window + time.Hour))
			r.deliver(start().Add(3 * Window))
			r.expect("sent", 3+2+3+1, 0)
			if r.sent[4].message != first {
				t.Errorf("the digest has changed:\n%s\n%s", first, r.sent[4].message)
			}
			if got := fmt.Sprint(r.lists(first, 20), r.lists(r.sent[8].message, 20)); got != "[3 4] [13 14]" {
				t.Errorf("the digests list %s", got)
			}
		})
	}
}

// TestDigestClock lets the clock jump while a digest waits: it comes with the next notice, and nothing is lost.
func TestDigestClock(t *testing.T) {
	for _, jump := range []time.Duration{-400 * 24 * time.Hour, 400 * 24 * time.Hour} {
		r := newRig(t)
		r.flood(0, 5, 0)
		r.deliver(start())
		r.add(certified(10, jump))
		r.deliver(start().Add(jump))
		r.expect("after the jump", 5, 0)
		list := ""
		for _, s := range r.sent[3:] {
			list += fmt.Sprint(r.lists(s.message, 9))
		}
		if list != "[][3 4]" && list != "[3 4][]" {
			t.Errorf("jump of %v: the messages list %s", jump, list)
		}
	}
}

// TestDigestOfEarlierVersion takes over the count of an earlier version of the program, which listed nothing.
func TestDigestOfEarlierVersion(t *testing.T) {
	r := newRig(t)
	err := r.store.Update(t.Context(), nil, func(tx kv.Tx) error {
		tx.Put(historyKey(anna), []byte(`{"since":"2026-11-19T10:00:00Z","count":3,"more":4}`))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	r.add(certified(1, 0))
	r.deliver(start())
	r.expect("delivered", 2, 0)
	bodies := ""
	for _, s := range r.sent {
		_, body := decoded(t, []byte(s.message))
		bodies += body
	}
	if !strings.Contains(bodies, "in un giorno: 4.\n") {
		t.Errorf("the four are not counted:\n%s", bodies)
	}
}

// TestDigestOfOperator floods the operator.
func TestDigestOfOperator(t *testing.T) {
	r := operated(t)
	for i := range 6 {
		r.add(fault(fmt.Sprintf("damage %d\nin 2026-11", i), 0))
	}
	r.deliver(start())
	r.deliver(start().Add(Window))
	r.expect("sent", 4, 0)
	subject, body := decoded(t, []byte(r.sent[3].message))
	if subject != "copialettere on mx.alpha.test: further notices" || r.sent[3].to != operator ||
		strings.Count(body, "\n- 21 November 2026, 10:30 (+0100)  copialettere on mx.alpha.test: the archive has faults: damage ") != 3 {
		t.Errorf("to %s\n%s\n%s", r.sent[3].to, subject, body)
	}
}

// brittle is a store whose update number `at` breaks: before it is made, or after it.
type brittle struct {
	kv.Store
	mu      sync.Mutex
	at      int // counts down to 0; guarded by mu
	after   bool
	breaks  func() error
	updates int // guarded by mu
}

func (b *brittle) Update(ctx context.Context, locks []string, fn func(kv.Tx) error) error {
	b.mu.Lock()
	b.updates++
	hit := b.updates == b.at
	b.mu.Unlock()
	if hit && !b.after {
		return b.breaks()
	}
	if err := b.Store.Update(ctx, locks, fn); err != nil || !hit {
		return err
	}
	return b.breaks()
}

// TestDigestFaults breaks each update of a day with a digest, by an error and by a kill, before and after it is made. A notice whose Add failed is
// added again, as the pump does with gaps. In the end each notice is told exactly once, or twice if its outcome was unknown; none is lost or left.
func TestDigestFaults(t *testing.T) {
	const count = 6
	for _, after := range []bool{false, true} {
		for _, kill := range []bool{false, true} {
			for at := 1; ; at++ {
				r := newRig(t)
				b := &brittle{Store: r.store, at: at, after: after, breaks: func() error {
					if kill {
						panic(crash{})
					}
					return kv.ErrUnavailable
				}}
				queue := func() *Queue { return New(b, Options{Policy: r.policy, From: sender, MaxPerDay: 3}) }
				r.queue = queue()
				// survive calls fn again after a fault.
				survive := func(fn func() error) {
					for range 3 {
						err := func() (err error) {
							defer func() {
								if cause := recover(); cause != nil {
									if cause != (crash{}) {
										panic(cause)
									}
									err, r.queue = errors.New("killed"), queue()
								}
							}()
							return fn()
						}()
						if err == nil {
							return
						}
					}
					t.Fatal("no way past one fault")
				}
				for i := range count {
					n := certified(i, time.Duration(i)*time.Second)
					n.Mailbox = anna
					survive(func() error { return r.queue.Add(t.Context(), n) })
				}
				for _, when := range []time.Duration{0, time.Hour, Window, Window + time.Hour, Window + 2*time.Hour} {
					survive(func() error { return r.queue.Deliver(t.Context(), start().Add(when), r.send) })
				}
				times := make(map[int]int)
				messages := make(map[string]bool)
				for _, s := range r.sent {
					if messages[s.message] {
						continue // the repetition of one whose outcome was unknown
					}
					messages[s.message] = true
					subject, _ := decoded(t, []byte(s.message))
					for i := range count {
						if strings.HasSuffix(subject, fmt.Sprintf(" number %d.", i)) {
							times[i]++
						}
					}
					for _, i := range r.lists(s.message, count) {
						times[i]++
					}
				}
				for i := range count {
					if times[i] != 1 {
						t.Errorf("update %d (after: %v, kill: %v): notice %d is told %d times", at, after, kill, i, times[i])
					}
				}
				if r.waits() != 0 || r.left() != 0 {
					t.Errorf("update %d (after: %v, kill: %v): %d waiting and %d listed are left", at, after, kill, r.waits(), r.left())
				}
				if b.updates < at {
					break
				}
			}
		}
	}
}

// TestTwoDeliverDigest delivers a digest from two processes at once: it is sent once, and lists what it should.
func TestTwoDeliverDigest(t *testing.T) {
	r := newRig(t)
	r.flood(0, 5, 0)
	r.deliver(start())
	other := New(r.store, Options{Policy: r.policy, From: sender, MaxPerDay: 3})
	err := r.queue.Deliver(t.Context(), start().Add(Window), func(ctx context.Context, from, to string, m []byte) error {
		r.send(ctx, from, to, m)
		return other.Deliver(ctx, start().Add(Window), r.send)
	})
	if err != nil || len(r.sent) != 4 || fmt.Sprint(r.lists(r.sent[3].message, 9)) != "[3 4]" {
		t.Errorf("%v, sent %+v", err, r.sent)
	}
}
