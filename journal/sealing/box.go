// Package sealing seals what lies in a data folder beside the journal, where the journal is encrypted: a small value under a key of the operator's (Box), and
// a file that is written and read in parts under a key of its own (File).
//
// # A value in a box
//
//	magic       8 bytes, "\xffcplbox1"
//	key id      8 bytes: of the operator's key
//	nonce       12 random bytes
//	the value   sealed with AES-256-GCM, and its tag (16 bytes). Magic, key id and what the value is for are authenticated too.
//
// # A file
//
//	magic       16 bytes, "\xffcopialettere\x00f1"
//	salt        16 random bytes: the key of the file is HKDF-SHA256 of the key that it was made with, with this salt
//	blocks      of each the nonce (12 random bytes), 65,536 bytes of what was written, sealed with AES-256-GCM, and the tag (16 bytes); only the last is
//	            shorter. The number of the block (8 bytes, big-endian, from 0) is authenticated too.
//
// A block that does not open is damage, or the end of what was synced before a crash. A whole block that is missing at the end cannot be told: who must know
// keeps a digest.
package sealing

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
)

const (
	boxMagic  = "\xffcplbox1"
	idSize    = 8
	nonceSize = 12
	tagSize   = 16
	boxHead   = len(boxMagic) + idSize + nonceSize
)

// Errors of a Box. The error that wraps one names the key.
var (
	// ErrKey says that a value is sealed by a key that is not there.
	ErrKey = errors.New("it is encrypted")
	// ErrDamaged says that something that is sealed was altered, or belongs elsewhere.
	ErrDamaged = errors.New("damaged, or altered")
)

// Key is a key of the operator's.
type Key struct {
	ID     [idSize]byte
	Secret [32]byte
}

// Box seals small values by the first of the operator's keys, and opens those of all. A nil Box seals nothing, and opens what is not sealed.
type Box struct{ keys []Key }

// NewBox returns a box with keys, of which the first seals; nil where there is none.
func NewBox(keys []Key) *Box {
	if len(keys) == 0 {
		return nil
	}
	return &Box{slices.Clone(keys)}
}

func newGCM(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the size is right
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // the sizes are those of AES
	}
	return aead
}

// Seal returns a value sealed for one use, which about names. A nil Box returns the value.
func (b *Box) Seal(value []byte, about string) []byte {
	if b == nil {
		return value
	}
	sealed := make([]byte, boxHead, boxHead+len(value)+tagSize)
	copy(sealed, boxMagic)
	copy(sealed[len(boxMagic):], b.keys[0].ID[:])
	nonce := sealed[boxHead-nonceSize:]
	rand.Read(nonce)
	return newGCM(b.keys[0].Secret[:]).Seal(sealed, nonce, value, aboutBox(sealed, about))
}

func aboutBox(sealed []byte, about string) []byte {
	return append(bytes.Clone(sealed[:boxHead-nonceSize]), about...)
}

// Open returns a value that was sealed for the same use, or that was never sealed. current reports whether Seal would seal it in the same way: where not,
// the value is to be sealed anew.
func (b *Box) Open(sealed []byte, about string) (value []byte, current bool, err error) {
	if !Sealed(sealed) {
		return sealed, b == nil, nil
	}
	if len(sealed) < boxHead+tagSize {
		return nil, false, ErrDamaged
	}
	id := [idSize]byte(sealed[len(boxMagic):])
	if b != nil {
		for i := range b.keys {
			if b.keys[i].ID != id {
				continue
			}
			value, err := newGCM(b.keys[i].Secret[:]).Open(nil, sealed[boxHead-nonceSize:boxHead], sealed[boxHead:], aboutBox(sealed, about))
			if err != nil {
				return nil, false, ErrDamaged
			}
			return value, i == 0, nil
		}
	}
	return nil, false, fmt.Errorf("%w by the key %x: name that key in [encryption]", ErrKey, id)
}

// Sealed reports whether a value is sealed.
func Sealed(value []byte) bool { return bytes.HasPrefix(value, []byte(boxMagic)) }
