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
	e, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	s, err := e.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
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
	v := new(values)
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
	v.end()
	if got := get("a") + get("a"); got != "22" || searched != "a a a " {
		t.Errorf("a is %q, searched %q", got, searched)
	}
	// A read that began before a write ends after it.
	stored["b"] = []byte("old")
	v.get([]byte("b"), func([]byte) ([]byte, error) {
		v.begin(map[string]position{"b": {}})
		stored["b"] = []byte("new")
		v.end()
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
	none.end()
	if value, err := none.get([]byte("b"), read); err != nil || string(value) != "new" {
		t.Errorf("without values: %q, %v", value, err)
	}
}
