package evidence

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// Hash is a SHA-256: of a leaf or a node, as RFC 6962 section 2.1 has it, or of bytes.
type Hash = tlog.Hash

// LogID names a log. It is random, and tells nothing.
type LogID [16]byte

// String returns the id as lower-case hexadecimal.
func (id LogID) String() string { return hex.EncodeToString(id[:]) }

// ParseLogID reads an id as String returns it.
func ParseLogID(s string) (id LogID, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("log id %q: want %d hexadecimal digits", s, 2*len(id))
	}
	return LogID(b), nil
}

// Kind is what a leaf tells of.
type Kind byte

// The kinds of leaves.
const (
	Opened       Kind = 1 // the log begins; the first leaf, and no other
	Added        Kind = 2 // an entry was made
	Amended      Kind = 3 // an entry of a sent message got more recipients
	Moved        Kind = 4 // an entry has another place
	PutAside     Kind = 5 // an entry was deleted and can be brought back, or a newer one superseded it; it keeps its place
	BroughtBack  Kind = 6 // an entry that was put aside is an entry again, at another place
	Removed      Kind = 7 // an entry is gone for good, and Reason says why
	Adopted      Kind = 8 // an entry was there before the archive had logs
	AdoptedAside Kind = 9 // so was one that was put aside
)

var kindNames = map[Kind]string{
	Opened: "opened", Added: "added", Amended: "amended", Moved: "moved", PutAside: "put aside", BroughtBack: "brought back", Removed: "removed",
	Adopted: "adopted", AdoptedAside: "adopted aside",
}

// String returns the kind in words, such as "put aside".
func (k Kind) String() string {
	if s, ok := kindNames[k]; ok {
		return s
	}
	return fmt.Sprintf("kind %d", byte(k))
}

// Place is where an entry lies in its mailbox and month.
type Place struct {
	Folder string `json:"folder"` // without the month: "INBOX"
	UID    uint32 `json:"uid"`
}

// String returns the place as people name it: "INBOX 12".
func (p Place) String() string { return fmt.Sprintf("%s %d", p.Folder, p.UID) }

// Leaf is one act on one entry.
type Leaf struct {
	Kind Kind
	Time time.Time // of the act, UTC
	Place
	From    Place  // of Moved and BroughtBack: the place before
	Message Hash   // SHA-256 of the bytes of the message
	Entry   Hash   // SHA-256 of the entry as it is stored, which has the envelope
	Reason  string // of Removed

	// Of Opened: whose log it is. The entry fields are zero.
	Log     LogID
	Mailbox string
	Month   string // "2026-11"
}

// ErrLeaf says that bytes are no leaf.
var ErrLeaf = errors.New("malformed leaf of a log")

// Append appends the stored form of a leaf, which is what its hash is over:
//
//	kind      1 byte
//	time      8 bytes, nanoseconds since 1970, big-endian
//
// then of Opened: log id (16 bytes), mailbox, zero byte, month; of all others:
//
//	message   32 bytes
//	entry     32 bytes
//	uid       4 bytes, big-endian
//	folder    and a zero byte
//	from uid, from folder and a zero byte, of Moved and BroughtBack
//	reason    of Removed, to the end
func (l *Leaf) Append(b []byte) []byte {
	b = append(b, byte(l.Kind))
	b = binary.BigEndian.AppendUint64(b, uint64(l.Time.UnixNano()))
	if l.Kind == Opened {
		b = append(b, l.Log[:]...)
		b = append(append(b, l.Mailbox...), 0)
		return append(b, l.Month...)
	}
	b = append(b, l.Message[:]...)
	b = append(b, l.Entry[:]...)
	b = l.Place.append(b)
	if l.Kind.moves() {
		b = l.From.append(b)
	}
	return append(b, l.Reason...)
}

// present says whether there is an entry after the act, which people can read.
func (k Kind) present() bool {
	return k == Added || k == Amended || k == Moved || k == BroughtBack || k == Adopted
}

func (k Kind) moves() bool { return k == Moved || k == BroughtBack }

func (p Place) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, p.UID)
	return append(append(b, p.Folder...), 0)
}

func parsePlace(b []byte) (p Place, rest []byte, err error) {
	if len(b) < 5 {
		return p, nil, ErrLeaf
	}
	folder, rest, ok := bytes.Cut(b[4:], []byte{0})
	if !ok || len(folder) == 0 {
		return p, nil, ErrLeaf
	}
	return Place{string(folder), binary.BigEndian.Uint32(b)}, rest, nil
}

// ParseLeaf reads a leaf as Append writes it.
func ParseLeaf(b []byte) (l Leaf, err error) {
	if len(b) < 9 {
		return l, ErrLeaf
	}
	l.Kind = Kind(b[0])
	if kindNames[l.Kind] == "" {
		return l, fmt.Errorf("%w: %s", ErrLeaf, l.Kind)
	}
	l.Time = time.Unix(0, int64(binary.BigEndian.Uint64(b[1:]))).UTC()
	b = b[9:]
	if l.Kind == Opened {
		if len(b) < len(l.Log) {
			return l, ErrLeaf
		}
		l.Log = LogID(b)
		mailbox, month, ok := bytes.Cut(b[len(l.Log):], []byte{0})
		if !ok || bytes.IndexByte(month, 0) >= 0 {
			return l, ErrLeaf
		}
		l.Mailbox, l.Month = string(mailbox), string(month)
		return l, nil
	}
	if len(b) < 2*len(l.Message) {
		return l, ErrLeaf
	}
	copy(l.Message[:], b)
	copy(l.Entry[:], b[len(l.Message):])
	if l.Place, b, err = parsePlace(b[2*len(l.Message):]); err == nil && l.Kind.moves() {
		l.From, b, err = parsePlace(b)
	}
	if err == nil && len(b) > 0 && l.Kind != Removed {
		err = ErrLeaf
	}
	l.Reason = string(b)
	return l, err
}

// Hash returns the hash of a leaf in its stored form.
func (l *Leaf) Hash() Hash { return tlog.RecordHash(l.Append(nil)) }

// String returns a leaf in words, for people.
func (l *Leaf) String() string {
	at := l.Time.Format(time.RFC3339)
	switch {
	case l.Kind == Opened:
		return fmt.Sprintf("%s log %s of %s in %s opened", at, l.Log, l.Mailbox, l.Month)
	case l.Kind.moves():
		return fmt.Sprintf("%s %s %s, before %s", at, l.Place, l.Kind, l.From)
	case l.Kind == Removed:
		return fmt.Sprintf("%s %s %s: %s", at, l.Place, l.Kind, l.Reason)
	}
	return fmt.Sprintf("%s %s %s", at, l.Place, l.Kind)
}
