package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"copialettere/journal/kv"
	"copialettere/policy"
	"copialettere/policy/notice"
)

// Errors of the second factor.
var (
	// ErrSecondFactor means that the password is right and does not suffice: pages want a code besides (Attempt.Code), and mail programs an app
	// password, which the error, a *Refusal, then says.
	ErrSecondFactor = errors.New("a second factor is wanted")
	// ErrCode means that a code is wrong, or was used before.
	ErrCode = errors.New("wrong code, or one that was used before")
	// ErrNoSecondFactor means that the second factor is not on, or that nothing waits to be confirmed.
	ErrNoSecondFactor = errors.New("no second factor")
)

// The keys under which the log of a mailbox tells of its second factor. Before and after are "on" or "off", or how many recovery codes there are.
const (
	KeySecondFactor  = "second-factor"
	KeyRecoveryCodes = "recovery-codes"
)

const (
	recoveryCodes  = 10
	recoveryLength = 12 // characters of appAlphabet: 60 random bits
	recoveryFew    = 3  // a login by recovery code that leaves no more than these says so
	// waitingFor is how long a secret waits for the code that confirms it.
	waitingFor = time.Hour
)

// SecondFactor is the state of the second factor of a login. Others script against its names.
type SecondFactor struct {
	On bool `json:"on"`
	// Required says that the domain asks for it: until it is on, pages show little more than how to set it up.
	Required bool       `json:"required,omitempty"`
	Since    *time.Time `json:"since,omitempty"`   // when it was turned on, UTC
	Waiting  *time.Time `json:"waiting,omitempty"` // until when a new secret can be confirmed, UTC; absent where none waits
	// RecoveryCodes is how many are left.
	RecoveryCodes int `json:"recovery_codes"`
}

// Secret is a new secret of a second factor. It is shown once, and in force when a code confirms it.
type Secret struct {
	Text  string    `json:"secret"` // in base32, to be typed into an app
	URI   string    `json:"uri"`    // otpauth://totp/..., as an app reads it from a QR code
	Until time.Time `json:"until"`  // until when it can be confirmed, UTC
}

// Warning says that few recovery codes are left, after a login by one of them; otherwise it is empty.
func (id Identity) Warning() policy.Label {
	if id.SecondFactor != FactorRecovery || id.RecoveryCodes > recoveryFew {
		return policy.Label{}
	}
	return policy.Label{
		Italian: fmt.Sprintf("Codici di recupero rimasti: %d. Attivare di nuovo il secondo fattore ne crea altri.", id.RecoveryCodes),
		English: fmt.Sprintf("Recovery codes left: %d. Turning the second factor on again makes new ones.", id.RecoveryCodes),
	}
}

// storedSecondFactor is what is stored of the second factor of a login.
type storedSecondFactor struct {
	Secret   []byte         `json:"secret,omitempty"` // absent where it is off
	Since    time.Time      `json:"since,omitzero"`
	Step     int64          `json:"step,omitempty"`     // of the newest code that was taken
	Recovery [][]byte       `json:"recovery,omitempty"` // SHA-256 of the codes that are left
	Waiting  *waitingSecret `json:"waiting,omitempty"`
}

type waitingSecret struct {
	Secret []byte    `json:"secret"`
	Until  time.Time `json:"until"`
}

func (s *storedSecondFactor) on() bool { return s != nil && len(s.Secret) > 0 }

// waits returns the secret that waits for its confirmation, nil where none does.
func (s *storedSecondFactor) waits(now time.Time) *waitingSecret {
	if s == nil || s.Waiting == nil || !now.Before(s.Waiting.Until) {
		return nil
	}
	return s.Waiting
}

// take uses a code up: that of a step, or a recovery code. It reports false if the code is wrong, or no newer than the newest that was taken.
func (s *storedSecondFactor) take(typed string, now time.Time) (recovery, ok bool) {
	typed = bareAppPassword(typed)
	if step, right := totpMatch(s.Secret, typed, now); right {
		if step <= s.Step {
			return false, false
		}
		s.Step = step
		return false, true
	}
	sum := sha256.Sum256([]byte(typed))
	left := make([][]byte, 0, len(s.Recovery))
	for _, one := range s.Recovery {
		if subtle.ConstantTimeCompare(one, sum[:]) == 1 {
			ok = true
			continue
		}
		left = append(left, one)
	}
	s.Recovery = left
	return ok, ok
}

// newRecoveryCodes returns new codes as they are shown, and what is stored of them.
func newRecoveryCodes() (shown []string, stored [][]byte) {
	for range recoveryCodes {
		random := make([]byte, 10)
		rand.Read(random)
		text := base32.NewEncoding(appAlphabet).EncodeToString(random)[:recoveryLength]
		sum := sha256.Sum256([]byte(text))
		shown, stored = append(shown, text[:4]+"-"+text[4:8]+"-"+text[8:]), append(stored, sum[:])
	}
	return shown, stored
}

// SecondFactor returns the state of the second factor of a login, which need not be a mailbox.
func (a *Authenticator) SecondFactor(ctx context.Context, login policy.Address) (SecondFactor, error) {
	if a == nil {
		return SecondFactor{}, nil
	}
	c, _, err := a.credentials(ctx, login)
	if err != nil {
		return SecondFactor{}, err
	}
	s := SecondFactor{Required: a.options.Policy.RequiresSecondFactor(login)}
	if w := c.SecondFactor.waits(a.now()); w != nil {
		s.Waiting = &w.Until
	}
	if c.SecondFactor.on() {
		s.On, s.Since, s.RecoveryCodes = true, &c.SecondFactor.Since, len(c.SecondFactor.Recovery)
	}
	return s, nil
}

// NeedsAppPassword reports whether mail programs must use an app password: the second factor of the login is on, or its domain asks for one.
func (a *Authenticator) NeedsAppPassword(ctx context.Context, login policy.Address) (bool, error) {
	s, err := a.SecondFactor(ctx, login)
	return s.On || s.Required, err
}

// AllNeedAppPassword yields the logins of which NeedsAppPassword is true, in no order: those whose second factor is on, and all mailboxes that were
// ever set up in a domain that asks for it. No login comes twice, and no name of a closed mailbox comes.
func (a *Authenticator) AllNeedAppPassword(ctx context.Context) iter.Seq2[policy.Address, error] {
	return func(yield func(policy.Address, error) bool) {
		for pair, err := range a.options.Settings.Scan(ctx, credentialsKey(""), []byte("id")) {
			c, err := decodeCredentials(pair.Value, err)
			if err == nil && !c.SecondFactor.on() {
				continue
			}
			var m policy.Mailbox
			var follows bool // among the mailboxes of domains that ask for it
			if err == nil {
				m, err = a.options.Policy.MailboxOf(ctx, string(pair.Key[len(credentialsKey("")):]))
			}
			if err == nil && a.options.Policy.RequiresSecondFactor(m.Address) {
				_, follows, err = a.options.Policy.Known(ctx, m.Address)
			}
			switch {
			case err != nil:
				yield(policy.Address{}, err)
				return
			case m.Address.Closed != "" || follows:
			case !yield(m.Address, nil):
				return
			}
		}
		if !a.options.Policy.AnyRequiresSecondFactor() {
			return
		}
		for m, err := range a.options.Policy.AllSwitches(ctx) {
			if err == nil && (m.Address.Closed != "" || !a.options.Policy.RequiresSecondFactor(m.Address)) {
				continue
			}
			if !yield(m.Address, err) || err != nil {
				return
			}
		}
	}
}

// BeginSecondFactor makes a new secret, which is in force once ConfirmSecondFactor has had a code of it. One that is in force stays until then, so
// that a phone can be replaced; an owner must then give a code of it, or a recovery code. Whoever calls it answers for the right to do so.
func (a *Authenticator) BeginSecondFactor(ctx context.Context, who policy.Actor, login policy.Address, code string) (Secret, error) {
	if err := a.signsIn(login); err != nil {
		return Secret{}, fmt.Errorf("second factor of %s: %w", login, err)
	}
	secret := newTOTPSecret()
	made := Secret{Text: totpText(secret), URI: totpURI(login, secret)}
	err := a.changeSecondFactor(ctx, who, login, code, func(s *storedSecondFactor, now time.Time) (before, after string, err error) {
		made.Until = now.Add(waitingFor)
		s.Waiting = &waitingSecret{secret, made.Until}
		return "", "", s.ownerKnows(who, code, now)
	})
	if err != nil {
		return Secret{}, fmt.Errorf("second factor of %s: %w", login, err)
	}
	return made, nil
}

// ConfirmSecondFactor puts the secret that waits in force, with a code of it, and returns recovery codes that cannot be shown again. The codes of
// before are void. Whoever calls it answers for the right to do so. The error wraps ErrCode or ErrNoSecondFactor.
func (a *Authenticator) ConfirmSecondFactor(ctx context.Context, who policy.Actor, login policy.Address, code string) (recovery []string, err error) {
	shown, stored := newRecoveryCodes()
	err = a.changeSecondFactor(ctx, who, login, code, func(s *storedSecondFactor, now time.Time) (before, after string, err error) {
		waiting := s.waits(now)
		if waiting == nil {
			return "", "", fmt.Errorf("%w waits to be confirmed: begin again", ErrNoSecondFactor)
		}
		next := storedSecondFactor{Secret: waiting.Secret, Since: now, Recovery: stored}
		if recovery, ok := next.take(code, now); !ok || recovery {
			return "", "", ErrCode
		}
		before, after = "off", "on"
		if s.on() {
			before, after = "on", "renewed"
		}
		*s = next
		return before, after, nil
	})
	if err != nil {
		return nil, fmt.Errorf("second factor of %s: %w", login, err)
	}
	return shown, nil
}

// EndSecondFactor turns the second factor off. An owner must give a code, or a recovery code; others act for somebody who has lost the phone. Whoever
// calls it answers for the right to do so. The error wraps ErrCode or ErrNoSecondFactor.
func (a *Authenticator) EndSecondFactor(ctx context.Context, who policy.Actor, login policy.Address, code string) error {
	err := a.changeSecondFactor(ctx, who, login, code, func(s *storedSecondFactor, now time.Time) (before, after string, err error) {
		if !s.on() {
			return "", "", fmt.Errorf("%w is on", ErrNoSecondFactor)
		}
		if err := s.ownerKnows(who, code, now); err != nil {
			return "", "", err
		}
		*s = storedSecondFactor{}
		return "on", "off", nil
	})
	if err != nil {
		return fmt.Errorf("second factor of %s: %w", login, err)
	}
	return nil
}

// ownerKnows uses up a code of the second factor that is on. Owners have to give one, for a page that was left open must not suffice, and tokens, which
// could sign in for an owner otherwise.
func (s *storedSecondFactor) ownerKnows(who policy.Actor, code string, now time.Time) error {
	if who.Role != policy.RoleOwner && who.Role != policy.RoleToken || !s.on() {
		return nil
	}
	if _, ok := s.take(code, now); !ok {
		return ErrCode
	}
	return nil
}

// guarded holds up those who guess codes, outside of a login.
func (a *Authenticator) guarded(ctx context.Context, login policy.Address, code string, f func() error) error {
	if code == "" {
		return f()
	}
	trial, wait, err := a.throttle.begin(ctx, "code of "+login.String(), Attempt{Code: code})
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	case wait > 0:
		return a.tooMany(ctx, login, wait)
	}
	err = f()
	trial.end(err == nil, errors.Is(err, ErrCode))
	return err
}

// changeSecondFactor makes a change of a second factor in one Update, with the values that go on record. After an error nothing is changed. The code
// is what f will look at; where one is given, guessing is held up.
func (a *Authenticator) changeSecondFactor(
	ctx context.Context, who policy.Actor, login policy.Address, code string,
	f func(s *storedSecondFactor, now time.Time) (before, after string, err error),
) error {
	change := func(tx kv.Tx, archive string, _ time.Time) (before, after string, err error) {
		c, err := decodeCredentials(tx.Get(credentialsKey(archive)))
		if err != nil {
			return "", "", err
		}
		if c.SecondFactor == nil {
			c.SecondFactor = &storedSecondFactor{}
		}
		// Not the time of the log, which may lie ahead of the clock: codes go by the clock.
		if before, after, err = f(c.SecondFactor, a.now().UTC().Truncate(time.Second)); err != nil {
			return "", "", err
		}
		return before, after, c.put(tx, archive)
	}
	return a.guarded(ctx, login, code, func() error { return a.note(ctx, who, login, KeySecondFactor, change) })
}

// secondFactor asks for the second factor of somebody whose password for pages is right. Permitted refuses mail programs, which cannot give one.
func (a *Authenticator) secondFactor(ctx context.Context, try Attempt, id *Identity) error {
	c, archive, err := a.credentials(ctx, id.Login)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	switch {
	case !c.SecondFactor.on():
		id.SetUpSecondFactor = a.options.Policy.RequiresSecondFactor(id.Login)
		return nil
	case strings.TrimSpace(try.Code) == "":
		return ErrSecondFactor
	}
	return a.takeCode(ctx, try, archive, id)
}

// takeCode uses up a code, durably, before anybody is let in by it.
func (a *Authenticator) takeCode(ctx context.Context, try Attempt, archive string, id *Identity) error {
	var recovery bool
	var left int
	err := a.options.Settings.Update(ctx, []string{policy.SettingsLock(archive)}, func(tx kv.Tx) (err error) {
		c, err := decodeCredentials(tx.Get(credentialsKey(archive)))
		if err != nil {
			return err
		}
		if !c.SecondFactor.on() {
			return errMoved // it was turned off since
		}
		var ok bool
		if recovery, ok = c.SecondFactor.take(try.Code, a.now()); !ok {
			return ErrCode
		}
		left = len(c.SecondFactor.Recovery)
		return c.put(tx, archive)
	})
	switch {
	case errors.Is(err, ErrCode):
		return fmt.Errorf("%w: %w", ErrSecondFactor, ErrCode)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	id.SecondFactor = FactorCode
	if recovery {
		id.SecondFactor, id.RecoveryCodes = FactorRecovery, left
		a.recoveryUsed(ctx, archive, id.Login, left)
	}
	return nil
}

// errMoved means that what was read is no longer so.
var errMoved = errors.New("it has changed meanwhile")

// recoveryUsed puts on record that a recovery code was used, and tells the owner. A fault does not keep anybody out: the code is used up.
func (a *Authenticator) recoveryUsed(ctx context.Context, archive string, login policy.Address, left int) {
	err := a.options.Policy.Note(ctx, login, policy.Actor{Role: policy.RoleOwner, Name: login.String()}, KeyRecoveryCodes,
		func(kv.Tx, string, time.Time) (before, after string, err error) {
			return fmt.Sprint(left + 1), fmt.Sprint(left), nil
		})
	if err == nil {
		err = a.options.Notices.Queue(ctx, notice.OfSecurity(archive, notice.SecurityRecoveryCode, fmt.Sprint(left), time.Now()))
	}
	if err != nil {
		a.options.Logger.Error("a recovery code was used, and its owner is not told", "error", err)
	}
}
