package level

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/syndtr/goleveldb/leveldb/journal"
	"github.com/syndtr/goleveldb/leveldb/storage"
)

// table is one table of a database, as the manifest describes it.
type table struct {
	number      int64
	size        int64  // bytes
	first, last []byte // keys of the caller
	least, most []byte // the same as LevelDB has them: see internalKey
}

func (t *table) holds(key []byte) bool {
	return bytes.Compare(t.first, key) <= 0 && bytes.Compare(key, t.last) <= 0
}

func (t *table) overlaps(first, last []byte) bool {
	return bytes.Compare(t.first, last) <= 0 && bytes.Compare(first, t.last) <= 0
}

// levels are the tables of a database, by level. Those of level 0 overlap one another.
type levels [][]table

// Records of a manifest, as LevelDB's version_edit.cc numbers them.
const (
	editComparator     = 1
	editLogNumber      = 2
	editNextFile       = 3
	editLastSequence   = 4
	editCompactPointer = 5
	editDeletedFile    = 6
	editNewFile        = 7
	editPrevLogNumber  = 9
)

// maxLevels is more than goleveldb ever makes.
const maxLevels = 32

var errManifest = errors.New("manifest is not in the form that goleveldb writes")

// readLevels reads the tables from the manifest: goleveldb's DB.GetProperty shortens their keys. If goleveldb is just appending a change, it
// may or may not be seen. made, which may be nil, is called for each table ever added, oldest first.
func readLevels(files storage.Storage, made func(level int, t table)) (levels, error) {
	fd, err := files.GetMeta()
	if err != nil {
		return nil, fmt.Errorf("find manifest: %w", err)
	}
	r, err := files.Open(fd)
	if err != nil {
		return nil, fmt.Errorf("open manifest: %w", err)
	}
	defer r.Close()
	return parseManifest(r, made)
}

func parseManifest(r io.Reader, made func(level int, t table)) (levels, error) {
	v, err := parseVersion(r, made)
	return v.levels, err
}

// version is what a manifest says of a database.
type version struct {
	levels       levels
	log, prevLog uint64 // what is in logs from this number on, and in the one of the other number, is not in tables
	next         uint64 // the least number that no file has
	sequence     uint64 // of the newest entry in the tables
}

// parseVersion is parseManifest for all that a manifest says.
func parseVersion(r io.Reader, made func(level int, t table)) (v version, err error) {
	if made == nil {
		made = func(int, table) {}
	}
	byLevel := make([]map[int64]table, maxLevels)
	for log := journal.NewReader(r, nil, true, true); ; {
		record, err := log.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		var edit []byte
		if err == nil {
			edit, err = io.ReadAll(record)
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			break // the record is just being written
		}
		if err != nil {
			return v, fmt.Errorf("read manifest: %w", err)
		}
		if err := applyEdit(&v, byLevel, edit, made); err != nil {
			return v, err
		}
	}
	list := make(levels, 0, 4)
	for n, tables := range byLevel {
		for len(tables) > 0 && len(list) <= n {
			list = append(list, nil)
		}
		for _, t := range tables {
			list[n] = append(list[n], t)
		}
	}
	for _, tables := range list {
		sortTables(tables)
	}
	v.levels = list
	return v, nil
}

// applyEdit applies one record of a manifest.
func applyEdit(v *version, byLevel []map[int64]table, edit []byte, made func(level int, t table)) error {
	d := editReader{Reader: bufio.NewReader(bytes.NewReader(edit)), left: len(edit)}
	for {
		kind, err := binary.ReadUvarint(d)
		if err == io.EOF {
			return nil
		}
		switch kind {
		case editComparator:
			d.key()
		case editLogNumber:
			v.log = d.number()
		case editNextFile:
			v.next = d.number()
		case editLastSequence:
			v.sequence = d.number()
		case editPrevLogNumber:
			v.prevLog = d.number()
		case editCompactPointer:
			d.level()
			d.key()
		case editDeletedFile:
			n, number := d.level(), d.number()
			if d.err == nil {
				delete(byLevel[n], int64(number))
			}
		case editNewFile:
			n := d.level()
			t := table{number: int64(d.number()), size: int64(d.number()), least: d.internalKey(), most: d.internalKey()}
			if d.err == nil {
				t.first, t.last = userKey(t.least), userKey(t.most)
				if byLevel[n] == nil {
					byLevel[n] = make(map[int64]table)
				}
				byLevel[n][t.number] = t
				made(n, t)
			}
		default:
			return errManifest
		}
		if d.err != nil {
			return d.err
		}
	}
}

// encode returns the one record of a new manifest. The tables of a level stand by their number.
func (v *version) encode() []byte {
	number := func(b []byte, list ...uint64) []byte {
		for _, n := range list {
			b = binary.AppendUvarint(b, n)
		}
		return b
	}
	key := func(b, k []byte) []byte { return append(number(b, uint64(len(k))), k...) }
	b := key(number(nil, editComparator), []byte(internalOrder{}.Name()))
	b = number(b, editLogNumber, v.log, editPrevLogNumber, v.prevLog, editNextFile, v.next, editLastSequence, v.sequence)
	for n, tables := range v.levels {
		tables = slices.Clone(tables)
		slices.SortFunc(tables, func(a, b table) int { return cmp.Compare(a.number, b.number) })
		for _, t := range tables {
			b = number(b, editNewFile, uint64(n), uint64(t.number), uint64(t.size))
			b = key(key(b, t.least), t.most)
		}
	}
	return b
}

// writeManifest writes a manifest durably.
func writeManifest(files storage.Storage, fd storage.FileDesc, v version) error {
	w, err := files.Create(fd)
	if err != nil {
		return err
	}
	log := journal.NewWriter(w)
	record, err := log.Next()
	if err == nil {
		_, err = record.Write(v.encode())
	}
	if err == nil {
		err = log.Flush()
	}
	if err == nil {
		err = w.Sync()
	}
	return errors.Join(err, w.Close())
}

// editReader reads the fields of one record of a manifest.
type editReader struct {
	*bufio.Reader
	left int // the record's length
	err  error
}

func (d *editReader) number() uint64 {
	if d.err != nil {
		return 0
	}
	n, err := binary.ReadUvarint(d)
	if err != nil {
		d.err = errManifest
	}
	return n
}

func (d *editReader) level() int {
	n := d.number()
	if n >= maxLevels {
		d.err = errManifest
		return 0
	}
	return int(n)
}

func (d *editReader) key() []byte {
	n := d.number()
	if d.err != nil || n > uint64(d.left) {
		d.err = errManifest
		return nil
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(d, b); err != nil {
		d.err = errManifest
	}
	return b
}

// internalKey reads a key with the 8 bytes that goleveldb appends.
func (d *editReader) internalKey() []byte {
	b := d.key()
	if d.err == nil && len(b) < internalBytes {
		d.err = errManifest
	}
	return b
}
