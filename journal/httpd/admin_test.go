package httpd

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/export/jobs"
	"copialettere/journal/kv"
	"copialettere/journal/kv/level"
	"copialettere/journal/metrics"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
	"copialettere/policy/checkpoint"
	"copialettere/policy/preservation"
	"copialettere/policy/setup"
	"copialettere/policy/source"
)

// rig is the operator's interface over a journal in a temporary folder.
type rig struct {
	t       *testing.T
	engine  kv.Engine
	journal *journal.Journal
	policy  *policy.Policy
	auth    *auth.Authenticator // lets nobody in
	backend Backend
	handler http.Handler
}

func newRig(t *testing.T) *rig {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	engine, err := level.Open(t.TempDir(), level.Options{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(engine, journal.Options{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	settings, err := engine.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Open(t.Context(), settings, policy.Config{Domains: []policy.Domain{{Name: "alpha.test", RecipientDelimiter: "+"}}})
	if err != nil {
		t.Fatal(err)
	}
	logins := auth.New(auth.Options{Policy: p, Settings: settings, Logger: log})
	t.Cleanup(func() { logins.Close() })
	keys := t.TempDir()
	checkpoints := checkpoint.New(checkpoint.Options{
		Journal: j, KeyFile: filepath.Join(keys, "evidence.key"), PublicFile: filepath.Join(keys, "evidence.pub"), Name: "test", Logger: log,
	}, checkpoint.Settings{})
	b := Backend{Archive: archive.New(archive.Options{Journal: j, Policy: p, Auth: logins, Sources: source.New(settings, source.Sealer{Path: filepath.Join(t.TempDir(), "sources.key")}), Checkpoints: checkpoints, Preservation: preservation.New(settings), Guide: exampleGuide(), Links: setup.NewLinks(settings),
		Freeze: func(ctx context.Context) (*archive.Frozen, error) {
			s, err := engine.Snapshot(ctx)
			return &archive.Frozen{Snapshot: s, Archive: "A", Data: "/data"}, err
		},
		Mailstore: func(_ context.Context, _ policy.Address, _ int64, message io.WriterTo, commit func() error) (string, error) {
			if _, err := message.WriteTo(io.Discard); err != nil {
				return "", err
			}
			return "250 2.0.0 saved", commit()
		}}), Metrics: new(metrics.Registry), Version: "test", Logger: log}
	b.Exports, err = jobs.New(jobs.Options{Folder: filepath.Join(t.TempDir(), "exports"), Logger: log, Room: func() (int64, error) { return 1 << 30, nil }})
	if err != nil {
		t.Fatal(err)
	}
	b.Exports.Configure(jobs.Config{Archive: b.Archive, Keep: time.Hour, MaxSize: 1 << 30})
	return &rig{t, engine, j, p, logins, b, Admin(b)}
}

// ask sends "METHOD PATH?VALUES", with the path as in the table and values as for NewRequest, and returns the status and the lines of the answer.
func (r *rig) ask(request string) (status int, lines []string) {
	r.t.Helper()
	name, query, _ := strings.Cut(request, "?")
	method, path, _ := strings.Cut(name, " ")
	route := routeOf(r.t, method, path)
	values, err := url.ParseQuery(query)
	if err != nil {
		r.t.Fatal(err)
	}
	sent, err := route.NewRequest(r.t.Context(), "http://admin", values, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	sent.Header.Set("Accept", linesType)
	return r.send(sent)
}

func (r *rig) send(sent *http.Request) (status int, lines []string) {
	w := httptest.NewRecorder()
	r.handler.ServeHTTP(w, sent)
	for line := range strings.Lines(w.Body.String()) {
		lines = append(lines, strings.TrimSuffix(line, "\n"))
	}
	return w.Code, lines
}

// fails sends a request that must be refused with that status, in an error that has all of want.
func (r *rig) fails(request string, status int, want ...string) {
	r.t.Helper()
	got, lines := r.ask(request)
	var p Problem
	if len(lines) == 1 {
		json.Unmarshal([]byte(lines[0]), &p)
	}
	if got != status || p.Status != status || p.Detail == "" || p.Title == "" {
		r.t.Errorf("%s: status %d, want %d: %q", request, got, status, lines)
	}
	for _, s := range want {
		if !strings.Contains(p.Detail, s) {
			r.t.Errorf("%s: the error does not say %q: %s", request, s, p.Detail)
		}
	}
}

// get sends a request that succeeds and returns its objects.
func get[T any](r *rig, request string) []T {
	r.t.Helper()
	status, lines := r.ask(request)
	if status != http.StatusOK {
		r.t.Fatalf("%s: status %d: %q", request, status, lines)
	}
	all := make([]T, len(lines))
	for i, line := range lines {
		if err := json.Unmarshal([]byte(line), &all[i]); err != nil {
			r.t.Fatalf("%s: %v: %s", request, err, line)
		}
	}
	return all
}

func (r *rig) mailbox(request string) archive.Mailbox {
	r.t.Helper()
	all := get[archive.Mailbox](r, request)
	if len(all) != 1 {
		r.t.Fatalf("%s: %d answers", request, len(all))
	}
	return all[0]
}

func (r *rig) address(s string) policy.Address {
	r.t.Helper()
	a, err := policy.ParseAddress(s)
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

const anna = "mailbox=anna@alpha.test&who=root"

// TestStatus sends a request for each status other than success.
func TestStatus(t *testing.T) {
	r := newRig(t)
	const post, patch = "POST /mailboxes/{mailbox}", "PATCH /mailboxes/{mailbox}/settings?"
	r.mailbox(post + "/enable?" + anna)

	r.fails("GET /mailboxes/{mailbox}?mailbox=anna", 400, "no domain")
	r.fails("GET /mailboxes/{mailbox}/log?mailbox=%3C%3E", 400)
	r.fails("GET /mailboxes/{mailbox}/gaps?mailbox=anna@", 400)
	r.fails(post+"/enable?mailbox=anna@ext.test&who=root", 400, "domain not configured")
	r.fails(post+"/enable?mailbox=anna@alpha.test", 400, "name the operator")
	r.fails(patch+anna, 400, "no setting")
	r.fails(patch+anna+"&set=quota=1&set=retention=7&set=colour=red&set=write=on", 400, "quota=", "retention=", "colour")
	r.fails(patch+anna+"&set=write=on&set=write=off", 400, "twice")
	r.fails(post+"/disable?"+anna, 400, "not confirmed")
	r.fails(post+"/disable?"+anna+"&confirm=bruno@alpha.test", 400, "not confirmed")
	r.fails(post+"/hold?"+anna, 400, "want a reason")
	r.fails(post+"/hold?"+anna+"&reason=a%0Ab", 400, "want a reason")
	r.fails("GET /mailboxes/{mailbox}/messages/{folder}/{uid}/raw?mailbox=anna@alpha.test&folder=INBOX/2026-11&uid=1", 404)

	r.fails(post+"/restore?mailbox=bruno@alpha.test&who=root", 409, "not closing")
	r.mailbox(post + "/hold?" + anna + "&reason=case")
	r.fails(post+"/disable?"+anna+"&confirm=anna@alpha.test", 409, "legal hold", "case")
	r.mailbox(post + "/release?" + anna)
	r.mailbox(post + "/disable?" + anna + "&confirm=anna@alpha.test&now=1")
	if err := r.policy.Erasing(t.Context(), "anna@alpha.test"); err != nil {
		t.Fatal(err)
	}
	for _, act := range []string{"/restore?", "/enable?", "/hold?reason=late&"} {
		r.fails(post+act+anna, 409, "being erased")
	}
	if v := r.mailbox("GET /mailboxes/{mailbox}?" + anna); v.Erasure != "running" || v.EraseAt != nil || v.Archive != "off" {
		t.Errorf("being erased: %+v", v)
	}
}

// TestForbidden asks through a door for owners, because the operator may do everything.
func TestForbidden(t *testing.T) {
	r := newRig(t)
	owner := policy.Actor{Role: policy.RoleOwner, Name: "anna@alpha.test"}
	_, err := r.policy.Set(t.Context(), r.address("anna@alpha.test"), owner, []policy.Assignment{{Key: "retention", Value: "6"}})
	if p := problemOf(err); p.Status != http.StatusForbidden {
		t.Errorf("%v: %+v", err, p)
	}
}

// TestSetWithoutValue: text without = is refused for every key, also beside a valid setting, and changes nothing.
func TestSetWithoutValue(t *testing.T) {
	r := newRig(t)
	for _, key := range append(policy.Keys(), policy.KeyArchive, policy.KeyHold, "", "=") {
		r.fails("PATCH /mailboxes/{mailbox}/settings?"+anna+"&set=language=en&set="+url.QueryEscape(key), 400)
	}
	if list := get[archive.Mailbox](r, "GET /mailboxes"); len(list) != 0 {
		t.Errorf("changed all the same: %+v", list)
	}
}

func TestMailboxView(t *testing.T) {
	r := newRig(t)
	v := r.mailbox("GET /mailboxes/{mailbox}?" + anna)
	if v.Archive != "off" || v.Since != nil || v.Erasure != "" || v.Hold != nil || v.Changes != nil || v.Changed != nil {
		t.Errorf("never set up: %+v", v)
	}
	v = r.mailbox("PATCH /mailboxes/{mailbox}/settings?" + anna + "&set=quota=5GB&set=notify=anna@ext.test")
	if !*v.Changed || len(v.Changes) != 2 || v.Changes[0].Role != policy.RoleOperator || v.Changes[0].Who != "root" {
		t.Errorf("set: %+v", v)
	}
	if v = r.mailbox("PATCH /mailboxes/{mailbox}/settings?" + anna + "&set=quota=5GB"); *v.Changed || len(v.Changes) != 0 {
		t.Errorf("set again: %+v", v)
	}
	var texts []string
	for _, s := range v.Settings {
		texts = append(texts, s.Key+"="+s.Value)
	}
	want := "archive=off filter=all write=off manual_delete=off append=off imap=off layout=month retention=none quota=5GB when_full=skip protocols=imap,pop3,smtp " +
		"notify=none notify_on=full,gap,retention language=it hold=off erasure=none notify_pending=anna@ext.test"
	if got, _, _ := strings.Cut(strings.Join(texts, " "), " until "); got != want {
		t.Errorf("settings\n%s\nwant\n%s", got, want)
	}

	begun := *r.mailbox("POST /mailboxes/{mailbox}/enable?" + anna).Since
	r.mailbox("POST /mailboxes/{mailbox}/hold?" + anna + "&reason=case+12")
	if v = r.mailbox("GET /mailboxes/{mailbox}?" + anna); v.Hold == nil || v.Hold.Reason != "case 12" || v.Hold.Who != "operator root" || v.Hold.Since.IsZero() {
		t.Errorf("held: %+v", v.Hold)
	}
	if v = r.mailbox("POST /mailboxes/{mailbox}/release?" + anna); v.Hold != nil || !*v.Changed {
		t.Errorf("released: %+v", v)
	}
	v = r.mailbox("POST /mailboxes/{mailbox}/disable?" + anna + "&confirm=anna@alpha.test")
	if left := time.Until(*v.EraseAt); v.Erasure != "due" || v.Archive != "off" || left > policy.DefaultGrace || left < policy.DefaultGrace-time.Hour ||
		!v.Since.Equal(begun) {
		t.Errorf("closing: %+v", v)
	}
	if v = r.mailbox("POST /mailboxes/{mailbox}/restore?" + anna); v.Archive != "on" || v.EraseAt != nil || !v.Since.Equal(begun) {
		t.Errorf("restored: %+v", v)
	}
	if v = r.mailbox("POST /mailboxes/{mailbox}/restore?" + anna); *v.Changed {
		t.Errorf("restored again: %+v", v)
	}

	log := get[archive.Change](r, "GET /mailboxes/{mailbox}/log?"+anna)
	if len(log) != len(v.Changes) || len(log) != 9 {
		t.Fatalf("%d changes in the log, %d in the mailbox", len(log), len(v.Changes))
	}
	for i, c := range log {
		if c.Mailbox != "anna@alpha.test" || c.Number != uint64(i)+1 || c.Key != v.Changes[i].Key || !c.Time.Equal(v.Changes[i].Time) || c.Who != "root" {
			t.Errorf("change %d: %+v", i, c)
		}
	}
	if log := get[archive.Change](r, "GET /mailboxes/{mailbox}/log?mailbox=bruno@alpha.test"); len(log) != 0 {
		t.Errorf("log of nobody: %+v", log)
	}
}

// TestGaps: pauses and gaps come in the order of time, without skips, and without those of other mailboxes.
func TestGaps(t *testing.T) {
	r := newRig(t)
	r.mailbox("POST /mailboxes/{mailbox}/enable?" + anna)
	within := time.Now().UTC()
	r.mailbox("POST /mailboxes/{mailbox}/disable?" + anna + "&confirm=anna@alpha.test")
	r.mailbox("POST /mailboxes/{mailbox}/restore?" + anna)
	after := time.Now().UTC()
	err := r.journal.Record(t.Context(),
		journal.Record{Kind: journal.Gap, Mailbox: "anna@alpha.test", Time: after, Until: after.Add(time.Second), Reason: journal.ReasonRoom, Entries: 3, Bytes: 4711},
		journal.Record{
			Kind: journal.Gap, Mailbox: "anna@alpha.test", Time: within, Reason: journal.ReasonJournalFault, Direction: journal.Received,
			MessageID: "<1@ext.test>", MailFrom: "s@ext.test", RcptTo: "anna@alpha.test", QueueID: "4711", Transaction: "T1",
		},
		journal.Record{Kind: journal.Gap, Time: within.Add(-24 * time.Hour), Reason: journal.ReasonLost, Detail: "3 updates"},
		journal.Record{Kind: journal.Skip, Mailbox: "anna@alpha.test", Time: within, Reason: policy.ReasonAlias},
		journal.Record{Kind: journal.Gap, Mailbox: "bruno@alpha.test", Time: within, Reason: journal.ReasonJournalFault},
	)
	if err != nil {
		t.Fatal(err)
	}
	list := get[archive.Gap](r, "GET /mailboxes/{mailbox}/gaps?"+anna)
	var got []string
	for _, g := range list {
		got = append(got, fmt.Sprintf("%s %s %t %t", g.Kind, g.Reason, g.From != nil, g.Until != nil))
	}
	want := []string{
		"pause not-activated false true", "gap lost true false", "gap journal-fault true false", "pause disabled true true",
		"gap made-room true true",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if g := list[2]; !g.From.Equal(within) || g.MessageID != "<1@ext.test>" || g.Direction != "received" || g.Mailbox != "anna@alpha.test" ||
		g.MailFrom != "s@ext.test" || g.RcptTo != "anna@alpha.test" || g.QueueID != "4711" || g.Transaction != "T1" {
		t.Errorf("gap of a message: %+v", g)
	}
	if g := list[1]; g.Detail != "3 updates" || g.Mailbox != "anna@alpha.test" {
		t.Errorf("gap of all mailboxes: %+v", g)
	}
	if g := list[4]; g.Entries != 3 || g.Bytes != 4711 {
		t.Errorf("gap of removed entries: %+v", g)
	}
	why := get[archive.Verdict](r, "GET /mailboxes/{mailbox}/why?"+anna)
	if v := why[len(why)-1]; v.Reason != journal.ReasonRoom || v.Entries != 3 || v.Bytes != 4711 {
		t.Errorf("verdict of removed entries: %+v", v)
	}
	list = get[archive.Gap](r, "GET /mailboxes/{mailbox}/gaps?mailbox=carla@alpha.test")
	if len(list) != 2 || list[0].Reason != policy.ReasonNotActivated || list[0].Until != nil || list[1].Reason != journal.ReasonLost {
		t.Errorf("gaps of nobody: %+v", list)
	}
}

// TestWhyPaused: an unknown message may have come while the archive was off.
func TestWhyPaused(t *testing.T) {
	r := newRig(t)
	r.mailbox("POST /mailboxes/{mailbox}/enable?" + anna)
	r.mailbox("POST /mailboxes/{mailbox}/disable?" + anna + "&confirm=anna@alpha.test")
	r.mailbox("POST /mailboxes/{mailbox}/restore?" + anna)
	skip := journal.Record{
		Kind: journal.Skip, Mailbox: "anna@alpha.test", Time: time.Now().UTC(), Reason: policy.ReasonAlias, MessageID: "<1@ext.test>",
	}
	if err := r.journal.Record(t.Context(), skip); err != nil {
		t.Fatal(err)
	}
	for request, want := range map[string]string{
		"GET /mailboxes/{mailbox}/why?" + anna:                             "disabled, alias",
		"GET /mailboxes/{mailbox}/why?" + anna + "&message_id=1@ext.test":  "alias",
		"GET /mailboxes/{mailbox}/why?" + anna + "&message_id=2@ext.test":  "disabled",
		"GET /mailboxes/{mailbox}/why?mailbox=b@alpha.test&message_id=1@e": "disabled",
	} {
		var got []string
		for _, v := range get[archive.Verdict](r, request) {
			got = append(got, v.Reason)
			if v.Reason == policy.ReasonDisabled && v.Mailbox == "anna@alpha.test" && (v.Until == nil || !v.Until.After(v.Time) || v.Verdict != "skipped") {
				t.Errorf("pause: %+v", v)
			}
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%s: %s, want %s", request, got, want)
		}
	}
}

// TestWhyOff: the verdict of a mailbox that is off has the time when it was turned off, whatever has changed since.
func TestWhyOff(t *testing.T) {
	r := newRig(t)
	why := func() archive.Verdict {
		t.Helper()
		list := get[archive.Verdict](r, "GET /mailboxes/{mailbox}/why?"+anna)
		if len(list) != 1 {
			t.Fatalf("%d verdicts", len(list))
		}
		return list[0]
	}
	const never, since = "the archive was never on", "the archive has been off since then"
	if v := why(); v.Reason != policy.ReasonDisabled || v.Detail != never || !v.Time.IsZero() {
		t.Errorf("never set up: %+v", v)
	}
	r.mailbox("PATCH /mailboxes/{mailbox}/settings?" + anna + "&set=language=en")
	if v := why(); v.Detail != never || !v.Time.IsZero() {
		t.Errorf("set up, never on: %+v", v)
	}
	r.mailbox("POST /mailboxes/{mailbox}/enable?" + anna)
	if list := get[archive.Verdict](r, "GET /mailboxes/{mailbox}/why?"+anna); len(list) != 0 {
		t.Errorf("on: %+v", list)
	}
	v := r.mailbox("POST /mailboxes/{mailbox}/disable?" + anna + "&confirm=anna@alpha.test&now=true")
	off := v.Changes[len(v.Changes)-1].Time
	r.mailbox("PATCH /mailboxes/{mailbox}/settings?" + anna + "&set=language=it")
	a := r.address("anna@alpha.test")
	for _, step := range []func() error{
		func() error { return nil },
		func() error { return r.policy.Erasing(t.Context(), a.String()) },
		func() error { return r.policy.Erased(t.Context(), a.String()) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
		if v := why(); v.Reason != policy.ReasonDisabled || v.Detail != since || !v.Time.Equal(off) {
			t.Errorf("off: %+v, want the time %s", v, off)
		}
	}
}
