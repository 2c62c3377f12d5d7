package auth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"copialettere/policy"
)

// SourceKind is what checks passwords.
type SourceKind string

// The kinds of sources.
const (
	SourceNone    SourceKind = ""        // nobody can sign in
	SourceFile    SourceKind = "file"    // a password file
	SourceDovecot SourceKind = "dovecot" // Dovecot's socket for authentication
)

// Source is where passwords are checked.
type Source struct {
	Kind    SourceKind // the zero Source is of SourceNone
	Network string     // of Dovecot: "unix" or "tcp"
	Address string     // of Dovecot: an absolute path or HOST:PORT; of a file: its absolute path
}

// String returns the source in the form of ParseSource.
func (s Source) String() string {
	switch {
	case s.Kind == SourceFile:
		return "file:" + s.Address
	case s.Network == "unix":
		return "dovecot:unix:" + s.Address
	}
	return "dovecot:" + s.Address
}

// ParseSource reads "file:/PATH", "dovecot:unix:/PATH" or "dovecot:HOST:PORT".
func ParseSource(text string) (Source, error) {
	if path, ok := strings.CutPrefix(text, "file:"); ok {
		return Source{Kind: SourceFile, Address: path}, absolute(path)
	}
	if path, ok := strings.CutPrefix(text, "dovecot:unix:"); ok {
		return Source{Kind: SourceDovecot, Network: "unix", Address: path}, absolute(path)
	}
	address, ok := strings.CutPrefix(text, "dovecot:")
	if !ok {
		return Source{}, errors.New("it begins with neither \"file:\" nor \"dovecot:\"")
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return Source{}, fmt.Errorf("%q is not HOST:PORT", address)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return Source{}, fmt.Errorf("%q is not a port", port)
	}
	return Source{Kind: SourceDovecot, Network: "tcp", Address: address}, nil
}

// nobody is the source of passwords that lets nobody in.
type nobody struct{}

func (nobody) verify(context.Context, Attempt, policy.Address) (policy.Address, error) {
	return policy.Address{}, ErrDenied
}
func (nobody) probe(context.Context) (string, error) { return "nobody can sign in", nil }
func (nobody) problems() []error                     { return nil }
func (nobody) mark(policy.Address) (string, error)   { return "", nil }
func (nobody) close() error                          { return nil }

func absolute(path string) error {
	if !filepath.IsAbs(path) || strings.ContainsRune(path, 0) {
		return fmt.Errorf("%q is not an absolute path", path)
	}
	return nil
}
