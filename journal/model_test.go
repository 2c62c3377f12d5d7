package journal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"copialettere/journal/kv"
)

// model is what the journal does, in the fewest words: it knows nothing of keys, chunks, or updates.
type model struct {
	entries map[Ref]*modelEntry
	next    map[Ref]uint32 // of a folder: its Ref with UID 0
	skips   map[string][]Record
}

type modelEntry struct {
	delivery    string
	message     []byte
	state       State
	withdrawal  bool
	refused     bool
	transaction string
}

func (m *model) find(delivery string, month kv.Month) (Ref, bool) {
	for _, at := range []kv.Month{month.Previous(), month.Next(), month} {
		for r, e := range m.entries {
			if r.Month == at && e.delivery == delivery {
				return r, true
			}
		}
	}
	return Ref{}, false
}

func (m *model) commit(folder Ref, delivery, transaction string, message []byte) Placement {
	if r, ok := m.find(delivery, folder.Month); ok {
		if e := m.entries[r]; e.state != Delivered {
			e.withdrawal, e.state, e.transaction = e.state == Deferred, Unknown, transaction
		}
		return Placement{Ref: r, Found: true}
	}
	m.next[folder]++
	r := folder
	r.UID = m.next[folder]
	m.entries[r] = &modelEntry{delivery: delivery, message: message, state: Unknown, withdrawal: true, transaction: transaction}
	return Placement{Ref: r, Found: false}
}

func (m *model) list(mailbox string) []string {
	var refs []Ref
	for r := range m.entries {
		if r.Mailbox == mailbox {
			refs = append(refs, r)
		}
	}
	slices.SortFunc(refs, func(a, b Ref) int {
		if a.Month != b.Month {
			return cmpText(string(a.Month), string(b.Month))
		}
		if a.Folder != b.Folder {
			return cmpText(a.Folder, b.Folder)
		}
		return int(a.UID) - int(b.UID)
	})
	var list []string
	for _, r := range refs {
		e := &Entry{Ref: r}
		e.setOutcome(outcome{state: m.entries[r].state, refused: m.entries[r].refused})
		list = append(list, entryText(e))
	}
	return list
}

func cmpText(a, b string) int {
	if a < b {
		return -1
	}
	return 1
}

// TestModel does at random what can be done, opens the journal again now and then, and compares it with the model.
func TestModel(t *testing.T) {
	for range 2 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			runModel(t, rand.New(rand.NewPCG(seed, 0)), 300)
		})
	}
}

func runModel(t *testing.T, r *rand.Rand, steps int) {
	f := openFixture(t)
	m := &model{entries: make(map[Ref]*modelEntry), next: make(map[Ref]uint32), skips: make(map[string][]Record)}
	mailboxes := []string{mario, anna, "m"}
	messages := [][]byte{{}, letter("a"), letter("b"), words(1, chunkMin+1), enclosed(1, 30), enclosing(enclosed(1, 30)), randomBytes(1, 300<<10)}
	var open []Ref // entries of which a transaction is under way
	for step := range steps {
		mailbox := mailboxes[r.IntN(len(mailboxes))]
		transaction := fmt.Sprint("t", step)
		switch n := r.IntN(100); {
		case n < 45:
			message := messages[r.IntN(len(messages))]
			in := Intent{Mailbox: mailbox, Direction: Direction(1 + r.IntN(2)), Recipients: []string{transaction}}
			env := Envelope{MailFrom: []string{giove, ""}[r.IntN(2)], Transaction: transaction}
			d := f.NewDraft(f.ctx())
			for rest := message; len(rest) > 0; {
				k := min(len(rest), 1+r.IntN(64<<10))
				d.Write(rest[:k])
				rest = rest[k:]
			}
			if r.IntN(10) == 0 {
				d.Discard()
				continue
			}
			placed, err := d.Commit(f.ctx(), env, []Intent{in}, nil)
			if err != nil {
				t.Fatal(err)
			}
			folder := Ref{Mailbox: mailbox, Month: kv.MonthOf(d.arrival), Folder: FolderOf(in.Direction)}
			d.Discard()
			want := m.commit(folder, fmt.Sprint(mailbox, in.Direction, env.MailFrom, len(message), string(message)), transaction, message)
			if placed[0] != want {
				t.Fatalf("step %d: placed at %+v, want %+v", step, placed[0], want)
			}
			open = append(open, want.Ref)
		case n < 75 && len(open) > 0:
			i := r.IntN(len(open))
			ref := open[i]
			open = slices.Delete(open, i, i+1)
			modelOutcome(t, f, m, ref, transaction, r)
		case n < 80:
			f.reopen()
		case n < 85:
			f.clock.set(november.AddDate(0, r.IntN(4), 0))
		case n < 87:
			f.clock.set(f.clock.now().Add(-time.Hour))
		case n < 97:
			record := Record{Kind: Skip, Mailbox: mailbox, Time: f.clock.now(), Reason: "alias", Transaction: transaction}
			if err := f.Record(f.ctx(), record); err != nil {
				t.Fatal(err)
			}
			m.skips[mailbox] = append(m.skips[mailbox], record)
		default:
			before := f.clock.now().AddDate(0, 0, -r.IntN(60))
			want := 0
			for box, list := range m.skips {
				kept := slices.DeleteFunc(list, func(s Record) bool { return s.Time.Before(before) })
				want += len(list) - len(kept)
				m.skips[box] = kept
			}
			if deleted, err := f.ExpireSkips(f.ctx(), before); deleted != want || err != nil {
				t.Fatalf("step %d: %d skips expired, %v; want %d", step, deleted, err, want)
			}
		}
		if step%40 == 39 {
			modelCompare(t, f, m, mailboxes)
		}
	}
}

// modelOutcome ends a transaction of an entry: the one that has it, or one that is no longer the last.
func modelOutcome(t *testing.T, f *fixture, m *model, ref Ref, transaction string, r *rand.Rand) {
	t.Helper()
	e := m.entries[ref]
	if e != nil && r.IntN(4) > 0 {
		transaction = e.transaction
	}
	mine := e != nil && e.withdrawal && e.transaction == transaction && e.state != Delivered
	switch r.IntN(3) {
	case 0:
		f.Delivered(ref, transaction)
		if e != nil {
			e.state = Delivered
		}
	case 1:
		err := f.Deferred(f.ctx(), ref, transaction)
		if (err == nil) != (e != nil) {
			t.Fatalf("Deferred of %v: %v", ref, err)
		}
		if mine {
			e.state = Deferred
		}
	default:
		record := Record{Kind: Skip, Mailbox: ref.Mailbox, Time: f.clock.now(), Reason: ReasonRefused, Transaction: transaction}
		withdrawn, err := f.Withdraw(f.ctx(), ref, transaction, record)
		if withdrawn != mine || (err == nil) != (e != nil) || err != nil && !errors.Is(err, ErrNotFound) {
			t.Fatalf("Withdraw of %v by %s: %v, %v; want %v", ref, transaction, withdrawn, err, mine)
		}
		switch {
		case withdrawn:
			delete(m.entries, ref)
			m.skips[ref.Mailbox] = append(m.skips[ref.Mailbox], record)
		case e != nil:
			e.refused = true
		}
	}
}

func modelCompare(t *testing.T, f *fixture, m *model, mailboxes []string) {
	t.Helper()
	for _, mailbox := range mailboxes {
		f.want(mailbox, m.list(mailbox)...)
		if got, want := len(f.records(mailbox)), len(m.skips[mailbox]); got != want {
			t.Errorf("%s has %d records, want %d", mailbox, got, want)
		}
	}
	for r, e := range m.entries {
		f.wantBytes(r, e.message)
	}
	if got := f.verify().Entries; got != int64(len(m.entries)) {
		t.Errorf("%d entries, want %d", got, len(m.entries))
	}
	stats, err := f.Stats(f.ctx(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range stats {
		if got, want := s.NextUID, m.next[Ref{s.Mailbox, s.Month, s.Folder, 0}]+1; got != want {
			t.Errorf("%s %s/%s: next UID %d, want %d", s.Mailbox, s.Folder, s.Month, got, want)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}
