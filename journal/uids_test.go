package journal

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestParseUIDs(t *testing.T) {
	for text, want := range map[string]string{
		"5":                     "5",
		"7-20":                  "7-20",
		"7:20":                  "7-20",
		"20:7":                  "7-20",
		"9 3,5-6 4":             "3-6,9",
		"1-10,3-4,11":           "1-11",
		" 1,, 2 ":               "1-2",
		"4294967294,4294967295": "4294967294-4294967295",
		"1-4294967295,7":        "1-4294967295",
	} {
		if got, err := ParseUIDs(text); err != nil || got.String() != want {
			t.Errorf("%q is %q, %v; want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"", ",", "0", "0-5", "-5", "5-", "a", "*", "7:*", "4294967296", "1-2-3", "1.5", "+5", strings.Repeat("1,", maxUIDRanges+1)} {
		if got, err := ParseUIDs(text); !errors.Is(err, ErrUIDs) {
			t.Errorf("%.20q is %q, %v", text, got, err)
		}
	}
}

// TestUIDs compares the sets with plain lists of numbers.
func TestUIDs(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	random := func() (set UIDs, list []uint32) {
		for n := range uint32(40) {
			if r.IntN(2) == 0 {
				set.add(n + 1)
				list = append(list, n+1)
			}
		}
		return set, list
	}
	in := func(list []uint32) func(uint32) bool { return func(n uint32) bool { return slices.Contains(list, n) } }
	for range 200 {
		a, as := random()
		b, bs := random()
		end := 1 + r.Uint32N(42)
		both, only, less := slices.Clone(as), slices.DeleteFunc(slices.Clone(as), in(bs)), slices.Clone(as)
		both = slices.DeleteFunc(both, func(n uint32) bool { return !in(bs)(n) })
		less = slices.DeleteFunc(less, func(n uint32) bool { return n >= end })
		all := slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(as), bs...))))
		for name, c := range map[string]struct {
			got  UIDs
			want []uint32
		}{"itself": {a, as}, "and": {a.and(b), both}, "or": {a.or(b), all}, "without": {a.without(b), only}, "below": {a.below(end), less}} {
			again, err := decodeUIDs(c.got.encode())
			if got := slices.Collect(c.got.Each()); !slices.Equal(got, c.want) || c.got.Count() != uint64(len(c.want)) || !slices.Equal(again, c.got) || err != nil {
				t.Fatalf("seed %d: %s of %v and %v is %v, want %v; decoded %v, %v", seed, name, a, b, got, c.want, again, err)
			}
			for n := range uint32(42) {
				if c.got.has(n) != slices.Contains(c.want, n) {
					t.Fatalf("seed %d: %v has %d: %v", seed, c.got, n, c.got.has(n))
				}
			}
		}
	}
	if got := AllUIDs().without(UIDs{{2, math.MaxUint32 - 1}}); !slices.Equal(got, UIDs{{1, 1}, {math.MaxUint32, math.MaxUint32}}) {
		t.Errorf("the ends are %v", got)
	}
	if got := AllUIDs().Count(); got != math.MaxUint32 {
		t.Errorf("%d UIDs in all", got)
	}
}

func TestUIDsText(t *testing.T) {
	var odd UIDs
	for n := range uint32(30) {
		odd.add(2*n + 1)
	}
	if got, want := odd.String(), "1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31,33,35,37,...,59"; got != want {
		t.Errorf("a long set is %s, want %s", got, want)
	}
	text, err := odd.MarshalText()
	var again UIDs
	if err := errors.Join(err, again.UnmarshalText(text)); err != nil || !slices.Equal(again, odd) {
		t.Errorf("%s read again is %v, %v", text, again, err)
	}
	if err := again.UnmarshalText(nil); err != nil || again != nil {
		t.Errorf("nothing is %v, %v", again, err)
	}
}

func FuzzDecodeUIDs(f *testing.F) {
	f.Add(UIDs{{1, 1}, {3, math.MaxUint32}}.encode())
	f.Add([]byte{1, 0, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		set, err := decodeUIDs(b)
		if err != nil {
			return
		}
		if again, err := decodeUIDs(set.encode()); err != nil || !slices.Equal(again, set) || !slices.Equal(mergedUIDs(slices.Clone(set)), set) {
			t.Errorf("%v, again %v, %v", set, again, err)
		}
	})
}
