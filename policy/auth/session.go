package auth

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"copialettere/journal/kv"
	"copialettere/policy"
)

// ErrNoSession means that a session has ended, or never was one. Nobody is told which.
var ErrNoSession = errors.New("no session")

const (
	sessionIdle  = 30 * time.Minute // without a request
	sessionLife  = 12 * time.Hour   // in all
	sessionSeen  = time.Minute      // how exactly it is known when a session was last used
	maxSessions  = 20               // of one login; more end the one that was not used for longest
	maxAgent     = 200              // bytes of the name of a browser
	sessionBytes = 32               // random
	sessionLock  = "sessions"
)

// Session is a browser in which somebody has signed in to the pages.
type Session struct {
	// Identity is who it is. Its mailbox is that of the login; ActorIn tells what somebody is in others.
	Identity
	ID     string     // names the session to its login. It does not open it
	Opened time.Time  // UTC
	Seen   time.Time  // when it was last used, exact to a minute, UTC
	Remote netip.Addr // from where it was opened; the zero Addr if unknown
	Agent  string     // what the browser says that it is
}

// storedSession is the stored object of a session.
type storedSession struct {
	Login   string    `json:"login"`
	Archive string    `json:"archive"` // that the login led to. Whoever gets the address later is somebody else
	Opened  time.Time `json:"opened"`
	Seen    time.Time `json:"seen"`
	Remote  string    `json:"remote,omitempty"`
	Agent   string    `json:"agent,omitempty"`
	// Mark changes with the password, where the source knows; empty where it does not.
	Mark          string `json:"mark,omitempty"`
	By            string `json:"by,omitempty"`
	Factor        Factor `json:"factor,omitempty"`
	RecoveryCodes int    `json:"recovery_codes,omitempty"`
}

// over reports whether a session has ended by itself. A clock that was set back prolongs none.
func (s storedSession) over(now time.Time) bool {
	return !within(now, s.Seen.Add(sessionIdle), sessionIdle) || !within(now, s.Opened.Add(sessionLife), sessionLife)
}

func sessionKey(sum []byte) []byte { return append([]byte("is"), sum...) }

// keyOfSession returns the key of a session by its secret; nil for what is no secret.
func keyOfSession(secret string) []byte {
	b, err := base64.RawURLEncoding.Strict().DecodeString(secret)
	if err != nil || len(b) != sessionBytes {
		return nil
	}
	sum := sha256.Sum256(b)
	return sessionKey(sum[:])
}

// OpenSession opens a session for somebody who has signed in to the pages, and returns its secret, which a cookie keeps. Agent is what the browser says
// that it is.
func (a *Authenticator) OpenSession(ctx context.Context, id Identity, remote netip.Addr, agent string) (secret string, err error) {
	random := make([]byte, sessionBytes)
	rand.Read(random)
	secret = base64.RawURLEncoding.EncodeToString(random)
	now := a.now().UTC().Round(0)
	m, err := a.options.Policy.Mailbox(ctx, id.Login)
	if err != nil {
		return "", fmt.Errorf("open a session of %s: %w", id.Login, err)
	}
	mark, err := a.source.mark(id.Login)
	if err != nil {
		return "", fmt.Errorf("open a session of %s: %w: %w", id.Login, ErrUnavailable, err)
	}
	s := storedSession{
		Login: id.Login.String(), Archive: m.Archive, Opened: now, Seen: now, Agent: strings.ToValidUTF8(agent[:min(len(agent), maxAgent)], ""), Mark: mark,
		By: id.By, Factor: id.SecondFactor, RecoveryCodes: id.RecoveryCodes,
	}
	if remote.IsValid() {
		s.Remote = remote.Unmap().WithZone("").String()
	}
	value, err := json.Marshal(s)
	if err == nil {
		err = a.options.Settings.Update(ctx, []string{sessionLock}, func(tx kv.Tx) error {
			if err := a.makeRoomForSession(ctx, tx, s.Archive, now); err != nil {
				return err
			}
			tx.Put(keyOfSession(secret), value)
			return nil
		})
	}
	if err != nil {
		return "", fmt.Errorf("open a session of %s: %w", id.Login, err)
	}
	return secret, nil
}

// keptSession is a stored session with its key.
type keptSession struct {
	storedSession
	key []byte
}

// id names the session to its login.
func (s keptSession) id() string { return hex.EncodeToString(s.key[len(sessionKey(nil)):][:8]) }

// sessions returns all sessions that are stored, those that are over included.
func (a *Authenticator) sessions(ctx context.Context) (list []keptSession, err error) {
	for pair, err := range a.options.Settings.Scan(ctx, sessionKey(nil), []byte("it")) {
		if err != nil {
			return nil, err
		}
		s := keptSession{key: bytes.Clone(pair.Key)}
		if err := json.Unmarshal(pair.Value, &s.storedSession); err != nil {
			s.storedSession = storedSession{} // over since long
		}
		list = append(list, s)
	}
	return list, nil
}

// makeRoomForSession removes the sessions that are over, and of one login those over the limit.
func (a *Authenticator) makeRoomForSession(ctx context.Context, tx kv.Tx, archive string, now time.Time) error {
	list, err := a.sessions(ctx)
	if err != nil {
		return err
	}
	var mine []keptSession
	for _, s := range list {
		switch {
		case s.over(now):
			tx.Delete(s.key)
		case s.Archive == archive:
			mine = append(mine, s)
		}
	}
	slices.SortFunc(mine, func(a, b keptSession) int { return b.Seen.Compare(a.Seen) })
	for _, s := range mine[min(len(mine), maxSessions-1):] {
		tx.Delete(s.key)
	}
	return nil
}

// Session returns the session of a secret, and notes that it is used. A session ends after 30 minutes without a request, after 12 hours in all, when its
// address leads to another archive than before, with the password that it was opened by, as far as the source of passwords can tell, and with the token
// that has signed in its owner. The error then
// wraps ErrNoSession. It wraps ErrUnavailable if nothing could be found out.
func (a *Authenticator) Session(ctx context.Context, secret string) (Session, error) {
	key := keyOfSession(secret)
	if a == nil || key == nil {
		return Session{}, ErrNoSession
	}
	s, err := decodeSession(a.options.Settings.Get(ctx, key))
	if err == nil {
		err = a.goesOn(ctx, s)
	}
	if err != nil {
		return Session{}, err
	}
	now := a.now().UTC().Round(0)
	if now.Sub(s.Seen) >= sessionSeen {
		s.Seen = now
		if err := a.sawSession(ctx, key, now); err != nil {
			return Session{}, err
		}
	}
	return a.viewSession(ctx, keptSession{s, key})
}

func decodeSession(value []byte, err error) (s storedSession, _ error) {
	if errors.Is(err, kv.ErrNotFound) {
		return s, ErrNoSession
	}
	if err == nil {
		err = json.Unmarshal(value, &s)
	}
	if err != nil {
		return s, fmt.Errorf("%w: session: %w", ErrUnavailable, err)
	}
	return s, nil
}

// goesOn returns an error if a session has ended.
func (a *Authenticator) goesOn(ctx context.Context, s storedSession) error {
	login, err := policy.ParseAddress(s.Login)
	if err != nil || s.over(a.now()) {
		return ErrNoSession
	}
	m, err := a.options.Policy.Mailbox(ctx, login)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	mark, err := a.source.mark(login)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if m.Archive != s.Archive || mark != s.Mark {
		return ErrNoSession
	}
	if ok, err := a.stillBy(ctx, s.By, login); err != nil || !ok {
		return cmp.Or(err, ErrNoSession)
	}
	return nil
}

// sawSession notes that a session is used.
func (a *Authenticator) sawSession(ctx context.Context, key []byte, now time.Time) error {
	err := a.options.Settings.Update(ctx, []string{sessionLock}, func(tx kv.Tx) error {
		s, err := decodeSession(tx.Get(key))
		if err != nil || !now.After(s.Seen) {
			return err
		}
		s.Seen = now
		value, err := json.Marshal(s)
		if err == nil {
			tx.Put(key, value)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("note the use of a session: %w", err)
	}
	return nil
}

func (a *Authenticator) viewSession(ctx context.Context, s keptSession) (Session, error) {
	login, err := policy.ParseAddress(s.Login)
	if err != nil {
		return Session{}, ErrNoSession
	}
	factor, err := a.SecondFactor(ctx, login)
	if err != nil {
		return Session{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	v := Session{ID: s.id(), Opened: s.Opened, Seen: s.Seen, Agent: s.Agent}
	v.Identity = Identity{
		Login: login, Mailbox: login, Actor: policy.Actor{Role: policy.RoleOwner, Name: login.String()}, By: s.By, SecondFactor: s.Factor,
		RecoveryCodes: s.RecoveryCodes, SetUpSecondFactor: factor.Required && !factor.On,
	}
	if remote, err := netip.ParseAddr(s.Remote); err == nil {
		v.Remote = remote
	}
	return v, nil
}

// Sessions returns the sessions of a login that have not ended, that used last first.
func (a *Authenticator) Sessions(ctx context.Context, login policy.Address) ([]Session, error) {
	if a == nil {
		return nil, nil
	}
	kept, err := a.sessions(ctx)
	if err != nil {
		return nil, fmt.Errorf("sessions of %s: %w", login, err)
	}
	var list []Session
	for _, s := range kept {
		if s.Login != login.String() {
			continue
		}
		if err := a.goesOn(ctx, s.storedSession); errors.Is(err, ErrNoSession) {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("sessions of %s: %w", login, err)
		}
		v, err := a.viewSession(ctx, s)
		if err != nil {
			return nil, fmt.Errorf("sessions of %s: %w", login, err)
		}
		list = append(list, v)
	}
	slices.SortFunc(list, func(a, b Session) int { return b.Seen.Compare(a.Seen) })
	return list, nil
}

// EndSession ends the session of a secret, durably. One that has ended already is no error.
func (a *Authenticator) EndSession(ctx context.Context, secret string) error {
	key := keyOfSession(secret)
	if a == nil || key == nil {
		return nil
	}
	err := a.options.Settings.Update(ctx, []string{sessionLock}, func(tx kv.Tx) error { tx.Delete(key); return nil })
	if err != nil {
		return fmt.Errorf("end a session: %w", err)
	}
	return nil
}

// EndSessions ends the sessions of a login that a function chooses, durably. It returns how many they were.
func (a *Authenticator) EndSessions(ctx context.Context, login policy.Address, choose func(id string) bool) (ended int, err error) {
	if a == nil {
		return 0, nil
	}
	err = a.options.Settings.Update(ctx, []string{sessionLock}, func(tx kv.Tx) error {
		ended = 0
		list, err := a.sessions(ctx)
		for _, s := range list {
			if s.Login == login.String() && choose(s.id()) {
				tx.Delete(s.key)
				ended++
			}
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("end the sessions of %s: %w", login, err)
	}
	return ended, nil
}

// ActorIn returns as whom somebody who has signed in to the pages acts in a mailbox: as its owner, a delegate, a postmaster of its domain or an
// operator, the first that he is. The error wraps policy.ErrForbidden if he is none, and ErrUnavailable if nothing could be found out.
func (a *Authenticator) ActorIn(ctx context.Context, login, mailbox policy.Address) (policy.Actor, error) {
	who, err := a.actor(ctx, login, mailbox, ProtocolWeb)
	if errors.Is(err, ErrDenied) {
		err = fmt.Errorf("mailbox %s: %w for %s", mailbox, policy.ErrForbidden, login)
	}
	return who, err
}
