package level

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"copialettere/journal/kv"
)

// TestValuesFresh has readers of a few keys while a writer raises their numbers. No reader sees a number below one that was acknowledged before it
// began, or below one that it saw before.
func TestValuesFresh(t *testing.T) {
	for _, store := range []struct {
		name string
		open func(*Engine) (kv.Store, error)
	}{
		{"settings", func(e *Engine) (kv.Store, error) { return e.Settings(t.Context()) }},
		{"newest volume", func(e *Engine) (kv.Store, error) { return e.Volume(t.Context(), "2026-11", true) }},
	} {
		t.Run(store.name, func(t *testing.T) {
			e, err := Open(t.TempDir(), Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			s, err := store.open(e)
			if err != nil {
				t.Fatal(err)
			}
			testValuesFresh(t, s)
		})
	}
}

func testValuesFresh(t *testing.T, s kv.Store) {
	const keys, rounds = 4, 300
	var acknowledged [keys]atomic.Uint64
	key := func(i int) []byte { return fmt.Appendf(nil, "k%d", i) }
	done := make(chan struct{})
	var reading sync.WaitGroup
	for range 4 {
		reading.Go(func() {
			var seen [keys]uint64
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				i := n % keys
				least := max(seen[i], acknowledged[i].Load())
				b, err := s.Get(t.Context(), key(i))
				var got uint64
				switch {
				case err == nil:
					got = binary.BigEndian.Uint64(b)
					clear(b) // the slice is ours
				case !errors.Is(err, kv.ErrNotFound):
					t.Error(err)
					return
				}
				if got < least {
					t.Errorf("key %d: read %d, and it was %d before", i, got, least)
					return
				}
				seen[i] = got
			}
		})
	}
	for round := uint64(1); round <= rounds; round++ {
		i := int(round) % keys
		err := s.Update(t.Context(), []string{"k"}, func(tx kv.Tx) error {
			b, err := tx.Get(key(i))
			if err == nil && binary.BigEndian.Uint64(b) != acknowledged[i].Load() || err != nil && !errors.Is(err, kv.ErrNotFound) {
				return fmt.Errorf("an update reads %x, %w", b, err)
			}
			tx.Put(key(i), binary.BigEndian.AppendUint64(nil, round))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		acknowledged[i].Store(round)
	}
	close(done)
	reading.Wait()
}

// TestValues keeps, forgets and bounds values.
func TestValues(t *testing.T) {
	v := &values{absent: true}
	stored := map[string][]byte{"a": []byte("1"), "empty": {}, "large": bytes.Repeat([]byte("x"), maxValue+1)}
	searched := ""
	read := func(key []byte) ([]byte, error) {
		searched += string(key) + " "
		if value, ok := stored[string(key)]; ok {
			return bytes.Clone(value), nil
		}
		return nil, kv.ErrNotFound
	}
	get := func(key string) string {
		value, err := v.get([]byte(key), read)
		if errors.Is(err, kv.ErrNotFound) {
			return "none"
		}
		if err != nil || value == nil {
			t.Errorf("%s: %q, %v", key, value, err)
		}
		return string(value)
	}
	for _, key := range []string{"a", "a", "none", "none", "large", "large", "empty", "empty"} {
		if want, ok := stored[key]; get(key) != string(want) && ok {
			t.Errorf("%s is wrong", key)
		}
	}
	if want := "a none large large empty "; !strings.HasPrefix(searched, "a none large large empty") || len(searched) > len(want) {
		t.Errorf("searched %q, want %q", searched, want)
	}
	stored["a"], searched = []byte("2"), ""
	v.begin(map[string]position{"a": {}})
	get("a")
	get("a") // what is read during a write is not kept
	v.end(nil)
	if got := get("a") + get("a"); got != "22" || searched != "a a a " {
		t.Errorf("a is %q, searched %q", got, searched)
	}
	// A read that began before a write ends after it.
	stored["b"] = []byte("old")
	v.get([]byte("b"), func([]byte) ([]byte, error) {
		v.begin(map[string]position{"b": {}})
		stored["b"] = []byte("new")
		v.end(nil)
		return []byte("old"), nil
	})
	if got := get("b"); got != "new" {
		t.Errorf("b is %q", got)
	}
	v.get([]byte("fault"), func([]byte) ([]byte, error) { return nil, kv.ErrUnavailable })
	if got := get("fault"); got != "none" {
		t.Errorf("a fault was kept: %q", got)
	}
	for i := range 3 * maxValues / maxValue {
		key := fmt.Sprint("many", i)
		stored[key] = bytes.Repeat([]byte("y"), maxValue)
		get(key)
	}
	sum := 0
	for key, value := range v.known {
		sum += len(key) + len(value) + valueOverhead
	}
	if sum != v.size || sum > maxValues || sum < maxValues/2 {
		t.Errorf("%d bytes kept, counted %d, want %d at most", sum, v.size, maxValues)
	}
	var none *values
	none.begin(nil)
	none.end(nil)
	if value, err := none.get([]byte("b"), read); err != nil || string(value) != "new" {
		t.Errorf("without values: %q, %v", value, err)
	}
}

// TestValuesRenewed has batches write keys that are known and keys that are not.
func TestValuesRenewed(t *testing.T) {
	large := string(make([]byte, maxValue+1))
	for _, test := range []struct {
		name   string
		absent bool              // of the settings
		read   []string          // keys read before the write
		write  map[string]string // "-" deletes the key
		failed bool
		known  map[string]string // afterwards; "-" is known to be absent
	}{
		{name: "known, written", read: []string{"a"}, write: map[string]string{"a": "2"}, known: map[string]string{"a": "2"}},
		{name: "known, written empty", read: []string{"a"}, write: map[string]string{"a": ""}, known: map[string]string{"a": ""}},
		{name: "known, written too large", read: []string{"a"}, write: map[string]string{"a": large}},
		{name: "known, deleted", read: []string{"a"}, write: map[string]string{"a": "-"}},
		{name: "known, deleted in the settings", absent: true, read: []string{"a"}, write: map[string]string{"a": "-"}, known: map[string]string{"a": "-"}},
		{name: "known, the write fails", read: []string{"a"}, write: map[string]string{"a": "2"}, failed: true},
		{name: "known, another one written", read: []string{"a"}, write: map[string]string{"b": "2"}, known: map[string]string{"a": "1"}},
		{name: "never read", write: map[string]string{"a": "2"}},
		{name: "absent, written", read: []string{"none"}, write: map[string]string{"none": "2"}},
		{name: "absent in the settings, written", absent: true, read: []string{"none"}, write: map[string]string{"none": "2"},
			known: map[string]string{"none": "2"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := &values{absent: test.absent}
			for _, key := range test.read {
				_, err := v.get([]byte(key), func([]byte) ([]byte, error) {
					if key == "none" {
						return nil, kv.ErrNotFound
					}
					return []byte("1"), nil
				})
				if err != nil && !errors.Is(err, kv.ErrNotFound) {
					t.Fatal(err)
				}
			}
			batch := make(map[string]position)
			for key := range test.write {
				batch[key] = position{}
			}
			v.begin(batch)
			written := func(key string) ([]byte, bool) {
				value := test.write[key]
				if value == "-" {
					return nil, false
				}
				return []byte(value), true
			}
			if test.failed {
				written = nil
			}
			v.end(written)
			size := 0
			for key, value := range v.known {
				want, ok := test.known[key]
				if !ok || (want == "-") != (value == nil) || value != nil && want != string(value) {
					t.Errorf("%s has %q, want %q", key, value, want)
				}
				size += len(key) + len(value) + valueOverhead
			}
			if len(v.known) != len(test.known) || size != v.size {
				t.Errorf("%d keys of %d bytes are known, counted %d; want %d", len(v.known), size, v.size, len(test.known))
			}
		})
	}
}
