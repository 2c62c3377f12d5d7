package auth

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"copialettere/journal/kv"
	"copialettere/policy"
)

// ErrNoLink means that a link was used already, is too old, or never was one. Nobody is told which.
var ErrNoLink = errors.New("the link is no longer valid")

// SignInPath comes before the secret in a link by which somebody signs in, below the public URL.
const SignInPath = "/sign-in/"

const (
	signInLife  = time.Minute
	signInBytes = 32 // random
	signInLock  = "sign-in links"
)

// storedSignIn is the stored object of a link by which somebody signs in.
type storedSignIn struct {
	Login   string      `json:"login"`
	Archive string      `json:"archive"` // that the login led to
	Role    policy.Role `json:"role"`    // of who made it,
	Name    string      `json:"name"`    // and the name
	Until   time.Time   `json:"until"`
}

// within reports whether something that lasts for a time, until a time, still does. A clock that was set back does not prolong it: by more than the
// time that it lasts, it ends it.
func within(now, until time.Time, lasts time.Duration) bool {
	return now.Before(until) && !now.Before(until.Add(-2*lasts))
}

func signInKey(secret string) []byte {
	b, err := base64.RawURLEncoding.Strict().DecodeString(secret)
	if err != nil || len(b) != signInBytes {
		return nil
	}
	sum := sha256.Sum256(b)
	return append([]byte("ik"), sum[:]...)
}

// MakeSignIn returns the secret of a link that signs the owner of a mailbox in to the pages once, within a minute. Whoever calls it answers for the
// right to do so. Who makes it goes on record when it is used.
func (a *Authenticator) MakeSignIn(ctx context.Context, who policy.Actor, mailbox policy.Address) (secret string, until time.Time, err error) {
	failed := func(err error) (string, time.Time, error) {
		return "", time.Time{}, fmt.Errorf("make a link by which %s signs in: %w", mailbox, err)
	}
	if err := a.signsIn(mailbox); err != nil {
		return failed(err)
	}
	m, known, err := a.options.Policy.Known(ctx, mailbox)
	if err == nil && !known {
		err = policy.ErrNoArchive
	}
	if err != nil {
		return failed(err)
	}
	random := make([]byte, signInBytes)
	rand.Read(random)
	secret = base64.RawURLEncoding.EncodeToString(random)
	now := a.now().UTC().Round(0)
	made := storedSignIn{mailbox.String(), m.Archive, who.Role, who.Name, now.Add(signInLife)}
	value, err := json.Marshal(made)
	if err == nil {
		err = a.options.Settings.Update(ctx, []string{signInLock}, func(tx kv.Tx) error {
			if _, err := a.forgetSignIns(ctx, tx, func(s storedSignIn) bool { return !within(now, s.Until, signInLife) }); err != nil {
				return err
			}
			tx.Put(signInKey(secret), value)
			return nil
		})
	}
	if err != nil {
		return failed(err)
	}
	return secret, made.Until, nil
}

// forgetSignIns removes the links that are over by the word of a function, and returns how many they were.
func (a *Authenticator) forgetSignIns(ctx context.Context, tx kv.Tx, over func(storedSignIn) bool) (removed int, err error) {
	for pair, err := range a.options.Settings.Scan(ctx, []byte("ik"), []byte("il")) {
		if err != nil {
			return 0, err
		}
		var s storedSignIn
		if json.Unmarshal(pair.Value, &s) != nil || over(s) {
			tx.Delete(bytes.Clone(pair.Key))
			removed++
		}
	}
	return removed, nil
}

// LoginByLink signs the owner in for whom a link was made, and uses it up. Of all who try at the same time one succeeds. Where the second factor is on,
// the error wraps ErrSecondFactor: Login is to be called with the Attempt and a code. The error wraps ErrNoLink if the link does not sign in, or is one of
// Login.
func (a *Authenticator) LoginByLink(ctx context.Context, secret string, remote netip.Addr) (Identity, Attempt, error) {
	key := signInKey(secret)
	if a == nil || key == nil {
		return Identity{}, Attempt{}, ErrNoLink
	}
	var s storedSignIn
	err := a.options.Settings.Update(ctx, []string{signInLock}, func(tx kv.Tx) error {
		s = storedSignIn{}
		value, err := tx.Get(key)
		if errors.Is(err, kv.ErrNotFound) {
			return ErrNoLink
		}
		if err == nil {
			err = json.Unmarshal(value, &s)
		}
		if err == nil {
			tx.Delete(key)
		}
		return err
	})
	switch {
	case errors.Is(err, ErrNoLink):
		return Identity{}, Attempt{}, ErrNoLink
	case err != nil:
		return Identity{}, Attempt{}, fmt.Errorf("%w: sign-in link: %w", ErrUnavailable, err)
	case !within(a.now(), s.Until, signInLife):
		return Identity{}, Attempt{}, ErrNoLink
	}
	try := Attempt{Login: s.Login, Remote: remote, Protocol: ProtocolWeb, by: policy.Actor{Role: s.Role, Name: s.Name}.String(), to: s.Archive, link: hex.EncodeToString(key)}
	login, err := policy.ParseAddress(s.Login)
	if err != nil {
		return Identity{}, Attempt{}, ErrNoLink
	}
	m, err := a.options.Policy.Mailbox(ctx, login)
	switch {
	case err != nil:
		return Identity{}, Attempt{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	case m.Archive != s.Archive: // Login would say so in other words
		return Identity{}, Attempt{}, ErrNoLink
	}
	if ok, err := a.stillBy(ctx, try.by, login); err != nil || !ok {
		return Identity{}, Attempt{}, errors.Join(err, ErrNoLink)
	}
	id, err := a.Login(ctx, try)
	return id, try, err
}

// stillBy reports whether what signed somebody in may still do so: a token must be there, and write. It is true of everything else.
func (a *Authenticator) stillBy(ctx context.Context, by string, login policy.Address) (bool, error) {
	name, ok := strings.CutPrefix(by, string(policy.RoleToken)+" ")
	if !ok {
		return true, nil
	}
	g, err := a.Grant(ctx, name)
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return g.Write && g.Domain == login.Domain, nil
}

// Confined reports whether somebody else signed the person in, by a link. Then nothing but the own mailbox is open: whoever may sign in the owners of one
// domain must get no further by what these are elsewhere.
func (id Identity) Confined() bool { return id.By != "" && id.By != ByMaster }
