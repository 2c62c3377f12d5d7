package auth

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// The fewest and the most characters of a key of the provider's mail server.
const (
	minProviderKey = 16
	maxProviderKey = 200
)

// ReadProviderKey reads the key that the provider's mail server shows to a Provider from a file: one line of printable ASCII characters without
// blanks. The error says what to do.
func ReadProviderKey(path string) (string, error) {
	const makeOne = "make one: (umask 027; openssl rand -hex 24 >%s), for the group of the daemon's user"
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: "+makeOne, err, path)
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if info.Mode().Perm()&0o004 != 0 {
		return "", fmt.Errorf("%s: every user of the machine can read the key: chmod 0640 it", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxProviderKey+2))
	if err != nil {
		return "", err
	}
	key := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	if len(key) < minProviderKey || len(key) > maxProviderKey || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("%s: want one line of %d to %d letters, digits and signs: "+makeOne, path, minProviderKey, maxProviderKey, path)
	}
	return key, nil
}
