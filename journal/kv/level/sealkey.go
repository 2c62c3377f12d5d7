package level

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The key of a store is 32 random bytes, in the file KEY of its folder, wrapped by a key of the operator's. It goes with the folder: what was dropped
// cannot be opened any more, whatever the disk has kept of it. Where the operator changes his key, Open wraps it anew; the files of the store stay as they are.
//
//	copialettere-store-key 1 <key id> <base64>     the nonce (12 bytes), and the key of the store, sealed with AES-256-GCM; the key id, 16 hexadecimal
//	                                               digits, is authenticated too

const (
	keyName   = "KEY"
	keyPrefix = "copialettere-store-key 1"
)

// ErrSealed says that a store is sealed, and that its key cannot be had.
var ErrSealed = errors.New("the journal is encrypted")

// Key is a key of the operator's, which wraps the keys of stores.
type Key [32]byte

// ID names a key, and tells nothing of it: 16 hexadecimal digits.
func (k *Key) ID() string {
	sum := sha256.Sum256(append([]byte("copialettere key id\x00"), k[:]...))
	return hex.EncodeToString(sum[:8])
}

// wrap returns the content of a KEY file.
func (k *Key) wrap(store *[32]byte) ([]byte, error) {
	aead, err := newGCM(k[:])
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize())
	rand.Read(nonce)
	box := aead.Seal(nonce, nonce, store[:], []byte(k.ID()))
	return fmt.Appendf(nil, "%s %s %s\n", keyPrefix, k.ID(), base64.StdEncoding.EncodeToString(box)), nil
}

// unwrap reads the content of a KEY file. It says which of the keys opened it.
func unwrap(content []byte, keys []Key) (store *[32]byte, by *Key, err error) {
	rest, ok := strings.CutPrefix(strings.TrimSuffix(string(content), "\n"), keyPrefix+" ")
	id, text, found := strings.Cut(rest, " ")
	box, decodeErr := base64.StdEncoding.DecodeString(text)
	if !ok || !found || decodeErr != nil {
		return nil, nil, fmt.Errorf("%w: the file is malformed: put it back from a backup", ErrSealed)
	}
	for i := range keys {
		if keys[i].ID() != id {
			continue
		}
		aead, err := newGCM(keys[i][:])
		if err != nil {
			return nil, nil, err
		}
		var plain []byte
		if len(box) > aead.NonceSize() {
			plain, err = aead.Open(nil, box[:aead.NonceSize()], box[aead.NonceSize():], []byte(id))
		}
		if err != nil || len(plain) != len(store) {
			return nil, nil, fmt.Errorf("%w: the file is damaged: put it back from a backup", ErrSealed)
		}
		key := [32]byte(plain)
		return &key, &keys[i], nil
	}
	return nil, nil, fmt.Errorf("%w by the key %s: name that key", ErrSealed, id)
}

// storeKey returns the key of the store in a folder; nil where the store is not sealed. It makes one for a store without files.
func (e *Engine) storeKey(path string) (*[32]byte, error) {
	_, key, err := e.readKey(path)
	if err != nil || key != nil || len(e.opts.Keys) == 0 {
		return key, err
	}
	// A store that was there before stays as it is: its files are in the clear.
	if _, err := os.Stat(filepath.Join(path, "CURRENT")); !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	key = new([32]byte)
	rand.Read(key[:])
	content, err := e.opts.Keys[0].wrap(key)
	if err != nil {
		return nil, err
	}
	if err := e.write(filepath.Join(path, keyName), content); err != nil {
		return nil, fmt.Errorf("keep the key of a store: %w", err)
	}
	return key, nil
}

// readKey reads the KEY file of the store in a folder, and the key in it; nil where there is none.
func (e *Engine) readKey(path string) (content []byte, key *[32]byte, err error) {
	file := filepath.Join(path, keyName)
	content, err = os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err == nil {
		key, _, err = unwrap(content, e.opts.Keys)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file, err)
	}
	return content, key, nil
}

// rewrap has the first key wrap the keys of all stores that another one has wrapped. After a crash the next Open does the rest. What cannot be opened
// stays: whoever opens the store is told.
func (e *Engine) rewrap() error {
	files, err := filepath.Glob(filepath.Join(e.dir, "*", keyName))
	if err != nil {
		return err
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		store, by, err := unwrap(content, e.opts.Keys)
		if err != nil {
			e.opts.Logger.Error("the key of a store cannot be had", "file", file, "error", err)
			continue
		}
		if by == &e.opts.Keys[0] {
			continue
		}
		if content, err = e.opts.Keys[0].wrap(store); err != nil {
			return err
		}
		if err := e.write(file, content); err != nil {
			return fmt.Errorf("wrap the key of a store anew: %w", err)
		}
		e.opts.Logger.Info("the key of a store is wrapped by another key now", "file", file, "key", e.opts.Keys[0].ID())
	}
	return nil
}
