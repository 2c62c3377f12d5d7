package source

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"copialettere/journal/durable"
	"copialettere/journal/sealing"
)

// keySize is that of AES-256, in bytes.
const keySize = 32

// Sealer seals passwords with the key in a file, 32 random bytes of mode 0600, which it makes when it first seals. Where the journal is encrypted the key is
// sealed in the file. Who restores the data folder without that file gives the passwords again.
type Sealer struct {
	Path string
	Box  *sealing.Box // of the data folder; nil where the journal is not encrypted
}

// use is what the key is sealed for.
const use = "passwords of sources"

// ErrKey says that passwords cannot be sealed or opened. The error that wraps it says what to do.
var ErrKey = errors.New("the key of the passwords")

func (s Sealer) aead(create bool) (cipher.AEAD, error) {
	key, _, err := s.read()
	if errors.Is(err, fs.ErrNotExist) && create {
		key = make([]byte, keySize)
		rand.Read(key)
		err = s.write(key)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w is not there: put %s back from a backup, or add the profile once more", ErrKey, s.Path)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	case len(key) != keySize:
		return nil, fmt.Errorf("%w: %s has %d bytes, and no %d: put it back from a backup, or remove it and the profiles, and add these again",
			ErrKey, s.Path, len(key), keySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// read returns the key. current reports whether the file has it as write would write it.
func (s Sealer) read() (key []byte, current bool, err error) {
	content, err := os.ReadFile(s.Path)
	if err != nil {
		return nil, false, err
	}
	if key, current, err = s.Box.Open(content, use); err != nil {
		return nil, false, fmt.Errorf("%s: %w", s.Path, err)
	}
	return key, current, nil
}

func (s Sealer) write(key []byte) error {
	return durable.Write(s.Path, bytes.NewReader(s.Box.Seal(key, use)), nil)
}

// Renew seals the key in the file anew where that is in the clear although the journal is encrypted, or sealed by an earlier key of the operator's. No
// file is no error.
func (s Sealer) Renew() error {
	key, current, err := s.read()
	if errors.Is(err, fs.ErrNotExist) || err == nil && current {
		return nil
	}
	if err == nil {
		err = s.write(key)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrKey, err)
	}
	return nil
}

// seal seals a text for one use, which about names.
func (s Sealer) seal(text, about string) ([]byte, error) {
	aead, err := s.aead(true)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, []byte(text), []byte(about)), nil
}

// unseal opens what seal made for the same use.
func (s Sealer) unseal(sealed []byte, about string) (string, error) {
	aead, err := s.aead(false)
	if err != nil {
		return "", err
	}
	text, err := aead.Open(nil, nil, sealed, []byte(about))
	if err != nil {
		return "", fmt.Errorf("%w does not open this password: the file %s is another one than it was; add the profile once more", ErrKey, s.Path)
	}
	return string(text), nil
}
