package journal

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"copialettere/journal/kv"
)

// TestRebuild removes or spoils one kind of key after the other. The verification then finds faults, Rebuild mends them, nothing that was deleted comes
// back, and the next UID does not go back.
func TestRebuild(t *testing.T) {
	for _, test := range []struct {
		name  string
		kind  byte
		spoil func(c *change, p kv.Pair)
	}{
		{"no counters", 's', func(c *change, p kv.Pair) { c.Delete(p.Key) }},
		{"wrong counters", 's', func(c *change, p kv.Pair) {
			counters, err := decodeCounters(p.Value)
			if err == nil {
				counters.entries, counters.bytes = counters.entries+5, counters.bytes+7
				c.Put(p.Key, counters.encode())
			}
		}},
		{"no delivery keys", 'd', func(c *change, p kv.Pair) { c.Delete(p.Key) }},
		{"no links", 'p', func(c *change, p kv.Pair) { c.Delete(p.Key) }},
		{"no keys among the deleted", 'w', func(c *change, p kv.Pair) { c.Delete(p.Key) }},
		{"no digests", 'h', func(c *change, p kv.Pair) { c.Delete(p.Key) }},
		{"digests of other chunks", 'h', func(c *change, p kv.Pair) { c.Put(p.Key, make([]byte, len(ChunkID{}))) }},
		{"no totals and no heads of logs", 'q', func(c *change, p kv.Pair) { c.Delete(p.Key) }},
		{"no heads of logs", 'q', func(c *change, p kv.Pair) { c.Put(p.Key, p.Value[:totalSize]) }},
		{"heads of logs cut short", 'q', func(c *change, p kv.Pair) { c.Put(p.Key, p.Value[:totalSize+20]) }},
		{"no entries", 'e', func(c *change, p kv.Pair) {}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := openFixture(t)
			f.office(3)
			gone := f.list(mario)[0]
			if _, err := f.Delete(f.ctx(), Selection{Mailbox: mario, Month: gone.Month, Folder: gone.Folder, UIDs: UIDsOf([]uint32{gone.UID})}, "mario"); err != nil {
				t.Fatal(err)
			}
			before, count := f.list(mario)[0], len(f.list(mario))
			next := make(map[string]uint32)
			for pass := range 2 {
				months, err := f.engine.Volumes(f.ctx())
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range months {
					s, err := f.volume(f.ctx(), m, false)
					if err != nil {
						t.Fatal(err)
					}
					for p, err := range s.Scan(f.ctx(), []byte{'s'}, []byte{'s' + 1}) {
						if err != nil {
							t.Fatal(err)
						}
						c, err := decodeCounters(p.Value)
						if name := string(m) + string(p.Key); err != nil || pass == 1 && c.nextUID < next[name] {
							t.Errorf("next UID %d, and was %d (%v)", c.nextUID, next[name], err)
						} else if pass == 0 {
							next[name] = c.nextUID
						}
					}
					if pass == 1 {
						continue
					}
					for p, err := range s.Scan(f.ctx(), []byte{test.kind}, []byte{test.kind + 1}) {
						if err != nil {
							t.Fatal(err)
						}
						if err := f.update(f.ctx(), s, m, nil, func(c *change) error { test.spoil(c, p); return nil }); err != nil {
							t.Fatal(err)
						}
					}
				}
				if pass == 1 {
					continue
				}
				r, err := f.Rebuild(f.ctx())
				if err != nil {
					t.Fatal(err)
				}
				if changed := r.Changes() > 0; changed != (test.kind != 'e') {
					t.Errorf("rebuilt %+v", r)
				}
				if again, err := f.Rebuild(f.ctx()); err != nil || again.Changes() > 0 {
					t.Errorf("rebuilt again: %+v, %v", again, err)
				}
			}
			f.verify()
			if list := f.list(mario); len(list) != count || list[0].Ref != before.Ref {
				t.Errorf("%d entries, the first %v; before %d and %v", len(list), list[0].Ref, count, before.Ref)
			}
			f.goesOn()
		})
	}
}

// goesOn delivers and deletes, and finds the archive sound.
func (f *fixture) goesOn() {
	f.t.Helper()
	// The bytes of a message that is there are not stored again.
	stored := f.verify().Chunks
	shared := words(0, 20<<10)
	if f.wantBytes(f.put("carla@alpha.test", shared), shared); f.verify().Chunks != stored {
		f.t.Errorf("%d chunks, and there were %d", f.verify().Chunks, stored)
	}
	last := f.put(mario, sized("last", 300))
	if _, err := f.Delete(f.ctx(), last.Only(), "mario"); err != nil {
		f.t.Fatal(err)
	}
	f.verify()
	if back, err := f.undelete(last); err != nil {
		f.t.Fatal(err)
	} else {
		f.wantBytes(back, sized("last", 300))
	}
	f.verify()
}

// TestRebuildDeletedCounters loses the counters of what was deleted of a mailbox. What is deleted next takes no UID that was there.
func TestRebuildDeletedCounters(t *testing.T) {
	f := openFixture(t)
	f.office(2)
	for range 3 {
		if _, err := f.Delete(f.ctx(), f.list(mario)[0].Ref.Only(), "mario"); err != nil {
			t.Fatal(err)
		}
	}
	before, err := f.DeletedFolder(f.ctx(), mario, false)
	if err != nil {
		t.Fatal(err)
	}
	f.put1Settings(deletedCountersKey(mario), nil)
	r, err := f.Rebuild(f.ctx())
	if err != nil || r.Counters != 1 || r.Changes() != 1 {
		t.Errorf("rebuilt %+v, %v", r, err)
	}
	if again, err := f.Rebuild(f.ctx()); err != nil || again.Changes() > 0 {
		t.Errorf("rebuilt again: %+v, %v", again, err)
	}
	f.verify()
	after, err := f.DeletedFolder(f.ctx(), mario, false)
	if err != nil || after.NextUID <= before.NextUID || after.UIDValidity <= before.UIDValidity || after.Entries != 3 {
		t.Errorf("%+v, %v; before %+v", after, err, before)
	}
	f.goesOn()
}

// TestRebuildEmptiedFolder loses the counters of a folder from which all messages are gone. Its leaves tell which UIDs were given out.
func TestRebuildEmptiedFolder(t *testing.T) {
	f := openFixture(t)
	var last Ref
	for i := range 3 {
		last = f.put(mario, sized(fmt.Sprint("gone ", i), 200))
		f.remove(last)
	}
	f.clock.set(november.AddDate(0, 0, 8))
	if _, err := f.PurgeDeleted(f.ctx()); err != nil {
		t.Fatal(err)
	}
	f.put1(counterKey(mario, last.Folder), nil)
	if r, err := f.Rebuild(f.ctx()); err != nil || r.Counters != 1 {
		t.Errorf("rebuilt %+v, %v", r, err)
	}
	if next := f.put(mario, sized("next", 200)); next.UID <= last.UID {
		t.Errorf("the next message has UID %d, and there was one of %d", next.UID, last.UID)
	}
	f.verify()
}

// TestRebuildUnreadable has entries that cannot be read in a folder whose counters are lost. The next message must not take the place of any.
func TestRebuildUnreadable(t *testing.T) {
	f := openFixture(t)
	f.damaged()
	one, two, last := f.put(mario, sized("one", 200)), f.put(mario, sized("two", 200)), f.put(mario, sized("last", 200))
	f.put1(counterKey(mario, one.Folder), nil)
	f.put1(entryKey(two), []byte{1, 2, 3})
	f.put1(entryKey(last), []byte{1, 2, 3})
	r, err := f.Rebuild(f.ctx())
	if err != nil || r.Counters != 1 || r.Totals != 0 {
		t.Fatalf("rebuilt %+v, %v", r, err)
	}
	if again, err := f.Rebuild(f.ctx()); err != nil || again.Changes() > 0 {
		t.Errorf("rebuilt again: %+v, %v", again, err)
	}
	if next := f.put(mario, sized("next", 200)); next.UID <= last.UID {
		t.Errorf("the next message has UID %d, and there was one of %d", next.UID, last.UID)
	}
	f.wantBytes(one, sized("one", 200))
}

// TestRebuildDamagedMonth mends a month, though an older one cannot be read.
func TestRebuildDamagedMonth(t *testing.T) {
	f := openFixture(t)
	f.office(2)
	first, last := kv.MonthOf(november), f.list(mario)[len(f.list(mario))-1]
	f.breakMonth("manifest", first)
	defer f.damaged() // what is broken stays so
	f.put1(counterKey(mario, last.Folder), nil)
	r, err := f.Rebuild(f.ctx())
	var passed PassedOver
	if !errors.As(err, &passed) || !slices.Equal(passed.Months(), []kv.Month{first}) || r.Counters != 1 {
		t.Errorf("rebuilt %+v, %v", r, err)
	}
}

// TestRebuildKilled kills a rebuild at one write after the other. Whatever it had done, the next one ends with a sound archive of the same messages.
func TestRebuildKilled(t *testing.T) {
	f := openFixture(t)
	f.onFiles()
	f.office(1)
	gone := f.list(mario)[0]
	if _, err := f.Delete(f.ctx(), Selection{Mailbox: mario, Month: gone.Month, Folder: gone.Folder, UIDs: UIDsOf([]uint32{gone.UID})}, "mario"); err != nil {
		t.Fatal(err)
	}
	before := f.list(mario)
	kills := 0
	for n := 1; ; n += 3 { // odd and even: behind a write, and before one
		for _, kind := range []byte{'s', 'd', 'p', 'w', 'h', 'q'} {
			f.lose(kind)
		}
		if !f.killAt("rebuild", n) {
			break
		}
		kills++
		if _, err := f.Rebuild(f.ctx()); err != nil {
			t.Fatalf("killed at %d, then: %v", n, err)
		}
		f.verify()
		if got := f.list(mario); !slices.EqualFunc(got, before, func(a, b *Entry) bool { return a.Ref == b.Ref }) {
			t.Fatalf("killed at %d: %d entries, and there were %d", n, len(got), len(before))
		}
	}
	f.verify()
	if kills < 3 {
		t.Errorf("killed %d times only", kills)
	}
}

// lose removes all keys of a kind from all months, past the journal.
func (f *fixture) lose(kind byte) {
	f.t.Helper()
	months, err := f.engine.Volumes(f.ctx())
	if err != nil {
		f.t.Fatal(err)
	}
	for _, m := range months {
		s, err := f.volume(f.ctx(), m, false)
		if err != nil {
			f.t.Fatal(err)
		}
		var keys [][]byte
		for p, err := range s.Scan(f.ctx(), []byte{kind}, []byte{kind + 1}) {
			if err != nil {
				f.t.Fatal(err)
			}
			keys = append(keys, slices.Clone(p.Key))
		}
		err = s.Update(f.ctx(), nil, func(tx kv.Tx) error {
			for _, key := range keys {
				tx.Delete(key)
			}
			return nil
		})
		if err != nil {
			f.t.Fatal(err)
		}
	}
}
