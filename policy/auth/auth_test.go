package auth

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"copialettere/journal/kv"
	"copialettere/journal/kv/level"
	"copialettere/policy"
)

const (
	anna     = "anna@alpha.test"
	mario    = "mario@alpha.test"
	password = "cera-lacca"
)

// cheap is a hash of the password that costs little.
const cheap = "{BLF-CRYPT}$2y$05$NNVrrmV7frWR1l5WpCC7U.oXf8Q1xx74fTwtIT3JwtcUhzJ6c./7a"

var remote = netip.MustParseAddr("192.0.2.7")

// rig is an Authenticator over a password file and the settings of a real store, with the mailbox anna that is open to mail programs.
type rig struct {
	t      *testing.T
	store  kv.Store
	policy *policy.Policy
	file   string
	log    safeBuffer
	*Authenticator
}

// safeBuffer is a buffer for several goroutines.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// newRig returns a rig whose password file has the lines.
func newRig(t *testing.T, lines ...string) *rig {
	t.Helper()
	engine, err := level.Open(t.TempDir(), level.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	r := &rig{t: t, file: filepath.Join(t.TempDir(), "passwd")}
	if r.store, err = engine.Settings(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.policy, err = policy.Open(t.Context(), r.store, policy.Config{Domains: []policy.Domain{{Name: "alpha.test"}}})
	if err != nil {
		t.Fatal(err)
	}
	r.write(lines...)
	r.Authenticator = New(Options{
		Source: r.source(), Policy: r.policy, Settings: r.store, Logger: slog.New(slog.NewTextHandler(&r.log, nil)),
	})
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	r.enable(anna)
	r.set(anna, "imap=on")
	return r
}

func (r *rig) source() Source { return Source{Kind: SourceFile, Address: r.file} }

func (r *rig) write(lines ...string) {
	r.t.Helper()
	text := ""
	if len(lines) > 0 {
		text = strings.Join(lines, "\n") + "\n"
	}
	// By another file, so that even two of one size in one tick of the clock differ.
	if err := os.WriteFile(r.file+".next", []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(r.file+".next", r.file); err != nil {
		r.t.Fatal(err)
	}
}

var operator = policy.Actor{Role: policy.RoleOperator, Name: "root"}

func address(t testing.TB, s string) policy.Address {
	t.Helper()
	a, err := policy.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (r *rig) enable(mailbox string) {
	r.t.Helper()
	if _, err := r.policy.Enable(r.t.Context(), address(r.t, mailbox), operator); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) set(mailbox string, settings ...string) {
	r.t.Helper()
	var list []policy.Assignment
	for _, s := range settings {
		key, value, _ := strings.Cut(s, "=")
		list = append(list, policy.Assignment{Key: key, Value: value})
	}
	if _, err := r.policy.Set(r.t.Context(), address(r.t, mailbox), operator, list); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) login(login, password string, p Protocol) (Identity, error) {
	return r.Login(r.t.Context(), Attempt{Login: login, Password: password, Remote: remote, Protocol: p})
}

func TestLogin(t *testing.T) {
	r := newRig(t, "# the staff", "", anna+":"+cheap+":::::", "Città@CITTÀ.test:"+cheap, mario+":{SSHA}abcd", anna+":"+cheap)
	for _, c := range []struct {
		name, login, password string
		protocol              Protocol
		want                  error
		as                    string
	}{
		{"right", anna, password, ProtocolIMAP, nil, anna},
		{"upper case", "Anna@ALPHA.test", password, ProtocolIMAP, nil, anna},
		{"outgoing server", anna, password, ProtocolSubmission, nil, anna},
		{"pages", anna, password, ProtocolWeb, nil, anna},
		{"pages, no archive", "città@xn--citt-3na.test", password, ProtocolWeb, nil, "città@città.test"},
		{"mail program, no archive", "città@città.test", password, ProtocolIMAP, ErrClosed, ""},
		{"wrong", anna, "cera lacca", ProtocolIMAP, ErrDenied, ""},
		{"upper case in the password", anna, "Cera-Lacca", ProtocolIMAP, ErrDenied, ""},
		{"empty password", anna, "", ProtocolIMAP, ErrDenied, ""},
		{"NUL in the password", anna, password + "\x00", ProtocolIMAP, ErrDenied, ""},
		{"long password", anna, strings.Repeat("x", maxSecret+1), ProtocolIMAP, ErrDenied, ""},
		{"unknown", "ugo@alpha.test", password, ProtocolIMAP, ErrDenied, ""},
		{"scheme that is not known", mario, password, ProtocolIMAP, ErrDenied, ""},
		{"no domain", "anna", password, ProtocolIMAP, ErrDenied, ""},
		{"no address", "@", password, ProtocolIMAP, ErrDenied, ""},
		{"with a colon", anna + ":" + cheap, password, ProtocolIMAP, ErrDenied, ""},
		{"line end", anna + "\n", password, ProtocolIMAP, ErrDenied, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, err := r.login(c.login, c.password, c.protocol)
			if !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if c.want != nil {
				return
			}
			if id.Login.String() != c.as || id.Mailbox != id.Login || id.Actor != (policy.Actor{Role: policy.RoleOwner, Name: c.as}) {
				t.Errorf("signed in as %+v, want %s", id, c.as)
			}
		})
	}
	if log := r.log.String(); strings.Contains(log, password) || strings.Contains(log, "$2y$") || !strings.Contains(log, "passwd:5: mario@alpha.test: the scheme") ||
		!strings.Contains(log, "passwd:6: anna@alpha.test has a line above already") {
		t.Errorf("the log says\n%s", log)
	}
}

func TestAuthorize(t *testing.T) {
	r := newRig(t, anna+":"+cheap)
	r.enable(mario)
	r.set(mario, "imap=on")
	for _, c := range []struct {
		authorize string
		want      error
	}{{"", nil}, {anna, nil}, {"Anna@alpha.test", nil}, {mario, ErrDenied}, {"anna", ErrDenied}, {"%u", ErrDenied}} {
		id, err := r.Login(t.Context(), Attempt{Login: anna, Password: password, Authorize: c.authorize, Protocol: ProtocolIMAP})
		if !errors.Is(err, c.want) || c.want == nil && id.Mailbox.String() != anna {
			t.Errorf("for %q: %+v, %v, want %v", c.authorize, id, err, c.want)
		}
	}
}

// TestPermitted closes a mailbox to mail programs in each way, and opens it again. What the login says is what an open connection hears.
func TestPermitted(t *testing.T) {
	r := newRig(t, anna+":"+cheap)
	id, err := r.login(anna, password, ProtocolIMAP)
	if err != nil {
		t.Fatal(err)
	}
	pause := func() { r.policy.Pause(t.Context(), id.Mailbox, operator) }
	for _, c := range []struct {
		name   string
		change func()
		want   *policy.Label
	}{
		{"imap off", func() { r.set(anna, "imap=off") }, &imapAccessOff},
		{"imap on", func() { r.set(anna, "imap=on") }, nil},
		{"protocols without imap", func() { r.set(anna, "protocols=pop3,smtp") }, &imapProtocolOff},
		{"protocols none", func() { r.set(anna, "protocols=none") }, &imapProtocolOff},
		{"protocols imap", func() { r.set(anna, "protocols=imap") }, nil},
		{"paused", pause, nil},
		{"disabled", func() { r.policy.Disable(t.Context(), id.Mailbox, operator, anna, policy.DefaultGrace) }, &archiveClosing},
		{"restored", func() { r.policy.Restore(t.Context(), id.Mailbox, operator) }, nil},
	} {
		c.change()
		for _, protocol := range []Protocol{ProtocolIMAP, ProtocolSubmission} {
			_, loginErr := r.login(anna, password, protocol)
			for _, err := range []error{loginErr, r.Permitted(t.Context(), id, protocol)} {
				if c.want == nil {
					if err != nil {
						t.Errorf("%s: %s: %v", c.name, protocol, err)
					}
					continue
				}
				refusal, ok := errors.AsType[*Refusal](err)
				if !ok || !errors.Is(err, ErrClosed) || refusal.Sentence != *c.want || refusal.String() != c.want.Italian {
					t.Errorf("%s: %s: %v, want %q", c.name, protocol, err, c.want.Italian)
				}
			}
		}
		if _, err := r.login(anna, password, ProtocolWeb); err != nil {
			t.Errorf("%s: the pages are closed: %v", c.name, err)
		}
		// Whoever has not signed in hears nothing of it.
		if _, err := r.login(anna, "wrong", ProtocolIMAP); !errors.Is(err, ErrDenied) {
			t.Errorf("%s: a wrong password: %v", c.name, err)
		}
	}
}

func TestNobody(t *testing.T) {
	var a *Authenticator
	if _, err := a.Login(t.Context(), Attempt{Login: anna, Password: password}); !errors.Is(err, ErrDenied) || a.Close() != nil {
		t.Errorf("without [auth]: %v", err)
	}
}

// TestFileChanges changes the password file under a running Authenticator.
func TestFileChanges(t *testing.T) {
	r := newRig(t)
	r.enable(mario)
	r.set(mario, "imap=on")
	for _, c := range []struct {
		name   string
		change func()
		anna   error
		mario  error
	}{
		{"empty", func() {}, ErrDenied, ErrDenied},
		{"anna", func() { r.write(anna + ":" + cheap) }, nil, ErrDenied},
		{"mario instead", func() { r.write(mario + ":" + cheap) }, ErrDenied, nil},
		{"both", func() { r.write(mario+":"+cheap, anna+":"+cheap) }, nil, nil},
		{"gone", func() { os.Remove(r.file) }, ErrUnavailable, ErrUnavailable},
		{"a folder", func() { os.Mkdir(r.file, 0o700) }, ErrUnavailable, ErrUnavailable},
		{"back", func() { os.Remove(r.file); r.write(anna + ":" + cheap) }, nil, ErrDenied},
	} {
		c.change()
		for login, want := range map[string]error{anna: c.anna, mario: c.mario} {
			if _, err := r.login(login, password, ProtocolIMAP); !errors.Is(err, want) {
				t.Errorf("%s: %s: %v, want %v", c.name, login, err, want)
			}
		}
	}
}

// TestUnknownCostsTheSame counts the hashes that logins compute: one each, known or not.
func TestUnknownCostsTheSame(t *testing.T) {
	f := newFile("", slog.New(slog.DiscardHandler))
	var mu sync.Mutex
	computed := 0
	counting := countingHash(func() { mu.Lock(); computed++; mu.Unlock() })
	file := filepath.Join(t.TempDir(), "passwd")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	f.path = file
	f.users = &users{info: info, lines: []userLine{{address: address(t, anna), hash: counting}, {address: address(t, mario), hash: counting}}, index: map[policy.Address]int{address(t, anna): 0, address(t, mario): 1}}
	for _, c := range []struct {
		login policy.Address
		want  error
	}{{address(t, anna), nil}, {address(t, "ugo@alpha.test"), ErrDenied}, {policy.Address{}, ErrDenied}} {
		computed = 0
		_, err := f.verify(context.Background(), Attempt{Login: c.login.Local, Password: password}, c.login)
		if !errors.Is(err, c.want) || computed != 1 {
			t.Errorf("%s: %v after %d hashes, want %v after 1", c.login, err, computed, c.want)
		}
	}
}

type countingHash func()

func (c countingHash) matches(p string) bool { c(); return p == password }

func TestProbeOfFile(t *testing.T) {
	r := newRig(t, anna+":"+cheap, "mario:"+cheap, "ugo@alpha.test:", "eva@alpha.test:"+cheap+"::::::allow_nets=127.0.0.1/32 x=y", "ida@alpha.test:{MD5}x")
	detail, list, err := Check(t.Context(), r.source())
	if err != nil || !strings.HasSuffix(detail, "passwd, 1 logins") {
		t.Errorf("%q, %v", detail, err)
	}
	for i, want := range []string{
		`passwd:2: "mario" is no address`, "passwd:3: ugo@alpha.test has no password", "passwd:4: eva@alpha.test: the field allow_nets",
		`passwd:5: ida@alpha.test: the scheme "MD5" is not known: use ARGON2ID, BLF-CRYPT or SHA512-CRYPT`,
	} {
		if len(list) != 4 || !strings.Contains(list[i].Error(), want) {
			t.Errorf("problems %v, want %q", list, want)
		}
	}
	if err := os.Chmod(r.file, 0o644); err != nil {
		t.Fatal(err)
	}
	r.write()
	if err := os.Chmod(r.file, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Check(t.Context(), r.source()); err == nil || !strings.Contains(err.Error(), "chmod 0640") {
		t.Errorf("a file that everybody can read: %v", err)
	}
	if err := os.Remove(r.file); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Check(t.Context(), r.source()); err == nil || !strings.Contains(err.Error(), "copialettere password ADDR") {
		t.Errorf("no file: %v", err)
	}
}

func TestParseSource(t *testing.T) {
	for _, c := range []struct {
		text string
		want Source
	}{
		{"file:/etc/copialettere/passwd", Source{SourceFile, "", "/etc/copialettere/passwd"}},
		{"dovecot:unix:/run/dovecot/auth-client", Source{SourceDovecot, "unix", "/run/dovecot/auth-client"}},
		{"dovecot:mail.alpha.test:12345", Source{SourceDovecot, "tcp", "mail.alpha.test:12345"}},
		{"dovecot:[::1]:12345", Source{SourceDovecot, "tcp", "[::1]:12345"}},
	} {
		got, err := ParseSource(c.text)
		if err != nil || got != c.want || got.String() != c.text {
			t.Errorf("%s: %+v, %v", c.text, got, err)
		}
	}
	for _, text := range []string{"", "file:", "file:passwd", "file:/a\x00", "dovecot:", "dovecot:unix:", "dovecot:unix:run", "dovecot:host", "dovecot::1", "dovecot:host:0", "ldap:x"} {
		if s, err := ParseSource(text); err == nil {
			t.Errorf("%q is read as %+v", text, s)
		}
	}
}
