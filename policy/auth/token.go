package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"copialettere/journal/kv"
	"copialettere/policy"
)

// Errors of tokens. They are wrapped with what was being done.
var (
	// ErrToken means that there cannot be such a token. The error that wraps it says why.
	ErrToken = errors.New("not a token")
	// ErrNoToken means that there is no token of that name.
	ErrNoToken = errors.New("no such token")
)

// Scope is how much a token may do.
type Scope string

// The scopes.
const (
	ScopeRead  Scope = "read"  // look into the mailboxes of its domain, and read their messages
	ScopeWrite Scope = "write" // change them too
)

const (
	maxTokens    = 10_000
	maxTokenName = 60 // bytes
	// tokenPrefix tells people, and programs that look for secrets in the wrong place, what they have found.
	tokenPrefix = "copialettere-"
	tokenBytes  = 32 // random
	tokensLock  = "tokens"
	// usedEvery is how exactly the last use of a token is known.
	usedEvery = time.Hour
)

// Token is the key of a program of the provider to the mailboxes of one domain. Others script against its names.
type Token struct {
	Name    string    `json:"name"`
	Domain  string    `json:"domain"`
	Scope   Scope     `json:"scope"`
	Created time.Time `json:"created,omitzero"` // UTC
	Who     string    `json:"who,omitempty"`    // who had it made
	Until   time.Time `json:"until,omitzero"`   // UTC; absent if it does not end by itself
	Used    time.Time `json:"used,omitzero"`    // the hour of its last use, UTC; absent if it was never used
}

// storedToken is the stored object of a token.
type storedToken struct {
	Token
	SHA256 []byte `json:"sha256"`
}

func tokenKey(name string) []byte    { return []byte("it" + name) }
func bearerKey(sha256 []byte) []byte { return append([]byte("ib"), sha256...) }

// decodeToken returns a stored token. The error wraps ErrNoToken if there is none.
func decodeToken(b []byte, err error) (t storedToken, _ error) {
	if errors.Is(err, kv.ErrNotFound) {
		return t, ErrNoToken
	}
	if err == nil {
		err = json.Unmarshal(b, &t)
	}
	return t, err
}

func (t storedToken) put(tx kv.Tx) error {
	value, err := json.Marshal(t)
	if err == nil {
		tx.Put(tokenKey(t.Name), value)
		tx.Put(bearerKey(t.SHA256), []byte(t.Name))
	}
	return err
}

// ended reports whether a token has ended by itself.
func (t *Token) ended(now time.Time) bool { return !t.Until.IsZero() && !now.Before(t.Until) }

// check returns why there cannot be such a token, wrapped in ErrToken; nil if there can.
func (a *Authenticator) check(t Token) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrToken}, args...)...)
	}
	switch {
	case t.Name == "" || t.Name != strings.TrimSpace(t.Name) || len(t.Name) > maxTokenName:
		return bad("name: want from 1 to %d bytes, without blanks around", maxTokenName)
	case !utf8.ValidString(t.Name) || strings.ContainsFunc(t.Name, unicode.IsControl):
		return bad("name: it has control characters, or is not UTF-8")
	case t.Scope != ScopeRead && t.Scope != ScopeWrite:
		return bad("scope %.100q: want %s or %s", t.Scope, ScopeRead, ScopeWrite)
	case !a.options.Policy.HasDomain(t.Domain):
		return bad("domain %.100q: the configuration has no such [[domain]]", t.Domain)
	case t.ended(a.now()):
		return bad("until: the time is past")
	}
	return nil
}

// AddToken makes a token with a name, a domain and a scope, and an end if it has one, and returns it with the secret, which cannot be shown again.
// Whoever calls it answers for the right to do so. The error wraps ErrToken.
func (a *Authenticator) AddToken(ctx context.Context, who policy.Actor, t Token) (made Token, bearer string, err error) {
	failed := func(err error) (Token, string, error) {
		return Token{}, "", fmt.Errorf("make token %.100q: %w", t.Name, err)
	}
	if canonical, err := policy.CanonicalDomain(t.Domain); err == nil {
		t.Domain = canonical
	}
	if err := a.check(t); err != nil {
		return failed(err)
	}
	random := make([]byte, tokenBytes)
	rand.Read(random)
	bearer = tokenPrefix + base64.RawURLEncoding.EncodeToString(random)
	sum := sha256.Sum256([]byte(bearer))
	t.Created, t.Who, t.Until, t.Used = a.now().UTC().Truncate(time.Second), who.String(), t.Until.UTC().Truncate(time.Second), time.Time{}
	err = a.options.Settings.Update(ctx, []string{tokensLock}, func(tx kv.Tx) error {
		number := 0
		for _, err := range a.options.Settings.Scan(ctx, tokenKey(""), []byte("iu")) {
			if number++; err != nil {
				return err
			}
		}
		_, err := decodeToken(tx.Get(tokenKey(t.Name)))
		switch {
		case err == nil:
			return fmt.Errorf("%w: there is one of that name: revoke it first", ErrToken)
		case !errors.Is(err, ErrNoToken):
			return err
		case number >= maxTokens:
			return fmt.Errorf("%w: there are %d already: revoke one that is not used", ErrToken, maxTokens)
		}
		return storedToken{t, sum[:]}.put(tx)
	})
	if err != nil {
		return failed(err)
	}
	a.options.Logger.Info("token made", "token", t.Name, "domain", t.Domain, "scope", t.Scope, "by", who.String())
	return t, bearer, nil
}

// RevokeToken ends a token at once, with the sessions of owners whom it has signed in. Whoever calls it answers for the right to do so. The error wraps ErrNoToken.
func (a *Authenticator) RevokeToken(ctx context.Context, who policy.Actor, name string) error {
	err := a.options.Settings.Update(ctx, []string{sessionLock, signInLock, tokensLock}, func(tx kv.Tx) error {
		t, err := decodeToken(tx.Get(tokenKey(name)))
		if err != nil {
			return err
		}
		tx.Delete(tokenKey(name))
		tx.Delete(bearerKey(t.SHA256))
		// Another token may have the name later.
		by := policy.Actor{Role: policy.RoleToken, Name: name}
		sessions, err := a.sessions(ctx)
		for _, s := range sessions {
			if s.By == by.String() {
				tx.Delete(s.key)
			}
		}
		_, linksErr := a.forgetSignIns(ctx, tx, func(s storedSignIn) bool { return s.Role == by.Role && s.Name == by.Name })
		return errors.Join(err, linksErr)
	})
	if err != nil {
		return fmt.Errorf("revoke token %.100q: %w", name, err)
	}
	a.options.Logger.Info("token revoked", "token", name, "by", who.String())
	return nil
}

// Tokens returns all tokens, by domain and name. Those that have ended by themselves stay until they are revoked.
func (a *Authenticator) Tokens(ctx context.Context) (list []Token, err error) {
	if a == nil {
		return nil, nil
	}
	for pair, err := range a.options.Settings.Scan(ctx, tokenKey(""), []byte("iu")) {
		t, err := decodeToken(pair.Value, err)
		if err != nil {
			return nil, fmt.Errorf("tokens: %w", err)
		}
		list = append(list, t.Token)
	}
	slices.SortFunc(list, func(a, b Token) int {
		return strings.Compare(a.Domain+"\x00"+a.Name, b.Domain+"\x00"+b.Name)
	})
	return list, nil
}

// Token returns as whom the program acts that sends a token, without "Bearer " before it. The error wraps ErrDenied or ErrUnavailable.
func (a *Authenticator) Token(ctx context.Context, bearer string) (policy.Actor, error) {
	random, ok := strings.CutPrefix(bearer, tokenPrefix)
	if a == nil || !ok || len(random) != base64.RawURLEncoding.EncodedLen(tokenBytes) {
		return policy.Actor{}, ErrDenied
	}
	sum := sha256.Sum256([]byte(bearer))
	name, err := a.options.Settings.Get(ctx, bearerKey(sum[:]))
	if errors.Is(err, kv.ErrNotFound) {
		return policy.Actor{}, ErrDenied
	}
	var t storedToken
	if err == nil {
		t, err = decodeToken(a.options.Settings.Get(ctx, tokenKey(string(name))))
	}
	switch {
	case errors.Is(err, ErrNoToken): // revoked since
		return policy.Actor{}, ErrDenied
	case err != nil:
		return policy.Actor{}, fmt.Errorf("%w: token: %w", ErrUnavailable, err)
	case string(t.SHA256) != string(sum[:]) || t.ended(a.now()):
		return policy.Actor{}, ErrDenied
	}
	a.usedToken(ctx, t)
	return policy.Actor{Role: policy.RoleToken, Name: t.Name}, nil
}

// usedToken notes the hour in which a token was used. A fault keeps nobody out.
func (a *Authenticator) usedToken(ctx context.Context, t storedToken) {
	hour := a.now().UTC().Truncate(usedEvery)
	if t.Used.Equal(hour) {
		return
	}
	err := a.options.Settings.Update(ctx, []string{tokensLock}, func(tx kv.Tx) error {
		now, err := decodeToken(tx.Get(tokenKey(t.Name)))
		if errors.Is(err, ErrNoToken) || err == nil && string(now.SHA256) != string(t.SHA256) {
			return nil // revoked since, and it stays so
		}
		if err != nil {
			return err
		}
		now.Used = hour
		return now.put(tx)
	})
	if err != nil {
		a.options.Logger.Warn("the last use of a token was not noted", "error", err)
	}
}

// Grant returns what the token of a name may do now; nothing if there is none, or it has ended.
func (a *Authenticator) Grant(ctx context.Context, name string) (policy.Token, error) {
	if a == nil {
		return policy.Token{}, nil
	}
	t, err := decodeToken(a.options.Settings.Get(ctx, tokenKey(name)))
	switch {
	case errors.Is(err, ErrNoToken), err == nil && t.ended(a.now()):
		return policy.Token{}, nil
	case err != nil:
		return policy.Token{}, fmt.Errorf("token %.100q: %w", name, err)
	}
	return policy.Token{Domain: t.Domain, Write: t.Scope == ScopeWrite}, nil
}

// Reads puts on record that somebody reads the messages of a mailbox who has not signed in to it: a token, or a delegate on the pages. It is written at
// once for the first time within readsWithin, and once more with the number of times. Remote is the address of the client; the zero Addr if it is unknown.
func (a *Authenticator) Reads(ctx context.Context, who policy.Actor, mailbox policy.Address, remote netip.Addr) error {
	if a == nil {
		return nil
	}
	m, err := a.options.Policy.Mailbox(ctx, mailbox)
	if err != nil {
		return err
	}
	one := Access{Time: time.Now(), Login: who.Name, Role: who.Role, Protocol: ProtocolAPI, Result: ResultOK}
	if who.Role == policy.RoleDelegate {
		one.Protocol = ProtocolWeb
	}
	if remote.IsValid() {
		one.Address = remote.Unmap().WithZone("").String()
	}
	a.access.add(m.Archive, one)
	return nil
}
