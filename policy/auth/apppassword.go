package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"copialettere/journal/kv"
	"copialettere/policy"
)

// Errors of app passwords. They are wrapped with what was being done.
var (
	// ErrName means that an app password cannot have such a name. The error that wraps it says why.
	ErrName = errors.New("not a name for an app password")
	// ErrNoAppPassword means that a mailbox has no app password of that name.
	ErrNoAppPassword = errors.New("no such app password")
)

// KeyAppPassword is the key under which the log of a mailbox tells of app passwords that were made and revoked: before and after have the name.
const KeyAppPassword = "app-password"

const (
	maxAppPasswords = 20
	maxAppName      = 60 // bytes
	// An app password is 140 random bits, in 28 characters that cannot be mistaken for each other, in groups of four.
	appAlphabet = "abcdefghijkmnpqrstuvwxyz23456789"
	appBytes    = 20 // make 32 characters, of which appLength are taken
	appLength   = 28
	appGroup    = 4
)

// AppPassword is a password that was made for one program. Others script against its names.
type AppPassword struct {
	Name    string    `json:"name"`
	Created time.Time `json:"created,omitzero"` // UTC
	Who     string    `json:"who,omitempty"`    // who had it made
	Used    time.Time `json:"used,omitzero"`    // the day of its last use, UTC; absent if it was never used
}

// credentials is the stored object of a login.
type credentials struct {
	AppPasswords []storedAppPassword `json:"app_passwords,omitempty"`
	SecondFactor *storedSecondFactor `json:"second_factor,omitempty"`
}

// storedAppPassword has the SHA-256 of an app password, which is random and long enough for that, as it is shown and without the hyphens.
type storedAppPassword struct {
	AppPassword
	Shown []byte `json:"shown"`
	Bare  []byte `json:"bare"`
}

func credentialsKey(archive string) []byte { return []byte("ic" + archive) }

func decodeCredentials(b []byte, err error) (c credentials, _ error) {
	if errors.Is(err, kv.ErrNotFound) {
		return c, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	return c, err
}

func (c credentials) put(tx kv.Tx, archive string) error {
	if !c.SecondFactor.on() && (c.SecondFactor == nil || c.SecondFactor.Waiting == nil) {
		c.SecondFactor = nil
	}
	if len(c.AppPasswords) == 0 && c.SecondFactor == nil {
		tx.Delete(credentialsKey(archive))
		return nil
	}
	value, err := json.Marshal(c)
	if err == nil {
		tx.Put(credentialsKey(archive), value)
	}
	return err
}

func (c credentials) index(name string) int {
	return slices.IndexFunc(c.AppPasswords, func(one storedAppPassword) bool { return one.Name == name })
}

// match returns the app password that was typed, as it was shown or with other or no hyphens, blanks and capitals. It takes as long whichever it is.
func (c credentials) match(typed string) (app storedAppPassword, ok bool) {
	bare := sha256.Sum256([]byte(bareAppPassword(typed)))
	for _, one := range c.AppPasswords {
		if subtle.ConstantTimeCompare(one.Bare, bare[:]) == 1 {
			app, ok = one, true
		}
	}
	return app, ok
}

// has reports whether an app password is there, by its SHA-256.
func (c credentials) has(bare string) bool {
	return slices.ContainsFunc(c.AppPasswords, func(one storedAppPassword) bool { return string(one.Bare) == bare })
}

// bareAppPassword returns what was typed in lower case, without hyphens and blanks.
func bareAppPassword(typed string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || unicode.IsSpace(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, typed)
}

// newAppPassword returns a new app password as it is shown.
func newAppPassword() string {
	random := make([]byte, appBytes)
	rand.Read(random)
	text := base32.NewEncoding(appAlphabet).EncodeToString(random)[:appLength]
	var groups []string
	for group := range slices.Chunk([]byte(text), appGroup) {
		groups = append(groups, string(group))
	}
	return strings.Join(groups, "-")
}

// AddAppPassword makes a password by which one program can sign in to a mailbox, and returns it; it cannot be shown again. That goes on record. The
// name tells programs apart. Whoever calls it answers for the right to do so. The error wraps ErrName.
func (a *Authenticator) AddAppPassword(ctx context.Context, who policy.Actor, mailbox policy.Address, name string) (password string, err error) {
	fail := func(why string) (string, error) {
		return "", fmt.Errorf("make app password %.100q of %s: %w: %s", name, mailbox, ErrName, why)
	}
	switch {
	case name == "" || name != strings.TrimSpace(name) || len(name) > maxAppName:
		return fail(fmt.Sprintf("want from 1 to %d bytes, without blanks around", maxAppName))
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return fail("it has control characters, or is not UTF-8")
	}
	if err := a.signsIn(mailbox); err != nil {
		return "", fmt.Errorf("make app password %.100q of %s: %w", name, mailbox, err)
	}
	password = newAppPassword()
	shown, bare := sha256.Sum256([]byte(password)), sha256.Sum256([]byte(bareAppPassword(password)))
	err = a.note(ctx, who, mailbox, KeyAppPassword, func(tx kv.Tx, archive string, now time.Time) (before, after string, err error) {
		c, err := decodeCredentials(tx.Get(credentialsKey(archive)))
		switch {
		case err != nil:
			return "", "", err
		case c.index(name) >= 0:
			return "", "", fmt.Errorf("%w: there is one of that name: revoke it first", ErrName)
		case len(c.AppPasswords) >= maxAppPasswords:
			return "", "", fmt.Errorf("%w: there are %d already: revoke one that is not used", ErrName, maxAppPasswords)
		}
		c.AppPasswords = append(c.AppPasswords, storedAppPassword{AppPassword{Name: name, Created: now, Who: who.String()}, shown[:], bare[:]})
		return "", name, c.put(tx, archive)
	})
	if err != nil {
		return "", fmt.Errorf("make app password %q of %s: %w", name, mailbox, err)
	}
	return password, nil
}

// RevokeAppPassword ends an app password, and puts that on record. Whoever calls it answers for the right to do so. The error wraps ErrNoAppPassword.
func (a *Authenticator) RevokeAppPassword(ctx context.Context, who policy.Actor, mailbox policy.Address, name string) error {
	err := a.note(ctx, who, mailbox, KeyAppPassword, func(tx kv.Tx, archive string, _ time.Time) (before, after string, err error) {
		c, err := decodeCredentials(tx.Get(credentialsKey(archive)))
		if err != nil {
			return "", "", err
		}
		i := c.index(name)
		if i < 0 {
			return "", "", ErrNoAppPassword
		}
		c.AppPasswords = slices.Delete(c.AppPasswords, i, i+1)
		return name, "", c.put(tx, archive)
	})
	if err != nil {
		return fmt.Errorf("revoke app password %.100q of %s: %w", name, mailbox, err)
	}
	return nil
}

// AppPasswords returns the app passwords of a mailbox, oldest first.
func (a *Authenticator) AppPasswords(ctx context.Context, mailbox policy.Address) ([]AppPassword, error) {
	c, _, err := a.credentials(ctx, mailbox)
	if err != nil {
		return nil, err
	}
	var list []AppPassword
	for _, one := range c.AppPasswords {
		list = append(list, one.AppPassword)
	}
	return list, nil
}

// credentials returns what is stored of a login, with the name of its archive.
func (a *Authenticator) credentials(ctx context.Context, login policy.Address) (c credentials, archive string, err error) {
	m, err := a.options.Policy.Mailbox(ctx, login)
	if err != nil {
		return c, "", err
	}
	c, err = decodeCredentials(a.options.Settings.Get(ctx, credentialsKey(m.Archive)))
	if err != nil {
		err = fmt.Errorf("credentials of %s: %w", login, err)
	}
	return c, m.Archive, err
}

// byAppPassword reports whether an app password was typed, and which. Pages do not take them.
func (a *Authenticator) byAppPassword(ctx context.Context, login policy.Address, try Attempt) (app storedAppPassword, ok bool, err error) {
	if login.Domain == "" || try.Protocol == ProtocolWeb || a.options.Source.Kind == SourceNone {
		return app, false, nil
	}
	c, archive, err := a.credentials(ctx, login)
	if err != nil {
		return app, false, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if app, ok = c.match(try.Password); ok {
		a.used(ctx, archive, c, app.Name)
	}
	return app, ok, nil
}

// used notes the day on which an app password was used. A fault does not keep anybody out.
func (a *Authenticator) used(ctx context.Context, archive string, c credentials, name string) {
	today := time.Now().UTC().Truncate(24 * time.Hour)
	if c.AppPasswords[c.index(name)].Used.Equal(today) {
		return
	}
	err := a.options.Settings.Update(ctx, []string{policy.SettingsLock(archive)}, func(tx kv.Tx) error {
		c, err := decodeCredentials(tx.Get(credentialsKey(archive)))
		if err != nil {
			return err
		}
		if i := c.index(name); i >= 0 {
			c.AppPasswords[i].Used = today
		}
		return c.put(tx, archive)
	})
	if err != nil {
		a.options.Logger.Warn("the last use of an app password was not noted", "error", err)
	}
}
