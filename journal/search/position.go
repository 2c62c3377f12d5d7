package search

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"unicode/utf8"

	"copialettere/journal/kv"
)

// Position is a place in a list of messages: just after one of them, which need not be there any more. The zero Position is the beginning.
type Position struct{ key key }

// positionAfter returns the position after a message, which is the same whatever the name of the mailbox.
func positionAfter(k key) Position {
	k.place.Mailbox = ""
	return Position{k}
}

// IsZero reports whether it is the beginning.
func (p Position) IsZero() bool { return p.key.place.UID == 0 }

// String returns the position as ParsePosition reads it: letters, digits, hyphens and low lines. The beginning is the empty text.
func (p Position) String() string {
	if p.IsZero() {
		return ""
	}
	b := binary.BigEndian.AppendUint64(nil, uint64(p.key.at))
	b = binary.BigEndian.AppendUint32(b, p.key.place.UID)
	b = append(b, p.key.place.Month...)
	return base64.RawURLEncoding.EncodeToString(append(b, p.key.place.Folder...))
}

// ErrPosition says that a text is no Position.
var ErrPosition = errors.New(`bad position: take it from "next" of the page before`)

// ParsePosition reads what String returned.
func ParsePosition(text string) (Position, error) {
	if text == "" {
		return Position{}, nil
	}
	const fixed, month = 8 + 4, len("2026-11")
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) <= fixed+month || len(b) > 1024 {
		return Position{}, ErrPosition
	}
	var p Position
	p.key.at = int64(binary.BigEndian.Uint64(b))
	p.key.place.UID = binary.BigEndian.Uint32(b[8:])
	p.key.place.Folder = string(b[fixed+month:])
	p.key.place.Month, err = kv.ParseMonth(string(b[fixed : fixed+month]))
	if err != nil || p.key.place.UID == 0 || p.key.at == math.MaxInt64 || !utf8.ValidString(p.key.place.Folder) || strings.Contains(p.key.place.Folder, "\x00") || p.String() != text {
		return Position{}, ErrPosition
	}
	return p, nil
}
