package notice

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/journal/kv/level"
	"copialettere/policy"
)

const (
	anna    = "anna@alpha.test"
	outside = "anna@ext.test"
	sender  = "archivio@alpha.test"
)

// rig is a queue on a real store, with the mailbox anna that wants all notices at the address outside.
type rig struct {
	t      *testing.T
	store  kv.Store
	policy *policy.Policy
	queue  *Queue
	sent   []sentMail
	answer func(to string) error // the relay's answer; nil accepts everything
}

type sentMail struct {
	from, to string
	message  string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	engine, err := level.Open(t.TempDir(), level.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	r := &rig{t: t}
	if r.store, err = engine.Settings(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.policy, err = policy.Open(t.Context(), r.store, policy.Config{Domains: []policy.Domain{{Name: "alpha.test"}}})
	if err != nil {
		t.Fatal(err)
	}
	r.enable(anna)
	r.set("notify="+outside, "notify_on=certified,full,gap,retention")
	r.restart(3)
	return r
}

// restart forgets everything that is not in the store.
func (r *rig) restart(maxPerDay int) {
	r.queue = New(r.store, Options{Policy: r.policy, From: sender, MaxPerDay: maxPerDay})
}

func (r *rig) address(s string) policy.Address {
	r.t.Helper()
	a, err := policy.ParseAddress(s)
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

func (r *rig) operator() policy.Actor { return policy.Actor{Role: policy.RoleOperator, Name: "test"} }

func (r *rig) enable(mailbox string) {
	r.t.Helper()
	if _, err := r.policy.Enable(r.t.Context(), r.address(mailbox), r.operator()); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) set(settings ...string) {
	r.t.Helper()
	var list []policy.Assignment
	for _, s := range settings {
		key, value, _ := strings.Cut(s, "=")
		list = append(list, policy.Assignment{Key: key, Value: value})
	}
	if _, err := r.policy.Set(r.t.Context(), r.address(anna), r.operator(), list); err != nil {
		r.t.Fatal(err)
	}
	r.confirm(anna)
}

// confirm puts the pending address of a mailbox in force, if there is one.
func (r *rig) confirm(mailbox string) {
	r.t.Helper()
	s, err := r.policy.Settings(r.t.Context(), r.address(mailbox))
	if err == nil && s.NotifyPending != (policy.Pending{}) {
		err = r.policy.ConfirmNotify(r.t.Context(), r.address(mailbox), r.operator(), s.NotifyPending.Address)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) add(n Notice) {
	r.t.Helper()
	if n.Mailbox == "" && n.Cause == "" {
		n.Mailbox = anna
	}
	if n.Time.IsZero() {
		n.Time = start()
	}
	if err := r.queue.Add(r.t.Context(), n); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) deliver(now time.Time) {
	r.t.Helper()
	if err := r.queue.Deliver(r.t.Context(), now, r.send); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) send(_ context.Context, from, to string, message []byte) error {
	r.sent = append(r.sent, sentMail{from, to, string(message)})
	if r.answer == nil {
		return nil
	}
	return r.answer(to)
}

// waits counts the notices in the queue.
func (r *rig) waits() int {
	r.t.Helper()
	n := 0
	for _, err := range r.store.Scan(r.t.Context(), []byte("wq"), []byte("wr")) {
		if err != nil {
			r.t.Fatal(err)
		}
		n++
	}
	return n
}

// expect checks the number of tries so far and of waiting notices.
func (r *rig) expect(when string, tries, waits int) {
	r.t.Helper()
	if len(r.sent) != tries || r.waits() != waits {
		r.t.Fatalf("%s: %d tries and %d waiting, want %d and %d", when, len(r.sent), r.waits(), tries, waits)
	}
}

func start() time.Time {
	return time.Date(2026, 11, 21, 10, 30, 0, 0, time.FixedZone("", 3600))
}

func full(percent int) Notice {
	return Notice{Event: policy.NotifyFull, ID: fmt.Sprint(percent), Percent: percent}
}

func read(t *testing.T, message string) *mail.Message {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(message))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestDelivery(t *testing.T) {
	r := newRig(t)
	r.add(full(75))
	r.expect("added", 0, 1)
	r.restart(3)
	r.deliver(start())
	r.expect("delivered", 1, 0)
	got := r.sent[0]
	m := read(t, got.message)
	if got.from != sender || got.to != outside || m.Header.Get("From") != "<"+sender+">" || m.Header.Get("To") != "<"+outside+">" {
		t.Errorf("from %s to %s, header %v", got.from, got.to, m.Header)
	}
	r.deliver(start().Add(time.Hour))
	r.expect("once more", 1, 0)
}

// TestFromOfDomain sends the notices of a domain that has a sender address of its own, and goes on with it after a reload.
func TestFromOfDomain(t *testing.T) {
	r := newRig(t)
	r.add(full(75))
	if err := r.policy.Reconfigure(policy.Config{Domains: []policy.Domain{{Name: "alpha.test", NoticesFrom: "archivio@città.test"}}}); err != nil {
		t.Fatal(err)
	}
	const own = "archivio@xn--citt-3na.test"
	r.deliver(start())
	r.expect("delivered", 1, 0)
	m := read(t, r.sent[0].message)
	if id := m.Header.Get("Message-ID"); r.sent[0].from != own || m.Header.Get("From") != "<"+own+">" || !strings.HasSuffix(id, "@xn--citt-3na.test>") {
		t.Errorf("from %s, header %v", r.sent[0].from, m.Header)
	}
}

// TestNotWanted adds notices that are unwanted at once, and others that are no longer wanted when they are due.
func TestNotWanted(t *testing.T) {
	for _, c := range []struct {
		name          string
		before, after func(r *rig)
	}{
		{name: "no address", before: func(r *rig) { r.set("notify=none") }},
		{name: "not this event", before: func(r *rig) { r.set("notify_on=certified,gap") }},
		{name: "address taken away", after: func(r *rig) { r.set("notify=none") }},
		{name: "event taken away", after: func(r *rig) { r.set("notify_on=none") }},
		{name: "address archived since", after: func(r *rig) {
			r.set("notify=bruno@alpha.test")
			r.enable("bruno@alpha.test")
		}},
		{name: "archive off", after: func(r *rig) {
			if _, err := r.policy.Disable(r.t.Context(), r.address(anna), r.operator(), anna, time.Hour); err != nil {
				r.t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			queued := 1
			if c.before != nil {
				c.before(r)
				queued = 0
			}
			r.add(full(75))
			r.expect("added", 0, queued)
			if c.after != nil {
				c.after(r)
			}
			r.deliver(start())
			r.expect("delivered", 0, 0)
		})
	}
}

func TestAddressChangedWhileWaiting(t *testing.T) {
	r := newRig(t)
	r.add(full(75))
	r.set("notify=other@ext.test", "language=en")
	r.deliver(start())
	if len(r.sent) != 1 || r.sent[0].to != "other@ext.test" || !strings.Contains(r.sent[0].message, "is 75% full") {
		t.Errorf("sent %+v", r.sent)
	}
}

// TestChangedHands sends notices of an archive whose address changes while they wait. They name the address of then, go where that mailbox says, and
// never to the next person.
func TestChangedHands(t *testing.T) {
	r := newRig(t)
	r.add(full(75))
	if _, err := r.policy.Rename(t.Context(), r.address(anna), r.address("anna.rossi@alpha.test"), r.operator()); err != nil {
		t.Fatal(err)
	}
	r.deliver(start())
	r.expect("renamed", 1, 0)
	if _, body := decoded(t, []byte(r.sent[0].message)); r.sent[0].to != outside || !strings.Contains(body, "anna.rossi@alpha.test") || strings.Contains(body, anna) {
		t.Errorf("to %s: %s", r.sent[0].to, body)
	}
	// Somebody else has the old address by now, and is not told of the archive of that name.
	r.enable(anna)
	r.set("notify=other@ext.test", "notify_on=full")
	r.add(full(90))
	r.deliver(start())
	r.expect("a newcomer", 2, 0)
	if r.sent[1].to != outside {
		t.Errorf("sent to %s", r.sent[1].to)
	}
	r.add(full(100))
	if _, err := r.policy.HandOver(t.Context(), r.address("anna.rossi@alpha.test"), r.operator(), "anna.rossi@alpha.test"); err != nil {
		t.Fatal(err)
	}
	r.deliver(start())
	r.expect("handed over", 2, 0)
}

// TestRetry uses a relay that is never ready: the waits double up to four hours, and after three days the notice is given up.
func TestRetry(t *testing.T) {
	r := newRig(t)
	r.answer = func(string) error { return errors.New("450 later") }
	r.add(full(75))
	var tries []time.Duration
	for at := time.Duration(0); at < 4*24*time.Hour; at += time.Minute {
		before := len(r.sent)
		if r.deliver(start().Add(at)); len(r.sent) > before {
			tries = append(tries, at)
		}
	}
	wait := FirstRetry
	for i := 1; i < len(tries); i++ {
		if tries[i]-tries[i-1] != wait {
			t.Errorf("try %d came after %v, want %v", i+1, tries[i]-tries[i-1], wait)
		}
		wait = min(2*wait, LastRetry)
	}
	if n := len(tries); n < 10 || tries[n-1] < GiveUp || tries[n-1] > GiveUp+LastRetry {
		t.Errorf("tries at %v", tries)
	}
	r.expect("given up", len(tries), 0)
	id := read(t, r.sent[0].message).Header.Get("Message-ID")
	for _, s := range r.sent {
		if s.message != r.sent[0].message {
			t.Errorf("a try of %s differs from the first:\n%s", id, s.message)
		}
	}
}

func TestAnswers(t *testing.T) {
	later := start().Add(FirstRetry)
	t.Run("refused for good", func(t *testing.T) {
		r := newRig(t)
		r.answer = func(string) error { return fmt.Errorf("550: %w", ErrRefused) }
		r.add(full(75))
		r.deliver(start())
		r.expect("refused", 1, 0)
	})
	t.Run("one refused for now", func(t *testing.T) {
		r := newRig(t)
		r.answer = func(string) error { return errors.New("450 later") }
		r.add(full(75))
		r.add(full(90))
		r.deliver(start())
		r.expect("both tried", 2, 2)
		r.answer = nil
		r.deliver(later)
		r.expect("both sent", 4, 0)
	})
	t.Run("relay down", func(t *testing.T) {
		r := newRig(t)
		r.answer = func(string) error { return fmt.Errorf("connect: %w", ErrUnreachable) }
		r.add(full(75))
		r.add(full(90))
		r.deliver(start())
		r.expect("one tried", 1, 2)
		r.answer = nil
		r.deliver(start().Add(time.Minute))
		r.expect("the other sent", 2, 1)
		r.deliver(later)
		r.expect("all sent", 3, 0)
	})
	t.Run("outcome unknown", func(t *testing.T) {
		r := newRig(t)
		r.answer = func(string) error { return fmt.Errorf("no reply: %w", ErrUnknown) }
		r.add(full(75))
		for at := time.Duration(0); at < GiveUp; at += time.Hour {
			r.deliver(start().Add(at))
		}
		r.expect("repeated once", 2, 0)
	})
}

// crash ends the program in the middle of sending.
type crash struct{}

// TestCrash ends the program between each sending and the removal: a notice comes twice at most, under one Message-ID.
func TestCrash(t *testing.T) {
	r := newRig(t)
	r.add(full(75))
	for i := range 5 {
		func() {
			defer func() {
				if cause := recover(); cause != nil && cause != (crash{}) {
					panic(cause)
				}
			}()
			r.queue.Deliver(t.Context(), start().Add(time.Duration(i)*time.Hour), func(ctx context.Context, from, to string, m []byte) error {
				r.send(ctx, from, to, m)
				panic(crash{})
			})
		}()
		r.restart(3)
	}
	r.expect("crashed", 2, 0)
	if r.sent[0] != r.sent[1] {
		t.Errorf("the repetition differs:\n%s\n%s", r.sent[0].message, r.sent[1].message)
	}
}

// TestTwoDeliver delivers from a second process while the first sends one of two notices: each is sent once.
func TestTwoDeliver(t *testing.T) {
	r := newRig(t)
	r.add(Notice{Event: policy.NotifyGap, ID: "first"})
	r.add(Notice{Event: policy.NotifyGap, ID: "second"})
	other := New(r.store, Options{Policy: r.policy, From: sender, MaxPerDay: 3})
	sent := 0
	now := start().Add(time.Second)
	err := r.queue.Deliver(t.Context(), now, func(ctx context.Context, _, _ string, _ []byte) error {
		sent++
		return other.Deliver(ctx, now, func(context.Context, string, string, []byte) error { sent++; return nil })
	})
	if err != nil || sent != 2 {
		t.Errorf("%d notices were sent (%v), want each of the two once", sent, err)
	}
}

// TestStop cancels the delivery while a notice is under way: its outcome is still noted.
func TestStop(t *testing.T) {
	r := newRig(t)
	r.add(full(75))
	r.add(full(90))
	ctx, cancel := context.WithCancel(t.Context())
	err := r.queue.Deliver(ctx, start(), func(ctx context.Context, from, to string, m []byte) error {
		cancel()
		return r.send(ctx, from, to, m)
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Deliver: %v", err)
	}
	r.expect("stopped", 1, 1)
}

// TestRepeatedEvents adds the same event again: it is told once within a day.
func TestRepeatedEvents(t *testing.T) {
	r := newRig(t)
	r.restart(100)
	at := func(n Notice, d time.Duration) Notice {
		n.Time = start().Add(d)
		return n
	}
	for _, c := range []struct {
		name  string
		n     Notice
		waits int
	}{
		{"first", full(90), 1},
		{"again", full(90), 1},
		{"again after hours", at(full(90), 5*time.Hour), 1},
		{"another threshold", at(full(100), 5*time.Hour), 2},
		{"same ID of another kind", at(Notice{Event: policy.NotifyGap, ID: "90"}, 5*time.Hour), 3},
		{"no ID", at(Notice{Event: policy.NotifyGap}, 5*time.Hour), 4},
		{"no ID again", at(Notice{Event: policy.NotifyGap}, 5*time.Hour), 5},
		{"next day", at(full(90), Window), 6},
		{"clock set back", at(full(90), -300*24*time.Hour), 7},
	} {
		if r.add(c.n); r.waits() != c.waits {
			t.Errorf("%s: %d waiting, want %d", c.name, r.waits(), c.waits)
		}
	}
}

// TestUnreadable queues a notice that cannot be decoded: the others are still sent.
func TestUnreadable(t *testing.T) {
	r := newRig(t)
	err := r.store.Update(t.Context(), nil, func(tx kv.Tx) error {
		tx.Put([]byte("wq\x00broken"), []byte("{"))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	r.add(full(75))
	r.deliver(start())
	r.expect("delivered", 1, 0)
}

// TestGaps records gaps and checks what the owner is told.
func TestGaps(t *testing.T) {
	message := func(reason string, at time.Duration) journal.Record {
		return journal.Record{Kind: journal.Gap, Mailbox: anna, Time: start().Add(at).UTC(), Reason: reason}
	}
	span := func(reason string) journal.Record {
		r := message(reason, -1000*time.Hour)
		r.Until, r.Entries, r.Bytes = r.Time.Add(time.Hour), 3, 300
		return r
	}
	all := message(journal.ReasonLost, 0)
	all.Mailbox = ""
	skip := message("alias", 0)
	skip.Kind = journal.Skip
	for _, c := range []struct {
		name string
		gaps []journal.Record
		want []string // each of these texts is in exactly one notice
	}{
		{"no room", []journal.Record{message(journal.ReasonFull, 0)}, []string{"del 21/11/2026, 10:30 (+0100), non"}},
		{"journal fault", []journal.Record{message(journal.ReasonJournalFault, 0)}, []string{"per un guasto"}},
		{"room made", []journal.Record{span(journal.ReasonRoom)}, []string{"fare posto"}},
		{"lost, all mailboxes", []journal.Record{all}, []string{"Possono mancare"}},
		{"new reason", []journal.Record{message("flood", 0)}, []string{"flood"}},
		{"erased", []journal.Record{span(journal.ReasonErased)}, nil},
		{"disabled", []journal.Record{span(journal.ReasonDisabled)}, nil},
		{"a skip", []journal.Record{skip}, nil},
		{"room made all day", slices.Repeat([]journal.Record{span(journal.ReasonRoom)}, 1000), []string{"fare posto"}},
		{"many messages", []journal.Record{message(journal.ReasonFull, 0), message(journal.ReasonFull, 1), message(journal.ReasonFull, 2)}, []string{"non è stato archiviato: l'archivio era pieno"}},
		{"two reasons", []journal.Record{span(journal.ReasonRoom), message(journal.ReasonFull, 0)}, []string{"fare posto", "non è stato archiviato: l'archivio era pieno"}},
		{"spooled for four days", []journal.Record{message(journal.ReasonJournalFault, -96*time.Hour)}, []string{"del 17/11/2026, 10:30 (+0100), non"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.enable("bruno@alpha.test") // wants none
			// The time of an old gap must not start a new window.
			r.add(full(75))
			for i := range c.gaps {
				n, ok := OfGap(&c.gaps[i], start().Add(time.Duration(i)*time.Second))
				if !ok {
					continue
				}
				if err := r.queue.Add(t.Context(), n); err != nil {
					t.Fatal(err)
				}
			}
			r.add(full(75))
			r.expect("queued", 0, 1+len(c.want))
			r.answer = func(string) error { return errors.New("450 later") }
			r.deliver(start().Add(time.Hour))
			r.expect("not given up", 1+len(c.want), 1+len(c.want))
			var bodies string
			for _, s := range r.sent {
				_, body := decoded(t, []byte(s.message))
				bodies += body
			}
			for _, want := range c.want {
				if strings.Count(bodies, want) != 1 {
					t.Errorf("not one of the notices says %q:\n%s", want, bodies)
				}
			}
		})
	}
}

// TestAllMailboxes adds a notice of all mailboxes: each owner who wants it is told once.
func TestAllMailboxes(t *testing.T) {
	r := newRig(t)
	lost := Notice{Event: policy.NotifyGap, ID: journal.ReasonLost, Reason: journal.ReasonLost, Time: start()}
	for _, name := range []string{"bruno@alpha.test", "carla@alpha.test", "dario@alpha.test"} {
		r.enable(name)
	}
	for name, settings := range map[string][]string{"carla@alpha.test": {"carla@ext.test", "gap"}, "dario@alpha.test": {"dario@ext.test", "full"}} {
		list := []policy.Assignment{{Key: "notify", Value: settings[0]}, {Key: "notify_on", Value: settings[1]}}
		if _, err := r.policy.Set(t.Context(), r.address(name), r.operator(), list); err != nil {
			t.Fatal(err)
		}
		r.confirm(name)
	}
	for range 2 {
		if err := r.queue.Add(t.Context(), lost); err != nil {
			t.Fatal(err)
		}
	}
	r.deliver(start())
	var got []string
	for _, s := range r.sent {
		got = append(got, s.to)
	}
	slices.Sort(got)
	if want := []string{outside, "carla@ext.test"}; !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}
