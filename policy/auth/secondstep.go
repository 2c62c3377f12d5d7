package auth

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"sync"
	"time"
)

// stepLife is how long a page may wait for the code of a second factor.
const stepLife = 5 * time.Minute

// secondStep is what a page keeps of a try to sign in while it asks for the code.
type secondStep struct {
	Login, Password string
	By, To, Link    string // in place of the password: who made the link, the archive that it is for, and its key
	Until           time.Time
}

// newStepSeal returns what seals second steps, under a key that ends with the process.
func newStepSeal() cipher.AEAD {
	key := make([]byte, 32)
	rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // a key of 32 bytes does
	}
	seal, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // so does a block of AES
	}
	return seal
}

// SealStep returns a try to sign in as a page can keep it while it asks for a code, unreadable to everybody else. It does for five minutes and in this
// process only, and says nothing yet of whether the password is right: Login is to be called again with the code.
func (a *Authenticator) SealStep(try Attempt) (string, error) {
	text, err := json.Marshal(secondStep{try.Login, try.Password, try.by, try.to, try.link, a.now().Add(stepLife)})
	if err != nil {
		return "", fmt.Errorf("keep a try to sign in: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(a.steps.Seal(nil, nil, text, nil)), nil
}

// OpenStep returns the try that SealStep was given: as far as Login needs it, without the address of the client. The error wraps ErrDenied for anything
// else, and after five minutes.
func (a *Authenticator) OpenStep(sealed string) (Attempt, error) {
	if a == nil {
		return Attempt{}, ErrDenied
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(sealed)
	if err == nil {
		b, err = a.steps.Open(nil, nil, b, nil)
	}
	var step secondStep
	if err == nil {
		err = json.Unmarshal(b, &step)
	}
	if err != nil || !within(a.now(), step.Until, stepLife) {
		return Attempt{}, fmt.Errorf("%w: the page was open for too long", ErrDenied)
	}
	return Attempt{Login: step.Login, Password: step.Password, by: step.By, to: step.To, link: step.Link, Protocol: ProtocolWeb}, nil
}

// spentLinks are the links that have let somebody in, until no second step of theirs can come any more. Steps end with the process, and so may these.
type spentLinks struct {
	mu    sync.Mutex
	until map[string]time.Time // by key; guarded by mu
}

// add notes that a link lets somebody in. It reports false if it has done so already.
func (s *spentLinks) add(key string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, spent := s.until[key]; spent {
		return false
	}
	maps.DeleteFunc(s.until, func(_ string, until time.Time) bool { return !within(now, until, 2*stepLife) })
	if s.until == nil {
		s.until = make(map[string]time.Time)
	}
	s.until[key] = now.Add(2 * stepLife)
	return true
}
