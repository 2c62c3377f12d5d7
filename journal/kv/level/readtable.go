package level

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"

	"github.com/syndtr/goleveldb/leveldb/filter"
)

// goleveldb reads a table through its index, and gives up where a part is damaged. What follows reads all that can be had, and tells what cannot.
//
// A table (table_format.md of LevelDB) is a row of blocks with entries in the order of their internal keys, the filter block, the meta block, the
// index block, and the footer. Behind each block are 5 bytes: its type, 0 as our tables are not compressed, and the masked CRC-32C of block and type.
//
//	entry of a block   length shared with the key before, length of the rest of the key, length of the value (varints); rest of the key; value
//	end of a block     the places of every 16th entry, which shares nothing (4 bytes each, little-endian), and their number (4 bytes)
//	index block        for each data block: a key not before its last and before the first of the next; offset and length (varints)
//	filter block       Bloom filters of the keys in the blocks that begin in each 2 KiB of the table; where each filter begins, and the end of the last
//	                   (4 bytes each); where these begin (4 bytes); 11, the logarithm of 2 KiB
//	meta block         "filter." and the name of the filter; offset and length of the filter block
//	footer             offset and length of the meta block and of the index block, zeros, and 8 bytes that all tables end with: 48 bytes

const (
	footerBytes       = 48
	footerMagic       = "\x57\xfb\x80\x8b\x24\x75\x47\xdb"
	blockTrailerBytes = 5
	restartInterval   = 16
)

// errCompressed says that a table is not one of ours.
var errCompressed = errors.New("a block is compressed, which copialettere never does: use the program that wrote it")

// hole is a span of keys of which a table may have entries that cannot be read.
type hole struct {
	from, to []byte // half-open
	// filters are the Bloom filters of the blocks that cannot be read; nil: not known.
	filters [][]byte
}

var bloom = filter.NewBloomFilter(10)

// mayHold reports whether the table may have an entry of a key that cannot be read.
func (h *hole) mayHold(key []byte) bool {
	if bytes.Compare(key, h.from) < 0 || bytes.Compare(key, h.to) >= 0 {
		return false
	}
	return h.filters == nil || slices.ContainsFunc(h.filters, func(f []byte) bool { return bloom.Contains(f, key) })
}

// holes are ascending and may touch.
type holes []hole

func (list holes) mayHold(key []byte) bool {
	return slices.ContainsFunc(list, func(h hole) bool { return h.mayHold(key) })
}

// add appends a hole, unless it is empty.
func (list *holes) add(h hole) {
	if bytes.Compare(h.from, h.to) < 0 {
		*list = append(*list, h)
	}
}

// block is a block of a table.
type block struct {
	offset, length int64
	last           []byte // internal key not before its last, and before the first of the next block
}

func (b block) end() int64 { return b.offset + b.length + blockTrailerBytes }

// tableReader reads one table.
type tableReader struct {
	table
	file io.ReaderAt
	have int64 // how long the file is; may be less than the size of the table, or more

	wrong   []error // what is damaged
	holes   holes
	entries int64  // that could be read
	last    []byte // internal key of the last entry that could be read
}

// damage notes a damage; what it costs is in holes.
func (r *tableReader) damage(format string, args ...any) {
	if len(r.wrong) < maxWrong {
		r.wrong = append(r.wrong, fmt.Errorf(format, args...))
	}
}

// maxWrong bounds what is told of one table.
const maxWrong = 8

// read reads a table. It calls each for the entries that can be read, in their order; each must not keep the slices. The error is that of ctx or each,
// or errCompressed: damage is none.
func (r *tableReader) read(ctx context.Context, each func(key, value []byte) error) error {
	meta, index, err := r.footer()
	if err != nil {
		r.damage("footer: %w", err)
		return r.readInRow(ctx, r.size, each)
	}
	filters, err := r.filters(meta)
	if err != nil {
		r.damage("filter: %w", err)
	}
	blocks, err := r.index(index, meta.offset)
	if err != nil {
		r.damage("index block: %w", err)
		return r.readInRow(ctx, meta.offset, each)
	}
	return r.readIndexed(ctx, blocks, filters, each)
}

// footer returns the meta block and the index block.
func (r *tableReader) footer() (meta, index block, err error) {
	var b [footerBytes]byte
	if r.size < footerBytes {
		return meta, index, errors.New("the table is too short")
	}
	if err := readFull(r.file, b[:], r.size-footerBytes); err != nil {
		return meta, index, err
	}
	if string(b[footerBytes-len(footerMagic):]) != footerMagic {
		return meta, index, errors.New("not that of a table")
	}
	meta, rest, err := r.handle(b[:])
	if err == nil {
		index, _, err = r.handle(rest)
	}
	return meta, index, err
}

// handle reads offset and length of a block.
func (r *tableReader) handle(b []byte) (block, []byte, error) {
	offset, n := binary.Uvarint(b)
	if n <= 0 {
		return block{}, nil, errors.New("no place of a block")
	}
	length, m := binary.Uvarint(b[n:])
	size := uint64(r.size)
	if m <= 0 || offset > size || length > size || offset+length+blockTrailerBytes > size {
		return block{}, nil, errors.New("the place of a block is outside of the table")
	}
	return block{offset: int64(offset), length: int64(length)}, b[n+m:], nil
}

// load reads a block and checks it.
func (r *tableReader) load(b block) ([]byte, error) { return r.loadInto(nil, b) }

// loadInto is load with a buffer to use, if it is large enough.
func (r *tableReader) loadInto(buffer []byte, b block) ([]byte, error) {
	if b.end() > r.have {
		return nil, fmt.Errorf("the file ends at byte %d: %w", r.have, io.ErrUnexpectedEOF)
	}
	content := slices.Grow(buffer[:0], int(b.length+blockTrailerBytes))[:b.length+blockTrailerBytes]
	if err := readFull(r.file, content, b.offset); err != nil {
		return nil, err
	}
	if err := checkBlock(content); err != nil {
		return nil, err
	}
	return content[:b.length], nil
}

// checkBlock checks a block with its trailer.
func checkBlock(content []byte) error {
	n := len(content) - 4
	sum := crc32.Checksum(content[:n], castagnoli)
	switch {
	case binary.LittleEndian.Uint32(content[n:]) != (sum>>15|sum<<17)+0xa282ead8: // LevelDB masks its checksums so
		return errors.New("its checksum is another one")
	case content[n-1] != 0:
		return errCompressed
	}
	return nil
}

// readFull reads all of p.
func readFull(file io.ReaderAt, p []byte, at int64) error {
	n, err := file.ReadAt(p, at)
	switch {
	case n == len(p):
		return nil
	case err == io.EOF || err == nil:
		return fmt.Errorf("the file ends at byte %d: %w", at+int64(n), io.ErrUnexpectedEOF)
	}
	return err
}

// entry is one entry of a block.
type entry struct{ key, value []byte }

// parseBlock returns the entries of a block that its checksum vouches for. The values are parts of it.
func parseBlock(content []byte) ([]entry, error) {
	bad := errors.New("not in the form of a block")
	if len(content) < 4 {
		return nil, bad
	}
	restarts := int64(binary.LittleEndian.Uint32(content[len(content)-4:]))
	end := int64(len(content)) - 4 - 4*restarts
	if end < 0 {
		return nil, bad
	}
	var list []entry
	var before []byte
	for rest := content[:end]; len(rest) > 0; {
		shared, unshared, length, n := entryHead(rest)
		if n <= 0 || shared > uint64(len(before)) || unshared > uint64(len(rest)-n) || length > uint64(len(rest)-n)-unshared {
			return nil, bad
		}
		rest = rest[n:]
		key := append(slices.Clip(before[:shared]), rest[:unshared]...)
		rest = rest[unshared:]
		list = append(list, entry{key, rest[:length:length]})
		before, rest = key, rest[length:]
	}
	return list, nil
}

// entryHead reads the lengths before an entry, and returns how many bytes they take: not positive if there are none.
func entryHead(b []byte) (shared, unshared, value uint64, n int) {
	shared, n1 := binary.Uvarint(b)
	if n1 <= 0 {
		return 0, 0, 0, 0
	}
	unshared, n2 := binary.Uvarint(b[n1:])
	if n2 <= 0 {
		return 0, 0, 0, 0
	}
	value, n3 := binary.Uvarint(b[n1+n2:])
	if n3 <= 0 {
		return 0, 0, 0, 0
	}
	return shared, unshared, value, n1 + n2 + n3
}

// index returns the data blocks, which end at dataEnd or before: the filter block may be in between.
func (r *tableReader) index(at block, dataEnd int64) ([]block, error) {
	content, err := r.load(at)
	if err != nil {
		return nil, err
	}
	entries, err := parseBlock(content)
	if err != nil {
		return nil, err
	}
	var blocks []block
	next, last := int64(0), []byte(nil)
	for _, e := range entries {
		b, _, err := r.handle(e.value)
		switch {
		case err != nil:
			return nil, err
		case b.offset != next || b.end() > dataEnd || len(e.key) < internalBytes || last != nil && internalOrder{}.Compare(last, e.key) >= 0:
			return nil, errors.New("its blocks are not in a row")
		}
		b.last, next, last = e.key, b.end(), e.key
		blocks = append(blocks, b)
	}
	if len(blocks) == 0 {
		return nil, errors.New("it names no block")
	}
	return blocks, nil
}

// tableFilters are the Bloom filters of a table, one for the blocks that begin in each 2 KiB.
type tableFilters [][]byte

// of returns the filters of a block; nil: not known.
func (f tableFilters) of(b block) [][]byte {
	if i := b.offset >> filterLogarithm; i < int64(len(f)) {
		return f[i : i+1]
	}
	return nil
}

// filterLogarithm is that of the number of bytes that share a filter.
const filterLogarithm = 11

// filters reads the meta block and the filters.
func (r *tableReader) filters(meta block) (tableFilters, error) {
	content, err := r.load(meta)
	if err != nil {
		return nil, fmt.Errorf("meta block: %w", err)
	}
	entries, err := parseBlock(content)
	if err != nil {
		return nil, fmt.Errorf("meta block: %w", err)
	}
	for _, e := range entries {
		if strings.TrimPrefix(string(e.key), "filter.") != bloom.Name() {
			continue
		}
		at, _, err := r.handle(e.value)
		if err != nil {
			return nil, err
		}
		if content, err = r.load(at); err != nil {
			return nil, err
		}
		return parseFilters(content)
	}
	return nil, nil // a table without filters
}

func parseFilters(content []byte) (tableFilters, error) {
	bad := errors.New("not in the form of a filter block")
	end := len(content) - 5
	if end < 0 || content[len(content)-1] != filterLogarithm {
		return nil, bad
	}
	starts := int64(binary.LittleEndian.Uint32(content[end:]))
	if starts > int64(end) {
		return nil, bad
	}
	var list tableFilters
	for at := starts; at+8 <= int64(end)+4; at += 4 {
		from, to := int64(binary.LittleEndian.Uint32(content[at:])), int64(binary.LittleEndian.Uint32(content[at+4:]))
		if from > to || to > starts {
			return nil, bad
		}
		list = append(list, content[from:to])
	}
	return list, nil
}

// pass gives the entries of a block to each, if they are in order behind those before, and in the table's span.
func (r *tableReader) pass(content []byte, each func(key, value []byte) error) (bad, err error) {
	entries, bad := parseBlock(content)
	if bad != nil {
		return bad, nil
	}
	last := r.last
	if last == nil && len(r.holes) == 0 && len(entries) > 0 && !bytes.Equal(entries[0].key, r.least) {
		return fmt.Errorf("it begins with the key %x, and the manifest says %x", entries[0].key, r.least), nil
	}
	for _, e := range entries {
		if !isInternalKey(e.key) || last != nil && (internalOrder{}).Compare(last, e.key) >= 0 ||
			(internalOrder{}).Compare(e.key, r.least) < 0 || (internalOrder{}).Compare(e.key, r.most) > 0 {
			return fmt.Errorf("it has a key that cannot be there, %x", e.key), nil
		}
		last = e.key
	}
	for _, e := range entries {
		if err := each(e.key, e.value); err != nil {
			return nil, err
		}
	}
	r.last = last
	r.entries += int64(len(entries))
	return nil, nil
}

// readIndexed reads the blocks that the index names. Between two blocks that can be read it knows what is missing.
func (r *tableReader) readIndexed(ctx context.Context, blocks []block, filters tableFilters, each func(key, value []byte) error) error {
	after := r.first // the least key that the next block may have
	var buffer []byte
	for _, b := range blocks {
		if err := ctx.Err(); err != nil {
			return err
		}
		content, bad := r.loadInto(buffer, b)
		if errors.Is(bad, errCompressed) {
			return bad
		}
		if bad == nil {
			var err error
			if bad, err = r.pass(content, each); err != nil {
				return err
			}
		}
		if bad == nil {
			buffer = content
			// An older entry of the same key may follow, and does not count.
			if r.last != nil {
				after = successor(userKey(r.last))
			}
			continue
		}
		r.damage("block at byte %d: %w", b.offset, bad)
		end := least(successor(userKey(b.last)), successor(r.table.last))
		r.holes.add(hole{from: after, to: end, filters: filters.of(b)})
		// The next block may have the same key.
		after = most(after, userKey(b.last))
	}
	if len(r.holes) == 0 && !bytes.Equal(r.last, r.most) {
		r.damage("it ends with the key %x, and the manifest says %x", r.last, r.most)
		r.holes.add(hole{from: after, to: successor(r.table.last)})
	}
	return nil
}

// readInRow reads block after block, without an index: each says by itself how long it is. What follows one that cannot be read is missing.
func (r *tableReader) readInRow(ctx context.Context, dataEnd int64, each func(key, value []byte) error) error {
	for at := int64(0); !bytes.Equal(r.last, r.most); {
		if err := ctx.Err(); err != nil {
			return err
		}
		length, bad := blockLength(r.file, at, dataEnd)
		var content []byte
		if bad == nil {
			content, bad = r.load(block{offset: at, length: length})
		}
		if errors.Is(bad, errCompressed) {
			return bad
		}
		if bad == nil {
			var err error
			if bad, err = r.pass(content, each); err != nil {
				return err
			}
		}
		if bad != nil {
			r.damage("block at byte %d: %w", at, bad)
			from := r.first
			if r.last != nil {
				from = successor(userKey(r.last))
			}
			r.holes.add(hole{from: from, to: successor(r.table.last)})
			return nil
		}
		at += length + blockTrailerBytes
	}
	return nil
}

// blockLength finds out how long the data block is that begins at a byte: its entries end where lengths of zero follow, which no entry has.
func blockLength(file io.ReaderAt, at, end int64) (int64, error) {
	entries := int64(0)
	for pos := at; pos < end; entries++ {
		var b [3 * binary.MaxVarintLen64]byte
		head := b[:min(int64(len(b)), end-pos)]
		n, err := file.ReadAt(head, pos)
		if n == 0 && err != nil {
			return 0, err
		}
		shared, unshared, value, size := entryHead(head[:n])
		switch {
		case size <= 0, unshared > uint64(end), value > uint64(end):
			return 0, errors.New("not in the form of a block")
		case shared == 0 && unshared == 0 && value == 0:
			restarts := (entries + restartInterval - 1) / restartInterval
			if length := pos + 4*restarts + 4 - at; restarts > 0 && at+length+blockTrailerBytes <= end {
				return length, nil
			}
			return 0, errors.New("not in the form of a block")
		}
		pos += int64(size) + int64(unshared) + int64(value)
	}
	return 0, errors.New("it has no end")
}
