package level

import (
	"bytes"
	"encoding/binary"

	"github.com/syndtr/goleveldb/leveldb/comparer"
	"github.com/syndtr/goleveldb/leveldb/filter"
)

// An internal key is the key of an entry in a table: the key of the caller, and 8 bytes, little-endian: the sequence number times 256, plus 1 for a
// value or 0 for a deletion. LevelDB calls this the internal key (dbformat.h). Among the entries of one key the newest comes first.
const (
	internalBytes   = 8
	internalValue   = 1
	internalDeleted = 0
)

// userKey returns the key of the caller in an internal key, which has at least internalBytes bytes.
func userKey(internal []byte) []byte {
	return internal[: len(internal)-internalBytes : len(internal)-internalBytes]
}

// trailer returns the rest of an internal key, as a number.
func trailer(internal []byte) uint64 {
	return binary.LittleEndian.Uint64(internal[len(internal)-internalBytes:])
}

func internalKey(key []byte, sequence uint64, kind byte) []byte {
	return binary.LittleEndian.AppendUint64(bytes.Clone(key), sequence<<8|uint64(kind))
}

// isInternalKey reports whether something from a table can be an internal key.
func isInternalKey(b []byte) bool { return len(b) > internalBytes && byte(trailer(b)) <= internalValue }

// successor returns the least key that is greater than another one.
func successor(key []byte) []byte { return append(bytes.Clone(key), 0) }

// internalOrder is the order of internal keys. goleveldb has the same, and keeps it to itself.
type internalOrder struct{}

// Compare implements comparer.Comparer.
func (internalOrder) Compare(a, b []byte) int {
	if c := bytes.Compare(userKey(a), userKey(b)); c != 0 {
		return c
	}
	switch x, y := trailer(a), trailer(b); {
	case x > y:
		return -1
	case x < y:
		return 1
	}
	return 0
}

// Name implements comparer.Comparer.
func (internalOrder) Name() string { return comparer.DefaultComparer.Name() }

// Separator implements comparer.Comparer: nil says that a itself separates.
func (internalOrder) Separator([]byte, []byte, []byte) []byte { return nil }

// Successor implements comparer.Comparer: nil says that b itself will do.
func (internalOrder) Successor([]byte, []byte) []byte { return nil }

// internalFilter makes a filter for the keys of the caller in internal keys.
type internalFilter struct{ filter.Filter }

// NewGenerator implements filter.Filter.
func (f internalFilter) NewGenerator() filter.FilterGenerator {
	return internalFilterGenerator{f.Filter.NewGenerator()}
}

type internalFilterGenerator struct{ filter.FilterGenerator }

// Add implements filter.FilterGenerator.
func (g internalFilterGenerator) Add(key []byte) { g.FilterGenerator.Add(userKey(key)) }
