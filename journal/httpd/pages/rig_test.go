package pages

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/export/jobs"
	"copialettere/journal/kv"
	"copialettere/journal/kv/level"
	"copialettere/journal/search"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
	"copialettere/policy/notice"
	"copialettere/policy/preservation"
	"copialettere/policy/setup"
	"copialettere/policy/source"
)

const password = "cera-lacca"

// hash is a cheap hash of the password.
const hash = "{BLF-CRYPT}$2y$05$NNVrrmV7frWR1l5WpCC7U.oXf8Q1xx74fTwtIT3JwtcUhzJ6c./7a"

var operator = policy.Actor{Role: policy.RoleOperator, Name: "root"}

// rig is the pages over a real journal: anna of alpha.test has an archive, bruno has none, and postmaster@alpha.test is the postmaster.
type rig struct {
	engine  kv.Engine
	t       *testing.T
	journal *journal.Journal
	policy  *policy.Policy
	auth    *auth.Authenticator
	archive *archive.Archive
	pages   *Pages
	exports *jobs.Jobs
	room    int64 // for exports, in bytes
	passwd  string
	filed   int // messages
	// Notices are what owners are told, in a rig that tells them.
	notices *notice.Queue
}

// rigOptions make a rig other than the usual one.
type rigOptions struct {
	mailstore    archive.Mailstore
	owner        []string      // the rights of owners; nil for those that they have by default
	tells        bool          // owners are told by mail
	secondFactor bool          // the domain alpha.test asks for it
	limits       policy.Limits // of the domain alpha.test
	defaults     []policy.Assignment
	guide        *setup.Guide
	now          func() time.Time // of the journal
}

func newRig(t *testing.T) *rig { return newRigWith(t, rigOptions{}) }

func newRigWith(t *testing.T, o rigOptions) *rig {
	t.Helper()
	r := &rig{t: t, room: 1 << 30, passwd: filepath.Join(t.TempDir(), "passwd")}
	engine, err := level.Open(t.TempDir(), level.Options{})
	r.must(err)
	r.engine = engine
	t.Cleanup(func() { r.must(engine.Close()) })
	settings, err := engine.Settings(t.Context())
	r.must(err)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	r.policy, err = policy.Open(t.Context(), settings, policy.Config{Rights: policy.Rights{Owner: o.owner}, Domains: []policy.Domain{
		{Name: "alpha.test", Postmasters: []string{"postmaster@alpha.test"}, RequireSecondFactor: o.secondFactor, Limits: o.limits, Defaults: o.defaults}, {Name: "beta.test", Postmasters: []string{"postmaster@beta.test"}},
	}})
	r.must(err)
	r.journal, err = journal.Open(engine, journal.Options{Logger: log, Now: o.now, Settings: &journal.Settings{Lock: policy.SettingsLock, Open: policy.ArchiveOn, Held: policy.AnyHeld}})
	r.must(err)
	t.Cleanup(func() { r.must(r.journal.Close()) })
	var lines strings.Builder
	for _, login := range []string{"anna@alpha.test", "bruno@alpha.test", "postmaster@alpha.test", "carla@beta.test", "postmaster@beta.test"} {
		fmt.Fprintf(&lines, "%s:%s\n", login, hash)
	}
	r.must(os.WriteFile(r.passwd, []byte(lines.String()), 0o600))
	r.auth = auth.New(auth.Options{Source: auth.Source{Kind: auth.SourceFile, Address: r.passwd}, Policy: r.policy, Settings: settings, Logger: log})
	t.Cleanup(func() { r.must(r.auth.Close()) })
	options := archive.Options{Journal: r.journal, Policy: r.policy, Auth: r.auth, Links: setup.NewLinks(settings), Preservation: preservation.New(settings), Sources: source.New(settings, source.Sealer{Path: filepath.Join(t.TempDir(), "sources.key")}), Guide: o.guide, Mailstore: o.mailstore}
	if o.tells {
		r.notices = notice.New(settings, notice.Options{Policy: r.policy, From: "archivio@alpha.test", MaxPerDay: 100, Logger: log})
		options.Notices = notice.NewPump(r.notices, nil, log)
		t.Cleanup(options.Notices.Close)
		r.policy.OnRevision(options.Notices.Revised)
	}
	r.archive = archive.New(options)
	r.exports, err = jobs.New(jobs.Options{Folder: filepath.Join(t.TempDir(), "exports"), Logger: log, Room: func() (int64, error) { return r.room, nil }})
	r.must(err)
	r.exports.Configure(jobs.Config{Archive: r.archive, Keep: 24 * time.Hour, MaxSize: 1 << 30})
	r.pages, err = New(Options{Archive: r.archive, Auth: r.auth, Search: search.New(search.Options{}), Exports: r.exports, Logger: log})
	r.must(err)
	_, err = r.archive.Enable(t.Context(), operator, r.address("anna@alpha.test"))
	r.must(err)
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) address(s string) policy.Address {
	r.t.Helper()
	a, err := policy.ParseAddress(s)
	r.must(err)
	return a
}

// browser keeps the cookie of one reader.
type browser struct {
	*rig
	cookie string
}

func (r *rig) browser() *browser { return &browser{rig: r} }

// signedIn returns the browser of somebody who has signed in.
func (r *rig) signedIn(login string) *browser {
	r.t.Helper()
	b := r.browser()
	if w := b.post("/sign-in", "login="+login+"&password="+password); w.Code != http.StatusSeeOther {
		r.t.Fatalf("%s: %d: %s", login, w.Code, w.Body)
	}
	return b
}

func (b *browser) get(path string) *httptest.ResponseRecorder { return b.ask(http.MethodGet, path, "") }

// post sends a form as a browser does.
func (b *browser) post(path, form string) *httptest.ResponseRecorder {
	return b.ask(http.MethodPost, path, form)
}

func (b *browser) ask(method, path, form string) *httptest.ResponseRecorder {
	b.t.Helper()
	q := httptest.NewRequestWithContext(b.t.Context(), method, path, strings.NewReader(form))
	if method == http.MethodPost {
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if b.cookie != "" {
		q.AddCookie(&http.Cookie{Name: sessionCookie, Value: b.cookie})
	}
	w := httptest.NewRecorder()
	b.pages.ServeHTTP(w, q)
	for _, c := range w.Result().Cookies() {
		if c.Name == sessionCookie {
			b.cookie = c.Value
		}
	}
	return w
}

// enableThousands turns 5,000 archives of alpha.test on.
func (r *rig) enableThousands() {
	r.t.Helper()
	var lines strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&lines, "box%04d@alpha.test\n", i)
	}
	for _, err := range r.archive.Provision(r.t.Context(), operator, archive.Provision{Lines: strings.NewReader(lines.String()), Enable: true}) {
		r.must(err)
	}
}
