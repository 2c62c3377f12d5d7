package imapd

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/journal/kv/level"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
)

const (
	anna     = "anna@alpha.test"
	password = "segreta"
)

// rig is a server on loopback over an archive in a temporary folder. Its clock stands, so that values of UIDVALIDITY are the same in each run.
type rig struct {
	t        testing.TB
	now      atomic.Pointer[time.Time]
	engine   kv.Engine
	settings kv.Store
	journal  *journal.Journal
	policy   *policy.Policy
	auth     *auth.Authenticator
	archive  *archive.Archive
	server   *Server
	addr     string

	damaged bool // by the test: the journal must not be sound in the end
}

var operator = policy.Actor{Role: policy.RoleOperator, Name: "test"}

// newRig starts a server that is told of changes. change may change its configuration.
func newRig(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	r := newUntold(t, change)
	r.tell()
	return r
}

// tell has the server told of changes from now on.
func (r *rig) tell() {
	r.policy.OnChange(r.server.SettingsChanged)
	r.auth.OnChange(r.server.SettingsChanged)
}

// newUntold is newRig with a server that nobody tells of changes.
func newUntold(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t}
	r.month("2026-11")
	engine, err := level.Open(t.TempDir(), level.Options{})
	check(t, err)
	r.engine = engine
	r.journal, err = journal.Open(engine, journal.Options{Now: func() time.Time { return *r.now.Load() }})
	check(t, err)
	settings, err := engine.Settings(t.Context())
	check(t, err)
	r.settings = settings
	r.policy, err = policy.Open(t.Context(), settings, policy.Config{Domains: []policy.Domain{{Name: "alpha.test"}}})
	check(t, err)
	r.auth = auth.New(auth.Options{Policy: r.policy, Settings: settings})
	r.archive = archive.New(archive.Options{Journal: r.journal, Policy: r.policy, Auth: r.auth})
	c := Config{Archive: func() *archive.Archive { return r.archive }, Logins: logins{}, Name: "archive.test", InsecureLoopback: true, MaxConnections: 1000, MaxPerAddress: 1000, MaxPerMailbox: 600,
		Logger: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&c)
	}
	r.server = NewServer(c)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	r.addr = l.Addr().String()
	serving := make(chan error, 1)
	go func() { serving <- r.server.Serve(l, nil) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := r.server.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-serving; err != nil {
			t.Errorf("serve: %v", err)
		}
		if report, err := r.journal.Verify(context.Background(), journal.EvidenceOptions{}, nil); err != nil || (report.Faults > 0) != r.damaged {
			t.Errorf("verify: %+v, %v", report, err)
		}
		check(t, errors.Join(r.auth.Close(), r.journal.Close(), engine.Close()))
	})
	r.enable(anna)
	return r
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// logins knows one password. The authorization identity is the mailbox that is to be opened.
type logins struct{}

func (logins) Login(_ context.Context, try auth.Attempt) (auth.Identity, error) {
	login, err := policy.ParseAddress(try.Login)
	if err != nil || try.Password != password {
		return auth.Identity{}, auth.ErrDenied
	}
	id := auth.Identity{Login: login, Mailbox: login, Actor: policy.Actor{Role: policy.RoleOwner, Name: login.String()}}
	if try.Authorize != "" {
		id.Mailbox, err = policy.ParseAddress(try.Authorize)
	}
	return id, err
}

func address(t testing.TB, mailbox string) policy.Address {
	t.Helper()
	a, err := policy.ParseAddress(mailbox)
	check(t, err)
	return a
}

// enable turns the archive of a mailbox on, and opens it to mail programs.
func (r *rig) enable(mailbox string) {
	r.t.Helper()
	_, err := r.policy.Enable(r.t.Context(), address(r.t, mailbox), operator)
	check(r.t, err)
	r.set(mailbox, policy.KeyIMAP, "on")
}

func (r *rig) set(mailbox, key, value string) {
	r.t.Helper()
	_, err := r.policy.Set(r.t.Context(), address(r.t, mailbox), operator, []policy.Assignment{{Key: key, Value: value}})
	check(r.t, err)
}

// month sets the clock to the middle of a month.
func (r *rig) month(month string) {
	now, err := time.Parse("2006-01-02 15:04:05", month+"-15 10:00:00")
	check(r.t, err)
	r.now.Store(&now)
}

// add journals a message, and returns its place.
func (r *rig) add(mailbox string, d journal.Direction, text string) journal.Ref {
	r.t.Helper()
	return r.addAs(journal.Intent{Mailbox: mailbox, Direction: d}, text)
}

// addAs is add for what is of a class, or goes to recipients of a kind.
func (r *rig) addAs(in journal.Intent, text string) journal.Ref {
	r.t.Helper()
	draft := r.journal.NewDraft(r.t.Context())
	defer draft.Discard()
	_, err := draft.Write([]byte(text))
	check(r.t, err)
	placed, err := draft.Commit(r.t.Context(), journal.Envelope{MailFrom: "ext@ext.test", Transaction: "T"},
		[]journal.Intent{in}, nil)
	check(r.t, err)
	r.journal.Delivered(placed[0].Ref, "T")
	return placed[0].Ref
}

// fixtures returns the messages of the folder of fixtures and of this package's own, by name.
func fixtures(t testing.TB) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, pattern := range []string{"../../testdata/messages/*.eml", "testdata/messages/*.eml"} {
		files, err := filepath.Glob(pattern)
		check(t, err)
		for _, file := range files {
			b, err := os.ReadFile(file)
			check(t, err)
			all[filepath.Base(file)] = string(b)
		}
	}
	if len(all) < 13 {
		t.Fatalf("%d fixtures", len(all))
	}
	return all
}
