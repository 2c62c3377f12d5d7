package httpd

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/export/pull"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
	"copialettere/policy/setup"
)

// secret archives a message with words that are easy to find.
func (r *rig) secret(name, words string) {
	r.t.Helper()
	d := r.journal.NewDraft(r.t.Context())
	defer d.Discard()
	fmt.Fprintf(d, "Message-ID: <%[1]s@ext.test>\r\nSubject: %[1]s\r\n\r\n%[1]s\r\n", words)
	intent := journal.Intent{Mailbox: name, Direction: journal.Received, RcptTo: words + "@rcpt.test", ORCPT: "rfc822;" + words + "@orcpt.test"}
	skip := journal.Record{Kind: journal.Gap, Mailbox: name, Time: time.Now().UTC(), Reason: "full", MailFrom: words + "@gap.test"}
	placed, err := d.Commit(r.t.Context(), journal.Envelope{MailFrom: words + "@ext.test", Transaction: words}, []journal.Intent{intent}, []journal.Record{skip})
	if err != nil {
		r.t.Fatal(err)
	}
	r.journal.Delivered(placed[0].Ref, words)
}

// TestRenamed compares what every question about a mailbox answers before and after it got another address.
func TestRenamed(t *testing.T) {
	const before, after = "anna@alpha.test", "anna.rossi@alpha.test"
	r := newRig(t)
	r.mailbox("POST /mailboxes/{mailbox}/enable?" + anna)
	r.mailbox("PATCH /mailboxes/{mailbox}/settings?" + anna + "&set=write=on&set=retention=24")
	r.secret(before, "one")
	r.secret(before, "two")
	folder := "INBOX/" + time.Now().UTC().Format("2006-01")
	first, these := url.Values{"folder": {folder}, "uid": {"1"}}.Encode(), url.Values{"folder": {folder}, "uids": {"1"}}.Encode()
	get[ActView](r, "POST /mailboxes/{mailbox}/messages/{folder}/{uid}/hold?"+anna+"&reason=case&"+first)
	r.auth.Login(t.Context(), auth.Attempt{Login: before, Password: "wrong", Protocol: auth.ProtocolIMAP})
	get[archive.AppPassword](r, "POST /mailboxes/{mailbox}/app-passwords?"+anna+"&name=phone")
	get[archive.Delegate](r, "POST /mailboxes/{mailbox}/delegates?"+anna+"&person=bruno@beta.test&until="+time.Now().AddDate(0, 0, 7).Format(time.DateOnly))
	get[pull.Pull](r, "POST /mailboxes/{mailbox}/pulls?"+anna+"&name=old&from=imaps://anna@mail.test&password=x")
	r.handedOver(before, time.Now())
	questions := []string{
		"/access?", "/app-passwords?", "/delegates?", "/pulls?", "/entries?all=true", "/messages?q=one", "/deleted?", "/messages/{folder}/{uid}?" + first, "/messages/{folder}/{uid}/raw?" + first,
		"/messages/{folder}/{uid}/parts?" + first, "/messages/{folder}/{uid}/parts/{part}?part=1&" + first, "/practices?", "/folders?", "/usage?", "/preservation?",
	}
	const of = "GET /mailboxes/{mailbox}"
	// These are looked at below.
	others := []string{"", "/settings", "/log", "/why", "/gaps", "/retention", "/second-factor", "/set-up", "/set-up/profile", "/exports", "/exports/{export}", "/exports/{export}/zip", "/messages/{folder}/raw"}
	for _, route := range Routes() {
		question, about := strings.CutPrefix(route.Path, one)
		asked := slices.Contains(others, question) || slices.ContainsFunc(questions, func(q string) bool { return strings.HasPrefix(q, question+"?") })
		if about && route.Method == http.MethodGet && route.Right != archive.RightOperate && !asked {
			t.Errorf("%s is not asked before and after", route.Path)
		}
	}
	secret := get[archive.SecondFactor](r, "POST /mailboxes/{mailbox}/second-factor/begin?"+anna)[0].New
	answers := make(map[string][]string)
	for _, q := range questions {
		_, answers[q] = r.ask(of + q + "&mailbox=" + before)
	}
	_, everybody := r.ask("GET /stats?")
	shown := r.mailbox("GET /mailboxes/{mailbox}?mailbox=" + before)

	v := r.mailbox("POST /mailboxes/{mailbox}/rename?" + anna + "&to=" + after)
	if v.Mailbox != after || v.Name != before || !slices.Equal(v.Former, []string{before}) || v.Changed == nil || !*v.Changed {
		t.Errorf("renamed: %+v", v)
	}
	if got := get[archive.SecondFactor](r, "GET /mailboxes/{mailbox}/second-factor?mailbox="+before)[0]; got.Waiting != nil {
		t.Errorf("the second factor stayed behind: %+v", got)
	}
	if got := get[archive.SecondFactor](r, "GET /mailboxes/{mailbox}/second-factor?mailbox="+after)[0]; got.Waiting == nil || !got.Waiting.Equal(secret.Until) {
		t.Errorf("the second factor has not come along: %+v", got)
	}
	if got := get[setup.Parameters](r, "GET /mailboxes/{mailbox}/set-up?mailbox="+after)[0]; got.Closed == nil || got.Incoming.User != after {
		t.Errorf("set up under the new address: %+v", got)
	}
	if status, profile := r.ask("GET /mailboxes/{mailbox}/set-up/profile?mailbox=" + after); status != http.StatusOK || !strings.Contains(strings.Join(profile, ""), after) {
		t.Errorf("profile under the new address: %q", profile)
	}
	renamed := func(lines []string) []string {
		lines = slices.Clone(lines)
		for i := range lines {
			lines[i] = strings.ReplaceAll(lines[i], `"mailbox":"`+before, `"mailbox":"`+after)
		}
		return lines
	}
	for _, q := range questions {
		if _, got := r.ask(of + q + "&mailbox=" + after); !slices.Equal(got, renamed(answers[q])) || len(got) == 0 && q != "/practices?" && q != "/deleted?" {
			t.Errorf("%s answers\n%q\nwant\n%q", q, got, renamed(answers[q]))
		}
		if status, got := r.ask(of + q + "&mailbox=" + before); status == http.StatusOK && len(got) > 0 {
			t.Errorf("%s of the old address answers %q", q, got)
		}
	}
	if _, got := r.ask("GET /stats?"); !slices.Equal(got, renamed(everybody)) {
		t.Errorf("of all: %q, want %q", got, renamed(everybody))
	}
	now := r.mailbox("GET /mailboxes/{mailbox}?mailbox=" + after)
	if now.Entries != shown.Entries || now.Bytes != shown.Bytes || len(now.HeldMessages) != 1 || len(now.Changes) != len(shown.Changes)+1 {
		t.Errorf("shown:\n%+v\nbefore\n%+v", now, shown)
	}

	// The acts go on under the new address, and the hold stands.
	if v := get[ActView](r, "POST /mailboxes/{mailbox}/messages/{folder}/move?who=root&mailbox="+after+"&to=Trash&uids=2&folder="+url.QueryEscape(folder)); v[0].Mailbox != after {
		t.Errorf("moved: %+v", v)
	}
	r.fails("POST /mailboxes/{mailbox}/messages/{folder}/delete?who=root&mailbox="+after+"&"+these, http.StatusConflict, after, "held")
	r.fails("POST /mailboxes/{mailbox}/messages/{folder}/delete?"+anna+"&"+these, http.StatusNotFound, "goes on as "+after)
	logged := get[archive.Change](r, "GET /mailboxes/{mailbox}/log?mailbox="+after)
	if last := logged[len(logged)-1]; last.Key != journal.ActMove || last.Mailbox != after || logged[len(logged)-2].After != after {
		t.Errorf("log: %+v", logged)
	}

	// Both names are on record, from either side.
	why := get[archive.Verdict](r, "GET /mailboxes/{mailbox}/why?mailbox="+before)
	if len(why) != 1 || why[0].Reason != policy.ReasonRenamed || !strings.Contains(why[0].Detail, after) || why[0].Mailbox != before {
		t.Errorf("why %s: %+v", before, why)
	}
	for _, request := range []string{"/entries?", "/gaps?", "/folders?", "/usage?", "/practices?", "/retention?", "/messages/{folder}/{uid}/raw?" + first + "&", "/messages/{folder}/raw?" + these + "&"} {
		r.fails(of+request+"mailbox="+before, http.StatusNotFound, before, "goes on as "+after)
	}
	if old := r.mailbox("GET /mailboxes/{mailbox}?mailbox=" + before); old.Moved != after {
		t.Errorf("%s moved to %q", before, old.Moved)
	}
	for _, request := range []string{"/why?", "/gaps?"} {
		_, lines := r.ask(of + request + "mailbox=" + after)
		if all := strings.Join(lines, "\n"); strings.Count(all, "the address was "+before+" until then, and is "+after) != 1 {
			t.Errorf("%s: %s", request, all)
		}
	}
	r.mailbox("POST /mailboxes/{mailbox}/enable?who=root&mailbox=bruno@alpha.test")
	r.mailbox("POST /mailboxes/{mailbox}/rename?who=root&mailbox=bruno@alpha.test&to=carla@alpha.test")
	why = get[archive.Verdict](r, "GET /mailboxes/{mailbox}/why?mailbox=carla@alpha.test&message_id=three@ext.test")
	if last := why[len(why)-1]; last.Verdict != "renamed" || !strings.Contains(last.Detail, "bruno@alpha.test") {
		t.Errorf("why a message is missing: %+v", why)
	}
	if again := r.mailbox("POST /mailboxes/{mailbox}/rename?" + anna + "&to=" + after); *again.Changed {
		t.Errorf("again: %+v", again)
	}
	r.mailbox("POST /mailboxes/{mailbox}/enable?" + anna)
	r.fails("POST /mailboxes/{mailbox}/rename?who=root&mailbox="+after+"&to="+before, http.StatusConflict, "an archive already", "erase")
	r.fails("POST /mailboxes/{mailbox}/rename?who=root&mailbox=nobody@alpha.test&to=x@alpha.test", http.StatusNotFound, "no archive")
	r.fails("POST /mailboxes/{mailbox}/rename?"+anna+"&to=x", http.StatusBadRequest, "no domain")
	if report, err := r.journal.Verify(t.Context(), journal.EvidenceOptions{}, nil); err != nil || report.Faults > 0 {
		t.Errorf("verify: %+v, %v", report, err)
	}
}

// TestHandOverHides puts the table behind the door of the next person. No route gives anything of the former person's archive, by no name of it.
func TestHandOverHides(t *testing.T) {
	r := newRig(t)
	r.mailbox("POST /mailboxes/{mailbox}/enable?" + anna)
	r.mailbox("PATCH /mailboxes/{mailbox}/settings?" + anna + "&set=write=on&set=notify=segreto@private.test&set=retention=24")
	r.secret("anna@alpha.test", "segreto")
	r.auth.Login(t.Context(), auth.Attempt{Login: "anna@alpha.test", Password: "wrong", Protocol: "segreto"})
	get[archive.AppPassword](r, "POST /mailboxes/{mailbox}/app-passwords?"+anna+"&name=segreto")
	r.mailbox("POST /mailboxes/{mailbox}/hold?" + anna + "&reason=segreto")
	_, begun := r.ask("POST /mailboxes/{mailbox}/exports?" + anna + "&folder=segreto")
	export := r.exported(strings.Join(begun, ""))
	r.fails("POST /mailboxes/{mailbox}/hand-over?"+anna, http.StatusBadRequest, "not confirmed")
	v := r.mailbox("POST /mailboxes/{mailbox}/hand-over?" + anna + "&confirm=anna@alpha.test")
	closed := "anna@alpha.test~" + time.Now().UTC().Format(time.DateOnly)
	if v.Closed != closed || v.Mailbox != "anna@alpha.test" || v.Entries != 0 || v.Archive != "on" || v.Hold != nil {
		t.Fatalf("handed over: %+v", v)
	}
	r.secret("anna@alpha.test/2", "novita")

	owner := newAPI(r.backend, door{who: func(*http.Request) (policy.Actor, error) {
		return policy.Actor{Role: policy.RoleOwner, Name: "anna@alpha.test"}, nil
	}})
	for _, route := range Routes() {
		for _, name := range []string{"anna@alpha.test", closed, "anna@alpha.test/2", "<anna@alpha.test>", "ANNA@Alpha.test"} {
			values := url.Values{"mailbox": {name}, "folder": {"INBOX/" + time.Now().UTC().Format("2006-01")}, "uid": {"1"}, "part": {"1"}, "all": {"true"},
				"set": {"language=en"}, "reason": {"x"}, "to": {"Trash"}, "month": {"2020-01"}, "confirm": {name}, "uids": {"1"}, "name": {"x"},
				"person": {"bruno@beta.test"}, "domain": {"alpha.test"}, "export": {export}}
			w := httptest.NewRecorder()
			owner.ServeHTTP(w, newRequest(t, &route, values))
			if body := w.Body.String(); strings.Contains(body, "segreto") {
				t.Errorf("%s %s of %s: status %d: %s", route.Method, route.Path, name, w.Code, body)
			}
			if name == closed && route.Right != "" && w.Code != http.StatusForbidden {
				t.Errorf("%s %s of %s: status %d", route.Method, route.Path, name, w.Code)
			}
		}
	}

	// The operator still has it, under its name.
	old := r.mailbox("GET /mailboxes/{mailbox}?mailbox=" + url.QueryEscape(closed))
	if old.Archive != "closed" || old.Entries != 1 || old.Hold == nil || old.Name != "anna@alpha.test" {
		t.Errorf("the closed one: %+v", old)
	}
	if list := get[EntryView](r, "GET /mailboxes/{mailbox}/entries?mailbox="+url.QueryEscape(closed)); len(list) != 1 || list[0].Subject != "segreto" || list[0].Mailbox != closed {
		t.Errorf("its entries: %+v", list)
	}
	if list := get[EntryView](r, "GET /mailboxes/{mailbox}/entries?mailbox=anna@alpha.test"); len(list) != 1 || list[0].Subject != "novita" || list[0].UID != 1 {
		t.Errorf("the new entries: %+v", list)
	}
	gaps := get[archive.Gap](r, "GET /mailboxes/{mailbox}/gaps?mailbox="+url.QueryEscape(closed))
	if last := gaps[len(gaps)-1]; last.Reason != policy.ReasonHandedOver || last.Until != nil {
		t.Errorf("its gaps: %+v", gaps)
	}
	r.fails("POST /mailboxes/{mailbox}/enable?who=root&mailbox="+url.QueryEscape(closed), http.StatusConflict, "handed over")
	r.fails("GET /mailboxes/{mailbox}/route?mailbox="+url.QueryEscape(closed), http.StatusConflict, "handed over")
	r.fails("PATCH /mailboxes/{mailbox}/settings?who=root&set=write=on&mailbox="+url.QueryEscape("bruno@alpha.test~2026-11-29"), http.StatusBadRequest, "handed over")
	var names []string
	for _, m := range get[archive.Mailbox](r, "GET /mailboxes") {
		names = append(names, m.Mailbox+" "+m.Archive)
	}
	if !slices.Equal(names, []string{closed + " closed", "anna@alpha.test on"}) {
		t.Errorf("mailboxes %q", names)
	}
	if report, err := r.journal.Verify(t.Context(), journal.EvidenceOptions{}, nil); err != nil || report.Faults > 0 {
		t.Errorf("verify: %+v, %v", report, err)
	}
}
