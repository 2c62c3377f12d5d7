package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"copialettere/journal/kv"
	"copialettere/journal/kv/level"
)

// overGaps is an engine that counts the UIDs that a scan of entries has to pass before it comes to one that is there. LevelDB keeps a key
// of each of them that was deleted, for long.
type overGaps struct {
	kv.Engine
	passed atomic.Int64
}

func (p *overGaps) Volume(ctx context.Context, m kv.Month, create bool) (kv.Store, error) {
	s, err := p.Engine.Volume(ctx, m, create)
	if err != nil {
		return nil, err
	}
	return gapsStore{s, p}, nil
}

type gapsStore struct {
	kv.Store
	p *overGaps
}

func (s gapsStore) Scan(ctx context.Context, from, to []byte) iter.Seq2[kv.Pair, error] {
	pairs := s.Store.Scan(ctx, from, to)
	if from[0] != 'e' {
		return pairs
	}
	mailbox, folder, rest, err := splitFolderKey(from)
	if err != nil {
		return pairs // of more than one folder
	}
	return func(yield func(kv.Pair, error) bool) {
		c, err := getCounters(storeView{ctx, s.Store}, mailbox, folder)
		if err != nil {
			yield(kv.Pair{}, err)
			return
		}
		next := uint32(1)
		if len(rest) == 4 {
			next = max(binary.BigEndian.Uint32(rest), 1)
		}
		for p, err := range pairs {
			uid := binary.BigEndian.Uint32(p.Key[len(p.Key)-4:])
			s.p.passed.Add(int64(uid - next))
			next = uid + 1
			if !yield(p, err) {
				return
			}
		}
		s.p.passed.Add(int64(c.nextUID - min(c.nextUID, next)))
	}
}

// TestRoomIsMadeWhereItWasLast makes room many times, and has things happen in between: what was deleted before is not passed again.
func TestRoomIsMadeWhereItWasLast(t *testing.T) {
	t.Parallel()
	const size, kept, rounds = 200, 10, 150
	for _, c := range []struct {
		name    string
		between func(f *fixture, refs []Ref) // after a third of the rounds
		once    int64                        // how much is passed once for that
	}{
		{"nothing", func(*fixture, []Ref) {}, 0},
		{"a restart", func(f *fixture, _ []Ref) {
			f.Journal.Close()
			*f = *fixtureOn(f.t, f.engine)
		}, 0},
		{"the oldest is held", func(f *fixture, refs []Ref) { f.hold(refs[0]) }, 0},
		{"all but one are held", func(f *fixture, refs []Ref) { f.hold(refs[:kept-1]...) }, 0},
		{"the oldest was held and is released", func(f *fixture, refs []Ref) {
			f.hold(refs[0])
			f.round("while it is held", size, kept)
			f.round("and again", size, kept)
			if err := f.Release(f.ctx(), refs[0], "operator", "closed"); err != nil {
				f.t.Fatal(err)
			}
		}, 2},
		{"others are deleted by hand", func(f *fixture, refs []Ref) {
			for _, r := range refs[:5] {
				f.remove(r)
			}
		}, 5},
		{"all others of an old month but a held one are deleted by hand", func(f *fixture, refs []Ref) {
			f.hold(refs[1])
			for _, r := range refs[2:] {
				f.remove(r)
			}
			f.clock.set(november.AddDate(0, 1, 0))
			for range kept {
				f.put(mario, sized(fmt.Sprint("december ", f.transactions), size))
			}
		}, kept - 2},
		{"and another folder has only such a one", func(f *fixture, _ []Ref) {
			var sent []Ref
			for i := range 30 {
				in := received(mario)
				in.Direction = Sent
				sent = append(sent, f.file(sized(fmt.Sprint("sent ", i), 100), in)[0].Ref)
			}
			f.hold(sent[0])
			for _, r := range sent[1:] {
				f.remove(r)
			}
		}, 29},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &overGaps{Engine: new(memory)}
			f := fixtureOn(t, p)
			for range kept {
				f.put(mario, sized(fmt.Sprint(f.transactions), size))
			}
			for round := range rounds {
				if round == rounds/3 {
					var refs []Ref
					for _, e := range f.list(mario) {
						refs = append(refs, e.Ref)
					}
					c.between(f, refs)
					f.verify()
					p.passed.Store(0)
				}
				f.round(fmt.Sprint("round ", round), size, kept)
				f.wantNonePassed()
				if got := p.passed.Load(); round < rounds/3 && got > 0 || got > c.once {
					t.Fatalf("round %d: %d keys were passed, want at most %d", round, got, c.once)
				}
			}
			f.verify()
			f.close()
		})
	}
}

func (f *fixture) hold(refs ...Ref) {
	f.t.Helper()
	for _, r := range refs {
		if err := f.Hold(f.ctx(), r, "operator", "case 1"); err != nil {
			f.t.Fatal(err)
		}
	}
}

// round takes in a message of a size for which room is made, so that there are no more than some.
func (f *fixture) round(subject string, size, kept int) {
	f.t.Helper()
	p := f.file(sized(subject, size), limited(mario, uint64(size*kept), MakeRoom))[0]
	if p.UID == 0 {
		f.t.Fatalf("%s: placed at %+v", subject, p)
	}
	if used, err := f.Usage(f.ctx(), mario); err != nil || used > uint64(size*kept) {
		f.t.Fatalf("%s: %d bytes are used, %v", subject, used, err)
	}
}

// wantNonePassed checks that room is made from no place behind an entry that is not held.
func (f *fixture) wantNonePassed() {
	f.t.Helper()
	held := make(map[Ref]bool)
	for h, err := range f.Holdings(f.ctx(), mario) {
		if err != nil {
			f.t.Fatal(err)
		}
		held[h.Ref] = true
	}
	for _, e := range f.list(mario) {
		s, err := f.engine.Volume(f.ctx(), e.Month, false)
		if err != nil {
			f.t.Fatal(err)
		}
		folders, err := foldersOf(f.ctx(), s, mario)
		if err != nil || e.UID < folders[e.Folder].room && !held[e.Ref] {
			f.t.Fatalf("%s %d is passed and not held: room is made from %d on, %v", e.FolderName(), e.UID, folders[e.Folder].room, err)
		}
	}
}

// TestRoomBesideHolds has a mailbox full of entries that are held, one of which is released: it goes, and it alone.
func TestRoomBesideHolds(t *testing.T) {
	p := &overGaps{Engine: new(memory)}
	f := fixtureOn(t, p)
	const size, kept = 200, 250
	var refs []Ref
	for i := range kept {
		refs = append(refs, f.put(mario, sized(fmt.Sprint(i), size)))
	}
	f.hold(refs...)
	full := func(subject string) bool {
		t.Helper()
		return f.file(sized(subject, size), limited(mario, size*kept, MakeRoom))[0].Skipped == ReasonFull
	}
	if !full("all are held") || !full("and again") {
		t.Error("a message had room")
	}
	c, err := getCounters(tx{f: f}, mario, "INBOX")
	if err != nil || c.room != kept+1 {
		t.Errorf("room is made from %d on, %v; want %d", c.room, err, kept+1)
	}
	for i, released := range []Ref{refs[100], refs[20], refs[249]} {
		if err := f.Release(f.ctx(), released, "operator", "closed"); err != nil {
			t.Fatal(err)
		}
		f.wantNonePassed()
		if full(fmt.Sprint("released ", i)) {
			t.Errorf("%v was not deleted", released)
		}
		if _, err := f.Entry(f.ctx(), released); err == nil {
			t.Errorf("%v is still there", released)
		}
		f.hold(f.list(mario)[kept-1].Ref)
	}
	if !full("all are held again") {
		t.Error("a message had room")
	}
	if got := len(f.list(mario)); got != kept {
		t.Errorf("%d entries, want %d", got, kept)
	}
	f.verify()
	f.close()
}

// tx reads a volume as an Update does.
type tx struct {
	kv.Tx // nil: what is not called
	f     *fixture
}

func (t tx) Get(key []byte) ([]byte, error) { return t.f.store().Get(t.f.ctx(), key) }

// TestCountersOfEarlierVersions reads the counters of a folder as they were before room was made in it, which is how they still are then.
func TestCountersOfEarlierVersions(t *testing.T) {
	before := []byte{0, 0, 0, 5, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 2, 88}
	c, err := decodeCounters(before)
	if err != nil || c != (folderCounters{nextUID: 5, uidValidity: 9, entries: 3, bytes: 600}) || !bytes.Equal(c.encode(), before) {
		t.Errorf("%+v, %v", c, err)
	}
	c.room = 4
	if again, err := decodeCounters(c.encode()); err != nil || again != c {
		t.Errorf("%+v, %v; want %+v", again, err, c)
	}
	if _, err := decodeCounters(slices.Concat(before, []byte{0, 0, 0, 0})); err == nil {
		t.Error("counters with a number that is not written were read")
	}
}

// BenchmarkMakeRoom takes in messages for which one other has to go, after many have gone.
func BenchmarkMakeRoom(b *testing.B) {
	for _, removed := range []int{0, 20_000, 100_000} {
		b.Run(fmt.Sprintf("removed=%d", removed), func(b *testing.B) { benchmarkMakeRoom(b, removed, false) })
	}
	b.Run("removed=100000/restarted", func(b *testing.B) { benchmarkMakeRoom(b, 100_000, true) })
}

func benchmarkMakeRoom(b *testing.B, removed int, restarted bool) {
	const size, kept = 300, 1000
	var engine *level.Engine
	f, dir := &fixture{t: b}, b.TempDir()
	open := func() {
		var err error
		if engine, err = level.Open(dir, level.Options{}); err != nil {
			b.Fatal(err)
		}
		if f.Journal, err = Open(engine, Options{}); err != nil {
			b.Fatal(err)
		}
	}
	open()
	defer func() { engine.Close() }()
	defer func() { f.Journal.Close() }()
	var filling sync.WaitGroup
	for w := range 64 {
		filling.Go(func() {
			for i := w; i < removed+kept; i += 64 {
				if _, err := f.try(sized(fmt.Sprint(i), size), fmt.Sprint(i), received(mario)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	filling.Wait()
	full := limited(mario, size*kept, MakeRoom)
	deliver := func(i int) {
		placed, err := f.try(sized(fmt.Sprint("new ", i), size), fmt.Sprint("new ", i), full)
		if err != nil || placed[0].UID == 0 {
			b.Fatal(placed, err)
		}
	}
	deliver(-1) // makes room of all that are too many
	if restarted {
		if err := errors.Join(f.Journal.Close(), engine.Close()); err != nil {
			b.Fatal(err)
		}
		open()
		deliver(-2) // opens the volume
	}
	b.ResetTimer()
	for i := range b.N {
		deliver(i)
	}
}
