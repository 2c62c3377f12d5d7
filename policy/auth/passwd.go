package auth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"

	"copialettere/policy"
)

// maxPasswordFile is the largest password file in bytes. A hundred thousand users take about ten megabytes.
const maxPasswordFile = 64 << 20

// maxProblems is how many problems of a password file are kept.
const maxProblems = 20

// passwordFile is a password file as the source of passwords.
type passwordFile struct {
	path  string
	log   *slog.Logger
	work  chan struct{} // has room for the passwords that are checked at a time
	seed  maphash.Seed
	mu    sync.Mutex
	users *users // as last read; guarded by mu
}

// users is a password file in memory. It is immutable.
type users struct {
	info     os.FileInfo // of the file, when it was read
	lines    []userLine  // in the order of the file
	index    map[policy.Address]int
	problems []error
}

// userLine is a usable line.
type userLine struct {
	address policy.Address
	hash    hashed
	mark    string // of the text of the hash
}

func newFile(path string, log *slog.Logger) *passwordFile {
	// The other half of the processors is for delivery.
	parallel := max(1, runtime.GOMAXPROCS(0)/2)
	return &passwordFile{path: path, log: log, work: make(chan struct{}, parallel), seed: maphash.MakeSeed()}
}

func (f *passwordFile) verify(ctx context.Context, try Attempt, login policy.Address) (policy.Address, error) {
	u, err := f.read()
	if err != nil {
		f.log.Error("the password file cannot be read: nobody can sign in", "error", err)
		return policy.Address{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if len(u.lines) == 0 {
		return policy.Address{}, ErrDenied
	}
	i, known := u.index[login]
	if !known {
		// Somebody else's hash is tried in vain, always the same for one name. So the times of unknown names are spread as those of known ones.
		i = int(maphash.String(f.seed, strings.ToLower(try.Login)) % uint64(len(u.lines)))
	}
	select {
	case f.work <- struct{}{}:
		defer func() { <-f.work }()
	case <-ctx.Done():
		return policy.Address{}, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
	if right := u.lines[i].hash.matches(try.Password); !right || !known {
		return policy.Address{}, ErrDenied
	}
	return login, nil
}

// read returns the users, reading the file again if it has changed.
func (f *passwordFile) read() (*users, error) {
	info, err := os.Stat(f.path)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if u := f.users; u != nil && os.SameFile(u.info, info) && u.info.Size() == info.Size() && u.info.ModTime().Equal(info.ModTime()) {
		return u, nil
	}
	file, err := os.Open(f.path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err = file.Stat(); err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", f.path)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxPasswordFile+1))
	if err == nil && len(text) > maxPasswordFile {
		err = fmt.Errorf("%s is larger than %s", f.path, policy.English.Size(maxPasswordFile))
	}
	if err != nil {
		return nil, err
	}
	f.users = parseUsers(f.path, string(text), info)
	for _, problem := range f.users.problems {
		f.log.Warn("a line of the password file lets nobody in", "error", problem)
	}
	return f.users, nil
}

// parseUsers reads the text of a password file.
func parseUsers(path, text string, info fs.FileInfo) *users {
	u := &users{info: info, index: make(map[policy.Address]int)}
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRight(line, "\r\n")
		if comment(line) {
			continue
		}
		one, err := parseUser(line)
		if _, twice := u.index[one.address]; err == nil && twice {
			err = fmt.Errorf("%s has a line above already, and the first counts: remove one of the two", one.address)
		}
		if err != nil {
			if len(u.problems) < maxProblems {
				u.problems = append(u.problems, fmt.Errorf("%s:%d: %w", path, number, err))
			}
			continue
		}
		u.index[one.address] = len(u.lines)
		u.lines = append(u.lines, one)
	}
	return u
}

// comment reports whether a line of a password file stands for nobody.
func comment(line string) bool { return strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") }

func parseUser(line string) (userLine, error) {
	field := strings.SplitN(line, ":", 8)
	a, err := policy.ParseAddress(field[0])
	if err != nil || a.Domain == "" {
		return userLine{}, fmt.Errorf("%.100q is no address: begin the line with ADDRESS:{SCHEME}HASH", field[0])
	}
	if len(field) < 2 || field[1] == "" {
		return userLine{}, fmt.Errorf("%s has no password: \"copialettere password %s\" sets one", a, a)
	}
	if len(field) == 8 {
		for _, extra := range strings.Fields(field[7]) {
			// To pass over what keeps somebody out of Dovecot would let him in here.
			if name, _, _ := strings.Cut(extra, "="); name == "allow_nets" || name == "nologin" {
				return userLine{}, fmt.Errorf("%s: the field %s is not known here: use dovecot as the source", a, name)
			}
		}
	}
	h, err := parseHash(field[1])
	if err != nil {
		return userLine{}, fmt.Errorf("%s: %w", a, err)
	}
	sum := sha256.Sum256([]byte(field[1]))
	return userLine{a, h, hex.EncodeToString(sum[:16])}, nil
}

// mark returns a digest of the hash of a login; "none" for one that the file does not have.
func (f *passwordFile) mark(login policy.Address) (string, error) {
	u, err := f.read()
	if err != nil {
		return "", err
	}
	i, known := u.index[login]
	if !known {
		return "none", nil
	}
	return u.lines[i].mark, nil
}

func (f *passwordFile) probe(context.Context) (string, error) {
	u, err := f.read()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("%w: \"copialettere password ADDR\" makes it with the first password", err)
	case errors.Is(err, fs.ErrPermission):
		return "", fmt.Errorf("%w: give it to the group of the daemon's user, with mode 0640, and run this as that user", err)
	case err != nil:
		return "", err
	}
	if u.info.Mode()&0o004 != 0 {
		return "", fmt.Errorf("every user of the machine can read the hashes: chmod 0640 %s", f.path)
	}
	return fmt.Sprintf("%s, %d logins", f.path, len(u.lines)), nil
}

func (f *passwordFile) problems() []error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.users == nil {
		return nil
	}
	return f.users.problems
}

func (f *passwordFile) close() error { return nil }
