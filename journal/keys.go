package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"copialettere/journal/kv"
)

var errKey error = damage("malformed key")

// checkMailbox refuses a name that would lead into the keys of another mailbox.
func checkMailbox(name string) error {
	if name == "" || strings.IndexByte(name, 0) >= 0 {
		return fmt.Errorf("%q: %w", name, ErrMailbox)
	}
	return nil
}

// after returns the first key behind all keys that begin with prefix.
func after(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

func chunkKey(id ChunkID) []byte { return append([]byte{'c'}, id[:]...) }

func digestKey(d Digest) []byte { return append([]byte{'h'}, d[:]...) }

func mailboxKey(kind byte, mailbox string, more int) []byte {
	key := make([]byte, 0, 2+len(mailbox)+more)
	key = append(key, kind)
	key = append(key, mailbox...)
	return append(key, 0)
}

func folderKey(kind byte, mailbox, folder string) []byte {
	key := mailboxKey(kind, mailbox, len(folder)+5)
	key = append(key, folder...)
	return append(key, 0)
}

func entryKey(r Ref) []byte {
	return binary.BigEndian.AppendUint32(folderKey('e', r.Mailbox, r.Folder), r.UID)
}

func outcomeKey(r Ref) []byte {
	return binary.BigEndian.AppendUint32(folderKey('o', r.Mailbox, r.Folder), r.UID)
}

// linkKey is the key that leads from a link to an entry.
func linkKey(link string, r Ref) []byte {
	key := linkPrefix(r.Mailbox, link, len(r.Folder)+5)
	key = append(key, r.Folder...)
	return binary.BigEndian.AppendUint32(append(key, 0), r.UID)
}

func linkPrefix(mailbox, link string, more int) []byte {
	key := append(mailboxKey('p', mailbox, len(link)+1+more), link...)
	return append(key, 0)
}

func checkLink(link string) error {
	if link == "" || len(link) > MaxLink || strings.IndexByte(link, 0) >= 0 {
		return fmt.Errorf("link %q: %w", link, ErrIntent)
	}
	return nil
}

// splitLinkKey parses the key of a link.
func splitLinkKey(month kv.Month, key []byte) (link string, r Ref, err error) {
	mailbox, link, rest, err := splitFolderKey(key)
	if err != nil {
		return "", Ref{}, err
	}
	folder, uid, ok := bytes.Cut(rest, []byte{0})
	if !ok || len(uid) != 4 {
		return "", Ref{}, errKey
	}
	return link, Ref{Mailbox: mailbox, Month: month, Folder: string(folder), UID: binary.BigEndian.Uint32(uid)}, nil
}

func counterKey(mailbox, folder string) []byte { return folderKey('s', mailbox, folder) }

func deliveryKey(mailbox string, key Digest) []byte {
	return append(mailboxKey('d', mailbox, len(key)), key[:]...)
}

func recordKey(mailbox string, t time.Time, n uint16) []byte {
	key := binary.BigEndian.AppendUint64(mailboxKey('g', mailbox, 10), uint64(t.UnixNano()))
	return binary.BigEndian.AppendUint16(key, n)
}

// recordTime returns the time in the key of a record.
func recordTime(key []byte) time.Time {
	_, rest, err := splitMailboxKey(key)
	if err != nil || len(rest) != 10 {
		return time.Time{}
	}
	return time.Unix(0, int64(binary.BigEndian.Uint64(rest))).UTC()
}

// splitFolderKey parses a key of the form <kind> <mailbox> 0 <folder> 0 <rest>.
func splitFolderKey(key []byte) (mailbox, folder string, rest []byte, err error) {
	mailbox, tail, err := splitMailboxKey(key)
	if err != nil {
		return "", "", nil, err
	}
	f, rest, ok := bytes.Cut(tail, []byte{0})
	if !ok {
		return "", "", nil, errKey
	}
	return mailbox, string(f), rest, nil
}

// splitMailboxKey parses a key of the form <kind> <mailbox> 0 <rest>.
func splitMailboxKey(key []byte) (mailbox string, rest []byte, err error) {
	if len(key) == 0 {
		return "", nil, errKey
	}
	m, rest, ok := bytes.Cut(key[1:], []byte{0})
	if !ok {
		return "", nil, errKey
	}
	return string(m), rest, nil
}

// deliveryDigest is the same for two deliveries that are repetitions of each other.
func deliveryDigest(mailbox string, d Direction, mailFrom string, message Digest) Digest {
	h := sha256.New()
	h.Write([]byte{byte(d)})
	h.Write([]byte(mailbox))
	h.Write([]byte{0})
	h.Write([]byte(mailFrom))
	h.Write([]byte{0})
	h.Write(message[:])
	return Digest(h.Sum(nil))
}

// folderCounters is the value of an s key.
type folderCounters struct {
	nextUID, uidValidity uint32
	entries, bytes       uint64
	room                 uint32 // the UID from which room is made next; 0: from the first
	imported             uint64 // entries, among the others
}

// Sizes of the value, in bytes: of a folder in which room was made it has one more number, and two more of one with imported entries.
const (
	countersSize       = 24
	countersRoomSize   = 28
	countersImportSize = 36
)

func (c folderCounters) encode() []byte {
	b := make([]byte, 0, countersImportSize)
	b = binary.BigEndian.AppendUint32(b, c.nextUID)
	b = binary.BigEndian.AppendUint32(b, c.uidValidity)
	b = binary.BigEndian.AppendUint64(b, c.entries)
	b = binary.BigEndian.AppendUint64(b, c.bytes)
	if c.room > 0 || c.imported > 0 {
		b = binary.BigEndian.AppendUint32(b, c.room)
	}
	if c.imported > 0 {
		b = binary.BigEndian.AppendUint64(b, c.imported)
	}
	return b
}

func decodeCounters(b []byte) (folderCounters, error) {
	var room uint32
	var imported uint64
	if len(b) == countersRoomSize || len(b) == countersImportSize {
		room = binary.BigEndian.Uint32(b[countersSize:])
	}
	if len(b) == countersImportSize {
		imported = binary.BigEndian.Uint64(b[countersRoomSize:])
	}
	if len(b) != countersSize && (len(b) != countersRoomSize || room == 0) && imported == 0 {
		return folderCounters{}, fmt.Errorf("malformed folder counters: %w", errEncoding)
	}
	return folderCounters{
		room:        room,
		imported:    imported,
		nextUID:     binary.BigEndian.Uint32(b),
		uidValidity: binary.BigEndian.Uint32(b[4:]),
		entries:     binary.BigEndian.Uint64(b[8:]),
		bytes:       binary.BigEndian.Uint64(b[16:]),
	}, nil
}

// OwnerOf returns the mailbox of a value of a volume that is to be sealed under a key of the mailbox; nil for all others. That is what names people and goes
// with the archive of its mailbox: entries, those put aside too, their index, and skips. Gaps, acts and logs outlive an erasure; the rest names nobody but the mailbox.
func OwnerOf(key, value []byte) (mailbox []byte) {
	switch {
	case len(key) == 0:
		return nil
	case key[0] == 'e' || key[0] == 't' || key[0] == 'm', key[0] == 'g' && isSkip(value):
	default:
		return nil
	}
	mailbox, _, ok := bytes.Cut(key[1:], []byte{0})
	if !ok || len(mailbox) == 0 {
		return nil
	}
	return mailbox
}
