package auth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"

	"copialettere/policy"
)

// Master is a server that signs in for its users: the provider's Dovecot, which shows archives inside of the live mailboxes (its imapc). It has let its
// users in by its own rules, the second factor included, so only the settings of a mailbox are asked here. It opens archives to mail programs alone.
type Master struct {
	User    string         // the name by which it signs in, which is no address
	KeyFile string         // the absolute path of the file with its password, which is read at each login
	From    []netip.Prefix // the addresses that it signs in from; from others its password is worth nothing
}

// ByMaster is the value of Access.By and Identity.By for the logins of a Master.
const ByMaster = "imapc"

const (
	minKey = 16   // bytes of a key
	maxKey = 1024 // bytes of its file
)

// key returns the password in the file of a master.
func (m *Master) key() ([]byte, error) {
	f, err := os.Open(m.KeyFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKey+1))
	if err != nil {
		return nil, err
	}
	key := bytes.TrimRight(text, "\r\n")
	switch {
	case len(text) > maxKey:
		return nil, fmt.Errorf("%s is larger than %d bytes: write one line with the password", m.KeyFile, maxKey)
	case len(key) < minKey:
		return nil, fmt.Errorf("%s has a password of less than %d bytes: \"openssl rand -hex 24\" makes one", m.KeyFile, minKey)
	case bytes.ContainsAny(key, "\r\n\x00"):
		return nil, fmt.Errorf("%s has more than one line: write one line with the password", m.KeyFile)
	}
	return key, nil
}

// Check says why the file of a master cannot be used, or nil.
func (m *Master) Check() error {
	_, err := m.key()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: make it, for the group of the daemon's user and with mode 0640: \"openssl rand -hex 24\" makes a password", err)
	case err != nil:
		return err
	}
	info, err := os.Stat(m.KeyFile)
	if err == nil && info.Mode()&0o007 != 0 {
		err = fmt.Errorf("every user of the machine can read the password: chmod 0640 %s", m.KeyFile)
	}
	return err
}

// isMaster reports whether a try is that of the master, from one of its addresses.
func (a *Authenticator) isMaster(try Attempt) bool {
	m := a.options.Master
	return m != nil && try.Protocol == ProtocolIMAP && try.Login == m.User &&
		slices.ContainsFunc(m.From, func(p netip.Prefix) bool { return p.Contains(try.Remote.Unmap().WithZone("")) })
}

// byMaster signs the master in for the mailbox that it names.
func (a *Authenticator) byMaster(ctx context.Context, try Attempt) (Identity, error) {
	mailboxes, err := a.logins(ctx, try.Authorize)
	var mailbox policy.Address // zero if it names none
	if err == nil && len(mailboxes) == 1 && a.options.Policy.HasDomain(mailboxes[0].Domain) {
		mailbox = mailboxes[0]
	}
	id := Identity{By: ByMaster}
	if err == nil {
		id, err = a.masterVerified(ctx, mailbox, try)
	}
	a.record(ctx, mailbox, try, id, err)
	if err != nil {
		return Identity{}, err
	}
	return id, nil
}

// masterVerified checks the password of the master, and whether the mailbox is open. With an error that wraps ErrClosed it returns who it is.
func (a *Authenticator) masterVerified(ctx context.Context, mailbox policy.Address, try Attempt) (Identity, error) {
	id := Identity{By: ByMaster}
	key, err := a.options.Master.key()
	if err != nil {
		a.options.Logger.Error("the server that signs in for its users cannot sign in", "error", err)
		return id, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	// Dovecot sends the file with its line end.
	got, want := sha256.Sum256([]byte(strings.TrimRight(try.Password, "\r\n"))), sha256.Sum256(key)
	// Failures are not counted: whoever guesses a random key in vain must not take the archives from all users of Dovecot.
	switch {
	case subtle.ConstantTimeCompare(got[:], want[:]) != 1:
		a.options.Logger.Warn("a wrong password for the server that signs in for its users", "address", try.Remote.String())
		return id, ErrDenied
	case mailbox == (policy.Address{}):
		a.options.Logger.Warn("the server that signs in for its users names no mailbox of a configured domain", "address", try.Remote.String())
		return id, fmt.Errorf("%w: %w", ErrDenied, errNoMailbox)
	}
	id.Login, id.Mailbox = mailbox, mailbox
	id.Actor = policy.Actor{Role: policy.RoleOwner, Name: mailbox.String()}
	return id, a.Permitted(ctx, id, try.Protocol)
}

var errNoMailbox = errors.New("no mailbox was named")
