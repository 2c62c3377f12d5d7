package journal

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/journal/kv"
)

// model is what the journal does, in the fewest words: it knows nothing of keys, chunks, or updates.
type model struct {
	entries map[Ref]*modelEntry
	next    map[Ref]uint32 // of a folder: its Ref with UID 0
	skips   map[string][]modelSkip
	aside   map[Ref]*modelEntry
	gone    map[modelPlace]bool // deliveries whose entry was deleted by hand
	spans   map[modelPlace]int  // of a mailbox, in place of a delivery, and month: the records of its erased spans
	acts    map[string]int      // of a mailbox
}

// modelSkip is the record of a skip: a refusal is filed with its entry.
type modelSkip struct {
	time  time.Time
	month kv.Month
}

// modelPlace is a delivery in a month.
type modelPlace struct {
	delivery string
	month    kv.Month
}

func newModel() *model {
	return &model{
		entries: make(map[Ref]*modelEntry), next: make(map[Ref]uint32), skips: make(map[string][]modelSkip), aside: make(map[Ref]*modelEntry),
		gone: make(map[modelPlace]bool), spans: make(map[modelPlace]int), acts: make(map[string]int),
	}
}

type modelEntry struct {
	delivery    string
	message     []byte
	state       State
	withdrawal  bool
	refused     bool
	transaction string
	arrival     time.Time
	deleted     time.Time
}

// find returns where a delivery is, or that it was and is deleted.
func (m *model) find(delivery string, month kv.Month) (r Ref, found, gone bool) {
	for _, at := range []kv.Month{month.Previous(), month.Next(), month} {
		if m.gone[modelPlace{delivery, at}] {
			return Ref{}, false, true
		}
		for r, e := range m.entries {
			if r.Month == at && e.delivery == delivery {
				return r, true, false
			}
		}
	}
	return Ref{}, false, false
}

// refile gives an entry a new place.
func (m *model) refile(e *modelEntry, folder Ref) Ref {
	m.next[folder]++
	r := folder
	r.UID = m.next[folder]
	m.entries[r] = e
	return r
}

// retention of the mailboxes, in months.
var modelRetention = map[string]int{mario: 1, anna: 2, "m": 3}

// expire forgets what a run deletes that drops these months.
func (m *model) expire(now time.Time, dropped []kv.Month) {
	for r, e := range m.entries {
		if !AddMonths(e.arrival, modelRetention[r.Mailbox]).After(now) {
			delete(m.entries, r)
		}
	}
	for r, e := range m.aside {
		if !AddMonths(e.arrival, modelRetention[r.Mailbox]).After(now) || !e.deleted.Add(DeletedGrace).After(now) {
			delete(m.aside, r)
		}
	}
	for _, month := range dropped {
		for mailbox, list := range m.skips {
			m.skips[mailbox] = slices.DeleteFunc(list, func(s modelSkip) bool { return s.month == month })
		}
		maps.DeleteFunc(m.gone, func(p modelPlace, _ bool) bool { return p.month == month })
		maps.DeleteFunc(m.next, func(r Ref, _ uint32) bool { return r.Month == month })
		// The record stays, and the next erasure in that month makes another one.
		for p, n := range m.spans {
			if p.month == month {
				delete(m.spans, p)
				m.spans[modelPlace{p.delivery, ""}] += n
			}
		}
	}
}

// purge has the journal remove what was deleted, and forgets it, unless the clock is in doubt.
func (m *model) purge(t *testing.T, f *fixture) {
	t.Helper()
	now := f.clock.now()
	purged, err := f.PurgeDeleted(f.ctx())
	if errors.Is(err, ErrAbnormal) {
		return
	}
	before := len(m.aside)
	maps.DeleteFunc(m.aside, func(_ Ref, e *modelEntry) bool { return graceOver(e.deleted, now) })
	if want := before - len(m.aside); err != nil || int(purged.Entries) != want {
		t.Fatalf("%d purged, %v; want %d", purged.Entries, err, want)
	}
}

func (m *model) erase(mailbox string) (n int) {
	for _, entries := range []map[Ref]*modelEntry{m.entries, m.aside} {
		for r := range entries {
			if r.Mailbox == mailbox {
				n++
				delete(entries, r)
				m.spans[modelPlace{mailbox, r.Month}] = 1
			}
		}
	}
	m.skips[mailbox] = nil
	maps.DeleteFunc(m.gone, func(p modelPlace, _ bool) bool { return strings.HasPrefix(p.delivery, mailbox+" ") })
	maps.DeleteFunc(m.next, func(r Ref, _ uint32) bool { return r.Mailbox == mailbox })
	return n
}

func (m *model) usage(mailbox string) (sum uint64) {
	for r, e := range m.entries {
		if r.Mailbox == mailbox {
			sum += uint64(len(e.message))
		}
	}
	return sum
}

// records counts the skips and gaps of a mailbox.
func (m *model) records(mailbox string) int {
	n := len(m.skips[mailbox])
	for p, spans := range m.spans {
		if p.delivery == mailbox {
			n += spans
		}
	}
	return n
}

func (m *model) commit(folder Ref, delivery, transaction string, message []byte, arrival time.Time) Placement {
	switch r, found, gone := m.find(delivery, folder.Month); {
	case gone:
		m.skips[folder.Mailbox] = append(m.skips[folder.Mailbox], modelSkip{arrival, folder.Month})
		return Placement{Ref: Ref{Mailbox: folder.Mailbox}, Skipped: ReasonDeleted}
	case found:
		if e := m.entries[r]; e.state != Delivered {
			e.withdrawal, e.state, e.transaction = e.state == Deferred, Unknown, transaction
		}
		return Placement{Ref: r, Found: true}
	}
	e := &modelEntry{delivery: delivery, message: message, state: Unknown, withdrawal: true, transaction: transaction, arrival: arrival}
	return Placement{Ref: m.refile(e, folder)}
}

func (m *model) list(mailbox string) []string {
	var refs []Ref
	for r := range m.entries {
		if r.Mailbox == mailbox {
			refs = append(refs, r)
		}
	}
	slices.SortFunc(refs, compareRefs)
	var list []string
	for _, r := range refs {
		e := &Entry{Ref: r}
		e.setOutcome(outcome{state: m.entries[r].state, refused: m.entries[r].refused})
		list = append(list, entryText(e))
	}
	return list
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
	m := newModel()
	mailboxes := []string{mario, anna, "m"}
	messages := [][]byte{{}, letter("a"), letter("b"), words(1, chunkMin+1), enclosed(1, 30), enclosing(enclosed(1, 30)), randomBytes(1, 300<<10)}
	var open []Ref // entries of which a transaction is under way
	for step := range steps {
		mailbox := mailboxes[r.IntN(len(mailboxes))]
		transaction := fmt.Sprint("t", step)
		switch n := r.IntN(130); {
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
			want := m.commit(folder, fmt.Sprint(mailbox, " ", in.Direction, env.MailFrom, len(message), string(message)), transaction, message, d.arrival)
			if placed[0] != want {
				t.Fatalf("step %d: placed at %+v, want %+v", step, placed[0], want)
			}
			if want.UID != 0 {
				open = append(open, want.Ref)
			}
		case n < 75 && len(open) > 0:
			i := r.IntN(len(open))
			ref := open[i]
			open = slices.Delete(open, i, i+1)
			modelOutcome(t, f, m, ref, transaction, r)
		case n < 80:
			f.reopen()
		case n < 85:
			f.clock.set(november.AddDate(0, r.IntN(5), 0))
		case n < 87:
			f.clock.set(f.clock.now().Add(-time.Hour))
		case n < 97:
			record := Record{Kind: Skip, Mailbox: mailbox, Time: f.clock.now(), Reason: "alias", Transaction: transaction}
			if err := f.Record(f.ctx(), record); err != nil {
				t.Fatal(err)
			}
			m.skips[mailbox] = append(m.skips[mailbox], modelSkip{record.Time, kv.MonthOf(record.Time)})
		case n < 126:
			modelAct(t, f, m, r)
		case n < 127:
			want := m.erase(mailbox)
			// UIDs begin anew, so what was under way must not be told of another entry.
			open = slices.DeleteFunc(open, func(r Ref) bool { return r.Mailbox == mailbox })
			if removed, err := f.Erase(f.ctx(), mailbox, EraseOptions{KeepGaps: true}); int(removed.Entries) != want || err != nil {
				t.Fatalf("step %d: %d entries erased, %v; want %d", step, removed.Entries, err, want)
			}
		case n < 128:
			report := f.expire(ExpireOptions{Mailboxes: func(mailbox string) (int, bool) { return modelRetention[mailbox], false }, Yes: true})
			before := len(m.entries)
			m.expire(report.Time, report.Dropped)
			open = slices.DeleteFunc(open, func(r Ref) bool { return slices.Contains(report.Dropped, r.Month) })
			if want := before - len(m.entries); int(report.Removed.Entries) != want {
				t.Fatalf("step %d: %d entries expired, want %d", step, report.Removed.Entries, want)
			}
		case n < 129:
			f.pass(61 * time.Minute)
			m.purge(t, f)
			f.sweep(SweepOptions{All: r.IntN(2) == 0})
		default:
			before := f.clock.now().AddDate(0, 0, -r.IntN(60))
			want := 0
			for box, list := range m.skips {
				kept := slices.DeleteFunc(list, func(s modelSkip) bool { return s.time.Before(before) })
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

// modelAct moves or deletes an entry, or brings one back.
func modelAct(t *testing.T, f *fixture, m *model, r *rand.Rand) {
	t.Helper()
	pick := func(entries map[Ref]*modelEntry) (Ref, bool) {
		refs := slices.SortedFunc(maps.Keys(entries), compareRefs)
		if len(refs) == 0 {
			return Ref{}, false
		}
		return refs[r.IntN(len(refs))], true
	}
	switch n := r.IntN(10); {
	case n < 4:
		ref, ok := pick(m.entries)
		if !ok {
			return
		}
		e := m.entries[ref]
		delete(m.entries, ref)
		folder := Ref{ref.Mailbox, ref.Month, []string{"INBOX", "Sent", Trash}[r.IntN(3)], 0}
		want := m.refile(e, folder)
		if to := f.move(ref, folder.Folder); to != want {
			t.Fatalf("%v moved to %v, want %v", ref, to, want)
		}
		m.acts[ref.Mailbox]++
	case n < 7:
		ref, ok := pick(m.entries)
		if !ok {
			return
		}
		selected := ref.Only()
		do := func() (*Done, error) { return f.Delete(f.ctx(), selected, "owner") }
		if r.IntN(3) == 0 {
			selected.UIDs = AllUIDs()
			do = func() (*Done, error) { return f.Empty(f.ctx(), ref, "owner") }
		}
		gone := m.selected(m.entries, selected)
		d, err := do()
		if err != nil || d.UIDs.Count() != uint64(len(gone)) {
			t.Fatalf("%d of %d of %s deleted, %v", d.UIDs.Count(), len(gone), selected, err)
		}
		for _, ref := range gone {
			e := m.entries[ref]
			delete(m.entries, ref)
			e.deleted = d.Time
			m.aside[ref] = e
			m.gone[modelPlace{e.delivery, ref.Month}] = true
		}
		m.acts[ref.Mailbox]++
	default:
		ref, ok := pick(m.aside)
		if !ok {
			return
		}
		selected := ref.Only()
		if r.IntN(2) == 0 {
			selected.UIDs = AllUIDs()
		}
		var want []Ref
		now := f.clock.now()
		for _, ref := range m.selected(m.aside, selected) {
			e := m.aside[ref]
			if graceOver(e.deleted, now) {
				continue
			}
			delete(m.aside, ref)
			delete(m.gone, modelPlace{e.delivery, ref.Month})
			want = append(want, m.refile(e, Ref{ref.Mailbox, ref.Month, ref.Folder, 0}))
		}
		d, err := f.Undelete(f.ctx(), selected, "owner")
		if len(want) == 0 {
			wantErr(t, "bring back "+selected.String(), err, ErrGone)
			return
		}
		if err != nil || d.To != want[0] || d.ToUIDs.Count() != uint64(len(want)) || !d.ToUIDs.has(want[len(want)-1].UID) {
			t.Fatalf("%s came back to %v, %v; want %v", selected, d, err, want)
		}
		m.acts[ref.Mailbox]++
	}
}

// selected returns those entries that are in a selection, by UID.
func (m *model) selected(entries map[Ref]*modelEntry, s Selection) (refs []Ref) {
	for _, r := range slices.SortedFunc(maps.Keys(entries), compareRefs) {
		if s.place(r.UID) == r && s.UIDs.has(r.UID) {
			refs = append(refs, r)
		}
	}
	return refs
}

func compareRefs(a, b Ref) int {
	return cmp.Or(cmp.Compare(a.Month, b.Month), cmp.Compare(a.Mailbox, b.Mailbox), cmp.Compare(a.Folder, b.Folder), cmp.Compare(a.UID, b.UID))
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
			m.skips[ref.Mailbox] = append(m.skips[ref.Mailbox], modelSkip{record.Time, ref.Month})
		case e != nil:
			e.refused = true
		}
	}
}

func modelCompare(t *testing.T, f *fixture, m *model, mailboxes []string) {
	t.Helper()
	for _, mailbox := range mailboxes {
		f.want(mailbox, m.list(mailbox)...)
		if got, want := len(f.records(mailbox)), m.records(mailbox); got != want {
			t.Errorf("%s has %d records, want %d", mailbox, got, want)
		}
		if got := len(f.acts(mailbox)); got != m.acts[mailbox] {
			t.Errorf("%s has %d acts on record, want %d", mailbox, got, m.acts[mailbox])
		}
		if got, err := f.Usage(f.ctx(), mailbox); got != m.usage(mailbox) || err != nil {
			t.Errorf("usage of %s is %d, %v; want %d", mailbox, got, err, m.usage(mailbox))
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
