package journal

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"copialettere/journal/evidence"
	"copialettere/journal/kv"
)

// signer makes the notes of checkpoints in tests.
type signer struct{ signing, verifier string }

func newSigner(t testing.TB) signer {
	t.Helper()
	signing, verifier, err := evidence.NewKey("archivio.alpha.test")
	if err != nil {
		t.Fatal(err)
	}
	return signer{signing, verifier}
}

func (s signer) sign(n evidence.Note) ([]byte, error) { return n.Sign(s.signing) }

// checkpoint makes a checkpoint.
func (f *fixture) checkpoint(s signer) *StoredCheckpoint {
	f.t.Helper()
	c, err := f.Checkpoint(f.ctx(), "archivio.alpha.test", s.sign)
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

// put1Settings puts a key of the settings behind the journal's back; nil deletes it.
func (f *fixture) put1Settings(key, value []byte) {
	f.t.Helper()
	s, err := f.engine.Settings(f.ctx())
	if err == nil {
		err = s.Update(f.ctx(), nil, func(tx kv.Tx) error {
			if value == nil {
				tx.Delete(key)
			} else {
				tx.Put(key, value)
			}
			return nil
		})
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) getSettings(key []byte) []byte {
	f.t.Helper()
	s, err := f.engine.Settings(f.ctx())
	if err != nil {
		f.t.Fatal(err)
	}
	b, err := s.Get(f.ctx(), key)
	if err != nil {
		f.t.Fatalf("%q: %v", key, err)
	}
	return b
}

func (f *fixture) get1(key []byte) []byte {
	f.t.Helper()
	b, err := f.store().Get(f.ctx(), key)
	if err != nil {
		f.t.Fatalf("%q: %v", key, err)
	}
	return b
}

// ofMario is the place of an entry of mario in November.
func ofMario(uid uint32) Ref { return Ref{mario, "2026-11", "INBOX", uid} }

// flipped returns a copy with one bit changed.
func flipped(b []byte, at int) []byte {
	b = slices.Clone(b)
	b[at] ^= 4
	return b
}

// TestTampered alters an archive behind the journal's back, in every way that leaves the rest as it was, and shows what Verify says.
func TestTampered(t *testing.T) {
	t.Parallel()
	// The entry of another message, so that an inserted one is sound but for the log.
	insert := func(f *fixture, uid uint32) {
		f.put1(entryKey(ofMario(uid)), f.get1(entryKey(ofMario(1))))
	}
	for _, test := range []struct {
		name   string
		tamper func(f *fixture, s signer)
		says   []string
	}{
		{"an entry is altered", func(f *fixture, _ signer) {
			b := f.get1(entryKey(ofMario(2)))
			f.put1(entryKey(ofMario(2)), []byte(strings.Replace(string(b), "mario@alpha.test", "marco@alpha.test", 1)))
		}, []string{"mario@alpha.test INBOX/2026-11 2: it is not as its log has it: it was altered behind the journal's back"}},
		{"an entry is removed", func(f *fixture, _ signer) {
			f.put1(entryKey(ofMario(2)), nil)
		}, []string{"mario@alpha.test INBOX/2026-11 2: its log has it, and it is not there: it was removed behind the journal's back"}},
		{"an entry is put in", func(f *fixture, _ signer) { insert(f, 9) },
			[]string{"mario@alpha.test INBOX/2026-11 9: its log does not have it: it was put there behind the journal's back"}},
		{"two entries change places", func(f *fixture, _ signer) {
			one, two := f.get1(entryKey(ofMario(1))), f.get1(entryKey(ofMario(2)))
			f.put1(entryKey(ofMario(1)), two)
			f.put1(entryKey(ofMario(2)), one)
		}, []string{
			"mario@alpha.test INBOX/2026-11 1: it is not as its log has it: it was altered behind the journal's back",
			"mario@alpha.test INBOX/2026-11 2: it is not as its log has it: it was altered behind the journal's back",
		}},
		{"a deletion is undone", func(f *fixture, _ signer) {
			a, _, err := decodeAside(ofMario(3), f.get1(asideKey(ofMario(3))))
			if err != nil {
				f.t.Fatal(err)
			}
			f.put1(entryKey(ofMario(3)), a.entry)
			f.put1(asideKey(ofMario(3)), nil)
		}, []string{"mario@alpha.test INBOX/2026-11 3: its log knows of no deletion, or of one that did not take place: it was changed behind the journal's back"}},
		{"a bit of a leaf is flipped", func(f *fixture, _ signer) {
			b := f.get1(leafKey(mario, 2))
			f.put1(leafKey(mario, 2), flipped(b, 20))
		}, []string{"log of mario@alpha.test in 2026-11: its leaves do not lead to its head: one of them is another than it was"}},
		{"a leaf is dropped", func(f *fixture, _ signer) { f.put1(leafKey(mario, 2), nil) },
			[]string{"log of mario@alpha.test in 2026-11: leaf 2 of 6 is not there"}},
		{"two leaves change places", func(f *fixture, _ signer) {
			one, two := f.get1(leafKey(mario, 1)), f.get1(leafKey(mario, 2))
			f.put1(leafKey(mario, 1), two)
			f.put1(leafKey(mario, 2), one)
		}, []string{"log of mario@alpha.test in 2026-11: its leaves do not lead to its head: one of them is another than it was"}},
		{"entry, leaf and head are altered alike", func(f *fixture, _ signer) { f.rewrite(ofMario(2), 2) },
			[]string{"log of mario@alpha.test in 2026-11: its first 6 leaves are others than those of checkpoint 1"}},
		{"a log is put back to an earlier state", func(f *fixture, _ signer) { f.truncate(mario, 5) },
			[]string{"log of mario@alpha.test in 2026-11: it has 5 leaves, and checkpoint 1 has 6 of them: it was put back to an earlier state"}},
		{"a whole log is removed", func(f *fixture, _ signer) {
			for n := range int64(6) {
				f.put1(leafKey(mario, n), nil)
			}
			f.put1(totalKey(mario), f.get1(totalKey(mario))[:totalSize])
		}, []string{"the log of mario@alpha.test in 2026-11 is not there: checkpoint 1 has 6 leaves of it"}},
		{"a whole month is removed", func(f *fixture, _ signer) {
			if err := f.engine.Drop(f.ctx(), "2026-11"); err != nil {
				f.t.Fatal(err)
			}
		}, []string{"month 2026-11 is not there, and nothing says why: checkpoints have 2 logs of it"}},
		{"a head of a checkpoint is altered", func(f *fixture, _ signer) {
			id := f.logOf(mario).id
			text := f.getSettings(headKey(0, "2026-11", id))
			f.put1Settings(headKey(0, "2026-11", id), []byte(strings.Replace(string(text), " 3 ", " 2 ", 1)))
		}, []string{"checkpoint 0: the heads of its logs are not those that it was made of"}},
		{"the last checkpoint is dropped", func(f *fixture, _ signer) { f.put1Settings(checkpointKey(1), nil) },
			[]string{"checkpoint 1 is not there"}},
		{"a checkpoint is altered", func(f *fixture, _ signer) {
			b := f.getSettings(checkpointKey(0))
			f.put1Settings(checkpointKey(0), []byte(strings.Replace(string(b), "time 2026", "time 2025", 1)))
		}, []string{"checkpoint 0: its note is not of the checkpoints up to it", "checkpoint 1: its note is not of the checkpoints up to it"}},
		{"the checkpoints are made anew with another key", func(f *fixture, s signer) { f.remake(newSigner(f.t)) },
			[]string{"checkpoint 0: its note: it is signed by archivio.alpha.test+", ", which none of the known keys is"}},
		{"the archive is rolled back, and goes on", func(f *fixture, s signer) { f.remake(s) },
			[]string{"checkpoint-1: it is signed for another history than that of checkpoint 1: the archive was put back to an earlier state, or made anew"}},
		{"the archive is rolled back", func(f *fixture, s signer) {
			f.remake(s)
			f.put1Settings(checkpointKey(1), nil)
			var tree evidence.Tree
			c, err := decodeCheckpoint(f.getSettings(checkpointKey(0)))
			if err != nil {
				f.t.Fatal(err)
			}
			tree.Append(evidence.TextHash(c.Text))
			f.setState(func(st *evidenceState) { st.Checkpoints = 1; st.Tree, _ = tree.AppendBinary(nil) })
		}, []string{"checkpoint-1: it is of checkpoint 1, and the archive has 1 in all: the archive was put back to an earlier state"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := openFixture(t)
			f.damaged()
			s := newSigner(t)
			f.put(mario, letter("one"))
			f.put(mario, letter("two"))
			first := f.checkpoint(s)
			f.put(mario, letter("three"))
			f.put(mario, letter("four"))
			f.put(anna, letter("five"))
			if _, err := f.Delete(f.ctx(), ofMario(3).Only(), "mario"); err != nil {
				t.Fatal(err)
			}
			f.clock.set(november.AddDate(0, 0, 1))
			second := f.checkpoint(s)
			o := EvidenceOptions{Keys: []string{s.verifier}, Outside: []OutsideNote{{"checkpoint-0", []byte(first.Note)}, {"checkpoint-1", []byte(second.Note)}}}
			if r, err := f.Verify(f.ctx(), o, nil); err != nil || r.Faults > 0 || r.Checkpoints != 2 || r.Outside != 2 || r.Leaves != 6+2 {
				t.Fatalf("before: %+v, %v", r, err)
			}
			test.tamper(f, s)
			r, err := f.Verify(f.ctx(), o, nil)
			if err != nil {
				t.Fatal(err)
			}
			found := strings.Join(r.Details, "\n")
			for _, text := range test.says {
				if !strings.Contains(found, text) {
					t.Errorf("Verify does not say %q:\n%s", text, found)
				}
			}
			t.Logf("Verify says:\n%s", found)
		})
	}
}

func (f *fixture) logOf(mailbox string) *logHead {
	f.t.Helper()
	h, err := getLog(storeView{f.ctx(), f.store()}, mailbox)
	if err != nil || h == nil {
		f.t.Fatalf("log of %s: %v, %v", mailbox, h, err)
	}
	return h
}

// setLog makes the head of a log that of the first size leaves.
func (f *fixture) setLog(mailbox string, size int64) {
	f.t.Helper()
	h := &logHead{id: f.logOf(mailbox).id}
	for n := range size {
		h.tree.Append(evidence.TextHash(string(f.get1(leafKey(mailbox, n)))))
	}
	f.put1(totalKey(mailbox), append(f.get1(totalKey(mailbox))[:totalSize:totalSize], h.encode()...))
}

// truncate takes the last leaves of a log away, with the head, as an older copy would have it.
func (f *fixture) truncate(mailbox string, size int64) {
	f.t.Helper()
	for n := size; n < f.logOf(mailbox).tree.Size; n++ {
		f.put1(leafKey(mailbox, n), nil)
	}
	f.setLog(mailbox, size)
}

// rewrite alters an entry, and its log so that both agree.
func (f *fixture) rewrite(r Ref, n int64) {
	f.t.Helper()
	size := f.logOf(r.Mailbox).tree.Size
	value := []byte(strings.Replace(string(f.get1(entryKey(r))), "mario@alpha.test", "marco@alpha.test", 1))
	f.put1(entryKey(r), value)
	leaf, err := evidence.ParseLeaf(f.get1(leafKey(r.Mailbox, n)))
	if err != nil {
		f.t.Fatal(err)
	}
	e, err := decodeEntry(r, value)
	if err != nil {
		f.t.Fatal(err)
	}
	h, err := loggedValue(false, r, value)
	if err != nil {
		f.t.Fatal(err)
	}
	leaf.Entry, leaf.Message = h, evidence.Hash(e.SHA256)
	f.put1(leafKey(r.Mailbox, n), leaf.Append(nil))
	f.setLog(r.Mailbox, size)
}

func (f *fixture) setState(change func(st *evidenceState)) {
	f.t.Helper()
	s, err := f.engine.Settings(f.ctx())
	if err == nil {
		err = s.Update(f.ctx(), nil, func(tx kv.Tx) error {
			st, err := getEvidence(tx)
			if err != nil {
				return err
			}
			change(&st)
			return putEvidence(tx, st)
		})
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// remake makes two checkpoints anew, as somebody with the data folder alone could.
func (f *fixture) remake(s signer) {
	f.t.Helper()
	f.setState(func(st *evidenceState) { st.Checkpoints, st.Tree = 0, nil })
	for _, mailbox := range []string{mario, anna} {
		id := f.logOf(mailbox).id
		f.put1Settings(lastHeadKey(id), nil)
		f.put1Settings(headKey(0, "2026-11", id), nil)
		f.put1Settings(headKey(1, "2026-11", id), nil)
	}
	f.checkpoint(s)
	f.put(mario, letter("later"))
	f.checkpoint(s)
}

// TestProve proves entries by the notes of checkpoints, before and after they were moved.
func TestProve(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	s := newSigner(t)
	bodies := map[string][]byte{}
	var refs []Ref
	for i := range 20 {
		body := letter(fmt.Sprint("letter ", i))
		refs = append(refs, f.put(mario, body))
		bodies[fmt.Sprint(i)] = body
		if i%7 == 0 {
			f.put(anna, letter(fmt.Sprint("other ", i)))
			f.checkpoint(s)
		}
	}
	last := refs[19]
	if _, err := f.Prove(f.ctx(), last); !errors.Is(err, ErrNoCheckpoint) {
		t.Fatalf("before the checkpoint: %v", err)
	}
	none := last
	none.UID += 100
	if _, err := f.Prove(f.ctx(), none); !errors.Is(err, ErrNotFound) {
		t.Fatalf("what is not there: %v", err)
	}
	if n := f.unreadable.gauge.Value(); n != 0 {
		t.Fatalf("%d months cannot be used, as there is no proof of an entry yet", n)
	}
	c := f.checkpoint(s)
	check := func(r Ref, number int64) *Proof {
		t.Helper()
		p, err := f.Prove(f.ctx(), r)
		if err != nil {
			t.Fatal(err)
		}
		v, err := p.Check(evidence.Hash(f.entry(r).SHA256), []string{s.verifier})
		if err != nil || v.Mailbox != mario || v.Month != "2026-11" || v.Number != number || v.Leaf.Place != placeOf(r) {
			t.Fatalf("%s: %+v, %v", r.FolderName(), v, err)
		}
		return p
	}
	check(refs[0], 0)
	check(refs[7], 1)
	check(refs[8], 2)
	proof := check(last, c.Number)
	if _, err := proof.Check(evidence.Hash{}, []string{s.verifier}); !errors.Is(err, evidence.ErrProof) {
		t.Errorf("another message: %v", err)
	}
	if _, err := proof.Check(evidence.Hash(f.entry(last).SHA256), []string{newSigner(t).verifier}); !errors.Is(err, evidence.ErrProof) {
		t.Errorf("another key: %v", err)
	}
	// A leaf that says that the message was deleted proves nothing, though it has the same digests.
	if _, err := f.Delete(f.ctx(), refs[5].Only(), "mario"); err != nil {
		t.Fatal(err)
	}
	f.checkpoint(s)
	p, message := f.proofOfDeletion(refs[5])
	if _, err := p.Check(message, []string{s.verifier}); err == nil || !strings.Contains(err.Error(), `says that the message is "put aside", not that it was there`) {
		t.Errorf("a deletion as a proof: %v", err)
	}
	done, err := f.Move(f.ctx(), refs[3].Only(), "Sent", "mario")
	if err != nil {
		t.Fatal(err)
	}
	f.checkpoint(s)
	check(done.To, c.Number+2)
}

// proofOfDeletion returns a proof whose leaf is that of the deletion of an entry, as somebody might make it.
func (f *fixture) proofOfDeletion(r Ref) (*Proof, evidence.Hash) {
	f.t.Helper()
	from := &proving{ctx: f.ctx(), month: monthStore{f.store(), r.Month}}
	var err error
	if from.settings, err = f.engine.Settings(f.ctx()); err != nil {
		f.t.Fatal(err)
	}
	a, e, err := decodeAside(r, f.get1(asideKey(r)))
	if err != nil {
		f.t.Fatal(err)
	}
	p := f.NewProver()
	l, err := p.log(from, r)
	if err != nil {
		f.t.Fatal(err)
	}
	proof := &Proof{Proof: evidence.Proof{Entry: a.entry, Opened: evidence.Step{Data: l.opened}}}
	n := int64(0)
	for b, err := range leaves(f.ctx(), from.month, r.Mailbox, 0) {
		if err != nil {
			f.t.Fatal(err)
		}
		if leaf, err := evidence.ParseLeaf(b); err == nil && leaf.Kind == evidence.PutAside {
			proof.Leaf = evidence.Step{Data: b, Index: n}
		}
		n++
	}
	head, err := l.head(from, proof.Leaf.Index)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, step := range []*evidence.Step{&proof.Opened, &proof.Leaf} {
		if step.Path, err = l.tree.Prove(step.Index, head.Size); err != nil {
			f.t.Fatal(err)
		}
	}
	note, err := p.note(from, head)
	if err != nil {
		f.t.Fatal(err)
	}
	proof.Checkpoint, proof.Note, proof.Head, proof.Proof.Checkpoint = note.checkpoint, note.note, note.head, note.step
	return proof, evidence.Hash(e.SHA256)
}

// TestAdopt takes an archive from before the logs into them.
func TestAdopt(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	s := newSigner(t)
	for i := range 250 {
		f.put(mario, letter(fmt.Sprint(i)))
	}
	f.put(anna, letter("anna"))
	if _, err := f.Delete(f.ctx(), ofMario(3).Only(), "mario"); err != nil {
		t.Fatal(err)
	}
	f.unlog()
	if r := f.verify(); r.Logs != 0 || r.Unlogged != 251 || r.LogsSince != nil {
		t.Fatalf("before: %+v", r)
	}
	// What happens before an entry is taken in is in the log too.
	if _, err := f.Move(f.ctx(), ofMario(5).Only(), "Sent", "mario"); err != nil {
		t.Fatal(err)
	}
	if r := f.verify(); r.Logs != 1 || r.Unlogged != 250 {
		t.Fatalf("before, with one act: %+v", r)
	}
	taken, err := f.Adopt(f.ctx())
	if err != nil || taken != 251 {
		t.Fatalf("%d taken, %v", taken, err)
	}
	if taken, err := f.Adopt(f.ctx()); err != nil || taken != 0 {
		t.Fatalf("%d taken again, %v", taken, err)
	}
	f.checkpoint(s)
	r := f.verify()
	if r.Logs != 2 || r.Unlogged != 0 || r.LogsSince == nil {
		t.Fatalf("after: %+v", r)
	}
	if _, err := f.Prove(f.ctx(), ofMario(7)); err != nil {
		t.Error(err)
	}
	// From now on an entry must be in its log.
	f.damaged()
	f.put1(entryKey(ofMario(900)), f.get1(entryKey(ofMario(1))))
	if r, err := f.Verify(f.ctx(), EvidenceOptions{}, nil); err != nil || !strings.Contains(strings.Join(r.Details, "\n"), "900: its log does not have it") {
		t.Errorf("%+v, %v", r, err)
	}
}

// unlog takes all logs away: the archive is as one from before them.
func (f *fixture) unlog() {
	f.t.Helper()
	for _, mailbox := range []string{mario, anna} {
		for n := range f.logOf(mailbox).tree.Size {
			f.put1(leafKey(mailbox, n), nil)
		}
		f.put1(totalKey(mailbox), f.get1(totalKey(mailbox))[:totalSize])
	}
	f.put1Settings(evidenceKey, nil)
}

// TestLogsEnd has logs end with their archive and with their month, and leaves no address and no leaf behind.
func TestLogsEnd(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	s := newSigner(t)
	f.put(mario, letter("old"))
	f.put(anna, letter("old too"))
	f.checkpoint(s)
	f.clock.set(november.AddDate(0, 3, 0))
	f.put(mario, letter("new"))
	f.checkpoint(s)
	if _, err := f.Erase(f.ctx(), mario, EraseOptions{}); err != nil {
		t.Fatal(err)
	}
	f.verify()
	c := f.checkpoint(s)
	if c.Heads != 2 {
		t.Errorf("the checkpoint has %d heads, want those of the two logs that ended", c.Heads)
	}
	if r := f.verify(); r.Logs != 1 {
		t.Errorf("%d logs are left", r.Logs)
	}
	report, err := f.Expire(f.ctx(), ExpireOptions{Mailboxes: func(string) (int, bool) { return 1, false }, Yes: true})
	if err != nil || len(report.Dropped) != 1 {
		t.Fatalf("%+v, %v", report, err)
	}
	f.verify()
	if c := f.checkpoint(s); c.Heads != 1 {
		t.Errorf("the checkpoint has %d heads, want that of the month that was dropped", c.Heads)
	}
	settings, err := f.engine.Settings(f.ctx())
	if err != nil {
		t.Fatal(err)
	}
	ended := 0
	for p, err := range settings.Scan(f.ctx(), []byte{'k'}, []byte{'k' + 1}) {
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(p.Key)+string(p.Value), "alpha.test") && !strings.Contains(string(p.Value), `"note"`) {
			t.Errorf("an address is left: %q %q", p.Key, p.Value)
		}
		if strings.HasPrefix(string(p.Key), "kl") && strings.Contains(string(p.Value), "\n") {
			ended++
		}
	}
	if ended != 3 {
		t.Errorf("%d logs are on record, want 3", ended)
	}
	// A log that is no more is no fault; a message for the same mailbox begins another one.
	f.put(mario, letter("once more"))
	f.checkpoint(s)
	f.verify()
}

// TestCheckpointKilled kills the making of a checkpoint at one write after the other.
func TestCheckpointKilled(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	s := newSigner(t)
	f.put(mario, letter("one"))
	f.put(anna, letter("two"))
	f.checkpoint(s)
	if _, err := f.Erase(f.ctx(), anna, EraseOptions{}); err != nil {
		t.Fatal(err)
	}
	n := 0
	f.killAtEach("checkpoint", 1, func() {
		n++
		f.put(mario, letter(fmt.Sprint("more ", n)))
	})
	c := f.checkpoint(s)
	f.verify()
	if _, err := f.Prove(f.ctx(), ofMario(1)); err != nil || c.Number < 2 {
		t.Errorf("checkpoint %d, %v", c.Number, err)
	}
}

// TestAdoptKilled kills taking an archive into its logs at one write after the other.
func TestAdoptKilled(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	f.onFiles()
	for i := range 3 * entryGroup {
		f.put(mario, letter(fmt.Sprint(i)))
	}
	f.put(anna, letter("anna"))
	f.unlog()
	f.unadopted = true
	f.killAtEach("adopt", 1, func() {})
	if r := f.verify(); r.Logs != 2 || r.Unlogged != 0 {
		t.Errorf("%+v", r)
	}
}
