package journal

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"copialettere/journal/kv"
)

// onDisk returns the value of a key of November as the engine has it.
func (f *fixture) onDisk(key []byte) []byte {
	f.t.Helper()
	s, err := f.engine.Volume(f.ctx(), "2026-11", false)
	if err != nil {
		f.t.Fatal(err)
	}
	value, err := s.Get(f.ctx(), key)
	if err != nil {
		f.t.Fatal(err)
	}
	return value
}

// wantPacked compares whether the value of a key is packed on the disk, and looks that a packed one is shorter.
func (f *fixture) wantPacked(key []byte, want bool) {
	f.t.Helper()
	value := f.onDisk(key)
	if isPacked(value) != want {
		f.t.Errorf("%q is packed: %v", key, !want)
	}
	s, err := f.Journal.engine.Volume(f.ctx(), "2026-11", false)
	if err != nil {
		f.t.Fatal(err)
	}
	plain, err := s.Get(f.ctx(), key)
	if err != nil || isPacked(plain) || want && len(value) >= len(plain) {
		f.t.Errorf("%q has %d bytes on the disk, and %d unpacked, %v", key, len(value), len(plain), err)
	}
}

func TestPacking(t *testing.T) {
	f := openFixture(t)
	first, last := f.withDictionary()
	if f.keys != "" {
		t.Skip("what is packed is sealed")
	}
	f.wantPacked(entryKey(first), false)
	f.wantPacked(entryKey(last), true)
	if e := f.entry(last); e.Subject != "ACCETTAZIONE: "+secretOf(500) || e.Class == "" {
		t.Errorf("unpacked, the entry says %q of class %q", e.Subject, e.Class)
	}
	f.FlushOutcomes(f.ctx())

	// Whatever is done with it, it stays packed, and its log has the leaf of what is unpacked.
	moved := f.move(last, Trash)
	f.wantPacked(entryKey(moved), true)
	f.remove(moved)
	f.wantPacked(asideKey(moved), true)
	back, err := f.undelete(moved)
	if err != nil {
		t.Fatal(err)
	}
	f.wantPacked(entryKey(back), true)
	f.wantBytes(back, receiptOf(1, 500))
	f.verify()

	// A repetition finds it, in its month and in the next.
	if p := f.deliver(mario, receiptOf(1, 500), "again"); !p.Found || p.Ref != back {
		t.Errorf("a repetition is %+v", p)
	}
	f.reopen()
	f.clock.set(november.AddDate(0, 0, 10))
	if p := f.deliver(mario, receiptOf(1, 500), "once more"); !p.Found || p.Ref != back {
		t.Errorf("a repetition in the next month is %+v", p)
	}

	// In an older month it is written as it is.
	f.learner()
	f.put(mario, receiptOf(1, 501))
	moved = f.move(back, Trash)
	f.wantPacked(entryKey(moved), false)
	f.wantBytes(moved, receiptOf(1, 500))
}

// TestPackedLost has a message whose entry cannot be unpacked be named as damaged, and be journaled once more when it comes again.
func TestPackedLost(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(f *fixture, last Ref)
	}{
		{"both copies of the dictionary are missing", func(f *fixture, _ Ref) {
			f.takeKey(dictionaryKey(dictionaryKind, 1))
			f.takeKey(dictionaryKey(dictionaryCopyKind, 1))
		}},
		{"the value is cut off", func(f *fixture, last Ref) { f.put1(entryKey(last), f.get1(entryKey(last))[:40]) }},
		{"it has no dictionary", func(f *fixture, last Ref) { f.put1(entryKey(last), []byte{packed, 1, 2, 3}) }},
		{"one of its bits is another", func(f *fixture, last Ref) {
			value := f.get1(entryKey(last))
			value[len(value)-1] ^= 1
			f.put1(entryKey(last), value)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := openFixture(t)
			if f.keys != "" {
				t.Skip("what is packed is sealed")
			}
			first, last := f.withDictionary()
			f.FlushOutcomes(f.ctx())
			f.reopen()
			test.damage(f, last)
			f.damaged()
			if _, err := f.Entry(f.ctx(), last); !errors.Is(err, ErrDamaged) {
				t.Errorf("the entry: %v, want ErrDamaged", err)
			}
			f.wantBytes(first, receiptOf(1, 0))
			p := f.deliver(mario, receiptOf(1, 500), "again")
			if p.Found || p.Ref == last {
				t.Errorf("the message once more: %+v", p)
			}
			f.wantBytes(p.Ref, receiptOf(1, 500))
		})
	}
}

// TestUnpackUnavailable has a store that cannot be read not pass for damage.
func TestUnpackUnavailable(t *testing.T) {
	f := openFixture(t)
	_, last := f.withDictionary()
	if f.keys != "" {
		t.Skip("what is packed is sealed")
	}
	value := f.onDisk(entryKey(last))
	f.reopen()
	gone := fmt.Errorf("test: %w", kv.ErrUnavailable)
	u := unpacker{f.Journal, "2026-11", func([]byte) ([]byte, error) { return nil, gone }}
	if _, err := u.value(entryKey(last), value); !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("unpacked without a store: %v", err)
	}
	if _, err := u.values([][]byte{entryKey(last)}, [][]byte{value}); !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("unpacked without a store: %v", err)
	}
	for _, other := range [][]byte{chunkKey(ChunkID{1}), recordKey(mario, november, 1)} {
		if got, err := u.value(other, value); err != nil || !bytes.Equal(got, value) {
			t.Errorf("a value of %q is unpacked: %v", other, err)
		}
	}
}

// FuzzUnpack unpacks any value: it is damaged, or is what was packed.
func FuzzUnpack(f *testing.F) {
	x := openFixture(f)
	l := x.learner()
	l.learn(f, x.receipts(1, 0, firstRound))
	ref := x.put(mario, receiptOf(1, 500))
	list, _ := x.Journal.dictionaries.of("2026-11")
	s, err := x.Journal.engine.Volume(x.ctx(), "2026-11", false)
	if err != nil {
		f.Fatal(err)
	}
	plain, err := s.Get(x.ctx(), entryKey(ref))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(x.codec.Pack(packed, plain, list))
	f.Add(plain)
	f.Add([]byte{packed})
	f.Add([]byte{})
	u := unpacker{x.Journal, "2026-11", func(key []byte) ([]byte, error) { return s.Get(x.ctx(), key) }}
	f.Fuzz(func(t *testing.T, value []byte) {
		was := slices.Clone(value)
		got, err := u.value(entryKey(ref), value)
		if err != nil || !bytes.Equal(value, was) {
			t.Fatalf("%v, or the value was changed", err)
		}
		if !isPacked(value) && !bytes.Equal(got, value) {
			t.Fatal("a value that is not packed was changed")
		}
		again, err := u.value(entryKey(ref), x.codec.Pack(packed, value, list))
		if !isPacked(value) && (err != nil || !bytes.Equal(again, value)) {
			t.Fatalf("packed and unpacked: %v", err)
		}
		_, _ = decodeEntry(ref, got)
	})
}
