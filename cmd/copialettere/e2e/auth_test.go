package e2e

import (
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"copialettere/cmd/copialettere/e2e/rig"
	"copialettere/journal/kv/level"
	"copialettere/policy"
	"copialettere/policy/auth"
)

// newLogins returns what signs people in over the auth socket of a Dovecot.
func newLogins(t *testing.T, source auth.Source) *auth.Authenticator {
	t.Helper()
	engine, err := level.Open(t.TempDir(), level.Options{})
	if err != nil {
		t.Fatal(err)
	}
	settings, err := engine.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Open(t.Context(), settings, policy.Config{Domains: []policy.Domain{{Name: "alpha.test"}}})
	if err != nil {
		t.Fatal(err)
	}
	a := auth.New(auth.Options{Source: source, Policy: p, Settings: settings, Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() {
		if err := errors.Join(a.Close(), engine.Close()); err != nil {
			t.Error(err)
		}
	})
	return a
}

// TestLoginByDovecot signs people in over the auth-client socket of a real Dovecot, many at a time, before and after it is started again.
func TestLoginByDovecot(t *testing.T) {
	folder := rig.Folder(t)
	dovecot := rig.StartDovecot(t, filepath.Join(folder, "dovecot"), []rig.Account{{Address: anna}, {Address: "mario@alpha.test"}})
	source := auth.Source{Kind: auth.SourceDovecot, Network: "unix", Address: dovecot.Auth}
	logins := newLogins(t, source)
	if detail, _, err := auth.Check(t.Context(), source); err != nil || !strings.Contains(detail, "takes PLAIN") {
		t.Fatalf("%s, %v", detail, err)
	}
	login := func(name, password string, protocol auth.Protocol) (auth.Identity, error) {
		return logins.Login(t.Context(), auth.Attempt{Login: name, Password: password, Remote: netip.MustParseAddr("127.0.0.1"), Protocol: protocol})
	}
	check := func(when string) {
		t.Helper()
		var wait sync.WaitGroup
		for _, c := range []struct {
			name, login, password string
			want                  error
		}{
			{"right", anna, rig.Password, nil},
			{"upper case", "MARIO@Alpha.test", rig.Password, nil},
			{"wrong", anna, "wrong", auth.ErrDenied},
			{"odd characters", anna, "tab\tline\nend\x01", auth.ErrDenied},
			{"unknown", "nobody@alpha.test", rig.Password, auth.ErrDenied},
			{"another domain", "anna@beta.test", rig.Password, auth.ErrDenied},
		} {
			for range 5 {
				wait.Go(func() {
					id, err := login(c.login, c.password, auth.ProtocolWeb)
					if !errors.Is(err, c.want) || c.want == nil && !strings.EqualFold(id.Login.String(), c.login) {
						t.Errorf("%s: %s: %+v, %v, want %v", when, c.name, id, err, c.want)
					}
				})
			}
		}
		wait.Wait()
	}
	check("at first")
	if _, err := login(anna, rig.Password, auth.ProtocolIMAP); !errors.Is(err, auth.ErrClosed) {
		t.Errorf("a mail program, without an archive: %v", err)
	}
	dovecot.Stop()
	// The auth process that is connected answers until its client goes.
	other := newLogins(t, source)
	if _, err := other.Login(t.Context(), auth.Attempt{Login: anna, Password: rig.Password, Protocol: auth.ProtocolWeb}); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("Dovecot is down: %v", err)
	}
	dovecot.Start(t)
	check("after a restart")
}

// TestPasswordFileOfDovecot sets a password, and has Dovecot read the hash; and signs in with the hashes that Dovecot makes.
func TestPasswordFileOfDovecot(t *testing.T) {
	file := filepath.Join(t.TempDir(), "passwd")
	a, err := policy.ParseAddress(anna)
	if err != nil {
		t.Fatal(err)
	}
	logins := newLogins(t, auth.Source{Kind: auth.SourceFile, Address: file})
	for _, scheme := range []string{"ARGON2ID", "BLF-CRYPT", "SHA512-CRYPT", "CRYPT", ""} {
		if scheme == "" {
			if err := auth.SetPassword(file, a, rig.Password); err != nil {
				t.Fatal(err)
			}
		} else {
			hash, err := exec.Command("doveadm", "pw", "-s", scheme, "-p", rig.Password).Output()
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(anna+":"+string(hash)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, hash, _ := strings.Cut(strings.TrimSpace(string(text)), ":")
		if out, err := exec.Command("doveadm", "pw", "-t", hash, "-p", rig.Password).CombinedOutput(); err != nil {
			t.Errorf("Dovecot does not take %s: %s", hash, out)
		}
		if _, err := logins.Login(t.Context(), auth.Attempt{Login: anna, Password: rig.Password, Protocol: auth.ProtocolWeb}); err != nil {
			t.Errorf("%s: %v", hash, err)
		}
	}
}
