package datafolder

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"copialettere/journal/kv/keyed"
	"copialettere/journal/kv/level"
	"copialettere/journal/sealing"
)

// Key is a key of the operator's: it wraps the keys of the stores, which seal their files.
type Key = level.Key

// ErrSealed says that the journal is encrypted, and that its key was not given.
var ErrSealed = level.ErrSealed

// keyPrefix begins a line with a key; the 32 bytes of it follow, in base64.
const keyPrefix = "copialettere-key-1 "

// NewKey makes a key, and returns it as a line of a key file.
func NewKey() string {
	var k Key
	rand.Read(k[:])
	return keyPrefix + base64.StdEncoding.EncodeToString(k[:])
}

// ParseKeys reads a key file: a key on each line, the one in force first; empty lines and those that begin with # do not count. The errors show nothing of
// a key.
func ParseKeys(text string) ([]Key, error) {
	var keys []Key
	n := 0
	for line := range strings.Lines(text) {
		n++
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		encoded, ok := strings.CutPrefix(line, keyPrefix)
		b, err := base64.StdEncoding.DecodeString(encoded)
		if !ok || err != nil || len(b) != len(Key{}) {
			return nil, fmt.Errorf(`line %d is no key: write one as "copialettere encryption-key" makes it`, n)
		}
		keys = append(keys, Key(b))
	}
	if len(keys) == 0 {
		return nil, errors.New(`there is no key: write one as "copialettere encryption-key" makes it`)
	}
	return keys, nil
}

// derive returns a key derived from one of the operator's for a purpose, and the id of the latter.
func derive(k Key, purpose string) (id [8]byte, derived [32]byte, err error) {
	name, err := hex.DecodeString(k.ID())
	if err != nil {
		return id, derived, err
	}
	b, err := hkdf.Key(sha256.New, k[:], nil, purpose, len(derived))
	if err != nil {
		return id, derived, err
	}
	return [8]byte(name), [32]byte(b), nil
}

// wrappers returns the keys that wrap those of the mailboxes, derived from those of the operator's.
func wrappers(keys []Key) ([]keyed.Wrapper, error) {
	var list []keyed.Wrapper
	for _, k := range keys {
		id, key, err := derive(k, "copialettere mailbox keys")
		if err != nil {
			return nil, err
		}
		list = append(list, keyed.Wrapper{ID: id, Key: key})
	}
	return list, nil
}

// newBox returns the box that seals what lies beside the journal.
func newBox(keys []Key) (*sealing.Box, error) {
	var list []sealing.Key
	for _, k := range keys {
		id, key, err := derive(k, "copialettere box")
		if err != nil {
			return nil, err
		}
		list = append(list, sealing.Key{ID: id, Secret: key})
	}
	return sealing.NewBox(list), nil
}

// spoolKeys returns the keys that seal the gap spool, derived from those of the operator's.
func spoolKeys(keys []Key) ([][32]byte, error) {
	var list [][32]byte
	for _, k := range keys {
		_, key, err := derive(k, "copialettere gap spool")
		if err != nil {
			return nil, err
		}
		list = append(list, key)
	}
	return list, nil
}
