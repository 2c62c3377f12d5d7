package setup

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"copialettere/journal/kv"
)

// LinkPath comes before the token in a link, below the public URL.
const LinkPath = "/set-up/"

// LinkLife is for how long a link works.
const LinkLife = 15 * time.Minute

// ErrNoLink means that a link was used already, is too old, or never was one. Nobody is told which.
var ErrNoLink = errors.New("the link is no longer valid")

const (
	linkPrefix = "p"
	linkLock   = "set-up links"
	tokenBytes = 16 // random, in 22 characters
)

// Link says whom a link sets up, and for what.
type Link struct {
	Archive string // the name of the archive
	Choice
	Until time.Time // UTC
}

// storedLink is the stored object of a link.
type storedLink struct {
	Archive  string    `json:"archive"`
	Account  Account   `json:"account"`
	Incoming Protocol  `json:"incoming"`
	Until    time.Time `json:"until"`
}

// Links keeps the links that wait for their use. Its methods may be called concurrently, and by several processes on one store.
type Links struct{ store kv.Store }

// NewLinks returns the links of a settings store. The caller keeps the store and closes it.
func NewLinks(settings kv.Store) *Links { return &Links{settings} }

// linkKey returns the key of a token; nil for what is no token.
func linkKey(token string) []byte {
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(b) != tokenBytes {
		return nil
	}
	hash := sha256.Sum256(b)
	return append([]byte(linkPrefix), hash[:]...)
}

// Make makes a link that works once, until LinkLife from now, and returns its token. Earlier links of the same archive to the same account end.
func (l *Links) Make(ctx context.Context, archive string, c Choice, now time.Time) (token string, until time.Time, err error) {
	random := make([]byte, tokenBytes)
	rand.Read(random)
	token = base64.RawURLEncoding.EncodeToString(random)
	made := storedLink{archive, c.Account, c.Incoming, now.Add(LinkLife).UTC().Round(0)}
	value, err := json.Marshal(made)
	if err == nil {
		err = l.store.Update(ctx, []string{linkLock}, func(tx kv.Tx) error {
			ended, err := l.ended(ctx, func(waits storedLink) bool {
				return !waits.Until.After(now) || waits.Archive == archive && waits.Account == c.Account
			})
			if err != nil {
				return err
			}
			for _, key := range ended {
				tx.Delete(key)
			}
			tx.Put(linkKey(token), value)
			return nil
		})
	}
	if err != nil {
		return "", time.Time{}, fmt.Errorf("make a set-up link of %s: %w", archive, err)
	}
	return token, made.Until, nil
}

// ended returns the keys of the links that are over by the word of a function.
func (l *Links) ended(ctx context.Context, over func(storedLink) bool) (keys [][]byte, err error) {
	for pair, err := range l.store.Scan(ctx, []byte(linkPrefix), []byte{linkPrefix[0] + 1}) {
		if err != nil {
			return nil, err
		}
		var waits storedLink
		if json.Unmarshal(pair.Value, &waits) != nil || over(waits) {
			keys = append(keys, bytes.Clone(pair.Key))
		}
	}
	return keys, nil
}

// Look returns what a link is for, without using it up. The error wraps ErrNoLink.
func (l *Links) Look(ctx context.Context, token string, now time.Time) (Link, error) {
	key := linkKey(token)
	if key == nil {
		return Link{}, ErrNoLink
	}
	return decodeLink(l.store.Get(ctx, key))(now)
}

// Use uses a link up, durably, and returns what it is for. Of all who try at the same time one succeeds. The error wraps ErrNoLink.
func (l *Links) Use(ctx context.Context, token string, now time.Time) (link Link, err error) {
	key := linkKey(token)
	if key == nil {
		return Link{}, ErrNoLink
	}
	err = l.store.Update(ctx, []string{linkLock}, func(tx kv.Tx) (err error) {
		if link, err = decodeLink(tx.Get(key))(now); err == nil {
			tx.Delete(key)
		}
		return err
	})
	if err != nil {
		return Link{}, err
	}
	return link, nil
}

// Waiting returns until when the links of an archive work, or worked, that are stored.
func (l *Links) Waiting(ctx context.Context, archive string) (until []time.Time, err error) {
	for pair, err := range l.store.Scan(ctx, []byte(linkPrefix), []byte{linkPrefix[0] + 1}) {
		if err != nil {
			return nil, fmt.Errorf("set-up links of %s: %w", archive, err)
		}
		var waits storedLink
		if json.Unmarshal(pair.Value, &waits) == nil && waits.Archive == archive {
			until = append(until, waits.Until)
		}
	}
	return until, nil
}

// decodeLink returns a function that returns a stored link if it still works.
func decodeLink(value []byte, err error) func(now time.Time) (Link, error) {
	return func(now time.Time) (Link, error) {
		if errors.Is(err, kv.ErrNotFound) {
			return Link{}, ErrNoLink
		}
		var waits storedLink
		if err == nil {
			err = json.Unmarshal(value, &waits)
		}
		switch {
		case err != nil:
			return Link{}, fmt.Errorf("set-up link: %w", err)
		case !waits.Until.After(now):
			return Link{}, ErrNoLink
		}
		return Link{waits.Archive, Choice{waits.Account, waits.Incoming}, waits.Until}, nil
	}
}

// Sweep removes the links that are too old, and returns how many.
func (l *Links) Sweep(ctx context.Context, now time.Time) (removed int, err error) {
	err = l.store.Update(ctx, []string{linkLock}, func(tx kv.Tx) error {
		ended, err := l.ended(ctx, func(waits storedLink) bool { return !waits.Until.After(now) })
		for _, key := range ended {
			tx.Delete(key)
		}
		removed = len(ended)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("sweep set-up links: %w", err)
	}
	return removed, nil
}
