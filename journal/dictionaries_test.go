package journal

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/journal/codec"
	"copialettere/journal/kv"
)

// receiptBoxes are the mailboxes of one provider.
var receiptBoxes = [...]string{"a@pec.test", "b@pec.test", "c@pec.test", "d@pec.test", "e@pec.test", "f@pec.test", "g@pec.test", mario}

// receiptOf is a receipt of a provider: of its words and its certificate every one has the same, and the rest is of one mailbox alone.
func receiptOf(certificate uint64, n int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: posta-certificata@pec.test\r\nTo: %s\r\nMessage-ID: <receipt%d@pec.test>\r\nSubject: ACCETTAZIONE: %s\r\n\r\n", giove, n, secretOf(n))
	b.WriteString(strings.Repeat("Il messaggio e' stato accettato dal sistema ed inoltrato ai destinatari.\r\n", 2))
	text := base64.StdEncoding.EncodeToString(append(randomBytes(certificate, 2001), randomBytes(uint64(n+1000), 150)...))
	for len(text) > 0 {
		m := min(76, len(text))
		b.WriteString(text[:m] + "\r\n")
		text = text[m:]
	}
	return b.Bytes()
}

// secretOf is what only one receipt says.
func secretOf(n int) string { return fmt.Sprintf("pratica %x", randomBytes(uint64(n), 12)) }

// receipts delivers receipts with numbers from <= n < to, one after the other to each of the mailboxes.
func (f *fixture) receipts(certificate uint64, from, to int) (refs []Ref) {
	f.t.Helper()
	for n := from; n < to; n++ {
		refs = append(refs, f.put(receiptBoxes[n%len(receiptBoxes)], receiptOf(certificate, n)))
	}
	return refs
}

// learner returns one that learns when it is told to; that of the journal sleeps.
func (f *fixture) learner() *learner {
	f.t.Helper()
	f.learning.next.Store(math.MaxInt64)
	f.learning.months <- "" // the goroutine has no other to take up once it has taken this
	f.learning.months <- ""
	f.learning.months <- ""
	l := &learner{j: f.Journal, ctx: f.ctx(), pieces: codec.NewLearner()}
	f.store()
	if err := l.enter(f.Month()); err != nil {
		f.t.Fatal(err)
	}
	return l
}

// learn has a learner read messages.
func (l *learner) learn(t testing.TB, refs []Ref) {
	t.Helper()
	for _, r := range refs {
		if err := l.sample(r); err != nil {
			t.Fatal(err)
		}
	}
}

// wantDictionary compares the number of the dictionary that an entry's only chunk was compressed with.
func (f *fixture) wantDictionary(r Ref, number byte) {
	f.t.Helper()
	value := f.get1(chunkKey(f.entry(r).Chunks[0].ID))
	if got := codec.NumberOf(value); got != number {
		f.t.Errorf("%v: dictionary %d, want %d", r, got, number)
	}
}

func TestDictionaries(t *testing.T) {
	f := openFixture(t)
	l := f.learner()
	first := f.receipts(1, 0, firstRound)
	l.learn(t, first)
	if got := l.list.Numbers(); !bytes.Equal(got, []byte{1}) {
		t.Fatalf("dictionaries %v", got)
	}
	later := f.receipts(1, firstRound, firstRound+20)
	f.wantDictionary(first[3], 0)
	f.wantDictionary(later[3], 1)
	if was, is := len(f.get1(chunkKey(f.entry(first[3]).Chunks[0].ID))), len(f.get1(chunkKey(f.entry(later[3]).Chunks[0].ID))); is > was/4 {
		t.Errorf("%d bytes with the dictionary, %d without", is, was)
	}
	f.wantBytes(first[3], receiptOf(1, 3))
	f.wantBytes(later[3], receiptOf(1, firstRound+3))
	for _, c := range f.entry(f.put(mario, words(1, 400<<10))).Chunks {
		if n := codec.NumberOf(f.get1(chunkKey(c.ID))); (n == 0) != (c.Size > codec.MostWithDictionary) {
			t.Errorf("a chunk of %d bytes has dictionary %d", c.Size, n)
		}
	}

	// The provider gets another certificate.
	changed := f.receipts(2, 1000, 1000+2*firstRound)
	l.learn(t, changed)
	if got := l.list.Numbers(); !bytes.Equal(got, []byte{1, 2}) {
		t.Fatalf("dictionaries %v", got)
	}
	renewed := f.receipts(2, 2000, 2008)
	f.wantDictionary(renewed[0], 2)
	f.verify()

	// The next process reads all, and goes on with the newest.
	f.reopen()
	f.learner()
	f.wantDictionary(f.put(mario, receiptOf(2, 3000)), 2)
	for _, r := range []Ref{first[0], later[0], changed[0], renewed[0]} {
		f.bytes(r)
	}
	// So does the next month, with one of its own: the month before can go.
	f.clock.set(november.AddDate(0, 1, 0))
	f.learner()
	december := f.put(mario, receiptOf(2, 3001))
	f.wantDictionary(december, 1)
	if err := f.engine.Drop(f.ctx(), "2026-11"); err != nil {
		t.Fatal(err)
	}
	f.Journal.dictionaries.dropped("2026-11")
	f.wantBytes(december, receiptOf(2, 3001))
}

// TestLearning has the goroutine of the journal make a dictionary of what is delivered.
func TestLearning(t *testing.T) {
	f := openFixture(t)
	var last Ref
	deadline := time.Now().Add(time.Minute)
	for n := 0; ; n++ {
		if last = f.put(receiptBoxes[n%len(receiptBoxes)], receiptOf(1, n)); codec.NumberOf(f.get1(chunkKey(f.entry(last).Chunks[0].ID))) != 0 {
			f.wantBytes(last, receiptOf(1, n))
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no dictionary after %d messages", n)
		}
	}
	if f.learning.pause.Load() != int64(samplePause) {
		t.Error("all messages are still read back")
	}
}

// TestMailingVotesOnce has one message to many mailboxes leave nothing in a dictionary, neither in one transaction nor in many.
func TestMailingVotesOnce(t *testing.T) {
	f := openFixture(t)
	l := f.learner()
	mailing := func(n int) []byte { return receiptOf(uint64(n), n) }
	var refs []Ref
	for n := range firstRound/4 + 1 {
		for _, box := range receiptBoxes[:4] {
			refs = append(refs, f.put(box, mailing(n)), f.put(box, sized(fmt.Sprint(n, box), 300)))
		}
		intents := make([]Intent, len(receiptBoxes))
		for i, box := range receiptBoxes {
			intents[i] = received(box)
		}
		for _, p := range f.file(mailing(n+1000), intents...) {
			refs = append(refs, p.Ref)
		}
		for _, box := range receiptBoxes { // again, each with a header of its own
			refs = append(refs, f.put(box, append([]byte("Delivered-To: "+box+"\r\n"), mailing(n+2000)...)))
		}
	}
	l.learn(t, refs)
	content := l.list.Newest().Content
	for n := range firstRound/4 + 1 {
		for _, one := range []int{n, n + 1000, n + 2000} {
			if bytes.Contains(content, randomBytes(uint64(one), 2001)[1000:1016]) || bytes.Contains(content, []byte(secretOf(one))) {
				t.Fatalf("the dictionary of %d bytes holds text of mailing %d", len(content), one)
			}
		}
	}
}

// TestEraseLeavesNoText erases a mailbox: no dictionary holds what its messages and those of too few others said, and no file the bytes of its messages.
func TestEraseLeavesNoText(t *testing.T) {
	f := openFixture(t)
	f.onFiles()
	l := f.learner()
	private := randomBytes(77, 500)
	quoted := "Il testo di mario, che quattro caselle hanno citato in messaggi diversi.\r\n"
	var refs []Ref
	for n := range 3 * firstRound {
		message := receiptOf(1, n)
		switch box := receiptBoxes[n%len(receiptBoxes)]; {
		case box == mario:
			message = append(message, "\r\n"+base64.StdEncoding.EncodeToString(private)+quoted...)
		case n%len(receiptBoxes) < codec.Voters-2:
			message = append(message, quoted...)
		}
		refs = append(refs, f.put(receiptBoxes[n%len(receiptBoxes)], message))
	}
	l.learn(t, refs)
	if l.list == nil {
		t.Fatal("no dictionary")
	}
	var secrets [][]byte
	for i := 0; i+12 <= len(private); i += 12 {
		secrets = append(secrets, private[i:i+12])
	}
	own := secrets
	for i := 0; i+12 <= len(quoted); i++ {
		secrets = append(secrets, []byte(quoted[i:i+12]))
	}
	for n := len(receiptBoxes) - 1; n < 3*firstRound; n += len(receiptBoxes) {
		secrets = append(secrets, []byte(secretOf(n)[10:22]))
	}
	for _, number := range l.list.Numbers() {
		for _, kind := range []byte{dictionaryKind, dictionaryCopyKind} {
			for _, secret := range secrets {
				if bytes.Contains(f.get1(dictionaryKey(kind, number)), secret) {
					t.Errorf("dictionary %d holds %q", number, secret)
				}
			}
		}
	}
	if _, err := f.Erase(f.ctx(), mario, EraseOptions{}); err != nil {
		t.Fatal(err)
	}
	f.clock.set(november.AddDate(0, 3, 0)) // in the month of today chunks go when it is over
	for range 3 {
		f.clock.set(f.clock.now().Add(2 * sweepPause))
		if _, err := f.Sweep(f.ctx(), SweepOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range refs {
		if r.Mailbox != mario {
			f.bytes(r)
		}
	}
	f.close()
	err := filepath.WalkDir(f.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		for _, secret := range own {
			if bytes.Contains(content, secret) {
				t.Errorf("%s holds %q", filepath.Base(path), secret)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	f.open()
}

// TestDictionaryDamaged damages one copy of a dictionary, or both.
func TestDictionaryDamaged(t *testing.T) {
	flip := func(b []byte) []byte { b[len(b)-1] ^= 1; return b }
	for _, test := range []struct {
		name   string
		damage func(f *fixture, kind byte)
		kinds  string
		lost   bool
	}{
		{"one copy", func(f *fixture, kind byte) { f.put1(dictionaryKey(kind, 1), flip(f.get1(dictionaryKey(kind, 1)))) }, "f", false},
		{"the other copy", func(f *fixture, kind byte) { f.put1(dictionaryKey(kind, 1), flip(f.get1(dictionaryKey(kind, 1)))) }, "v", false},
		{"one copy is missing", func(f *fixture, kind byte) { f.takeKey(dictionaryKey(kind, 1)) }, "f", false},
		{"the other copy is missing", func(f *fixture, kind byte) { f.takeKey(dictionaryKey(kind, 1)) }, "v", false},
		{"one copy is empty", func(f *fixture, kind byte) { f.put1(dictionaryKey(kind, 1), []byte{}) }, "v", false},
		{"both", func(f *fixture, kind byte) { f.put1(dictionaryKey(kind, 1), flip(f.get1(dictionaryKey(kind, 1)))) }, "fv", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := openFixture(t)
			first, last := f.withDictionary()
			f.reopen() // nothing is in memory
			for _, kind := range []byte(test.kinds) {
				test.damage(f, kind)
			}
			if !test.lost {
				f.wantBytes(last, receiptOf(1, 500))
				f.verify()
				for _, kind := range []byte{dictionaryKind, dictionaryCopyKind} {
					if _, ok := decodeDictionary(f.get1(dictionaryKey(kind, 1))); !ok {
						t.Errorf("copy %c is still damaged", kind)
					}
				}
				return
			}
			f.damaged()
			f.wantBytes(first, receiptOf(1, 0))
			r, err := f.Verify(f.ctx(), EvidenceOptions{}, nil)
			if err != nil || r.Faults < 2 || !strings.Contains(strings.Join(r.Details, "\n"), "both copies of dictionary 1 are damaged") {
				t.Errorf("verify: %v, %q", err, r.Details)
			}
			// What comes now needs no dictionary that is lost.
			f.learner()
			f.wantBytes(f.put(mario, receiptOf(1, 501)), receiptOf(1, 501))
		})
	}
}

// withDictionary makes a dictionary, and returns a message without and one with it.
func (f *fixture) withDictionary() (first, last Ref) {
	f.t.Helper()
	l := f.learner()
	refs := f.receipts(1, 0, firstRound)
	l.learn(f.t, refs)
	last = f.put(mario, receiptOf(1, 500))
	f.wantDictionary(last, 1)
	return refs[0], last
}

// TestSettleLostDictionary has a dictionary that a disk has lost take those messages along that need it, and no others.
func TestSettleLostDictionary(t *testing.T) {
	both := func(f *fixture) []KeyRange {
		return []KeyRange{f.takeKey(dictionaryKey(dictionaryKind, 1)), f.takeKey(dictionaryKey(dictionaryCopyKind, 1))}
	}
	for _, test := range []struct {
		name  string
		lose  func(f *fixture) []KeyRange
		count int64    // messages that are named
		gaps  []string // mailboxes of which more may be lost
	}{
		{"one copy", func(f *fixture) []KeyRange { return []KeyRange{f.takeKey(dictionaryKey(dictionaryKind, 1))} }, 0, nil},
		{"the other copy", func(f *fixture) []KeyRange { return []KeyRange{f.takeKey(dictionaryKey(dictionaryCopyKind, 1))} }, 0, nil},
		{"both copies", both, 2, nil},
		{"both copies, and a log", func(f *fixture) []KeyRange {
			return append(both(f), f.takeKey(totalKey(mario)), f.take(mailboxKey('k', mario, 0), after(mailboxKey('k', mario, 0))))
		}, 0, []string{mario}},
		{"both copies, and a leaf", func(f *fixture) []KeyRange { return append(both(f), f.takeKey(leafKey(mario, 4))) }, 0, []string{mario}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := openFixture(t)
			first, last := f.withDictionary()
			deleted := f.put(mario, receiptOf(1, 501))
			f.FlushOutcomes(f.ctx())
			f.remove(deleted)
			f.reopen()
			lost := test.lose(f)
			for range 2 { // after a crash it is called again
				l, err := f.SettleLosses(f.ctx(), "2026-11", lost, november)
				if err != nil {
					t.Fatal(err)
				}
				if l.Count != test.count || !slices.Equal(l.Gaps, test.gaps) {
					t.Errorf("%d messages are lost, and gaps of %v, want %d and %v", l.Count, l.Gaps, test.count, test.gaps)
				}
				f.verify()
				test.count = 0
			}
			f.bytes(first)
			whole := len(lost) == 1
			if _, err := f.Entry(f.ctx(), last); (err == nil) != whole {
				t.Errorf("the message that needs it: %v", err)
			}
			if _, err := f.undelete(deleted); (err == nil) != whole {
				t.Errorf("the deleted message that needs it: %v", err)
			}
		})
	}
}

// TestDictionaryKilled kills the process at each write of a new dictionary.
func TestDictionaryKilled(t *testing.T) {
	f := openFixture(t)
	refs := f.receipts(1, 0, firstRound)
	f.killAtEach("dictionary", 1, func() { f.wantBytes(refs[0], receiptOf(1, 0)) })
	f.learner()
	last := f.put(mario, receiptOf(1, 500))
	if codec.NumberOf(f.get1(chunkKey(f.entry(last).Chunks[0].ID))) == 0 {
		t.Error("no dictionary is in use")
	}
	f.wantBytes(last, receiptOf(1, 500))
}

func init() {
	killedWorks["dictionary"] = func(ctx context.Context, j *Journal, _ time.Time) error {
		s, err := j.engine.Volume(ctx, j.Month(), false)
		if err == nil {
			_, err = j.addDictionary(ctx, j.Month(), s, receiptOf(1, 0))
		}
		return err
	}
}

// TestDictionaryFaults has no write of a new dictionary that fails, or may have failed, let a chunk depend on it.
func TestDictionaryFaults(t *testing.T) {
	for fail := 1; fail <= 3; fail++ {
		for _, done := range []bool{false, true} {
			f, h := hookedFixture(t)
			l := f.learner()
			l.learn(t, f.receipts(1, 0, firstRound-1))
			last := f.receipts(1, firstRound-1, firstRound)
			f.FlushOutcomes(f.ctx())
			updates := 0
			h.set(func(ctx context.Context, next func(context.Context) error) error {
				if updates++; updates != fail {
					return next(ctx)
				}
				if done {
					if err := next(ctx); err != nil {
						return err
					}
				}
				return fmt.Errorf("test: %w, %w", kv.ErrUnavailable, kv.ErrUnknown)
			})
			if err := l.sample(last[0]); err == nil {
				t.Errorf("update %d fails: no error", fail)
			}
			h.set(nil)
			f.wantDictionary(f.put(mario, receiptOf(1, 500)), 0)
			if err := l.enter(f.Month()); err != nil {
				t.Fatal(err)
			}
			next := f.put(mario, receiptOf(1, 501))
			f.wantBytes(next, receiptOf(1, 501))
			f.verify()
			f.close()
		}
	}
}

// TestDictionaryGone has no message that was compressed with a dictionary come into a volume that does not have it.
func TestDictionaryGone(t *testing.T) {
	f := openFixture(t)
	f.withDictionary()
	d := f.NewDraft(f.ctx())
	defer d.Discard()
	if _, err := d.Write(receiptOf(1, 600)); err != nil {
		t.Fatal(err)
	}
	f.Journal.dictionaries.dropped(f.Month())
	_, err := d.Commit(f.ctx(), Envelope{MailFrom: giove, Transaction: "t"}, []Intent{received(mario)}, nil)
	wantErr(t, "commit", err, errDictionaryGone)
	f.wantDictionary(f.put(mario, receiptOf(1, 600)), 0)
}

// TestDictionariesFull has a month take no more dictionaries than it may.
func TestDictionariesFull(t *testing.T) {
	f := openFixture(t)
	s := f.store()
	for n := range codec.MaxDictionaries {
		list, err := f.addDictionary(f.ctx(), f.Month(), s, receiptOf(1, n))
		if err != nil || int(list.Newest().Number) != n+1 {
			t.Fatalf("dictionary %d: %v, %v", n+1, list.Numbers(), err)
		}
	}
	_, err := f.addDictionary(f.ctx(), f.Month(), s, receiptOf(1, 100))
	wantErr(t, "one more", err, errNoNumber)
}
