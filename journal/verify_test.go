package journal

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"copialettere/journal/kv"
)

// TestVerifyFindsDamage breaks one thing at a time. The message is one of 100 kB in mario's INBOX with UID 1; another one is in flight.
func TestVerifyFindsDamage(t *testing.T) {
	t.Parallel()
	ref := Ref{mario, "2026-11", "INBOX", 1}
	flight := Ref{mario, "2026-11", "INBOX", 2}
	message := enclosed(1, 100)
	reencode := func(f *fixture, change func(e *Entry)) {
		e, err := f.Entry(f.ctx(), ref)
		if err != nil {
			f.t.Fatal(err)
		}
		change(e)
		parts, err := e.Parts.AppendBinary(nil)
		if err != nil {
			f.t.Fatal(err)
		}
		f.put1(entryKey(ref), e.encode(parts))
	}
	entry := func(f *fixture) *Entry {
		e, err := f.Entry(f.ctx(), ref)
		if err != nil {
			f.t.Fatal(err)
		}
		return e
	}
	value := func(f *fixture, key []byte) []byte {
		v, err := f.store().Get(f.ctx(), key)
		if err != nil {
			f.t.Fatal(err)
		}
		return v
	}
	large := func(e *Entry) ChunkRef {
		return e.Chunks[slices.IndexFunc(e.Chunks, func(c ChunkRef) bool { return c.Size > shareMin })]
	}
	dKey := func(e *Entry) []byte {
		return deliveryKey(mario, deliveryDigest(mario, Received, e.MailFrom, e.SHA256))
	}
	withCounters := func(f *fixture, change func(c *folderCounters)) {
		c, err := decodeCounters(value(f, counterKey(mario, "INBOX")))
		if err != nil {
			f.t.Fatal(err)
		}
		change(&c)
		f.put1(counterKey(mario, "INBOX"), c.encode())
	}
	for _, c := range []struct {
		name   string
		damage func(f *fixture)
		want   string // in the first detail
	}{
		{"chunk missing", func(f *fixture) { f.put1(chunkKey(entry(f).Chunks[0].ID), nil) }, "no such key"},
		{"chunk of other bytes", func(f *fixture) {
			c := large(entry(f))
			f.put1(chunkKey(c.ID), f.codec.Encode(randomBytes(1, int(c.Size)), nil))
		}, "the SHA-256 of its bytes is another one"},
		{"chunk of other length", func(f *fixture) { f.put1(chunkKey(large(entry(f)).ID), f.codec.Encode([]byte("x"), nil)) }, "holds 1 bytes of"},
		{"bit of a chunk", func(f *fixture) {
			key := chunkKey(large(entry(f)).ID)
			v := value(f, key)
			v[len(v)/2] ^= 1
			f.put1(key, v)
		}, "decompress chunk"},
		{"chunks in another order", func(f *fixture) { reencode(f, func(e *Entry) { slices.Reverse(e.Chunks) }) }, "the SHA-256 of its bytes"},
		{"one chunk fewer", func(f *fixture) { reencode(f, func(e *Entry) { e.Chunks = e.Chunks[1:] }) }, "chunks hold"},
		{"entry of another digest", func(f *fixture) { reencode(f, func(e *Entry) { e.SHA256[0] ^= 1 }) }, "its delivery key does not lead to it"},
		{"entry of another sender", func(f *fixture) { reencode(f, func(e *Entry) { e.MailFrom = anna }) }, "its delivery key does not lead to it"},
		{"entry cut short", func(f *fixture) { v := value(f, entryKey(ref)); f.put1(entryKey(ref), v[:len(v)-1]) }, "malformed value"},
		{"entry without a value", func(f *fixture) { f.put1(entryKey(ref), []byte{}) }, "its delivery key"},
		{"entry missing", func(f *fixture) { f.put1(entryKey(ref), nil) }, "counters say 2 entries"},
		{"entry of no folder", func(f *fixture) { f.put1([]byte("e"+mario), []byte{}) }, "malformed key"},
		{"entry with a part outside", func(f *fixture) { reencode(f, func(e *Entry) { e.Parts.Parts[0].End = 1 << 30 }) }, "lies outside the message"},
		{"entry without parts", func(f *fixture) {
			v := value(f, entryKey(ref))
			e := entry(f)
			parts, _ := e.Parts.AppendBinary(nil)
			f.put1(entryKey(ref), v[:len(v)-len(parts)-1-len(binary.AppendUvarint(nil, uint64(len(parts))))])
		}, "it has no part table"},
		{"entry of an unknown folder", func(f *fixture) {
			v := value(f, entryKey(ref))
			f.put1(entryKey(Ref{mario, "2026-11", "Other", 1}), v)
		}, "its delivery key does not lead to it"},
		{"delivery key missing", func(f *fixture) { f.put1(dKey(entry(f)), nil) }, "its delivery key does not lead to it"},
		{"delivery key to another entry", func(f *fixture) { f.put1(dKey(entry(f)), encodePlace(flight)) }, "its delivery key does not lead to it"},
		{"delivery key to nothing", func(f *fixture) { f.put1(deliveryKey(mario, Digest{1}), encodePlace(Ref{Folder: "INBOX", UID: 7})) },
			"a delivery key leads to mario@alpha.test INBOX/2026-11 7, which is not there"},
		{"delivery key too many", func(f *fixture) { f.put1(deliveryKey(mario, Digest{1}), encodePlace(ref)) }, "which is another delivery"},
		{"delivery key cut short", func(f *fixture) { f.put1(deliveryKey(mario, Digest{1}), []byte("IN")) }, "place of a delivery"},
		{"delivery key of no mailbox", func(f *fixture) { f.put1([]byte("dmario"), encodePlace(ref)) }, "malformed delivery key"},
		{"outcome of nothing", func(f *fixture) {
			f.put1(outcomeKey(Ref{mario, "2026-11", "INBOX", 9}), outcome{state: Unknown}.encode())
		}, "an outcome leads to mario@alpha.test INBOX/2026-11 9, which is not there"},
		{"outcome cut short", func(f *fixture) { f.put1(outcomeKey(flight), []byte{1}) }, "outcome: malformed value"},
		{"outcome of an unknown state", func(f *fixture) { f.put1(outcomeKey(flight), []byte{77, 0}) }, "outcome: malformed value"},
		{"outcome of no folder", func(f *fixture) { f.put1([]byte("omario"), []byte{1, 0}) }, "malformed outcome key"},
		{"counters missing", func(f *fixture) { f.put1(counterKey(mario, "INBOX"), nil) }, "counters say 0 entries"},
		{"counters cut short", func(f *fixture) { f.put1(counterKey(mario, "INBOX"), []byte{1}) }, "malformed folder counters"},
		{"counters of no folder", func(f *fixture) { f.put1([]byte("smario"), make([]byte, countersSize)) }, "counters with a malformed key"},
		{"one entry too many counted", func(f *fixture) { withCounters(f, func(c *folderCounters) { c.entries++ }) }, "counters say 3 entries"},
		{"one entry too few counted", func(f *fixture) { withCounters(f, func(c *folderCounters) { c.entries-- }) }, "counters say 1 entries"},
		{"other bytes counted", func(f *fixture) { withCounters(f, func(c *folderCounters) { c.bytes++ }) }, "counters say 2 entries"},
		{"next UID taken", func(f *fixture) { withCounters(f, func(c *folderCounters) { c.nextUID = 2 }) }, "below UID 2; there are 1 of"},
		{"entries of an empty folder counted", func(f *fixture) {
			f.put1(counterKey(anna, "INBOX"), folderCounters{nextUID: 2, uidValidity: 1, entries: 1, bytes: 1}.encode())
		}, "anna@beta.test INBOX/2026-11: counters say 1 entries"},
		{"digest of other bytes", func(f *fixture) { id := large(entry(f)).ID; f.put1(digestKey(Digest{1}), id[:]) }, "has the SHA-256"},
		{"digest of no chunk", func(f *fixture) { f.put1(digestKey(Digest{1}), make([]byte, 12)) }, "no such key"},
		{"digest cut short", func(f *fixture) { f.put1(digestKey(sha256.Sum256(message)), []byte{1}) }, "malformed digest key"},
		{"key of a digest cut short", func(f *fixture) { f.put1([]byte("h123"), make([]byte, 12)) }, "malformed digest key"},
		{"key of a chunk cut short", func(f *fixture) { f.put1([]byte("c123"), []byte{}) }, "malformed chunk key"},
		{"record cut short", func(f *fixture) { f.put1(recordKey(mario, november, 0), []byte{tagReason, 9}) }, "record of mario@alpha.test"},
		{"record of no mailbox", func(f *fixture) { f.put1([]byte("gmario"), []byte{}) }, "malformed key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := openFixture(t)
			f.put(mario, message)
			f.deliver(mario, letter("in flight"), "t")
			f.FlushOutcomes(f.ctx())
			f.verify()
			f.damaged()
			c.damage(f)
			r, err := f.Verify(f.ctx(), EvidenceOptions{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if r.Faults == 0 || !strings.Contains(r.Details[0], c.want) {
				t.Errorf("%d faults: %q, want %q", r.Faults, r.Details, c.want)
			}
			// In the background it finds the same, but for chunks that nothing refers to.
			p := inFull(t, f, unhurried())
			want := slices.DeleteFunc(r.Details, func(s string) bool { return strings.Contains(s, "malformed chunk key") })
			if !slices.Equal(p.Report.Details, want) {
				t.Errorf("in the background %q, want %q", p.Report.Details, want)
			}
		})
	}
}

func TestVerifyCounts(t *testing.T) {
	f := openFixture(t)
	f.put(mario, words(1, 50<<10))
	f.put(anna, words(1, 50<<10))
	f.deliver(mario, letter("unknown"), "t1")
	if err := f.Deferred(f.ctx(), f.deliver(mario, letter("deferred"), "t2").Ref, "t2"); err != nil {
		t.Fatal(err)
	}
	gone := words(2, 50<<10)
	if _, err := f.Withdraw(f.ctx(), f.deliver(mario, gone, "t3").Ref, "t3", refusal("t3")); err != nil {
		t.Fatal(err)
	}
	if err := f.Record(f.ctx(), gap("a", november)); err != nil {
		t.Fatal(err)
	}
	f.clock.set(november.AddDate(0, 1, 0))
	f.put(mario, letter("december"))
	f.FlushOutcomes(f.ctx())
	r := f.verify()
	size := int64(2*50<<10 + len(letter("unknown")) + len(letter("deferred")) + len(letter("december")))
	r.Chunks, r.Stored, r.Orphans, r.LogsSince = 0, 0, min(r.Orphans, 1), nil
	// A log begins with a leaf of its own, and the withdrawn entry left two.
	if want := (Report{Volumes: 2, Entries: 5, Bytes: size, Orphans: 1, Unknown: 1, Deferred: 1, Gaps: 1, Logs: 3, Leaves: 3 + 5 + 2}); fmt.Sprint(*r) != fmt.Sprint(want) {
		t.Errorf("report %+v, want %+v", *r, want)
	}
}

func TestVerifyProgress(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	var entries []int64
	for i := range 1200 {
		if i%100 == 0 {
			var wg sync.WaitGroup
			for k := range 100 {
				wg.Go(func() {
					if _, err := f.try(letter(fmt.Sprint(i+k)), "t", received(mario)); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		}
	}
	if _, err := f.Verify(f.ctx(), EvidenceOptions{}, func(m kv.Month, n int64) { entries = append(entries, n) }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(entries, []int64{1000}) {
		t.Errorf("progress at %d", entries)
	}
	ctx, cancel := context.WithCancel(f.ctx())
	_, err := f.Verify(ctx, EvidenceOptions{}, func(kv.Month, int64) { cancel() })
	wantErr(t, "Verify whose context ends", err, context.Canceled)
}

// TestVerifyWhileWriting verifies beside deliveries, repetitions, withdrawals, records and their expiry.
func TestVerifyWhileWriting(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	ctx, stop := context.WithCancel(f.ctx())
	var wg sync.WaitGroup
	var done atomic.Int64
	for w := range 6 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				mailbox := []string{mario, anna, fmt.Sprint("m", i%50, "@x.test")}[i%3]
				message := words(uint64(w*7+i%29), 2000<<(i%4))
				transaction := fmt.Sprint(w, " ", i)
				placed, err := f.try(message, transaction, received(mailbox))
				if err != nil {
					t.Error(err)
					return
				}
				switch r := placed[0].Ref; i % 4 {
				case 0:
					_, err = f.Withdraw(f.ctx(), r, transaction, Record{Kind: Skip, Mailbox: mailbox, Time: f.now(), Reason: ReasonRefused})
				case 1:
					err = f.Deferred(f.ctx(), r, transaction)
				case 2:
					f.Delivered(r, transaction)
				}
				// The other of two repetitions may have withdrawn it.
				if err != nil && err != ErrNotFound {
					t.Error(err)
				}
				if i%50 == 0 {
					if _, err := f.ExpireSkips(f.ctx(), f.now()); err != nil {
						t.Error(err)
					}
				}
				done.Add(1)
			}
		})
	}
	deadline := time.Now().Add(2 * time.Second)
	rounds := 0
	for ; (rounds < 3 || time.Now().Before(deadline)) && !t.Failed(); rounds++ {
		f.verify()
	}
	stop()
	wg.Wait()
	if done.Load() < 20 {
		t.Errorf("%d verifications beside %d deliveries are too few to tell", rounds, done.Load())
	}
}

// TestVerifyRecounts has a delivery come in while the entries are read, and a withdrawal while they are counted again.
func TestVerifyRecounts(t *testing.T) {
	engine := &scanned{memory: new(memory)}
	f := fixtureOn(t, engine)
	defer f.close()
	f.put(mario, letter("a"))
	p := f.deliver(mario, letter("b"), "t1")
	recounts := 0
	engine.before = func(from []byte) {
		switch {
		case len(from) == 1 && from[0] == 'e':
			f.deliver(mario, letter("c"), "t2")
		case string(from) == string(folderKey('e', mario, FolderOf(Received))):
			recounts++
			if withdrawn, err := f.Withdraw(f.ctx(), p.Ref, "t1", refusal("t1")); err != nil || !withdrawn {
				t.Errorf("withdrawn %v, %v", withdrawn, err)
			}
		}
	}
	f.verify()
	if recounts != 1 {
		t.Errorf("the folder was counted again %d times", recounts)
	}
}

// scanned is an engine that tells what is about to be scanned.
type scanned struct {
	*memory
	before func(from []byte)
}

func (e *scanned) Volume(ctx context.Context, m kv.Month, create bool) (kv.Store, error) {
	s, err := e.memory.Volume(ctx, m, create)
	return scannedStore{s, e}, err
}

type scannedStore struct {
	kv.Store
	e *scanned
}

func (s scannedStore) Scan(ctx context.Context, from, to []byte) iter.Seq2[kv.Pair, error] {
	if s.e.before != nil {
		s.e.before(from)
	}
	return s.Store.Scan(ctx, from, to)
}

// TestVerifyWaits has the store be unavailable for a moment, and for good.
func TestVerifyWaits(t *testing.T) {
	for name, c := range map[string]struct{ failures, faults int }{"for a moment": {5, 0}, "for good": {1 << 30, 1}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				engine := &flaky{memory: new(memory)}
				f := fixtureOn(t, engine)
				defer f.close()
				f.put(mario, letter("a"))
				f.FlushOutcomes(f.ctx())
				synctest.Wait() // what learns of the message reads no more
				engine.failures = c.failures
				r, err := f.Verify(f.ctx(), EvidenceOptions{}, nil)
				if err != nil {
					t.Fatal(err)
				}
				if r.Faults != int64(c.faults) {
					t.Errorf("%d faults: %q", r.Faults, r.Details)
				}
			})
		})
	}
}

// flaky is an engine that cannot read chunks for some time.
type flaky struct {
	*memory
	failures int
}

func (e *flaky) Volume(ctx context.Context, m kv.Month, create bool) (kv.Store, error) {
	s, err := e.memory.Volume(ctx, m, create)
	return flakyStore{s, e}, err
}

type flakyStore struct {
	kv.Store
	e *flaky
}

func (s flakyStore) Get(ctx context.Context, key []byte) ([]byte, error) {
	if key[0] == 'c' && s.e.failures > 0 {
		s.e.failures--
		return nil, unavailable(ctx, nil)
	}
	return s.Store.Get(ctx, key)
}

// TestLosses has a store find losses while it is in use: they are on record once, within a minute or by the next Verify.
func TestLosses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := new(memory)
		f := fixtureOn(t, engine)
		defer f.close()
		f.put(mario, letter("a"))
		s := engine.stores["2026-11"]
		s.losses = append(s.losses, kv.Loss{Found: november, After: november.Add(-time.Minute), Count: 3})
		const first = "3 updates of the store are missing, made between 2026-11-21T11:59:00Z and an unknown time"
		time.Sleep(lossPause)
		f.put(mario, letter("b"))
		if got := f.details(); !slices.Equal(got, []string{first}) {
			t.Errorf("gaps %q", got)
		}
		f.wantTold("first loss", " lost")
		s.losses = append(s.losses, kv.Loss{Found: november.Add(time.Second), Count: 1})
		for range 2 {
			if r := f.verify(); r.Gaps != 2 {
				t.Errorf("%d gaps, want 2", r.Gaps)
			}
		}
		f.wantTold("second loss", " lost")
		if got := f.details(); len(got) != 2 {
			t.Errorf("gaps %q", got)
		}
	})
}
