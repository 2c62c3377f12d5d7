package keyed

import (
	"bytes"
	"context"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"copialettere/journal/kv"
)

const (
	idSize    = 8
	nonceSize = 12
	tagSize   = 16
)

// id names a key.
type id [idSize]byte

// Wrapper is a key of the operator's.
type Wrapper struct {
	ID  [8]byte
	Key [32]byte
}

// Options are those of OpenRing.
type Options struct {
	Wrappers []Wrapper    // the first wraps; any of them opens
	Logger   *slog.Logger // slog.Default where nil

	step func(what string) error // called before everything that can fail: "create PATH", "write PATH", "sync PATH"; tests make it fail
}

// Ring is the keys of all mailboxes. One process has its files. Its methods may be called concurrently.
type Ring struct {
	path    string
	options Options
	log     *slog.Logger

	turn  chan struct{} // has a value while somebody works on the files
	image []slot        // what the files have, the head included; of whoever has the turn
	stale bool          // a write or a sync failed: the files may have something else; of whoever has the turn

	mu   sync.RWMutex
	keys map[id]*mailboxKey                  // those that can be opened
	of   map[[sha256.Size]byte][]*mailboxKey // by the digest of the mailbox, in the order of the file
}

// mailboxKey is a key of a mailbox.
type mailboxKey struct {
	id      id
	secret  [32]byte
	mailbox [sha256.Size]byte
	slot    int
	retired bool // nothing is sealed by it any more; guarded by Ring.mu
}

// about returns what is authenticated with a value.
func about(m kv.Month, key []byte) []byte {
	b := make([]byte, 0, len(m)+1+len(key))
	b = append(b, m...)
	b = append(b, 0)
	return append(b, key...)
}

// current returns the key by which values of a mailbox are sealed; nil where there is none.
func (r *Ring) current(mailbox []byte) *mailboxKey {
	r.mu.RLock()
	defer r.mu.RUnlock()
	keys := r.of[sha256.Sum256(mailbox)]
	for i := len(keys) - 1; i >= 0; i-- {
		if !keys[i].retired {
			return keys[i]
		}
	}
	return nil
}

// seal seals a value. ok is false where the mailbox has no key.
func (r *Ring) seal(mailbox []byte, m kv.Month, key, value []byte) (sealed []byte, ok bool) {
	k := r.current(mailbox)
	if k == nil {
		return nil, false
	}
	b := make([]byte, 1+idSize+nonceSize, len(value)+Overhead)
	b[0] = kv.Sealed
	copy(b[1:], k.id[:])
	nonce := b[1+idSize:]
	rand.Read(nonce)
	return newGCM(&k.secret).Seal(b, nonce, value, about(m, key)), true
}

// opener opens values of one store, for one goroutine. It keeps the key that it used last: a scan reads many values of one mailbox.
type opener struct {
	ring  *Ring
	month kv.Month
	last  *mailboxKey
	aead  cipher.AEAD // of last
}

// value returns a value as it was before it was sealed, or as it is where it is not sealed or does not open.
func (o *opener) value(key, value []byte) []byte {
	if len(value) < Overhead || value[0] != kv.Sealed || o.month == "" {
		return value
	}
	if o.last == nil || !bytes.Equal(o.last.id[:], value[1:1+idSize]) {
		o.ring.mu.RLock()
		k := o.ring.keys[id(value[1:])]
		o.ring.mu.RUnlock()
		if k == nil {
			return value
		}
		o.last, o.aead = k, newGCM(&k.secret)
	}
	body := value[1+idSize:]
	// Not nil: there is a value, if an empty one.
	opened, err := o.aead.Open(make([]byte, 0, len(value)-Overhead), body[:nonceSize], body[nonceSize:], about(o.month, key))
	if err != nil {
		return value
	}
	return opened
}

func (o *opener) values(keys, values [][]byte) [][]byte {
	for i, v := range values {
		values[i] = o.value(keys[i], v)
	}
	return values
}

// retire has nothing be sealed any more by the keys that a mailbox has.
func (r *Ring) retire(mailbox []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range r.of[sha256.Sum256(mailbox)] {
		k.retired = true
	}
}

// exclusively runs work, which is on the files, when its turn comes. It gives up waiting when ctx ends: the work then goes on, and the next one waits for it.
func (r *Ring) exclusively(ctx context.Context, work func() error) error {
	select {
	case r.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	done := make(chan error, 1)
	go func() {
		defer func() { <-r.turn }()
		err := work()
		if err != nil {
			r.stale = true
			err = fmt.Errorf("%w: %w", kv.ErrUnavailable, err)
		}
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wait waits until nobody works on the files.
func (r *Ring) wait() {
	r.turn <- struct{}{}
	<-r.turn
}

// makeKeys makes a key for each of the mailboxes that has none.
func (r *Ring) makeKeys(ctx context.Context, mailboxes [][]byte) error {
	return r.exclusively(ctx, func() error {
		if err := r.refresh(); err != nil {
			return err
		}
		first := len(r.image)
		var made []*mailboxKey
		asked := make(map[[sha256.Size]byte]bool)
		for _, mailbox := range mailboxes {
			digest := sha256.Sum256(mailbox)
			if asked[digest] || r.current(mailbox) != nil {
				continue
			}
			asked[digest] = true
			k := &mailboxKey{mailbox: digest, slot: first + len(made)}
			rand.Read(k.id[:])
			rand.Read(k.secret[:])
			made = append(made, k)
		}
		image := r.image
		for _, k := range made {
			image = append(image, k.wrap(&r.options.Wrappers[0]))
		}
		if err := r.writeBoth(image, first, len(image)); err != nil {
			return err
		}
		r.image = image
		for _, k := range made {
			r.add(k)
		}
		return nil
	})
}

func (r *Ring) add(k *mailboxKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys[k.id] = k
	r.of[k.mailbox] = append(r.of[k.mailbox], k)
}

// destroy destroys the retired keys of a mailbox, durably.
func (r *Ring) destroy(ctx context.Context, mailbox []byte) error {
	return r.exclusively(ctx, func() error {
		var slots []int
		digest := sha256.Sum256(mailbox)
		r.mu.Lock()
		var rest []*mailboxKey
		for _, k := range r.of[digest] {
			if !k.retired {
				rest = append(rest, k)
				continue
			}
			delete(r.keys, k.id)
			r.image[k.slot] = destroyed(k.id)
			slots = append(slots, k.slot)
		}
		if r.of[digest] = rest; len(rest) == 0 {
			delete(r.of, digest)
		}
		r.mu.Unlock()
		// After an error the image says that they are destroyed, and the next work on the files writes all of it.
		if err := r.refresh(); err != nil {
			return err
		}
		for _, i := range slots {
			if err := r.writeBoth(r.image, i, i+1); err != nil {
				return err
			}
		}
		return nil
	})
}

// refresh writes the files anew after an error: what a failed sync left of them in memory may not be on the disk.
func (r *Ring) refresh() error {
	if !r.stale {
		return nil
	}
	if err := r.writeBoth(r.image, 0, len(r.image)); err != nil {
		return err
	}
	r.stale = false
	return nil
}

// count returns how many keys can be opened.
func (r *Ring) count() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.keys)
}

// ErrLost says that the file of the keys is not there, or is none.
var ErrLost = errors.New("the keys of the mailboxes are lost")
