package auth

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// Bounds of the work that a stored hash may ask for. A login must not take the machine from delivery.
const (
	maxArgonMemory = 256 << 10 // KiB
	maxArgonWork   = 1 << 20   // KiB of memory, times passes
	maxBcryptCost  = 14
	maxCryptRounds = 1_000_000
)

// What newHash makes: the second parameters of RFC 9106 section 4 need 64 MiB for each login, so these are the smaller ones of OWASP.
const (
	argonMemory = 19 << 10 // KiB
	argonTime   = 2
	argonSalt   = 16
	argonKey    = 32
)

// hashed is a stored password.
type hashed interface {
	// matches reports whether a password is the one that was stored. How long it takes does not depend on where the two differ.
	matches(password string) bool
}

// parseHash reads the password field of a line: {SCHEME}HASH.
func parseHash(field string) (hashed, error) {
	scheme, text := "CRYPT", field
	if rest, ok := strings.CutPrefix(field, "{"); ok {
		if scheme, text, ok = strings.Cut(rest, "}"); !ok {
			return nil, errors.New("the { of the scheme has no }")
		}
	}
	switch strings.ToUpper(scheme) {
	case "ARGON2ID":
		return parseArgon(text)
	case "BLF-CRYPT":
		return parseBcrypt(text)
	case "SHA512-CRYPT":
		return parseSHA512Crypt(text)
	case "CRYPT":
		if strings.HasPrefix(text, "$6$") {
			return parseSHA512Crypt(text)
		}
		if strings.HasPrefix(text, "$2") {
			return parseBcrypt(text)
		}
		return nil, errors.New("crypt(3) of another kind than SHA512-CRYPT and BLF-CRYPT, or a password in the clear: set it anew")
	}
	return nil, fmt.Errorf("the scheme %.40q is not known: use ARGON2ID, BLF-CRYPT or SHA512-CRYPT", scheme)
}

// newHash returns the field of a line for a password.
func newHash(password string) string {
	h := argonHash{memory: argonMemory, time: argonTime, threads: 1, salt: make([]byte, argonSalt)}
	rand.Read(h.salt)
	key := argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.threads, argonKey)
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("{ARGON2ID}$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memory, h.time, h.threads, encode(h.salt), encode(key))
}

type argonHash struct {
	memory, time uint32 // KiB, passes
	threads      uint8
	salt, key    []byte
}

// parseArgon reads $argon2id$v=19$m=65536,t=3,p=1$SALT$KEY.
func parseArgon(text string) (hashed, error) {
	field := strings.Split(text, "$")
	var h argonHash
	var version int
	if len(field) != 6 || field[0] != "" || field[1] != "argon2id" {
		return nil, errors.New("not a hash of ARGON2ID")
	}
	if _, err := fmt.Sscanf(field[2], "v=%d", &version); err != nil || version != argon2.Version {
		return nil, fmt.Errorf("not version %d of ARGON2ID", argon2.Version)
	}
	if _, err := fmt.Sscanf(field[3], "m=%d,t=%d,p=%d", &h.memory, &h.time, &h.threads); err != nil || h.time == 0 || h.threads == 0 || h.memory == 0 {
		return nil, errors.New("bad parameters of ARGON2ID")
	}
	if h.memory > maxArgonMemory || uint64(h.memory)*uint64(h.time) > maxArgonWork {
		return nil, errors.New("ARGON2ID asks for more than 256 MiB, or for more work than 1 GiB in one pass")
	}
	var err error
	if h.salt, err = base64.RawStdEncoding.DecodeString(field[4]); err == nil {
		h.key, err = base64.RawStdEncoding.DecodeString(field[5])
	}
	if err != nil || len(h.salt) < 8 || len(h.key) < 16 || len(h.key) > 128 {
		return nil, errors.New("bad salt or key of ARGON2ID")
	}
	return h, nil
}

func (h argonHash) matches(password string) bool {
	key := argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.threads, uint32(len(h.key)))
	return subtle.ConstantTimeCompare(key, h.key) == 1
}

type bcryptHash []byte

func parseBcrypt(text string) (hashed, error) {
	cost, err := bcrypt.Cost([]byte(text))
	if err != nil || len(text) != 60 {
		return nil, errors.New("not a hash of bcrypt")
	}
	if cost > maxBcryptCost {
		return nil, fmt.Errorf("bcrypt asks for a cost of %d, and the most is %d", cost, maxBcryptCost)
	}
	return bcryptHash(text), nil
}

// matches takes the first 72 bytes of a password, as crypt(3) does.
func (h bcryptHash) matches(password string) bool {
	return bcrypt.CompareHashAndPassword(h, []byte(password[:min(len(password), 72)])) == nil
}
