package journal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"copialettere/journal/kv"
	"copialettere/journal/part"
)

// An index tells which entries of a folder are worth reading when one looks for a Message-ID, for practices or for a time. It is a row of blocks, the values
// of m keys. Block n is about the indexBlock UIDs from n*indexBlock on:
//
//	version      1 byte, 1
//	uidvalidity  4 bytes, big-endian: that of the folder when the block was made. A block of another one does not count.
//	oldest       8 bytes, big-endian: the time of the oldest entry, in nanoseconds since 1970
//	newest       8 bytes, big-endian: of the newest
//	marks        3 bytes, big-endian, for each UID from the first of the block on, up to that before the next UID of the folder when the block was made:
//	             in the highest bit, whether the entry may belong to a practice; in the others the fingerprint of its Message-ID, 0 for none.
//	             A UID that had no entry has 0.
//
// The fingerprint of an id is the first 23 bits of its SHA-256, as part.MessageID returns it; 1 where they are 0. A mark says only that it pays to read an
// entry: whoever looks something up reads it and sees.
//
// An entry never changes what an index has of it, and comes to no other UID but the next one of its folder. So a block needs no care: it stays right when
// entries go. Deliveries do not write it. KeepIndexed does once the block is full, some hundred entries at a time, or once the month is over. Entries that
// no block is about are read themselves. A month from before there was an index is no more than one that has no block yet.
//
// The values are sealed as entries are: see OwnerOf. They go with their month, or with the archive of their mailbox.

const (
	indexBlock    = 512
	indexVersion  = 1
	indexHead     = 1 + 4 + 8 + 8
	indexMark     = 3
	indexPractice = 1 << 23
)

func indexKey(mailbox, folder string, n uint32) []byte {
	return binary.BigEndian.AppendUint32(folderKey('m', mailbox, folder), n)
}

// splitIndexKey parses the key of a block.
func splitIndexKey(key []byte) (mailbox, folder string, n uint32, err error) {
	mailbox, folder, rest, err := splitFolderKey(key)
	if err == nil && (len(rest) != 4 || binary.BigEndian.Uint32(rest) > math.MaxUint32/indexBlock) {
		err = errKey
	}
	if err != nil {
		return "", "", 0, err
	}
	return mailbox, folder, binary.BigEndian.Uint32(rest), nil
}

// indexed is one block of an index.
type indexed struct {
	first          uint32 // UID of its first mark; UID 0 is never used
	uidValidity    uint32
	oldest, newest time.Time
	marks          []byte
}

func decodeIndexed(n uint32, b []byte) (*indexed, error) {
	if len(b) < indexHead+indexMark || len(b) > indexHead+indexBlock*indexMark || (len(b)-indexHead)%indexMark != 0 || b[0] != indexVersion {
		return nil, fmt.Errorf("block %d of an index: %w", n, errEncoding)
	}
	at := func(i int) time.Time { return time.Unix(0, int64(binary.BigEndian.Uint64(b[i:]))).UTC() }
	return &indexed{first: n * indexBlock, uidValidity: binary.BigEndian.Uint32(b[1:]), oldest: at(5), newest: at(13), marks: b[indexHead:]}, nil
}

func (x *indexed) encode() []byte {
	b := make([]byte, 0, indexHead+len(x.marks))
	b = append(b, indexVersion)
	b = binary.BigEndian.AppendUint32(b, x.uidValidity)
	b = binary.BigEndian.AppendUint64(b, uint64(x.oldest.UnixNano()))
	b = binary.BigEndian.AppendUint64(b, uint64(x.newest.UnixNano()))
	return append(b, x.marks...)
}

// last returns the last UID that the block is about.
func (x *indexed) last() uint32 { return x.first + uint32(len(x.marks)/indexMark) - 1 }

// mark returns the mark of a UID from first to last.
func (x *indexed) mark(uid uint32) uint32 {
	m := x.marks[(uid-x.first)*indexMark:]
	return uint32(m[0])<<16 | uint32(m[1])<<8 | uint32(m[2])
}

// add puts in an entry whose UID is in the block, above all others. The first one sets the times.
func (x *indexed) add(e *Entry) {
	if x.oldest.IsZero() || e.Time.Before(x.oldest) {
		x.oldest = e.Time
	}
	if x.newest.IsZero() || e.Time.After(x.newest) {
		x.newest = e.Time
	}
	x.extend(e.UID - 1)
	m := markOf(e)
	x.marks = append(x.marks, byte(m>>16), byte(m>>8), byte(m))
}

// extend has the block tell of UIDs up to a last one that have no entry.
func (x *indexed) extend(last uint32) {
	if n := int(int64(last)-int64(x.first)+1) * indexMark; n > len(x.marks) {
		x.marks = append(x.marks, make([]byte, n-len(x.marks))...)
	}
}

// tells says whether what the block has of an entry is right.
func (x *indexed) tells(e *Entry) bool {
	return x.mark(e.UID) == markOf(e) && !e.Time.Before(x.oldest) && !e.Time.After(x.newest)
}

func markOf(e *Entry) uint32 {
	m := fingerprint(part.MessageID(e.MessageID))
	if mayBeOfPractice(e) {
		m |= indexPractice
	}
	return m
}

// mayBeOfPractice says whether an entry is a sent message, or one with certification data.
func mayBeOfPractice(e *Entry) bool { return e.Direction == Sent || len(e.Certification) > 0 }

// fingerprint returns the fingerprint of a Message-ID, 0 for none.
func fingerprint(id string) uint32 {
	if id == "" {
		return 0
	}
	sum := sha256.Sum256([]byte(id))
	return max(binary.BigEndian.Uint32(sum[:])>>9, 1)
}

// query says which entries are wanted. The zero value wants all.
type query struct {
	month        kv.Month          // if not empty: only those of this month
	folder       string            // if not empty: only those of this folder
	after        uint32            // only UIDs above it
	last         uint32            // if not 0: only UIDs up to it
	since, until time.Time         // only those with since <= time < until; a zero time is no bound
	marked       marked            // which marks are those of entries that may be wanted
	keep         func(*Entry) bool // which of the entries that are left are wanted; nil for all
}

// marked are the marks that have the bits of a mask as they are in a value other than 0, which is no mark. The zero value is all.
type marked struct{ mask, value uint32 }

// ofID are the marks of a Message-ID, as part.MessageID returns it.
func ofID(id string) marked { return marked{indexPractice - 1, fingerprint(id)} }

// ofPractices are the marks of entries that may belong to a practice.
func ofPractices() marked { return marked{indexPractice, indexPractice} }

// next returns where the first of them stands from i on, or the length of the marks.
func (m marked) next(marks []byte, i int) int {
	// Most marks differ in their first byte.
	mask, value := byte(m.mask>>16), byte(m.value>>16)
	for ; i < len(marks); i += indexMark {
		if marks[i]&mask == value && (uint32(marks[i])<<16|uint32(marks[i+1])<<8|uint32(marks[i+2]))&m.mask == m.value {
			return i
		}
	}
	return len(marks)
}

// wants says whether an entry is wanted, of a folder and with a UID that are.
func (q *query) wants(e *Entry) bool {
	return !e.Time.Before(q.since) && (q.until.IsZero() || e.Time.Before(q.until)) && (q.keep == nil || q.keep(e))
}

// wantsMonth says whether any entry of a month can be wanted: the time of an entry is in its month.
func (q *query) wantsMonth(m kv.Month) bool {
	return (q.month == "" || q.month == m) && m.Next().Start().After(q.since) && (q.until.IsZero() || m.Start().Before(q.until))
}

// maxUnmarked is how many entries that are not wanted are read between two that are: reading on costs less than looking anew.
const maxUnmarked = 8

// in returns the UIDs of the block that are worth reading.
func (q *query) in(x *indexed) UIDs {
	if x.newest.Before(q.since) || !q.until.IsZero() && !x.oldest.Before(q.until) {
		return nil
	}
	if q.marked.value == 0 {
		return UIDs{{max(x.first, 1), x.last()}}
	}
	var uids UIDs
	for i := q.marked.next(x.marks, 0); i < len(x.marks); i = q.marked.next(x.marks, i+indexMark) {
		uid := x.first + uint32(i/indexMark)
		if n := len(uids); n > 0 && uid-uids[n-1].Last <= maxUnmarked {
			uids[n-1].Last = uid
		} else {
			uids = append(uids, UIDRange{uid, uid})
		}
	}
	return uids
}

// stretch is a range of UIDs of a folder that has entries worth reading, as far as an index tells.
type stretch struct {
	folder string
	UIDRange
	newest time.Time // no entry is newer; zero where no block tells
}

// stretches returns what is worth reading of a mailbox in a month, by folder and UID. folders are the counters of its folders, read before.
func stretches(ctx context.Context, s kv.Store, mailbox string, folders map[string]folderCounters, q *query) ([]stretch, error) {
	var list []stretch
	for _, folder := range sortedNames(folders) {
		if q.folder != "" && folder != q.folder {
			continue
		}
		// put adds UIDs below the next one of the folder, with what is right before them where neither has a block.
		put := func(first, last uint32, newest time.Time) {
			first, last = max(first, q.after+1, 1), min(last, folders[folder].nextUID-1)
			if q.last > 0 {
				last = min(last, q.last)
			}
			if q.after == math.MaxUint32 || folders[folder].nextUID == 0 || first > last {
				return
			}
			if n := len(list); n > 0 && list[n-1].folder == folder && newest.IsZero() && list[n-1].newest.IsZero() && list[n-1].Last == first-1 {
				list[n-1].Last = last
				return
			}
			list = append(list, stretch{folder: folder, UIDRange: UIDRange{first, last}, newest: newest})
		}
		blocks, err := q.blocks(ctx, s, mailbox, folder, folders[folder].uidValidity)
		if err != nil {
			return nil, err
		}
		next := uint32(1)
		for _, b := range blocks {
			if b.first > next {
				put(next, b.first-1, time.Time{})
			}
			for _, r := range b.uids {
				put(r.First, r.Last, b.newest)
			}
			next = b.last + 1
		}
		put(next, math.MaxUint32, time.Time{})
	}
	return list, nil
}

// pickedBlock is what a query takes of a block.
type pickedBlock struct {
	first, last uint32
	newest      time.Time
	uids        UIDs
}

// blocks reads what counts of the index of a folder. A block that cannot be read is none: Verify reports it.
func (q *query) blocks(ctx context.Context, s kv.Store, mailbox, folder string, uidValidity uint32) (picked []pickedBlock, err error) {
	if q.after == math.MaxUint32 {
		return nil, nil
	}
	from, to := indexKey(mailbox, folder, (q.after+1)/indexBlock), after(folderKey('m', mailbox, folder))
	if q.last > 0 {
		to = indexKey(mailbox, folder, q.last/indexBlock+1)
	}
	if bytes.Compare(from, to) >= 0 {
		return nil, nil
	}
	for p, err := range s.Scan(ctx, from, to) {
		if err != nil {
			return nil, fmt.Errorf("read the index of %s: %w", mailbox, err)
		}
		_, _, n, err := splitIndexKey(p.Key)
		if err != nil {
			continue
		}
		x, err := decodeIndexed(n, p.Value)
		if err != nil || x.uidValidity != uidValidity {
			continue
		}
		picked = append(picked, pickedBlock{x.first, x.last(), x.newest, q.in(x)})
	}
	return picked, nil
}

func sortedNames(folders map[string]folderCounters) []string {
	names := make([]string, 0, len(folders))
	for name := range folders {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
