package level

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/journal"
)

func TestMissingBatches(t *testing.T) {
	tests := []struct {
		name     string
		batches  []batchSpan
		from, to uint64
		want     []batchSpan
	}{
		{"none", nil, 5, 5, nil},
		{"all", nil, 5, 9, []batchSpan{{5, 9}}},
		{"between", []batchSpan{{5, 6}, {8, 9}}, 5, 9, []batchSpan{{6, 8}}},
		{"before and behind", []batchSpan{{6, 7}}, 5, 9, []batchSpan{{5, 6}, {7, 9}}},
		{"batches outside", []batchSpan{{1, 4}, {4, 6}, {8, 12}, {12, 13}}, 5, 9, []batchSpan{{6, 8}}},
		{"more than a record counts", nil, 0, 1 << 33, []batchSpan{{0, 1<<32 - 1}, {1<<32 - 1, 1<<33 - 2}, {1<<33 - 2, 1 << 33}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := missing(test.batches, test.from, test.to); !slices.Equal(got, test.want) {
				t.Errorf("missing: %v, want %v", got, test.want)
			}
		})
	}
}

// FuzzReadBatches reads a log that a hostile disk has made.
func FuzzReadBatches(f *testing.F) {
	log := new(bytes.Buffer)
	w := journal.NewWriter(log)
	batch := leveldb.MakeBatch(100)
	batch.Put(seqKey(7), make([]byte, 12))
	batch.Delete([]byte("x"))
	record, err := w.Next()
	if err == nil {
		_, err = record.Write(append([]byte{9, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0}, batch.Dump()...))
	}
	if err := errors.Join(err, w.Close()); err != nil {
		f.Fatal(err)
	}
	f.Add(log.Bytes(), uint64(9))
	f.Add(log.Bytes(), uint64(10))
	f.Add([]byte{}, uint64(0))
	f.Fuzz(func(t *testing.T, b []byte, sequence uint64) {
		found := new(foundMarks)
		err := readBatches(bytes.NewReader(b), sequence, found)
		if bytes.Equal(b, log.Bytes()) && (err == nil) != (sequence <= 9) {
			t.Errorf("a log whose batch has the number 9, and tables up to %d: %v", sequence, err)
		}
		for _, s := range found.batches {
			if s.before > s.last {
				t.Errorf("batch %v", s)
			}
		}
	})
}

// FuzzUnsealRecord reads what was lost from a hostile disk: what is not as it was written is an error.
func FuzzUnsealRecord(f *testing.F) {
	key := [32]byte{1}
	whole, err := (&Mended{Lost: []Span{{[]byte("a"), []byte("b")}}}).encode(&key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte(sealMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := unsealRecord(key, b); (err == nil) != bytes.Equal(b, whole) {
			t.Errorf("a record of %d bytes: %v", len(b), err)
		}
	})
}
