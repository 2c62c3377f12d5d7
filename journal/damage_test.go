package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"copialettere/journal/kv"
)

// fieldsOf splits an encoded value into its fields, with their tags and lengths.
func fieldsOf(value []byte) (fields [][]byte) {
	for len(value) > 0 {
		n, w := binary.Uvarint(value[1:])
		size := 1 + w + int(n)
		fields = append(fields, value[:size])
		value = value[size:]
	}
	return fields
}

// What damage does to the value of an entry.
var damages = map[string]func(value []byte) []byte{
	"none":           func(v []byte) []byte { return v },
	"no value":       func([]byte) []byte { return []byte{} },
	"cut short":      func(v []byte) []byte { return v[:len(v)-1] },
	"random bytes":   func(v []byte) []byte { return randomBytes(3, len(v)) },
	"the beginning":  func(v []byte) []byte { return v[:5] },
	"no digest":      without(tagSHA256),
	"no size":        without(tagSize),
	"no parts":       without(tagParts),
	"malformed time": with(tagTime, 1),
	"malformed who":  with(tagDirection, 7),
	"bad parts":      with(tagParts, 200),
	"bad chunk":      with(tagChunk, 1),
	"last chunk missing": func(v []byte) []byte {
		fields := fieldsOf(v)
		for i := len(fields) - 1; ; i-- {
			if fields[i][0] == tagChunk {
				return slices.Concat(slices.Delete(fields, i, i+1)...)
			}
		}
	},
}

// without leaves the fields of a tag out.
func without(tag byte) func([]byte) []byte {
	return func(v []byte) []byte {
		return slices.Concat(slices.DeleteFunc(fieldsOf(v), func(f []byte) bool { return f[0] == tag })...)
	}
}

// with gives the first field of a tag another value.
func with(tag, value byte) func([]byte) []byte {
	return func(v []byte) []byte {
		fields := fieldsOf(v)
		fields[slices.IndexFunc(fields, func(f []byte) bool { return f[0] == tag })] = []byte{tag, 1, value}
		return slices.Concat(fields...)
	}
}

func (f *fixture) value(key []byte) []byte {
	f.t.Helper()
	v, err := f.store().Get(f.ctx(), key)
	if err != nil {
		f.t.Fatal(err)
	}
	return v
}

func TestSalvage(t *testing.T) {
	f := openFixture(t)
	e := f.entry(f.put(mario, enclosed(1, 100)))
	value := f.value(entryKey(e.Ref))
	empty := f.value(entryKey(f.put(mario, nil)))
	whole := map[string]bool{"none": true, "cut short": true, "no parts": true, "malformed time": true, "malformed who": true, "bad parts": true}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			got, all := salvage(e.Ref, damage(slices.Clone(value)))
			if all != whole[name] {
				t.Fatalf("whole: %v, want %v", all, whole[name])
			}
			if all && (!slices.Equal(got.Chunks, e.Chunks) || got.Size != e.Size || got.Ref != e.Ref) {
				t.Errorf("salvaged %+v", got)
			}
		})
	}
	if e, all := salvage(e.Ref, empty); !all || len(e.Chunks) != 0 {
		t.Errorf("empty message: %v, %+v", all, e)
	}
}

func (f *fixture) entry(r Ref) *Entry {
	f.t.Helper()
	e, err := f.Entry(f.ctx(), r)
	if err != nil {
		f.t.Fatal(err)
	}
	return e
}

// TestSweepPastDamage has a damaged entry in a month: its chunks stay, whatever is swept. Where nobody knows which they are, all do.
func TestSweepPastDamage(t *testing.T) {
	for _, c := range []struct {
		damage string
		swept  bool
	}{
		{"none", true}, {"cut short", true}, {"no parts", true}, {"malformed time", true}, {"malformed who", true}, {"bad parts", true},
		{"no value", false}, {"random bytes", false}, {"the beginning", false}, {"no digest", false}, {"no size", false}, {"bad chunk", false},
		{"last chunk missing", false},
	} {
		for _, kind := range []string{"entry", "deleted entry"} {
			t.Run(kind+", "+c.damage, func(t *testing.T) {
				t.Parallel()
				f := openFixture(t)
				message := enclosed(1, 100)
				ref := f.put(mario, message)
				f.put(anna, words(7, 100<<10))
				f.put(anna, enclosing(message))
				key := entryKey(ref)
				value := f.value(key)
				damaged := damages[c.damage](slices.Clone(value))
				if kind == "deleted entry" {
					f.remove(ref)
					key = asideKey(ref)
					whole := f.value(key)
					a, _, err := decodeAside(ref, whole)
					if err != nil {
						t.Fatal(err)
					}
					a.entry = damaged
					value, damaged = whole, a.encode()
				}
				if _, err := f.Erase(f.ctx(), anna, EraseOptions{}); err != nil {
					t.Fatal(err)
				}
				orphans := f.verify().Orphans
				f.put1(key, damaged)
				// The month behind it is swept in any case.
				f.clock.set(november.AddDate(0, 1, 0))
				f.put(anna, words(8, 100<<10))
				if _, err := f.Erase(f.ctx(), anna, EraseOptions{}); err != nil {
					t.Fatal(err)
				}
				var deleted int64
				for range 3 {
					f.pass(sweepPause + time.Second)
					r := f.sweep(SweepOptions{All: true})
					deleted += r.Deleted
					if swept := !slices.Contains(r.Damaged, "2026-11"); swept != c.swept || slices.Contains(r.Damaged, "2026-12") {
						t.Errorf("sweep: %+v", r)
					}
				}
				f.clock.set(november)
				f.put1(key, value)
				if kind == "deleted entry" {
					back, err := f.undelete(ref)
					if err != nil {
						t.Fatal(err)
					}
					ref = back
				}
				f.wantBytes(ref, message)
				switch left := f.verify().Orphans; {
				case c.swept && left != 0, !c.swept && left != orphans, deleted == 0:
					t.Errorf("%d orphans are left of %d, %d chunks were deleted", left, orphans, deleted)
				}
			})
		}
	}
}

// TestEraseDamaged has something in the way of an erasure that cannot be read. It goes with the rest, and so does its room.
func TestEraseDamaged(t *testing.T) {
	first := Ref{mario, "2026-11", "INBOX", 1}
	type damaging struct {
		name    string
		damage  func(f *fixture, deleted Ref)
		entries int // more than there were
		damaged uint64
	}
	cases := []damaging{
		{name: "nothing", damage: func(*fixture, Ref) {}},
		{name: "all entries", damage: func(f *fixture, _ Ref) {
			for _, e := range f.list(mario) {
				if e.Month == first.Month {
					f.put1(entryKey(e.Ref), []byte{tagSize, 9})
				}
			}
		}, damaged: 5},
		{name: "key of an entry", damage: func(f *fixture, _ Ref) { f.put1(append(mailboxKey('e', mario, 0), "INBOX"...), []byte{}) }, entries: 1, damaged: 1},
		{name: "deleted entry", damage: func(f *fixture, r Ref) { f.put1(asideKey(r), []byte{tagWho, 9}) }, damaged: 1},
		{name: "deleted entry without a value", damage: func(f *fixture, r Ref) { f.put1(asideKey(r), []byte{}) }},
		{name: "counters", damage: func(f *fixture, _ Ref) { f.put1(counterKey(mario, "INBOX"), []byte{1}) }},
		{name: "counters missing", damage: func(f *fixture, _ Ref) { f.put1(counterKey(mario, "INBOX"), nil) }},
		{name: "counters too high", damage: func(f *fixture, _ Ref) {
			f.put1(counterKey(mario, "INBOX"), folderCounters{nextUID: 90, uidValidity: 1, entries: 80, bytes: 1 << 40}.encode())
		}},
		{name: "key of counters", damage: func(f *fixture, _ Ref) { f.put1(append(mailboxKey('s', mario, 0), "X"...), []byte{}) }},
		{name: "total", damage: func(f *fixture, _ Ref) { f.put1(totalKey(mario), []byte{1}) }},
		{name: "total missing", damage: func(f *fixture, _ Ref) { f.put1(totalKey(mario), nil) }},
		{name: "total too high", damage: func(f *fixture, _ Ref) { f.put1(totalKey(mario), []byte{0, 0, 1, 0, 0, 0, 0, 0}) }},
		{name: "delivery key", damage: func(f *fixture, _ Ref) { f.put1(deliveryKey(mario, Digest{1}), []byte{1}) }},
		{name: "delivery key to nothing", damage: func(f *fixture, _ Ref) { f.put1(deliveryKey(mario, Digest{1}), encodePlace(Ref{Folder: "X", UID: 1})) }},
		{name: "link to nothing", damage: func(f *fixture, _ Ref) { f.put1(linkKey("l", Ref{Mailbox: mario, Folder: "X", UID: 1}), []byte{}) }},
		{name: "key of a link", damage: func(f *fixture, _ Ref) { f.put1(append(mailboxKey('p', mario, 0), "l"...), []byte{}) }},
		{name: "outcome of nothing", damage: func(f *fixture, _ Ref) { f.put1(outcomeKey(Ref{Mailbox: mario, Folder: "X", UID: 1}), []byte{1}) }},
		{name: "record", damage: func(f *fixture, _ Ref) { f.put1(recordKey(mario, november, 9), []byte{tagReason, 9}) }},
		{name: "gap of an erasure", damage: func(f *fixture, _ Ref) {
			f.put1(recordKey(mario, first.Month.Start(), spanSlots[ReasonErased]), []byte{tagReason, 9})
		}},
	}
	damagedEntries := []string{"cut short", "random bytes", "the beginning", "malformed time", "malformed who", "bad parts", "bad chunk"}
	for name, damage := range damages {
		c := damaging{name: "entry, " + name, damage: func(f *fixture, _ Ref) { f.put1(entryKey(first), damage(f.value(entryKey(first)))) }}
		if slices.Contains(damagedEntries, name) {
			c.damaged = 1
		}
		cases = append(cases, c)
	}
	failing := []string{"nothing", "all entries", "deleted entry", "counters", "total", "gap of an erasure", "entry, no value"}
	for _, c := range cases {
		for _, mode := range []string{"smoothly", "through faults"} {
			if mode != "smoothly" && !slices.Contains(failing, c.name) {
				continue
			}
			t.Run(c.name+", "+mode, func(t *testing.T) {
				t.Parallel()
				f, h := hookedFixture(t)
				f.office(5)
				f.clock.set(november)
				others := len(f.list(anna))
				deleted := f.list(mario)[3].Ref
				f.move(f.list(mario)[2].Ref, Trash)
				f.remove(deleted)
				entries := uint64(len(f.list(mario)) + 1 + c.entries)
				c.damage(f, deleted)
				if mode == "through faults" {
					f.eraseThroughFaults(h)
				} else if got, err := f.Erase(f.ctx(), mario, EraseOptions{}); err != nil || got.Entries != entries || got.Damaged != c.damaged {
					t.Errorf("erased %+v, %v; want %d entries, %d damaged", got, err, entries, c.damaged)
				}
				f.wantErased(entries)
				if n := len(f.list(anna)); n != others {
					t.Errorf("anna has %d entries, want %d", n, others)
				}
				f.verify()
				f.clock.set(november.AddDate(0, 3, 0))
				for range 2 {
					f.pass(sweepPause + time.Second)
					if r := f.sweep(SweepOptions{All: true}); len(r.Damaged) > 0 {
						t.Errorf("sweep: %+v", r)
					}
				}
				if r := f.verify(); r.Orphans != 0 {
					t.Errorf("%d orphans are left", r.Orphans)
				}
				for _, e := range f.list(anna) {
					f.bytes(e.Ref)
				}
			})
		}
	}
}

// wantErased checks that of mario nothing is left but acts and the gaps that tell of so many entries.
func (f *fixture) wantErased(entries uint64) {
	f.t.Helper()
	if kinds := f.keysOf(mario); kinds != "ag" {
		f.t.Errorf("keys of the kinds %q are left", kinds)
	}
	var onRecord uint64
	for _, r := range f.records(mario) {
		if r.Reason != ReasonErased || kv.MonthOf(r.Time) != kv.MonthOf(r.Until) {
			f.t.Errorf("record %+v", r)
		}
		onRecord += r.Entries
	}
	if onRecord != entries {
		f.t.Errorf("%d entries are on record, want %d", onRecord, entries)
	}
	f.want(mario)
	f.wantUsage(mario, 0)
}

// eraseThroughFaults erases mario's archive, and calls it again after each fault: one update after the other fails, with its effect and without.
func (f *fixture) eraseThroughFaults(h *hooked) {
	f.t.Helper()
	for n, failed := 1, true; failed; n++ {
		updates := 0
		h.set(func(ctx context.Context, next func(context.Context) error) error {
			updates++
			switch {
			case updates < (n+1)/2:
				return next(ctx)
			case n%2 == 0:
				return unavailable(ctx, next)
			}
			return errors.Join(next(ctx), unavailable(ctx, next))
		})
		_, err := f.Erase(f.ctx(), mario, EraseOptions{})
		if failed = err != nil; failed {
			wantErr(f.t, "erase", err, kv.ErrUnavailable)
		}
	}
	h.set(nil)
}

// TestEraseWhileDelivering has a message come in before each update of an erasure that goes past damage: it goes too, or stays as a whole.
func TestEraseWhileDelivering(t *testing.T) {
	t.Parallel()
	stayed, delivered := 0, true
	for n := 1; delivered; n++ {
		t.Run(fmt.Sprint("update ", n), func(t *testing.T) {
			f, h := hookedFixture(t)
			first := f.put(mario, sized("1", 300))
			f.put(mario, sized("2", 300))
			f.put(mario, sized("3", 300))
			f.FlushOutcomes(f.ctx())
			f.put1(entryKey(first), []byte{})
			updates := 0
			delivered = false
			h.set(func(ctx context.Context, next func(context.Context) error) error {
				if updates++; updates == n {
					h.set(nil)
					delivered = true
					f.file(sized("new", 250), limited(mario, 2000, SkipFull))
				}
				return next(ctx)
			})
			if _, err := f.Erase(f.ctx(), mario, EraseOptions{}); err != nil {
				t.Fatal(err)
			}
			h.set(nil)
			left := f.list(mario)
			for _, e := range left {
				stayed++
				f.wantBytes(e.Ref, sized("new", 250))
			}
			f.wantUsage(mario, uint64(250*len(left)))
			f.verify()
		})
	}
	if stayed == 0 {
		t.Error("none came late enough to stay")
	}
}

// TestRoomPastDamage has the oldest entry damaged: it stays, and others make the room.
func TestRoomPastDamage(t *testing.T) {
	for _, c := range []struct {
		name    string
		limit   uint64
		skipped string
		want    string
	}{
		{"enough of others", 350, "", "made-room 1/100"},
		{"all of the others", 200, "", "made-room 2/200"},
		{"not enough of others", 150, ReasonFull, "full"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := openFixture(t)
			first := f.put(mario, sized("1", 100))
			f.put(mario, sized("2", 100))
			f.put(mario, sized("3", 100))
			f.FlushOutcomes(f.ctx())
			value := f.value(entryKey(first))
			f.put1(entryKey(first), damages["cut short"](value))
			if p := f.file(sized("4", 100), limited(mario, c.limit, MakeRoom))[0]; p.Skipped != c.skipped {
				t.Errorf("placed at %+v", p)
			}
			if got := f.reasons(mario); len(got) != 1 || got[0] != c.want {
				t.Errorf("records %q, want %q", got, c.want)
			}
			f.put1(entryKey(first), value)
			f.wantBytes(first, sized("1", 100))
		})
	}
}
