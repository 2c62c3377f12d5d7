package journal

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
)

// UIDs is a set of UIDs: ranges that ascend and neither overlap nor touch. The zero value is empty.
type UIDs []UIDRange

// UIDRange is the UIDs from First to Last, both included; 0 < First <= Last.
type UIDRange struct{ First, Last uint32 }

// Set returns the set of the UIDs in the range, empty if there are none.
func (r UIDRange) Set() UIDs {
	if r.First == 0 || r.First > r.Last {
		return nil
	}
	return UIDs{r}
}

// UIDsOf returns the set of UIDs that ascend.
func UIDsOf(uids []uint32) UIDs {
	var set UIDs
	for _, uid := range uids {
		if n := len(set); n == 0 || uid > set[n-1].Last {
			set.add(uid)
		}
	}
	return set
}

// AllUIDs returns the set of all UIDs.
func AllUIDs() UIDs { return UIDs{{1, math.MaxUint32}} }

// ErrUIDs says that a text names no UIDs. The error that wraps it says what is wrong.
var ErrUIDs = errors.New("malformed UIDs")

// maxUIDRanges is how many ranges a text may have.
const maxUIDRanges = 100_000

// ParseUIDs reads UIDs and ranges of them, separated by commas or spaces, in any order: "5", "7-20", or "7:20" as RFC 9051 has it. It does
// not know "*", which would mean another message with each delivery.
func ParseUIDs(text string) (UIDs, error) {
	var set UIDs
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || r == ' ' }) {
		if len(set) == maxUIDRanges {
			return nil, fmt.Errorf("%w: more than %d ranges", ErrUIDs, maxUIDRanges)
		}
		first, last := word, word
		if i := strings.IndexAny(word, "-:"); i >= 0 {
			first, last = word[:i], word[i+1:]
		}
		var r UIDRange
		var err error
		if r.First, err = parseUID(first); err == nil {
			r.Last, err = parseUID(last)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %.100q: %w", ErrUIDs, word, err)
		}
		if r.First > r.Last {
			r.First, r.Last = r.Last, r.First // RFC 9051 section 9, seq-range
		}
		set = append(set, r)
	}
	if len(set) == 0 {
		return nil, fmt.Errorf("%w: want numbers from 1, as in 5 or 7-20", ErrUIDs)
	}
	return mergedUIDs(set), nil
}

// mergedUIDs returns the set of the UIDs in ranges that may overlap. It reorders them.
func mergedUIDs(ranges []UIDRange) UIDs {
	slices.SortFunc(ranges, func(a, b UIDRange) int { return cmp.Compare(a.First, b.First) })
	var set UIDs
	for _, r := range ranges {
		if n := len(set); n > 0 && uint64(r.First) <= uint64(set[n-1].Last)+1 {
			set[n-1].Last = max(set[n-1].Last, r.Last)
		} else {
			set = append(set, r)
		}
	}
	return set
}

func parseUID(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 0 {
		return 0, errors.New("want a number from 1 to 4294967295, or two with a hyphen between")
	}
	return uint32(n), nil
}

// mostShown is how many ranges String shows.
const mostShown = 20

// String returns the set as ParseUIDs reads it: "1-20,22". Of a long one it returns the beginning and the end, with dots between.
func (u UIDs) String() string {
	if len(u) > mostShown {
		return fmt.Sprintf("%s,...,%s", u[:mostShown-1], u[len(u)-1:])
	}
	text, _ := u.MarshalText()
	return string(text)
}

// MarshalText implements encoding.TextMarshaler: the whole set, as ParseUIDs reads it.
func (u UIDs) MarshalText() ([]byte, error) {
	var b []byte
	for i, r := range u {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(r.First), 10)
		if r.Last > r.First {
			b = strconv.AppendUint(append(b, '-'), uint64(r.Last), 10)
		}
	}
	return b, nil
}

// UnmarshalText implements encoding.TextUnmarshaler. An empty text is an empty set.
func (u *UIDs) UnmarshalText(text []byte) (err error) {
	if *u = nil; len(text) > 0 {
		*u, err = ParseUIDs(string(text))
	}
	return err
}

// Count returns how many UIDs the set has.
func (u UIDs) Count() (n uint64) {
	for _, r := range u {
		n += uint64(r.Last) - uint64(r.First) + 1
	}
	return n
}

// first returns the lowest UID, or 0 of an empty set.
func (u UIDs) first() uint32 {
	if len(u) == 0 {
		return 0
	}
	return u[0].First
}

// has says whether a UID is in the set.
func (u UIDs) has(uid uint32) bool {
	i, _ := slices.BinarySearchFunc(u, uid, func(r UIDRange, uid uint32) int { return cmp.Compare(r.Last, uid) })
	return i < len(u) && u[i].First <= uid
}

// Each yields the UIDs of the set, in ascending order.
func (u UIDs) Each() iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for _, r := range u {
			for n := uint64(r.First); n <= uint64(r.Last); n++ {
				if !yield(uint32(n)) {
					return
				}
			}
		}
	}
}

// add puts in a UID above all others.
func (u *UIDs) add(uid uint32) {
	if n := len(*u); n > 0 && (*u)[n-1].Last+1 == uid {
		(*u)[n-1].Last = uid
	} else {
		*u = append(*u, UIDRange{uid, uid})
	}
}

// and returns the UIDs that are in both sets.
func (u UIDs) and(v UIDs) UIDs {
	var set UIDs
	for len(u) > 0 && len(v) > 0 {
		if both := (UIDRange{max(u[0].First, v[0].First), min(u[0].Last, v[0].Last)}); both.First <= both.Last {
			set = append(set, both)
		}
		if u[0].Last < v[0].Last {
			u = u[1:]
		} else {
			v = v[1:]
		}
	}
	return set
}

// or returns the UIDs that are in either set.
func (u UIDs) or(v UIDs) UIDs { return mergedUIDs(slices.Concat(u, v)) }

// without returns the UIDs of u that are not in v.
func (u UIDs) without(v UIDs) UIDs {
	var others UIDs
	next := uint64(1)
	for _, r := range v {
		if uint64(r.First) > next {
			others = append(others, UIDRange{uint32(next), r.First - 1})
		}
		next = uint64(r.Last) + 1
	}
	if next <= math.MaxUint32 {
		others = append(others, UIDRange{uint32(next), math.MaxUint32})
	}
	return u.and(others)
}

// below returns the UIDs less than end.
func (u UIDs) below(end uint32) UIDs {
	if end <= 1 {
		return nil
	}
	return u.and(UIDs{{1, end - 1}})
}

// encode returns the set as uvarints: for each range how far its first UID is behind the last one before, from 0, and how many UIDs follow
// it in the range.
func (u UIDs) encode() []byte {
	var b []byte
	last := uint32(0)
	for _, r := range u {
		b = binary.AppendUvarint(b, uint64(r.First-last))
		b = binary.AppendUvarint(b, uint64(r.Last-r.First))
		last = r.Last
	}
	return b
}

func decodeUIDs(b []byte) (UIDs, error) {
	var set UIDs
	last := uint64(0)
	for len(b) > 0 {
		behind, w := binary.Uvarint(b)
		if w <= 0 {
			return nil, errEncoding
		}
		more, x := binary.Uvarint(b[w:])
		if x <= 0 || behind == 0 || len(set) > 0 && behind == 1 || behind > math.MaxUint32-last || more > math.MaxUint32-last-behind {
			return nil, errEncoding
		}
		first := last + behind
		last = first + more
		set = append(set, UIDRange{uint32(first), uint32(last)})
		b = b[w+x:]
	}
	return set, nil
}
