package level

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/journal"
)

// The engine's own keys may lie in a hole too. Whoever opens the store next would then miss batches that are there, or go by an older floor. So the
// fresh store gets one more table, newer than all others, with a floor up to which all is in tables, and for logs that bring an older floor, records
// that stand for the batches that may be missing.

// markEntry is an entry of one of the engine's own keys, in a table.
type markEntry struct {
	table      int64
	key, value []byte // as LevelDB has the key
}

// batchSpan is the batches behind one sequence number, up to another one.
type batchSpan struct{ before, last uint64 }

// keepMarks makes up for the engine's keys that may be lost.
func (m *mending) keepMarks() error {
	if !m.marksLost() {
		return nil
	}
	floor, batches := m.tableMarks()
	m.fresh.sequence = m.markSequence()
	logs, oldest, err := m.logMarks()
	if err != nil {
		return err
	}
	damaged := slices.ContainsFunc(m.survey.faults, func(f Fault) bool { return f.Kind == FaultLog })
	switch {
	case len(logs) > 0 && !damaged:
		floor.seq = max(floor.seq, logs[0].before)
	case len(logs) == 0 && !damaged:
		acknowledged, _ := decodeMark(m.copied(markName))
		floor.seq = max(floor.seq, acknowledged)
	}
	w, err := newTableWriter(m.files, int64(m.fresh.next))
	if err != nil {
		return err
	}
	value := append([]byte{formatVersion}, make([]byte, 24)...)
	binary.BigEndian.PutUint64(value[1:], floor.seq)
	binary.BigEndian.PutUint64(value[9:], floor.nano)
	err = w.append(internalKey(floorKey, m.fresh.sequence, internalValue), value)
	for _, s := range missing(batches, min(oldest, floor.seq), floor.seq) {
		if err == nil {
			value := binary.BigEndian.AppendUint64(nil, floor.nano)
			value = binary.BigEndian.AppendUint32(value, uint32(s.last-s.before))
			err = w.append(internalKey(seqKey(s.last), m.fresh.sequence, internalValue), value)
		}
	}
	kept, closeErr := w.finish(err == nil)
	if err := errors.Join(err, closeErr); err != nil {
		return err
	}
	m.written[kept.number] = int64(w.table.EntriesLen())
	for len(m.fresh.levels) == 0 {
		m.fresh.levels = append(m.fresh.levels, nil)
	}
	m.fresh.levels[0] = append(m.fresh.levels[0], *kept)
	sortTables(m.fresh.levels[0])
	m.fresh.next++
	return nil
}

// markSequence returns LevelDB's sequence number for new entries of the engine's keys: that of the newest entry in the tables, or the next where the
// floor has that. The logs go on from there, and LevelDB skips batches of older numbers.
func (m *mending) markSequence() uint64 {
	sequence := m.survey.version.sequence
	for _, e := range m.survey.marks {
		if bytes.Equal(userKey(e.key), floorKey) && trailer(e.key)>>8 == sequence {
			return sequence + 1
		}
	}
	return sequence
}

// marksLost reports whether a hole has room for keys of the engine.
func (m *mending) marksLost() bool {
	for _, found := range m.survey.tables {
		for _, h := range found.holes {
			if bytes.Compare(h.to, floorKey) > 0 {
				return true
			}
		}
	}
	return false
}

// tableMarks returns the newest batch known to be in tables, and the batches that the tables have records of, oldest first.
func (m *mending) tableMarks() (floor stamp, batches []batchSpan) {
	newest := make(map[string]markEntry)
	for _, e := range m.survey.marks {
		key := string(userKey(e.key))
		if other, ok := newest[key]; m.shadows[e.table].mayHold([]byte(key)) || ok && trailer(other.key) > trailer(e.key) {
			continue
		}
		newest[key] = e
	}
	higher := func(seq, nano uint64) {
		if seq > floor.seq {
			floor = stamp{seq, nano}
		}
	}
	for key, e := range newest {
		if byte(trailer(e.key)) != internalValue {
			continue
		}
		if s, nano, ok := decodeBatchMark([]byte(key), e.value); ok {
			batches = append(batches, s)
			higher(s.last, nano)
		} else if key == string(floorKey) && len(e.value) == 25 {
			higher(binary.BigEndian.Uint64(e.value[1:]), binary.BigEndian.Uint64(e.value[9:]))
		}
	}
	slices.SortFunc(batches, compareSpans)
	return floor, batches
}

func compareSpans(a, b batchSpan) int {
	switch {
	case a.last < b.last:
		return -1
	case a.last > b.last:
		return 1
	}
	return 0
}

// decodeBatchMark reads the record of a batch.
func decodeBatchMark(key, value []byte) (s batchSpan, nano uint64, ok bool) {
	if len(key) != len(seqPrefix)+8 || !bytes.HasPrefix(key, seqPrefix) || len(value) != 12 {
		return s, 0, false
	}
	s.last = binary.BigEndian.Uint64(key[len(seqPrefix):])
	updates := uint64(binary.BigEndian.Uint32(value[8:]))
	s.before = s.last - updates
	return s, binary.BigEndian.Uint64(value), updates <= s.last
}

// missing returns what is between the batches behind one sequence number and up to another one, in spans that a record can count.
func missing(batches []batchSpan, from, to uint64) (list []batchSpan) {
	for _, b := range append(slices.Clone(batches), batchSpan{to, to}) {
		b.before, b.last = min(b.before, to), min(b.last, to)
		for b.before > from {
			end := min(b.before, from+math.MaxUint32)
			list = append(list, batchSpan{from, end})
			from = end
		}
		from = max(from, b.last)
	}
	return list
}

// logMarks returns the batches that the logs have records of, and the oldest floor in them, MaxUint64 for none.
func (m *mending) logMarks() (batches []batchSpan, oldest uint64, err error) {
	found := &foundMarks{oldest: math.MaxUint64}
	for _, fd := range m.survey.logs {
		r, err := m.files.Open(fd)
		if err != nil {
			return nil, 0, err
		}
		err = readBatches(r, m.fresh.sequence, found)
		if err := errors.Join(err, r.Close()); err != nil {
			return nil, 0, fmt.Errorf("log %d: %w", fd.Num, err)
		}
	}
	slices.SortFunc(found.batches, compareSpans)
	return found.batches, found.oldest, nil
}

// foundMarks is a leveldb.BatchReplay that looks for the engine's keys.
type foundMarks struct {
	batches []batchSpan
	oldest  uint64 // floor
}

// Put implements leveldb.BatchReplay.
func (f *foundMarks) Put(key, value []byte) {
	if s, _, ok := decodeBatchMark(key, value); ok {
		f.batches = append(f.batches, s)
	} else if bytes.Equal(key, floorKey) && len(value) == 25 {
		f.oldest = min(f.oldest, binary.BigEndian.Uint64(value[1:]))
	}
}

// Delete implements leveldb.BatchReplay.
func (f *foundMarks) Delete([]byte) {}

// readBatches replays what can be read of a log, as goleveldb does. No batch may be older than a sequence number of LevelDB's.
func readBatches(r io.Reader, sequence uint64, to leveldb.BatchReplay) error {
	for log := journal.NewReader(r, nil, false, true); ; {
		record, err := log.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		b, err := io.ReadAll(record)
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF):
			continue
		case err != nil:
			return err
		case len(b) < batchHead:
			continue
		case binary.LittleEndian.Uint64(b) < sequence:
			return fmt.Errorf("a batch has LevelDB's sequence number %d, and the tables go up to %d", binary.LittleEndian.Uint64(b), sequence)
		}
		batch := new(leveldb.Batch)
		if batch.Load(b[batchHead:]) == nil {
			if err := batch.Replay(to); err != nil {
				return err
			}
		}
	}
}

// batchHead is the sequence number (8 bytes) and the count (4 bytes) before a batch in a log.
const batchHead = 12

// mendedName is the file in the folder of a store that says what was lost when it was mended, until that is settled: JSON. In a sealed store it is
// sealed: sealMagic, the salt, and the JSON, sealed as the only block of a table.
const mendedName = "MENDED"

// mendedRecord is the content of that file.
type mendedRecord struct {
	Tables int    `json:"tables"`
	Kept   int64  `json:"kept"`
	Lost   []Span `json:"lost"`
	Old    string `json:"old"` // name of the folder
}

func (m *Mended) encode(key *[32]byte) ([]byte, error) {
	b, err := json.Marshal(mendedRecord{m.Tables, m.Kept, m.Lost, filepath.Base(m.Old)})
	if err != nil || key == nil {
		return b, err
	}
	head := append(make([]byte, 0, sealHead), sealMagic...)[:sealHead]
	rand.Read(head[len(sealMagic):])
	aead, err := (&sealed{key: *key}).fileCipher(head[len(sealMagic):])
	if err != nil {
		return nil, err
	}
	return aead.Seal(head, sealNonce(0, true), b, nil), nil
}

// lookAtMended looks whether the store was mended.
func (s *survey) lookAtMended() {
	switch _, err := os.Lstat(filepath.Join(s.folder, mendedName)); {
	case errors.Is(err, fs.ErrNotExist):
	default:
		_, err := s.readMended()
		s.fault(FaultMended, mendedName, err).Mendable = err == nil
	}
}

// readMended reads what was lost before. Where the store was not mended, or that is settled, that is nothing.
func (s *survey) readMended() (*Mended, error) {
	path := filepath.Join(s.folder, mendedName)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return new(Mended), nil
	}
	if err == nil && s.key != nil {
		b, err = unsealRecord(*s.key, b)
	}
	var r mendedRecord
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &Mended{Tables: r.Tables, Kept: r.Kept, Lost: r.Lost, Old: filepath.Join(filepath.Dir(s.folder), r.Old), record: path}, nil
}

func unsealRecord(key [32]byte, b []byte) ([]byte, error) {
	if len(b) < sealHead || string(b[:len(sealMagic)]) != sealMagic {
		return nil, errSealed
	}
	aead, err := (&sealed{key: key}).fileCipher(b[len(sealMagic):sealHead])
	if err != nil {
		return nil, err
	}
	b, err = aead.Open(nil, sealNonce(0, true), b[sealHead:], nil)
	if err != nil {
		return nil, errSealed
	}
	return b, nil
}
