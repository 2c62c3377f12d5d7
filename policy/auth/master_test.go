package auth

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"copialettere/policy"
)

const masterKey = "3f1c9a0d5b7e2468ace0"

// newMasterRig is newRig with a server that signs in for its users from 192.0.2.0/24.
func newMasterRig(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, anna+":"+cheap)
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	check(r.policy.Reconfigure(policy.Config{ArchiveHost: "archivio.test", Domains: []policy.Domain{{Name: "alpha.test"}}}))
	check(r.Close())
	key := filepath.Join(t.TempDir(), "imapc.key")
	check(os.WriteFile(key, []byte(masterKey+"\n"), 0o600))
	r.Authenticator = New(Options{Source: r.source(), Policy: r.policy, Settings: r.store, Logger: slog.New(slog.NewTextHandler(&r.log, nil)),
		Master: &Master{User: "dovecot", KeyFile: key, From: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}})
	return r
}

// TestMaster signs in as the provider's Dovecot does.
func TestMaster(t *testing.T) {
	r := newMasterRig(t)
	r.enable("chiusa@alpha.test")
	for _, c := range []struct {
		name, login, password, authorize, from string
		protocol                               Protocol
		want                                   error
	}{
		{"for a mailbox", "dovecot", masterKey, anna, "192.0.2.7", ProtocolIMAP, nil},
		{"in capitals", "dovecot", masterKey, "Anna@Alpha.TEST", "192.0.2.7", ProtocolIMAP, nil},
		{"by the account name", "dovecot", masterKey, "anna_alpha.test@archivio.test", "192.0.2.7", ProtocolIMAP, nil},
		{"with a line end", "dovecot", masterKey + "\n", anna, "192.0.2.7", ProtocolIMAP, nil},
		{"IPv4 in IPv6", "dovecot", masterKey, anna, "::ffff:192.0.2.9", ProtocolIMAP, nil},
		{"wrong key", "dovecot", masterKey + "x", anna, "192.0.2.7", ProtocolIMAP, ErrDenied},
		{"no key", "dovecot", "", anna, "192.0.2.7", ProtocolIMAP, ErrDenied},
		{"the owner's password", "dovecot", password, anna, "192.0.2.7", ProtocolIMAP, ErrDenied},
		{"the key in the owner's name", anna, masterKey, "", "192.0.2.7", ProtocolIMAP, ErrDenied},
		{"from elsewhere", "dovecot", masterKey, anna, "198.51.100.1", ProtocolIMAP, ErrDenied},
		{"from nowhere", "dovecot", masterKey, anna, "", ProtocolIMAP, ErrDenied},
		{"pages", "dovecot", masterKey, anna, "192.0.2.7", ProtocolWeb, ErrDenied},
		{"outgoing server", "dovecot", masterKey, anna, "192.0.2.7", ProtocolSubmission, ErrDenied},
		{"for nobody", "dovecot", masterKey, "", "192.0.2.7", ProtocolIMAP, ErrDenied},
		{"for a variable that Dovecot has not expanded", "dovecot", masterKey, "%u", "192.0.2.7", ProtocolIMAP, ErrDenied},
		{"for a domain that is not configured", "dovecot", masterKey, "anna@beta.test", "192.0.2.7", ProtocolIMAP, ErrDenied},
		{"for itself", "dovecot", masterKey, "dovecot", "192.0.2.7", ProtocolIMAP, ErrDenied},
		{"imap=off", "dovecot", masterKey, "chiusa@alpha.test", "192.0.2.7", ProtocolIMAP, ErrClosed},
		{"no archive", "dovecot", masterKey, "ugo@alpha.test", "192.0.2.7", ProtocolIMAP, ErrClosed},
	} {
		t.Run(c.name, func(t *testing.T) {
			try := Attempt{Login: c.login, Password: c.password, Authorize: c.authorize, Protocol: c.protocol}
			if c.from != "" {
				try.Remote = netip.MustParseAddr(c.from)
			}
			id, err := r.Login(t.Context(), try)
			if !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if c.want != nil && id != (Identity{}) {
				t.Errorf("an identity with an error: %+v", id)
			}
			if want := (policy.Actor{Role: policy.RoleOwner, Name: anna}); c.want == nil && (id.Mailbox.String() != anna || id.Login != id.Mailbox || id.Actor != want || id.By != ByMaster) {
				t.Errorf("signed in as %+v", id)
			}
		})
	}
	for range 3 * limitLogin {
		if _, err := r.Login(t.Context(), Attempt{Login: "dovecot", Password: "guessed", Authorize: "ugo@alpha.test", Remote: remote, Protocol: ProtocolIMAP}); !errors.Is(err, ErrDenied) {
			t.Fatalf("a guess: %v", err)
		}
	}
	if _, err := r.Login(t.Context(), Attempt{Login: "dovecot", Password: masterKey, Authorize: anna, Remote: remote, Protocol: ProtocolIMAP}); err != nil {
		t.Errorf("after many guesses: %v", err)
	}
	if log := r.log.String(); strings.Contains(log, masterKey) || strings.Contains(log, anna) || !strings.Contains(log, "names no mailbox") {
		t.Errorf("the log: %s", log)
	}
	by := make(map[string]uint64)
	for one, err := range r.Accesses(t.Context(), address(t, anna)) {
		if err != nil {
			t.Fatal(err)
		}
		by[one.By+" "+string(one.Result)] += one.Count
	}
	if by["imapc ok"] != 6 || by["imapc denied"] != 3 {
		t.Errorf("on record: %v", by)
	}
}

// TestMasterKey changes the file of the key under the daemon, and checks what files do.
func TestMasterKey(t *testing.T) {
	r := newMasterRig(t)
	m := r.options.Master
	login := func(key string) error {
		_, err := r.Login(t.Context(), Attempt{Login: m.User, Password: key, Authorize: anna, Remote: remote, Protocol: ProtocolIMAP})
		return err
	}
	if err := login(masterKey); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, text string
		mode       os.FileMode
		login      error  // with the line as the key
		check      string // what the error has; empty for none
	}{
		{"another key", "another-key-of-enough-bytes\n", 0o640, nil, ""},
		{"without a line end", "another-key-of-enough-bytes", 0o600, nil, ""},
		{"CRLF", "another-key-of-enough-bytes\r\n", 0o600, nil, ""},
		{"open to all", "another-key-of-enough-bytes\n", 0o644, nil, "chmod 0640"},
		{"short", "short\n", 0o600, ErrUnavailable, "openssl rand"},
		{"empty", "", 0o600, ErrUnavailable, "openssl rand"},
		{"two lines", "another-key-of-enough-bytes\nx\n", 0o600, ErrUnavailable, "more than one line"},
		{"long", strings.Repeat("x", maxKey+1), 0o600, ErrUnavailable, "larger than"},
	} {
		if err := errors.Join(os.WriteFile(m.KeyFile, []byte(c.text), c.mode), os.Chmod(m.KeyFile, c.mode)); err != nil {
			t.Fatal(err)
		}
		if err := login(string(bytes.TrimRight([]byte(c.text), "\r\n"))); !errors.Is(err, c.login) {
			t.Errorf("%s: %v, want %v", c.name, err, c.login)
		}
		if err := m.Check(); (err == nil) != (c.check == "") || err != nil && !strings.Contains(err.Error(), c.check) {
			t.Errorf("%s: check says %v", c.name, err)
		}
	}
	if err := errors.Join(os.Remove(m.KeyFile)); err != nil {
		t.Fatal(err)
	}
	if err := login(masterKey); !errors.Is(err, ErrUnavailable) || !strings.Contains(fmt.Sprint(m.Check()), "openssl rand") {
		t.Errorf("without the file: %v, %v", err, m.Check())
	}
}

// TestMasterWithSecondFactor signs in for a mailbox whose second factor is on: Dovecot has let its user in by an app password, or at the webmail.
func TestMasterWithSecondFactor(t *testing.T) {
	r := newMasterRig(t)
	r.secondFactorOn(anna)
	if _, err := r.login(anna, password, ProtocolIMAP); !errors.Is(err, ErrSecondFactor) {
		t.Errorf("the owner by the password: %v", err)
	}
	id, err := r.Login(t.Context(), Attempt{Login: "dovecot", Password: masterKey, Authorize: anna, Remote: remote, Protocol: ProtocolIMAP})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Permitted(t.Context(), id, ProtocolIMAP); err != nil {
		t.Errorf("while it is signed in: %v", err)
	}
	r.set(anna, "imap=off")
	if err := r.Permitted(t.Context(), id, ProtocolIMAP); !errors.Is(err, ErrClosed) {
		t.Errorf("with imap=off: %v", err)
	}
}
