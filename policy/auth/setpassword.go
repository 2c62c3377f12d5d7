package auth

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unicode/utf8"

	"copialettere/journal/durable"
	"copialettere/policy"
)

// ErrPassword means that a password cannot be set. The error that wraps it says why.
var ErrPassword = errors.New("not a usable password")

// minPassword is the shortest password that SetPassword takes, in characters (NIST SP 800-63B section 5.1.1.1).
const minPassword = 8

// SetPassword sets the password of an address in a password file. It replaces the hash in the first line of the address, or adds a line, and leaves
// everything else in the file as it is. A file that is not there is made, with mode 0600; otherwise mode, owner and group stay. It replaces the
// file atomically, and waits for another SetPassword of the same folder. Where the path is a symbolic link, it replaces the file that the link leads to.
func SetPassword(path string, a policy.Address, password string) error {
	switch {
	case a.Domain == "" || strings.ContainsAny(a.String(), ":\n") || comment(a.String()):
		return fmt.Errorf("%s: %w: no login of a password file", a, policy.ErrAddress)
	case utf8.RuneCountInString(password) < minPassword:
		return fmt.Errorf("%w: it has fewer than %d characters", ErrPassword, minPassword)
	case len(password) > maxSecret:
		return fmt.Errorf("%w: it has more than %d bytes", ErrPassword, maxSecret)
	case !utf8.ValidString(password) || strings.ContainsRune(password, 0):
		return fmt.Errorf("%w: it is not UTF-8, or has a NUL", ErrPassword)
	}
	if file, err := filepath.EvalSymlinks(path); err == nil {
		path = file // else it is not there, or cannot be read, which the read below tells
	}
	unlock, err := lockFolder(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("set the password of %s: %w", a, err)
	}
	defer unlock()
	text, err := os.ReadFile(path)
	like, statErr := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		err, statErr, like = nil, nil, nil
	}
	if err = errors.Join(err, statErr); err == nil {
		err = durable.WriteLike(path, strings.NewReader(withPassword(string(text), a, newHash(password))), like)
	}
	if err != nil {
		return fmt.Errorf("set the password of %s: %w", a, err)
	}
	return nil
}

// withPassword returns the text of a password file with another hash for an address.
func withPassword(text string, a policy.Address, hash string) string {
	var out strings.Builder
	done := false
	for line := range strings.Lines(text) {
		body := strings.TrimRight(line, "\r\n")
		field := strings.SplitN(body, ":", 3)
		if one, err := policy.ParseAddress(field[0]); err == nil && one == a && !done && !comment(body) {
			out.WriteString(field[0] + ":" + hash)
			if len(field) == 3 {
				out.WriteString(":" + field[2])
			}
			out.WriteString(line[len(body):])
			done = true
			continue
		}
		out.WriteString(line)
	}
	if !done {
		if text != "" && !strings.HasSuffix(text, "\n") {
			out.WriteByte('\n')
		}
		out.WriteString(a.String() + ":" + hash + "\n")
	}
	return out.String()
}

// lockFolder waits for the lock of a folder (flock(2)).
func lockFolder(folder string) (unlock func() error, err error) {
	f, err := os.Open(folder)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", folder, err), f.Close())
	}
	return f.Close, nil
}
