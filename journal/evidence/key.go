package evidence

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/mod/sumdb/note"
)

// NewKey makes a signing key with a name, such as "archivio.provider.test". The name stands in every note.
func NewKey(name string) (signing, verifier string, err error) {
	if err := CheckName(name); err != nil {
		return "", "", err
	}
	return note.GenerateKey(rand.Reader, name)
}

// CheckName returns why a key cannot have a name.
func CheckName(name string) error {
	if name == "" || len(name) > 100 || strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || r == '+' || !unicode.IsPrint(r) }) {
		return fmt.Errorf("name of a key %q: want 1 to 100 printable characters without blanks and \"+\"", name)
	}
	return nil
}

// KeyName returns the name and hash of a verifier key, as a note has them.
func KeyName(verifier string) (string, error) {
	v, err := note.NewVerifier(verifier)
	if err != nil {
		return "", fmt.Errorf("verifier key %q: %w", verifier, err)
	}
	return fmt.Sprintf("%s+%08x", v.Name(), v.KeyHash()), nil
}

// newVerifierKey returns the verifier key of an Ed25519 seed.
func newVerifierKey(name string, seed []byte) (string, error) {
	if len(seed) != ed25519.SeedSize {
		return "", fmt.Errorf("signing key: %d bytes of key, want %d", len(seed), ed25519.SeedSize)
	}
	return note.NewEd25519VerifierKey(name, ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey))
}
